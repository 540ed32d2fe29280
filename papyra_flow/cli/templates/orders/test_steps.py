"""Tests of the step function, and of the whole pipeline without a server: pytest test_steps.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
from steps import add_total

from papyra_flow import Dead
from papyra_flow.testing import Driver


def test_total_is_quantity_times_price() -> None:
    assert add_total({"order": "1", "quantity": 3, "price": 9.5})["total"] == 28.5


def test_an_order_of_nothing_is_dead() -> None:
    with pytest.raises(Dead):
        add_total({"order": "2", "quantity": 0, "price": 9.5})


def test_a_large_order_is_exported(flow_driver: Callable[..., Driver]) -> None:
    pipeline = flow_driver(Path(__file__).parent / "pipeline.yml")
    pipeline.put("orders", {"order": "1", "quantity": 100, "price": 2.0})
    assert [order["total"] for order in pipeline.written("export_large")] == [200.0]
