"""Tests of the step functions: pytest test_steps.py."""

import pytest
from steps import add_total

from papyra_flow import Dead


def test_total_is_quantity_times_price() -> None:
    assert add_total({"order": "1", "quantity": 3, "price": 9.5})["total"] == 28.5


def test_an_order_of_nothing_is_dead() -> None:
    with pytest.raises(Dead):
        add_total({"order": "2", "quantity": 0, "price": 9.5})
