#!/usr/bin/env python3
"""Writes docs/reference/ from what the code declares: the file's models, steps, connectors, verbs, errors.

    python tools/generate.py

Nothing on those pages is written by hand, so nothing on them can be out of date; a test says when they are.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import typer.main
from jinja2 import Environment, StrictUndefined
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from papyra_flow import errors
from papyra_flow.cli.main import app
from papyra_flow.connectors.base import SinkConfig, SourceConfig
from papyra_flow.expressions import bounds, catalogue, loops, parse, patterns
from papyra_flow.observe import catalogue as metrics
from papyra_flow.records.json_codec import write_json
from papyra_flow.spec.components import SINKS, SOURCES, STEPS, Component, components
from papyra_flow.spec.models import PipelineConfig, Route, StageConfig, Tuning
from papyra_flow.spec.streams import StreamConfig
from papyra_flow.state.aggregates import catalogue as aggregates

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
GROUPS = {"steps": STEPS, "sources": SOURCES, "sinks": SINKS}

MODELS = {
    "BatchConfig": "[mapping](#batch)",
    "RetryConfig": "[mapping](#retry)",
    "Route": "[route](#a-route-in-to)",
    "StageConfig": "[stage](#a-stage)",
    "StreamConfig": "[stream](#a-stream-in-streams)",
    "Tuning": "a stage's settings for consumers, batches, retries and claims",
}

TEMPLATE = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False).from_string(  # noqa: S701 - Markdown
    """\
# {{ title }}

{{ text }}
{% for heading, words, fields in tables %}

{% if heading %}
## {{ heading }}

{% endif %}
{% if words %}
{{ words }}

{% endif %}
| key | type | default | meaning |
| --- | --- | --- | --- |
{% for field in fields %}
| `{{ field.key }}` | {{ field.type }} | {{ field.default }} | {{ field.text }} |
{% endfor %}
{% endfor %}
"""
)


INTRODUCTION = """\
`filter`, `map`, `set`, `lookup`'s `on` and a route's `when` take expressions: Python over the record's fields, checked
when the file is loaded. An expression gives the same results on records and on tables. If a record lacks a field, or a
number is compared with null, that record fails.

`${VAR}` stands for a value, never for code: between quotes it is the variable's text, even if that contains quotes;
elsewhere it is a number, `true`, `false` or `null` if the text is one in JSON, else text. So `n > ${LIMIT}`,
`name == ${WHO}` and `f"{n} ${UNIT}"` work as they look; for a field whose name is in a variable, write
`record[${FIELD}]`.

`headers` always refers to the entry's headers; for a field of that name, write `record["headers"]`. Headers are
available in `filter`, `map`, `set` and `when`, but not for streams with `format: fields` and tables made by `batch`.

The examples use this record, and an entry with the header `topic: orders`:"""

PATTERNS = """\
`\\w`, `\\d` and `\\s` cover all of Unicode. So do `\\b` and `\\B` if the pattern is ASCII and has no `_`, no range over
it and no `\\x..`; else they fail on a text with other letters. `\\W` and `\\S` cannot stand inside `[...]`. A constant
pattern is checked when the file is loaded, one from a field when it is used."""

BOUNDS = """\
No expression can take its stage down, whatever a record holds: beyond these limits, the record fails with the name of
the limit, and the others continue."""


AGGREGATES = """\
The `fields` of the step [`aggregate`](steps/aggregate.md). What is in the brackets is an [expression](expressions.md)
over each record: `sum(quantity * price)`. Expressions have functions of the same names, over a list of one record:
`sum(sum(i.price for i in items))` adds up all lists.

A null is left out, as in SQL. Of no values `count`, `count_distinct` and `approx_count_distinct` are 0, `list` and
`top` are empty, and all others are null. A value that does not fit, such as text in a `sum`, fails its record.

No order of arrival, batch size or number of partitions shows in a result: floats are summed without rounding, and
`first`, `last` and `list` go by event time; of equal times by arrival. A result that is larger than any float is an
integer.

The examples are about these records:"""


class Color(Enum):
    """An example of a value."""

    RED = "red"


VALUES = """\
# Values

How values are stored in a record, whether they come from a file, a step function, an expression, a table or a query. A
value is never silently changed: if it has no form here, its record goes to the dead letters with the name of the field.

- **Integers** have any size, up to 4,299 digits, in JSON, in expressions, in steps and in tables.
- **NaN and infinities** do not exist in JSON. If a step computes or returns one, the record fails before a
  later step or a route compares with it; JSON text with `NaN`, `Infinity` or `1e400` is not a record.
- **Times without a zone are UTC**, whatever the machine's zone.
- **Records that no step changes** keep their bytes."""

PYTHON_VALUES: list[tuple[str, str, object]] = [
    ("int", "unchanged", 2**70),
    ("float", "unchanged", 0.1),
    ("Decimal", "an integer if it has no decimal places; a number if a float has the same digits", Decimal("1.19")),
    ("Decimal", "otherwise text with all digits", Decimal("0.12345678901234567890")),
    ("datetime", "ISO 8601 with its offset; UTC without one", datetime(2024, 2, 29, 12)),  # noqa: DTZ001 - the rule
    ("date, time", "ISO 8601", date(2024, 2, 29)),
    ("timedelta", "an ISO 8601 duration", timedelta(days=1, hours=2, seconds=3.5)),
    ("bytes, bytearray", "base64", b"data"),
    ("UUID", "its text", UUID(int=1)),
    ("Enum", "its value", Color.RED),
    ("tuple, deque, other sequences", "a list", (1, 2)),
    ("set, frozenset", "a list, sorted if possible", {1, 2}),
    ("keys that are not text", "as text; two equal texts are an error", {7: "a", None: "b", True: "c"}),
]

SQL_VALUES = """\
A dataclass becomes an object of its fields, a pydantic model the result of its `model_dump(mode="json")`, a numpy
scalar or array the equivalent Python value; a `datetime64` keeps its nanoseconds.

## In SQL

| in DuckDB | in the record |
| --- | --- |
| `HUGEINT` (the type of sums of integers), `UHUGEINT`, `BIGNUM` | an integer, of up to 38 digits |
| `DECIMAL` (the type of `1.5` and `quantity * 1.19`) | as Python's Decimal |
| `DOUBLE`, `FLOAT` | a number; `0.1::FLOAT` with its exact digits, `0.10000000149011612` |
| `TIMESTAMP`, `TIMESTAMPTZ` | ISO 8601 in UTC, with up to nine decimal places for `TIMESTAMP_NS` |
| `DATE`, `TIME`, `TIMETZ` | ISO 8601 |
| `INTERVAL` | an ISO 8601 duration: `P1Y2M3DT4H5M6.5S` |
| `BLOB` | base64 |
| `BIT`, `UUID`, `ENUM`, `JSON` | text |
| `LIST`, `ARRAY` | a list |
| `STRUCT`, `MAP` | an object |

Two columns of the same name are refused, and so are the dates `infinity` and `-infinity`."""

OTHER_VALUES = """\
## In tables

A column has values of one type. Integers among floats become floats if that does not change them, else the record
fails; integers beyond 64 bits are stored as `decimal128(38, 0)`, and are integers again in expressions, step functions
and JSON. In an expression or a step function over rows, dates and times are Python's; a decimal is the number that it
is in JSON, or a Decimal if that is text.

## In text

In the fields of a stream with `format: fields`, and in the cells of a CSV file, text is unchanged, null is empty, and
everything else is as above, without quotes. When read back, everything is text."""


def pages() -> dict[str, str]:
    """Every page of the reference, by its path below docs/reference."""
    found = {
        "pipeline.md": pipeline_page(), "commands.md": commands_page(), "errors.md": errors_page(),
        "metrics.md": metrics_page(), "expressions.md": expressions_page(),
        "values.md": values_page(), "aggregates.md": aggregates_page(),
    }  # fmt: skip
    for folder, group in GROUPS.items():
        for name, component in components(group).items():
            found[f"{folder}/{name}.md"] = component_page(folder.removesuffix("s"), name, component)
    return found


def metrics_page() -> str:
    """The page of the metrics."""
    lines = ["# Metrics", "", inspect.cleandoc(metrics.__doc__ or "").partition("\n\n")[2], ""]
    lines += ["| OpenTelemetry | Prometheus | kind | labels | meaning |", "| --- | --- | --- | --- | --- |"]
    suffixes = {"counter": "_total", "gauge": "", "histogram": ""}
    for metric in metrics.METRICS:
        labels = ", ".join(f"`{name}`" for name in metric.labels)
        name = metric.prometheus + suffixes[metric.kind]
        lines.append(f"| `{metric.name}` | `{name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


def expressions_page() -> str:
    """The page of expressions: syntax, types, functions, methods, attributes, bounds."""
    lines = ["# Expressions", "", *INTRODUCTION.splitlines(), "", "```json", json.dumps(catalogue.SAMPLE), "```", ""]
    groups = {
        "Syntax": catalogue.SYNTAX, "Types": catalogue.TYPES, "Functions": catalogue.FUNCTIONS.values(),
        "Methods": catalogue.METHODS.values(), "Attributes": catalogue.ATTRIBUTES.values(),
    }  # fmt: skip
    for heading, documented in groups.items():
        lines += [f"## {heading}", "", "| what | meaning | example | result |", "| --- | --- | --- | --- |"]
        for one in documented:
            example = " ".join(part.strip() for part in one.example.split("\n"))
            if "#" in example:
                example = one.example.replace("\n", " ⏎ ")
            cells = [f"`{one.call}`", one.text, f"`{example}`", f"`{one.result!r}`"]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    lines += ["## Patterns", "", inspect.cleandoc(patterns.__doc__ or ""), "", *PATTERNS.splitlines(), ""]
    lines += ["## Bounds", "", *BOUNDS.splitlines(), "", "| limit | maximum |", "| --- | --- |"]
    lines += [f"| {text} | {most:,} |" for text, most in expression_bounds().items()]
    return "\n".join([*lines, ""])


def aggregates_page() -> str:
    """The page of the functions of `aggregate`."""
    sample = "\n".join(map(json.dumps, aggregates.SAMPLE))
    lines = ["# Aggregate functions", "", *AGGREGATES.splitlines(), "", "```json", sample, "```", ""]
    lines += ["| what | meaning | example | result |", "| --- | --- | --- | --- |"]
    for one in aggregates.FUNCTIONS.values():
        lines.append(f"| `{one.call}` | {one.text} | `{one.example}` | `{one.result!r}` |")
    return "\n".join([*lines, ""])


def expression_bounds() -> dict[str, int]:
    """Every bound of an expression, in words."""
    return {
        "characters of an expression": parse.MAX_LENGTH,
        "characters of a text that is created": bounds.MAX_TEXT,
        "items of a list, set or object that is created, nested ones included": bounds.MAX_ITEMS,
        "bits of a computed integer": bounds.MAX_BITS,
        "digits of an integer that is read from text or written": sys.get_int_max_str_digits(),
        "places that `round` rounds to": bounds.MAX_DIGITS,
        "width of a format": 999,
        "characters that `strip` removes": bounds.MAX_STRIPPED,
        "steps of all loops, for one record": loops.MAX_STEPS,
        "characters created in all loops, for one record": loops.LOOP_TEXT,
        "characters of a pattern": patterns.MAX_PATTERN,
        "bytes of a compiled pattern": patterns.MAX_MEMORY,
    }


def component_page(kind: str, name: str, component: type[Component]) -> str:
    """A step's, source's or sink's page."""
    text = inspect.getdoc(component) or ""
    if component.main is not None:
        field = component.model_fields[component.main]
        text += f"\n\nThe short form `{{{name}: ...}}` fills `{field.alias or component.main}`."
    if issubclass(component, SourceConfig | SinkConfig):
        text += f"\n\nPromise: **{component.promise}**, because {component.because}."
    fields = list(rows(component))
    return TEMPLATE.render(title=f"{kind} `{name}`", text=text, tables=[("", "", fields)] if fields else [])


def pipeline_page() -> str:
    """The page of the file itself."""
    models: dict[str, type[BaseModel]] = {
        "The file": PipelineConfig,
        "A stage": StageConfig,
        "A route, in `to`": Route,
        "A stream, in `streams`": StreamConfig,
    }
    tables = [(heading, inspect.getdoc(model), list(rows(model))) for heading, model in models.items()]
    for name in ("batch", "retry"):
        annotation: Any = Tuning.model_fields[name].annotation
        model = next(part for part in annotation.__args__ if isinstance(part, type) and issubclass(part, BaseModel))
        tables.append((f"`{name}`", inspect.getdoc(model), list(rows(model))))
    links = [f"[{name}]({folder}/{name}.md)" for folder, group in GROUPS.items() for name in components(group)]
    text = "Every key of a pipeline file; in Python, [a `Pipeline`](../how-to/python.md) has the same. "
    text += f"Its steps, sources and sinks: {', '.join(links)}."
    return TEMPLATE.render(title="The pipeline file", text=text, tables=tables)


def rows(model: type[BaseModel]) -> Iterator[dict[str, str]]:
    """A model's fields, as lines of a table."""
    schema = model.model_json_schema(by_alias=True)
    for name, field in model.model_fields.items():
        key = field.alias or name
        default = "required" if field.is_required() else shown(field.default)
        text = (field.description or "").replace("|", "\\|")
        yield {"key": key, "type": words(schema["properties"][key], schema), "default": default, "text": text}


def shown(value: object) -> str:
    """A default, as a file would write it."""
    if value in (None, PydanticUndefined) or value in ([], {}):
        return ""
    return f"`{json.dumps(value, default=str)}`".replace("|", "\\|")


def words(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """A JSON Schema's type, in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return MODELS.get(name) or words(root["$defs"][name], root)
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        parts = [words(part, root) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    kind = schema.get("type", "any")
    if "examples" in schema:
        return "such as " + ", ".join(f"`{example}`" for example in schema["examples"])
    if kind == "array":
        return f"list of {words(schema.get('items', {}), root)}"
    if kind == "object":
        return str(schema.get("title", "mapping")) if "properties" in schema else "mapping"
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(str(kind), str(kind))


def commands_page() -> str:
    """Every verb with its options, as `--help` has them."""
    root = typer.main.get_command(app)
    lines = ["# Commands", "", "`papyra-flow VERB ...`; `-q`, `-v` and `--debug` work after every verb.", ""]
    for name, command in walk(root, ""):
        usage = " ".join(
            [name, *(p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument")]
        )
        lines += [f"## `{usage}`", "", command.help or "", ""]
        options = [p for p in command.params if p.param_type_name == "option"]
        for option in options:
            names = ", ".join(f"`{part}`" for part in (*option.opts, *option.secondary_opts))
            lines.append(f"- {names}: {getattr(option, 'help', '') or ''}")
        lines.append("")
    lines += [
        "## Exit codes", "",
        "`0` done, nothing dead · `1` failed while running · `2` wrong usage or invalid file · `3` done, with dead "
        "letters · `4` the server is unreachable or refuses · `130`/`143` ended by a second signal.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every verb, and the verbs below a group of them."""
    for verb, sub in getattr(command, "commands", {}).items():
        if hasattr(sub, "commands"):
            yield from walk(sub, f"{verb} ")
        else:
            yield f"{name}{verb}", sub


def errors_page() -> str:
    """Every error, when it is raised and which exit code it means."""
    lines = ["# Errors", "", "All errors derive from `papyra_flow.PapyraFlowError`.", ""]
    lines += ["| error | when | exit code |", "| --- | --- | --- |"]
    for name, cls in vars(errors).items():
        if isinstance(cls, type) and issubclass(cls, errors.PapyraFlowError) and cls is not errors.PapyraFlowError:
            text = " ".join((inspect.getdoc(cls) or "").split("\n\n", maxsplit=1)[0].split())
            lines.append(f"| `{name}` | {text} | {cls.exit_code} |")
    return "\n".join([*lines, ""])


def values_page() -> str:
    """The page of values: the examples are what the code makes of them."""
    lines = [*VALUES.splitlines(), "", "| in Python | rule | example | in JSON |", "| --- | --- | --- | --- |"]
    for kind, rule, example in PYTHON_VALUES:
        shown = f"`{type(example).__name__}.{example.name}`" if isinstance(example, Enum) else f"`{example!r}`"
        lines.append(f"| {kind} | {rule} | {shown} | `{write_json(example).decode()}` |")
    lines += ["", *SQL_VALUES.splitlines(), "", *OTHER_VALUES.splitlines(), ""]
    return "\n".join(lines)


def main() -> None:
    """Write the pages, and remove those that nothing stands behind any more."""
    wanted = pages()
    for page in REFERENCE.rglob("*.md"):
        if str(page.relative_to(REFERENCE)) not in wanted:
            page.unlink()
    for name, text in wanted.items():
        page = REFERENCE / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
