"""Steps over tables make of values what they make of them in records, or fail for the rows that they fail for there."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.errors import ExpressionError, RecordError
from papyra_flow.expressions.columns.vectorised import TableExpression
from papyra_flow.expressions.compiled import compile_expression, compile_filter
from papyra_flow.records.columns import column_of
from papyra_flow.records.table_rows import records_of
from papyra_flow.records.tables import table_of
from papyra_flow.testing import Driver, drive
from tests.harness.pipelines import PipelineFolder

EDGES = [0, 1, -1, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**62, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, 10**37]
integers = st.sampled_from(EDGES) | st.integers(-(2**65), 2**65)
floats = st.sampled_from([0.0, 0.5, float(2**53), 1e300, -1e300]) | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.fixed_dictionaries({
        "n": integers, "m": integers, "x": floats, "d": st.dates(), "t": st.datetimes(timezones=st.just(UTC)),
        "p": st.decimals(-1000, 1000, places=2),
    }),
    min_size=1,
    max_size=4,
)  # fmt: skip
EXPRESSIONS = [
    "n", "-n", "abs(n)", "n + m", "n - m", "n * m", "n * n", "n // 3", "n % 7", "m // n", "n + 1", "n * 2",
    "round(n)", "n + x", "n * x", "x * 1e300", "x + x", "n / m", "n < m", "n == m", "n == x", "n < x",
    "n >= 9007199254740992.0", "n == 9223372036854775808", "n in (1, 9007199254740993)",
    "n in (1.5, 9007199254740992.0)", "max(n, m)", "min(n, m)", "max(n, x)", "sum([n, m])", "int(x)", "float(n)",
    "str(n)", "int(str(n))", "round(x)", "n if n > m else m", "n if n else x", "coalesce(n, m)", "f'{n}'", "n and m",
    "n > 0 and m > 0", "d", "d.isoformat()", "d > date('2000-01-01')", "d == d", "t.isoformat()", "t", "p", "p + 1",
    "p * 2.5", "p > 1.5", "p == n", "str(p)", "[n, x]", "[p]", "n ** 3",
]  # fmt: skip
WIDTHS = [pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.int64()]


def same(found: object, expected: object) -> bool:
    """Whether two values are the same, and of the same type."""
    return repr(found) == repr(expected)


def compare(text: str, table: pa.Table) -> None:
    """An expression over a table against the same one over each of its records."""
    rows, one = records_of(table), compile_expression(text).one
    try:
        expected = [one(row) for row in rows]
    except Exception:  # noqa: BLE001 - whatever it is
        with pytest.raises(ExpressionError):
            TableExpression(text).values(table)
        return
    try:
        holds = [compile_filter(text).one(row) is not None for row in rows]
    except ExpressionError:
        with pytest.raises(ExpressionError):
            TableExpression(text).mask(table)
    else:
        assert TableExpression(text).mask(table).to_pylist() == holds
    try:
        column = column_of("v", expected)
    except RecordError:
        with pytest.raises(ExpressionError):
            TableExpression(text).values(table)
        return
    found = records_of(pa.table({"v": TableExpression(text).values(table)}))
    wanted = records_of(pa.table({"v": column}))
    assert all(map(same, found, wanted)), (found, wanted)
    for row, value in zip(found, expected, strict=True):
        assert row["v"] == value or value != value or isinstance(value, list | Decimal)  # noqa: PLR0124


@pytest.mark.parametrize("text", EXPRESSIONS)
@settings(deadline=None, max_examples=60)
@given(rows=ROWS)
def test_an_expression_means_the_same_on_a_table_as_on_its_records(text: str, rows: list[dict[str, Any]]) -> None:
    try:
        table = table_of(rows)
    except RecordError:
        return
    compare(text, table)


@pytest.mark.parametrize(
    "text", ["n + m", "n * m", "-n", "abs(n)", "n // m", "n - m", "n < m", "n == m", "max(n, m)", "n"]
)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), left=st.sampled_from(WIDTHS), right=st.sampled_from(WIDTHS))
def test_integers_of_any_width_neither_wrap_nor_become_floats(
    text: str, data: st.DataObject, left: pa.DataType, right: pa.DataType
) -> None:
    def column(kind: pa.DataType) -> pa.Array:
        signed = pa.types.is_signed_integer(kind)
        top = 2 ** (kind.bit_width - signed) - 1
        low = -top - 1 if signed else 0
        return pa.array(data.draw(st.lists(st.sampled_from([low, top, 0, 1]), min_size=2, max_size=2)), kind)

    compare(text, pa.table({"n": column(left), "m": column(right), "s": pa.array([{"u": 1}, {"u": 2}])}))


@pytest.mark.parametrize("text", ["x + y", "x * y", "x - 0.1", "s.u + x", "s.u * 3", "x == 0.1", "x"])
def test_short_floats_are_computed_with_as_python_does(text: str) -> None:
    short = pa.array([0.1, 1e38, 16777217.0], pa.float32())
    struct = pa.StructArray.from_arrays([short], names=["u"])
    compare(text, pa.table({"x": short, "y": short, "s": struct}))


def tables(folder: PipelineFolder, process: str, to: str = "to: out", streams: str = "out: {format: arrow}") -> Driver:
    source = "json"
    if "write" in to:  # a stage with a sink makes no tables of its own
        source, process = "arrow", process.removeprefix("batch, ").removesuffix(", batch")
    module = folder.steps(
        """\
        import datetime, decimal, math
        import polars as pl
        import pyarrow as pa
        import pyarrow.compute as pc

        def arrow(table: pa.Table) -> pa.Table:
            n, m = (pc.cast(table[name], pa.float64()) for name in ("n", "m"))
            return table.append_column("x", pc.divide(n, m))

        def polars(frame: pl.DataFrame) -> pl.DataFrame:
            return frame.with_columns(x=pl.col("n") / pl.col("m"))

        def record(record):
            return {**record, "x": record["n"] / record["m"] if record["m"] else math.nan}
        """
    )
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{from: in, process: [{process.replace("MODULE", module)}], {to}}}
        streams: {{in: {{format: {source}}}, {streams}}}
        """
    )
    return drive(folder.file)


@pytest.mark.parametrize(
    ("to", "streams"),
    [
        ("to: out", "out: {format: arrow}"),
        ("to: out", "out: {format: json}"),
        ("to: out", "out: {format: fields}"),
        ("to: [{stream: out, when: x > 0}]", "out: {format: arrow}"),
        ("match: all, to: [{stream: out, when: x > 0}, {stream: rest, when: not x > 0}]", "out: {format: arrow}"),
        ("write: {jsonl: out.jsonl}", ""),
    ],
)
@pytest.mark.parametrize(
    "process",
    [
        "batch, {run: 'MODULE:arrow'}",
        "batch, {run: 'MODULE:polars'}, {filter: x > 0}",
        "batch, {run: 'MODULE:record'}, {filter: x > 0}",
        "batch, {sql: 'SELECT *, n / m::DOUBLE AS x FROM batch'}",
        "batch, {set: {x: 'n * 1e300 * 1e300 if m == 0 else 1.0'}}, {filter: x > 0}",
        "{run: 'MODULE:record'}, batch",
    ],
)
def test_a_row_with_what_is_not_a_number_is_dead_by_itself(
    folder: PipelineFolder, process: str, to: str, streams: str
) -> None:
    with tables(folder, process, to, streams) as driver:
        driver.put("in", {"n": 1, "m": 1}, {"n": 7, "m": 0}, {"n": 3, "m": 1})
        assert [record["n"] for record in driver.dead_records("a")] == [7]
        assert "the field 'x' is " in driver.dead("a")[0].error
        found = driver.written("a") if "write" in to else driver.out("out")
        assert [str(record["n"]) for record in found] == ["1", "3"]


def test_a_record_that_fits_no_column_is_dead_by_itself(folder: PipelineFolder) -> None:
    records: list[dict[str, object]] = [{"n": 1}, {"n": 2**63}, {"n": 10**38}, {"n": -(2**70)}, {"n": None}]
    for streams in ("out: {format: arrow}", "out: {format: json}"):
        with tables(folder, "batch, {set: {m: n * 1 if n else 0}}", streams=streams) as driver:
            driver.put("in", *records)
            assert driver.dead_records("a") == [{"n": 10**38}]
            assert driver.out("out") == [
                {"n": 1, "m": 1}, {"n": 2**63, "m": 2**63}, {"n": -(2**70), "m": -(2**70)}, {"n": None, "m": 0},
            ]  # fmt: skip


def test_dates_and_times_of_tables_are_the_same_text_everywhere(folder: PipelineFolder) -> None:
    process = "{batch: {types: {day: date, at: datetime}}}, {set: {later: 'at.isoformat()', same: day}}"
    at = "2024-02-29T12:00:00+00:00"
    expected = {"day": "2024-02-29", "at": at, "later": at, "same": "2024-02-29"}
    for form in ("json", "fields"):
        with tables(folder, process, streams=f"out: {{format: {form}}}") as driver:
            driver.put("in", {"day": "2024-02-29", "at": "2024-02-29T12:00:00"})
            assert driver.out("out") == [expected]
    assert records_of(table_of([{"d": date(2024, 2, 29), "t": datetime(2024, 2, 29, tzinfo=UTC)}])) == [
        {"d": date(2024, 2, 29), "t": datetime(2024, 2, 29, tzinfo=UTC)}
    ]
