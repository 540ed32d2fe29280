"""Fields of the file's models that hold expressions: checked when the file is loaded."""

from __future__ import annotations

import ast
from typing import Annotated

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from papyra_flow.expressions.check import checked
from papyra_flow.expressions.template import Template


def as_expression(value: object) -> object:
    """What the file has, as an expression: numbers, booleans and null stand for themselves, `${VAR}` for its value."""
    if isinstance(value, Template):
        return value.as_expression()
    return repr(value) if value is None or isinstance(value, bool | int | float) else value


def _expression(value: object, handler: ValidatorFunctionWrapHandler) -> str:
    text = _written(value, handler)
    checked(text)
    return text


def _written(value: object, handler: ValidatorFunctionWrapHandler) -> str:
    text = as_expression(value)
    handler(text)  # whether it is text; what it returns has lost the values that stand beside it
    return text  # type: ignore[return-value]


def _condition(value: object, handler: ValidatorFunctionWrapHandler) -> str:
    text = _expression(value, handler)
    refuse_text_as_condition(text)
    return text


def refuse_text_as_condition(text: str) -> None:
    """Raise ValueError for a condition that is but a piece of text, which always holds: most likely a pasted one."""
    body = checked(text)
    if isinstance(body, ast.Constant) and isinstance(body.value, str):
        raise ValueError("the condition is only a text, so that it always holds: write it out in the file, "
                         "where ${VAR} stands for a value")  # fmt: skip


Expression = Annotated[str, WrapValidator(_expression)]
"""A field of a model that holds an expression; numbers, booleans and null stand for themselves."""
Condition = Annotated[str, WrapValidator(_condition)]
"""One whose value is only asked for being true."""
WrittenExpression = Annotated[str, WrapValidator(_written)]
"""An expression that is checked elsewhere."""
