"""All aggregate functions, each with what it does and an example that a test evaluates.

The page `docs/reference/aggregates.md` is written from this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from papyra_flow.state.aggregates.base import Aggregate
from papyra_flow.state.aggregates.counts import Count, Either, Every
from papyra_flow.state.aggregates.distinct import MOST_DISTINCT, Distinct
from papyra_flow.state.aggregates.extremes import Extreme, Top
from papyra_flow.state.aggregates.ordered import MOST_LISTED, First, Last, Listed
from papyra_flow.state.aggregates.sketches import ACCURACY, ApproximateDistinct, Quantile
from papyra_flow.state.aggregates.sums import Deviation, Mean, Sum, Variance

SAMPLE: tuple[dict[str, Any], ...] = (
    {"at": 1, "page": "/", "amount": 5, "rate": 0.1},
    {"at": 2, "page": "/cart", "amount": None, "rate": 0.2},
    {"at": 3, "page": "/", "amount": 7, "rate": 0.3},
)
"""The records that examples are about; `at` is their event time."""


@dataclass(frozen=True, slots=True)
class Option:
    """A literal behind the argument: what it has to be."""

    name: str
    expected: str
    fits: Callable[[object], bool]


@dataclass(frozen=True, slots=True)
class AggregateFunction:
    """An aggregate function: how it is called, what it does, and what it makes of the sample."""

    call: str
    text: str
    example: str
    result: object
    make: Callable[..., Aggregate]
    """Called with its name, and its option if it has one."""
    option: Option | None = None
    optional: bool = False
    """Whether it can do without an argument."""


_PART = Option("q", "a number from 0 to 1", lambda value: type(value) in {int, float} and 0 <= value <= 1)  # type: ignore[operator]
_SIZE = Option("k", "an integer from 1 to 1000", lambda value: type(value) is int and 1 <= value <= 1000)

FUNCTIONS: dict[str, AggregateFunction] = {
    "all": AggregateFunction("all(x)", "Whether every value is true.", "all(rate < 0.3)", False, Every),
    "any": AggregateFunction("any(x)", "Whether at least one value is true.", "any(page == '/cart')", True, Either),
    "approx_count_distinct": AggregateFunction(
        "approx_count_distinct(x)",
        "About how many different values there are: a standard error of 1.6 %, in 3 KiB however many there are. "
        "Needs `papyra-flow[sketches]`.",
        "approx_count_distinct(page)", 2, ApproximateDistinct,
    ),
    "count": AggregateFunction(
        "count(x)", "How many values are not null; `count()`: how many records.", "count(amount)", 2, Count,
        optional=True,
    ),
    "count_distinct": AggregateFunction(
        "count_distinct(x)", f"How many different values there are, exactly; at most {MOST_DISTINCT:,}. 1.0 is 1.",
        "count_distinct(page)", 2, Distinct,
    ),
    "first": AggregateFunction("first(x)", "The value with the earliest event time.", "first(page)", "/", First),
    "last": AggregateFunction("last(x)", "The value with the latest event time.", "last(amount)", 7, Last),
    "list": AggregateFunction(
        "list(x)", f"All values, in the order of event time; at most {MOST_LISTED:,}.", "list(page)",
        ["/", "/cart", "/"], Listed,
    ),
    "max": AggregateFunction(
        "max(x)", "The largest number, text or time.", "max(amount * 2)", 14,
        lambda name: Extreme(name, largest=True),
    ),
    "mean": AggregateFunction("mean(x)", "The sum divided by the count.", "mean(amount)", 6.0, Mean),
    "min": AggregateFunction(
        "min(x)", "The smallest number, text or time.", "min(page)", "/", lambda name: Extreme(name, largest=False)
    ),
    "quantile": AggregateFunction(
        "quantile(x, q)",
        f"The number that the part `q` of all numbers is below, within {ACCURACY:.0%} of it. "
        "Needs `papyra-flow[sketches]`.",
        "quantile(amount, 1)", 7.0, Quantile, _PART,
    ),
    "stddev": AggregateFunction(
        "stddev(x)", "The standard deviation of a sample (`n - 1`), the root of `variance`.", "stddev(amount)",
        1.4142135623730951, Deviation,
    ),
    "sum": AggregateFunction(
        "sum(x)", "The sum: an exact integer of integers; with floats among them it is rounded once, at last.",
        "sum(rate)", 0.6, Sum,
    ),
    "top": AggregateFunction(
        "top(x, k)", "The `k` largest numbers, texts or times, the largest first.", "top(amount, 2)", [7, 5], Top,
        _SIZE,
    ),
    "variance": AggregateFunction(
        "variance(x)", "The variance of a sample (`n - 1`), as in SQL: null of fewer than two values.",
        "variance(amount)", 2.0, Variance,
    ),
}  # fmt: skip
