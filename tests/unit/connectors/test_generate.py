"""`generate`: the same records for the same seed, from any checkpoint, at the rate that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from papyra_flow.connectors.base import BadRecord, ConnectorContext
from papyra_flow.connectors.generate import GenerateSource


async def generated(checkpoint: str = "", portions: int = 100, **fields: Any) -> list[Any]:
    source = GenerateSource.model_validate(fields).open(ConnectorContext(Path(), "p", "s", "embedded"))
    await source.start(checkpoint)
    found: list[Any] = []
    for _ in range(portions):
        portion = await source.read(10)
        found += portion.items
        if portion.done:
            break
    return found


async def test_a_seed_makes_the_same_records_and_a_restart_goes_on_with_them() -> None:
    whole = await generated(count=35, seed=1)
    assert len(whole) == 35
    assert whole == await generated(count=35, seed=1)
    assert whole != await generated(count=35, seed=2)
    assert await generated("17", count=35, seed=1) == whole[17:]


async def test_fields_are_expressions_over_the_number() -> None:
    assert await generated(count=3, fields={"even": "n % 2 == 0"}) == [
        b'{"even":true}', b'{"even":false}', b'{"even":true}',
    ]  # fmt: skip


async def test_a_rate_hands_out_no_more_than_it_allows() -> None:
    assert len(await generated(rate=1000, portions=1)) <= 10
    assert len(await generated(rate=200, portions=2)) <= 20


async def test_a_record_that_cannot_be_made_up_is_a_bad_one_and_the_others_come() -> None:
    source = GenerateSource(count=3, fields={"x": "1 / (n - 1)"}).open(ConnectorContext(Path(), "p", "s", "embedded"))
    await source.start("")
    first, second, third = (await source.read(10)).items
    assert (first, third) == (b'{"x":-1.0}', b'{"x":1.0}')
    assert isinstance(second, BadRecord)
    assert (second.error, second.place) == ("division by zero (in `x: 1 / (n - 1)`)", "1")


def test_a_name_that_generate_does_not_know_is_refused_when_the_file_is_read() -> None:
    with pytest.raises(ValueError, match="x: unknown name 'number', only `n` and `random`"):
        GenerateSource(fields={"x": "number + 1"})
