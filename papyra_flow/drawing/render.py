"""Drawing a picture: mermaid, dot, SVG, HTML and ascii, each by a jinja2 template that a user may replace.

A template gets `picture`, its `layout` on a page, the `looks` of each kind, `details` of each node by its id, and
`width`, the characters of a line.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, TemplateError
from markupsafe import Markup

from papyra_flow.drawing.layout import lay_out
from papyra_flow.drawing.picture import Picture
from papyra_flow.drawing.theme import LOOKS, TEXT
from papyra_flow.errors import UsageError

FORMATS = ("mermaid", "dot", "svg", "html", "ascii", "json")
MARKUP = frozenset({"svg", "html"})
WIDTH = 68


def render(picture: Picture, format: str, *, template: Path | None = None, width: int = WIDTH) -> str:  # noqa: A002
    """The picture in one of the formats, ending in a newline; by the user's `template` if there is one.

    `width` is how many characters a line of ascii has. Raises UsageError, with the place, for a template that cannot be
    read or does not work.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; the formats are {', '.join(FORMATS)}")
    if format == "json":
        return orjson.dumps(picture.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n"
    environment = _environment(markup=format in MARKUP)
    if template is None:
        return _drawn(environment.get_template(f"{format}.j2"), picture, width)
    try:
        return _drawn(environment.from_string(template.read_text(encoding="utf-8")), picture, width)
    except OSError as exc:
        raise UsageError(f"cannot read the template {template}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"the template {template} is not UTF-8 text") from exc
    except TemplateError as exc:
        raise UsageError(f"{template}:{_line(exc)}: {exc.message or exc}") from exc


def parts(picture: Picture) -> dict[str, object]:
    """The drawing and its style as markup, and details of each node: for a page that holds more than the picture."""
    environment, values = _environment(markup=True), _values(picture, WIDTH)
    drawing = environment.get_template("drawing.j2").render(values)
    style = environment.get_template("style.j2").render(values)
    return {**values, "drawing": Markup(drawing), "style": Markup(style)}  # noqa: S704 - escaped by their templates


def _drawn(template: Template, picture: Picture, width: int) -> str:
    return template.render(_values(picture, width))


def _values(picture: Picture, width: int) -> dict[str, object]:
    details = {
        node.id: {
            "kind": node.kind, "label": node.label, "description": node.description, "lines": node.lines,
            "settings": node.settings, "figures": node.figures, "yaml": node.yaml,
        }
        for node in picture.nodes
    }  # fmt: skip
    return {
        "picture": picture, "layout": lay_out(picture), "looks": LOOKS, "text_colour": TEXT, "width": width,
        "details": details,
    }  # fmt: skip


def _line(exc: BaseException) -> int:
    """The line of a template that an error comes from."""
    if (line := getattr(exc, "lineno", None)) is not None:
        return int(line)
    found, trace = 1, exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


@cache
def _environment(*, markup: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("papyra_flow.drawing", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=markup,  # noqa: S701 - the other formats are not markup, and have their own filters for escaping
    )
    environment.filters |= {"mermaid": _mermaid_text, "quoted": _quoted, "slug": _slug, "fit": _fit}
    return environment


def _mermaid_text(text: str) -> str:
    """Text for a quoted mermaid label (https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters)."""
    return "".join(char if char.isalnum() or char in " .,:/*_=+-()[]'@" else f"#{ord(char)};" for char in text)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _slug(identity: str) -> str:
    return re.sub(r"\W", lambda match: f"_{ord(match[0]):x}_" if match[0] != ":" else "_", identity)


def _fit(text: str, width: int) -> str:
    return (text if len(text) <= width else text[: width - 1] + "…").ljust(width)
