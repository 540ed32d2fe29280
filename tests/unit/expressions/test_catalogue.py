"""Whatever an expression may call is documented, and each example gives what it says."""

from __future__ import annotations

import inspect

import pytest

from papyra_flow.expressions import catalogue, times
from papyra_flow.expressions.catalogue import Documented
from papyra_flow.expressions.compiled import compile_expression
from papyra_flow.records.headers import Headers

EVERYTHING = [
    *catalogue.SYNTAX,
    *catalogue.TYPES,
    *catalogue.FUNCTIONS.values(),
    *catalogue.METHODS.values(),
    *catalogue.ATTRIBUTES.values(),
]


def evaluated(text: str) -> object:
    compiled = compile_expression(text)
    record = catalogue.SAMPLE
    return compiled.one((record, Headers(catalogue.SAMPLE_HEADERS)) if compiled.needs_headers else record)


@pytest.mark.parametrize("documented", EVERYTHING, ids=lambda one: one.call)
def test_each_example_gives_what_the_page_says(documented: Documented) -> None:
    result = evaluated(documented.example)
    assert (type(result), result) == (type(documented.result), documented.result)


@pytest.mark.parametrize("documented", EVERYTHING, ids=lambda one: one.call)
def test_each_has_a_text_of_one_sentence(documented: Documented) -> None:
    assert documented.text.endswith(".")
    assert documented.text[0] == "`" or documented.text[0].isupper()


@pytest.mark.parametrize("group", [catalogue.FUNCTIONS, catalogue.METHODS, catalogue.ATTRIBUTES])
def test_each_is_shown_under_its_own_name_and_used_in_its_example(group: dict[str, Documented]) -> None:
    for name, documented in group.items():
        assert documented.call.partition("(")[0].rpartition(".")[2] == name
        assert name in documented.example


def test_attributes_are_those_that_dates_and_times_have() -> None:
    assert set(catalogue.ATTRIBUTES) == set(times.ATTRIBUTES)


def test_guards_take_what_they_guard_takes() -> None:
    for function in catalogue.FUNCTIONS.values():
        if function.guarded is not None:
            assert function.guarded is not function.run
            assert inspect.signature(function.guarded)
