"""A YAML file as plain data plus the position of every key and value.

YAML is composed by PyYAML and read by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema):
`on`, `yes` and `2013-01-01` are strings, not a boolean and a date. Anchors and merge keys work; tags,
duplicate keys and documents that expand without end are refused. All problems are collected, with their
places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from papyra_flow.config.variables import VariableError, Variables
from papyra_flow.errors import Problem
from papyra_flow.spec.positions import Path, Place, Spot
from papyra_flow.spec.secrets import Secrets

MAX_NODES = 200_000
MAX_DEPTH = 64

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, object] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(slots=True)
class Document:
    """The data of one file (`tree`), the place of each part of it, and what was wrong with its text."""

    file: str
    lines: list[str]
    tree: object = None
    places: dict[Path, Place] = field(default_factory=dict)
    references: dict[Path, str] = field(default_factory=dict)
    """Values with `${...}` in them, as the file has them."""
    problems: list[Problem] = field(default_factory=list)
    secrets: Secrets = field(default_factory=Secrets)

    def where(self, path: Path) -> Place | None:
        """The place of a part that the file has."""
        return self.places.get(path)

    def written(self, path: Path) -> list[tuple[int, str]]:
        """The lines of a part: from its key on, as far as they are further in."""
        if (place := self.places.get(path)) is None:
            return []
        number, column = place.key
        end = number
        while end < len(self.lines) and (not self.lines[end].strip() or _indent(self.lines[end]) >= column):
            end += 1
        return [(at, self.lines[at - 1]) for at in range(number, end + 1)]

    def problem(
        self,
        path: Path,
        code: str,
        message: str,
        hint: str | None = None,
        *,
        at_key: bool = False,
        spot: Spot | None = None,
    ) -> Problem:
        """A problem at the deepest part of `path` that the file really has."""
        if spot is not None and (position := self.inside(path, spot.text, spot.line, spot.column)) is not None:
            return self.problem_at(position, code, message, hint)
        place = self.places.get(self.nearest(path), Place((1, 1), (1, 1)))
        return self.problem_at(place.key if at_key else place.value, code, message, hint)

    def inside(self, path: Path, text: str, line: int, column: int) -> tuple[int, int] | None:
        """Where a character of a scalar's text stands in the file; None where the file has the text in another form."""
        above, left = self.places.get(self.nearest(path), Place((1, 1), (1, 1))).value
        begins = self.lines[above - 1][left - 1 :] if above <= len(self.lines) else ""
        if begins.startswith("|"):
            content = [row for row in self.lines[above:] if row.strip()]
            above, left = above + 1, len(content[0]) - len(content[0].lstrip()) + 1 if content else 1
        elif begins[:1] in {"'", '"'}:
            left += 1
        place = above + line - 1, left + (column - 1)
        rows = text.splitlines()
        if not 0 < line <= len(rows) or place[0] > len(self.lines):
            return None
        return place if self.lines[place[0] - 1][left - 1 :].startswith(rows[line - 1]) else None

    def nearest(self, path: Path) -> Path:
        """The path in the file that a model's location stands for.

        Models name things the file does not have (a component's main field, the branch of a union):
        such names are skipped, and a name that stands beside the current one is found there.
        """
        current: Path = ()
        for name in path:
            if (*current, name) in self.places:
                current = (*current, name)
            elif current and (*current[:-1], name) in self.places and isinstance(name, str):
                current = (*current[:-1], name)
        return current

    def problem_at(self, position: tuple[int, int], code: str, message: str, hint: str | None) -> Problem:
        """A problem at a line and column that count from 1."""
        line, column = position
        excerpt = self.lines[line - 1] if 0 < line <= len(self.lines) else None
        hide = self.secrets.hide
        return Problem(self.file, line, column, code, hide(message), hide(hint) if hint else None, excerpt)


def read_document(text: str, file: str, variables: Variables) -> Document:
    """Parse `text`; never raises for bad text, the document's `problems` say what is wrong."""
    document = Document(file, text.splitlines(), secrets=variables.secrets)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        position = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message, hint = _told(str(exc.problem or exc.context), document.lines, position[0])
        document.problems.append(document.problem_at(position, "yaml-syntax", f"not valid YAML: {message}", hint))
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        message = f"not valid YAML: {str(exc).splitlines()[0] if str(exc) else 'nested too deeply'}"
        document.problems.append(document.problem_at((1, 1), "yaml-syntax", message, None))
    else:
        _Builder(document, variables).build_root(node)
    return document


def _told(problem: str, lines: list[str], line: int) -> tuple[str, str | None]:
    """What libyaml says, and a hint, for what it says least clearly."""
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    if "cannot start any token" in problem and "\t" in text[: len(text) - len(text.lstrip())]:
        return "a tab in the indentation", "indent with spaces"
    if "another document" in problem:
        return "a second document starts here", "a file holds one pipeline; remove the line `---`"
    return problem, None


class _Builder:
    """Turns composed nodes into plain data, noting places and problems as it goes."""

    def __init__(self, document: Document, variables: Variables) -> None:
        self.document = document
        self.variables = variables
        self.count = 0

    def build_root(self, node: yaml.Node | None) -> None:
        if node is None:
            self.document.problems.append(
                self.document.problem_at((1, 1), "empty-file", "the file is empty", "start with `pipeline: NAME`")
            )
            return
        self.document.places[()] = Place(_start(node), _start(node))
        self.document.tree = self.build(node, (), ())

    def build(self, node: yaml.Node, path: Path, parents: tuple[int, ...]) -> object:
        self.count += 1
        if id(node) in parents:
            self.refuse(node, "yaml-recursive", "this alias contains itself")
            return None
        if self.count > MAX_NODES or len(parents) > MAX_DEPTH:
            if self.count <= MAX_NODES + 1:
                self.refuse(node, "yaml-too-large", "the file is nested too deeply or its aliases expand too far")
            self.count = max(self.count, MAX_NODES + 1)
            return None
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self.mapping(node, path, (*parents, id(node)))
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return self.sequence(node, path, (*parents, id(node)))
        if isinstance(node, yaml.ScalarNode) and node.tag.startswith("tag:yaml.org,2002:"):
            return self.scalar(node, path)
        self.refuse(node, "yaml-tag", f"the tag {node.tag} is not allowed in a pipeline file")
        return None

    def mapping(self, node: yaml.MappingNode, path: Path, parents: tuple[int, ...]) -> dict[str, object]:
        data: dict[str, object] = {}
        merges = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.refuse(key_node, "yaml-key", "a key must be a plain word")
                continue
            if key_node.value == "<<" and not key_node.style:
                merges.append(value_node)
                continue
            key = key_node.value
            if key in data:
                first = self.document.places[*path, key].key[0]
                self.refuse(key_node, "duplicate-key", f"duplicate key {key!r} (first in line {first})")
                continue
            self.document.places[*path, key] = Place(_start(key_node), _start(value_node))
            data[key] = self.build(value_node, (*path, key), parents)
        for merge in merges:
            self.merge(merge, data, path, parents)
        return data

    def merge(self, node: yaml.Node, data: dict[str, object], path: Path, parents: tuple[int, ...]) -> None:
        """`<<: *anchor` or a list of them: keys that stand here win (https://yaml.org/type/merge.html)."""
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(source, yaml.MappingNode) or id(source) in parents:
                self.refuse(source, "yaml-merge", "`<<` must name a mapping, or a list of mappings")
                continue
            places, references = self.document.places, self.document.references
            self.document.places, self.document.references = {}, {}
            merged = self.mapping(source, path, (*parents, id(source)))
            for key in merged.keys() - data.keys():
                data[key] = merged[key]
                within = (*path, key)
                places |= {p: at for p, at in self.document.places.items() if p[: len(within)] == within}
                references |= {p: at for p, at in self.document.references.items() if p[: len(within)] == within}
            self.document.places, self.document.references = places, references

    def sequence(self, node: yaml.SequenceNode, path: Path, parents: tuple[int, ...]) -> list[object]:
        items = []
        for index, item in enumerate(node.value):
            self.document.places[*path, index] = Place(_start(item), _start(item))
            items.append(self.build(item, (*path, index), parents))
        return items

    def scalar(self, node: yaml.ScalarNode, path: Path) -> object:
        if "${" in node.value:
            self.document.references[path] = node.value
            return self.filled(node)
        return resolve_scalar(node.value) if not node.style else node.value

    def filled(self, node: yaml.ScalarNode) -> object:
        """A scalar with references: a plain one may be a number, but `007` in a variable stays the text that it is."""
        try:
            text = self.variables.substitute(node.value)
        except VariableError as exc:
            self.refuse(node, "variable", str(exc))
            return None
        resolved = resolve_scalar(str(text)) if not node.style else text
        return text if isinstance(resolved, str) or text.is_padded_number() else resolved

    def refuse(self, node: yaml.Node, code: str, message: str) -> None:
        self.document.problems.append(self.document.problem_at(_start(node), code, message, None))


def resolve_scalar(text: str) -> object:
    """What a plain (unquoted) word means: null, a boolean, a number, or a string."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= 40:
        if _INT.fullmatch(text):
            return int(text.replace("_", "").rstrip("_") or "0")
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
    return text


def _start(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
