"""From the text of a field, `sum(amount * 2)`, to its aggregate function and the expression that it is given.

Expressions have functions of the same names, over lists: the outermost call is the aggregate, what is in its brackets
is an ordinary expression.
"""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass
from typing import Annotated

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from papyra_flow.expressions.check import checked_tree
from papyra_flow.expressions.compiled import Compiled
from papyra_flow.expressions.fields import as_expression
from papyra_flow.expressions.parse import parse
from papyra_flow.expressions.template import as_written
from papyra_flow.state.aggregates.base import Aggregate
from papyra_flow.state.aggregates.catalogue import FUNCTIONS, AggregateFunction, Option


@dataclass(frozen=True, slots=True)
class AggregateCall:
    """A field of an aggregate: the function, and what it is given of each record."""

    function: Aggregate
    argument: Compiled | None
    """None for `count()`."""
    text: str
    """The argument as it was written."""
    meaning: str
    """The whole call in one spelling, with the values of variables."""


def aggregate_call(text: str) -> AggregateCall:
    """The call that a text is; raises ValueError with one sentence."""
    body, source = parse(text)
    if not isinstance(body, ast.Call) or not isinstance(body.func, ast.Name):
        raise ValueError(f"expected a call of an aggregate function such as count() or sum(amount), not `{text}`; "
                         "reckon with its results in a `map` behind it")  # fmt: skip
    name = body.func.id
    if name not in FUNCTIONS:
        near = difflib.get_close_matches(name, FUNCTIONS, 1)
        told = f"did you mean {near[0]}?" if near else f"known: {', '.join(FUNCTIONS)}"
        raise ValueError(f"unknown aggregate function {name!r} ({told})")
    found = FUNCTIONS[name]
    given = [ast.unparse(argument) for argument in body.args]
    _check_arguments(body, name, found)
    options = [_checked_option(argument, found.call, found.option) for argument in body.args[1:] if found.option]
    argument, written = None, ""
    if body.args:
        written = as_written(ast.get_source_segment(source, body.args[0]) or "", text)
        argument = Compiled(checked_tree(body.args[0], source, text))
        if argument.needs_headers:
            raise ValueError(f"`{name}` cannot read headers: `set` a field to the header first")
    return AggregateCall(found.make(name, *options), argument, written, f"{name}({', '.join(given)})")


def _check_arguments(body: ast.Call, name: str, found: AggregateFunction) -> None:
    most = 1 if found.option is None else 2
    least = 0 if found.optional else most
    if body.keywords or not least <= len(body.args) <= most or any(isinstance(one, ast.Starred) for one in body.args):
        raise ValueError(f"`{name}` is called as {found.call}")
    if body.args and isinstance(body.args[0], ast.GeneratorExp):
        raise ValueError(f"`{name}` takes one value of each record, not a generator: "
                         f"a list's own {name} is {name}({name}(...))")  # fmt: skip


def _checked_option(node: ast.expr, call: str, option: Option) -> object:
    value = node.value if isinstance(node, ast.Constant) else None
    if not option.fits(value):
        raise ValueError(f"`{option.name}` of {call} is {option.expected}, not {ast.unparse(node)}")
    return value


def _checked(value: object, handler: ValidatorFunctionWrapHandler) -> str:
    text = as_expression(value)
    handler(text)  # whether it is text; what it returns has lost the values that stand beside it
    aggregate_call(text)  # type: ignore[arg-type]
    return text  # type: ignore[return-value]


AggregateText = Annotated[str, WrapValidator(_checked)]
"""A field of a model that holds the call of an aggregate function."""
