"""Streams of tables (`format: arrow`): whole pipelines in this process, against a real server."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.errors import ConnectorError
from papyra_flow.records.entries import TABLE_MAGIC
from papyra_flow.records.table_rows import records_of
from papyra_flow.records.tables import decode_table, encode_table
from papyra_flow.runtime.process.options import RunOptions
from papyra_flow.runtime.process.run import run_pipeline
from papyra_flow.runtime.stage.sift import sift
from tests.harness.pipelines import PipelineFolder
from tests.harness.records import dead_letters, ns, numbered

STEPS = """\
    import polars as pl
    import pyarrow as pa
    import pyarrow.compute as pc

    from papyra_flow import Dead, Emit

    calls = []

    def doubled(table: pa.Table) -> pa.Table:
        return table.append_column("twice", pc.multiply(table["n"], 2))

    def with_polars(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(thrice=pl.col("n") * 3)

    def lazily(frame: pl.DataFrame):
        return frame.lazy().filter(pl.col("n") > 5)

    async def asynchronous(table: pa.Table):
        yield table
        yield table.slice(0, 1)

    def parted(table: pa.Table):
        odd = pc.equal(pc.bit_wise_and(table["n"], 1), 1)
        yield Emit(table.filter(odd), to="odd", key="k", headers={"h": "x"})
        yield Emit(table.filter(pc.invert(odd)), to="even")

    def picky(table: pa.Table) -> pa.Table:
        calls.append(table.num_rows)
        for n in table["n"].to_pylist():
            if n % 10 == 3:
                raise Dead(f"no {n}")
        return table

    def flaky(table: pa.Table) -> pa.Table:
        calls.append(table.num_rows)
        if len(calls) < 3:
            raise ConnectionError("not yet")
        return table

    def record(record):
        return {**record, "seen": True} if record["n"] % 2 else None
    """


STEALS = """\
    import pyarrow as pa
    import redis

    stolen = []

    def steals(table: pa.Table) -> pa.Table:
        if not stolen:
            with redis.Redis.from_url("{url}") as server:
                pending = server.xpending_range("{{p}}:s", "a", "-", "+", 100)
                stolen.extend(entry["message_id"] for entry in pending[2:5])
                server.xack("{{p}}:s", "a", *stolen)
        return table
    """
"""A function of tables that has another consumer acknowledge three records first."""


def put(server: redis.Redis, key: str, rows: Sequence[dict[str, Any]], **headers: str) -> None:
    """A table in a stream."""
    fields: dict[Any, Any] = {"data": encode_table(pa.Table.from_pylist(list(rows))), **headers}
    server.xadd(key, fields)


def tables(server: redis.Redis, key: str) -> list[list[dict[str, Any]]]:
    """The rows of each entry of a stream."""
    found: Any = server.xrange(key)
    return [records_of(decode_table((b"data", fields[b"data"]))) for _, fields in found]


def rows(server: redis.Redis, key: str) -> list[dict[str, Any]]:
    return [row for table in tables(server, key) for row in table]


def one_stage(folder: PipelineFolder, process: str, to: str = "t", more: str = "") -> None:
    """A stage from the tables in `s` to those in `t`, or in `odd` and `even`."""
    streams = ", ".join(
        f"{name}: {{format: arrow}}"
        for name in ("s", "t", "odd", "even")
        if name == "s" or re.search(rf"\b{name}\b", to)
    )
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{retry: {{backoff: 1ms..5ms}}}}
        stages: {{a: {{from: s, process: [{process}], to: {to}{more}}}}}
        streams: {{{streams}}}
        """
    )


async def test_records_become_tables_and_records_again(
    folder: PipelineFolder, redis_client: redis.Redis, any_url: str
) -> None:
    folder.records("in.jsonl", numbered(1000))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, process: [{filter: n % 7 != 3}, batch, {set: {m: n * 2}}], to: t, batch: {size: 100}}
          c:
            from: t
            process: [{filter: n % 2 == 0}, {sql: "SELECT n, m, n + m AS sum FROM batch ORDER BY n DESC"}]
            to: [{stream: low, when: n < 500}, {stream: high, when: n >= 900}]
          d: {from: low, to: rows}
          e: {from: rows, write: {jsonl: low.jsonl}}
          f: {from: high, write: {csv: high.csv}}
        streams: {t: {format: arrow}, low: {format: arrow}, high: {format: arrow}}
        """
    )
    result = await folder.run(any_url)
    kept = [n for n in range(1000) if n % 7 != 3 and n % 2 == 0]
    low = folder.output("low.jsonl")
    assert sorted(ns(low)) == [n for n in kept if n < 500]
    assert all(row == {"n": row["n"], "m": 2 * row["n"], "sum": 3 * row["n"]} for row in low)
    assert len((folder.path / "high.csv").read_text().splitlines()) == 1 + len([n for n in kept if n >= 900])
    counters = result.counters.stages
    assert (counters["b"].read, counters["b"].dropped) == (1000, len([n for n in range(1000) if n % 7 == 3]))
    assert counters["c"].read == counters["b"].emitted["t"] == len([n for n in range(1000) if n % 7 != 3])
    assert counters["c"].emitted == {"low": len(low), "high": counters["f"].written}
    assert counters["c"].read == counters["c"].dropped + counters["c"].emitted.total()
    assert result.streams["t"] == {"length": 0, "backlog": 0}


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ("{run: 'MODULE:doubled'}", [{"n": n, "twice": 2 * n} for n in range(10)]),
        ("{run: 'MODULE:with_polars'}", [{"n": n, "thrice": 3 * n} for n in range(10)]),
        ("{run: 'MODULE:lazily'}", numbered(10)[6:]),
        ("{run: 'MODULE:lazily', thread: true, timeout: 5s}", numbered(10)[6:]),
        ("{run: 'MODULE:asynchronous'}", [*numbered(10), {"n": 0}]),
        ("{run: 'MODULE:record'}", [{"n": n, "seen": True} for n in (1, 3, 5, 7, 9)]),
        ("{map: {a: n + 1, b: 1}}", [{"a": n + 1, "b": 1} for n in range(10)]),
        ("{set: {l: '[n, n]'}}, {explode: l, index: i}", [{"n": n // 2, "l": n // 2, "i": n % 2} for n in range(20)]),
        ("{set: {m: n}}, {drop: [n, nothing]}, {rename: {m: k}}", [{"k": n} for n in range(10)]),
        ("{sql: 'SELECT count(*) AS c, sum(n)::BIGINT AS s FROM batch'}", [{"c": 10, "s": 45}]),
    ],
)  # fmt: skip
async def test_every_kind_of_step_works_on_tables(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, process: str, expected: list[dict[str, Any]]
) -> None:
    one_stage(folder, process.replace("MODULE", folder.steps(STEPS)))
    put(redis_client, "{p}:s", numbered(10), traceparent="tp")
    await folder.run(url, drain=True)
    assert rows(redis_client, "{p}:t") == expected
    found: Any = redis_client.xrange("{p}:t")
    assert {fields[b"traceparent"] for _, fields in found} == {b"tp"}


async def test_an_emit_sends_a_table_its_way(folder: PipelineFolder, redis_client: redis.Redis, url: str) -> None:
    routes = "[{stream: even, when: 1 > 2}, {stream: odd, when: 1 > 2}]"
    one_stage(folder, f"{{run: '{folder.steps(STEPS)}:parted'}}", routes)
    put(redis_client, "{p}:s", numbered(10))
    await folder.run(url, drain=True)
    assert ns(rows(redis_client, "{p}:odd")) == [1, 3, 5, 7, 9]
    assert ns(rows(redis_client, "{p}:even")) == [0, 2, 4, 6, 8]
    found: Any = redis_client.xrange("{p}:odd")
    assert (found[0][1][b"key"], found[0][1][b"h"]) == (b"k", b"x")


async def test_what_an_emit_said_of_a_table_holds_for_its_rows(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    """A later function that is called with the rows adds to it, and takes nothing away."""
    module = folder.steps(
        """\
        import pyarrow as pa
        from papyra_flow import Emit

        def marked(table: pa.Table):
            return Emit(table, headers={"h": "x"})

        def sent(record):
            return Emit(record, to="odd", headers={"g": "y"})
        """
    )
    one_stage(folder, f'{{run: "{module}:marked"}}, {{run: "{module}:sent"}}', to="[odd, even]", more=", match: all")
    put(redis_client, "{p}:s", numbered(3))
    await folder.run(url, drain=True)
    found: Any = redis_client.xrange("{p}:odd")
    ((_, fields),) = found
    assert (fields[b"h"], fields[b"g"]) == (b"x", b"y")


async def test_match_all_copies_rows_to_every_route_that_fits(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    one_stage(folder, "", "[{stream: even, when: n % 2 == 0}, {stream: odd, when: n > 6}]", ", match: all")
    put(redis_client, "{p}:s", numbered(10))
    result = await folder.run(url, drain=True)
    assert ns(rows(redis_client, "{p}:even")) == [0, 2, 4, 6, 8]
    assert ns(rows(redis_client, "{p}:odd")) == [7, 8, 9]
    assert result.counters.stages["a"].dropped == 3  # 1, 3 and 5 went nowhere


async def test_a_bad_row_is_split_off_to_the_dead_letters_and_the_rest_goes_on(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    one_stage(folder, f"{{run: '{folder.steps(STEPS)}:picky'}}, {{filter: 10 // (n - 8) != 0 or n < 100}}")
    put(redis_client, "{p}:s", numbered(40), h="x")
    result = await folder.run(url, drain=True)
    bad = [3, 8, 13, 23, 33]
    assert tables(redis_client, "{p}:t") == [[{"n": n} for n in range(40) if n not in bad]]
    assert (result.counters.stages["a"].dead, result.counters.stages["a"].dropped) == (5, 0)
    letters = (await dead_letters(url, "{p}:@dead:a"))[::-1]
    assert [json.loads(letter.fields["data"]) for letter in letters] == [[{"n": n}] for n in bad]
    assert letters[0].fields["h"] == "x"
    assert [letter.error for letter in letters][:2] == [
        "no 3",
        "integer division or modulo by zero (in `10 // (n - 8) != 0 or n < 100`)",
    ]


async def test_a_table_of_which_every_row_is_bad_is_dead_as_a_whole(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    one_stage(folder, "{filter: nowhere > 1}")
    put(redis_client, "{p}:s", numbered(10))
    await folder.run(url, drain=True)
    (letter,) = await dead_letters(url, "{p}:@dead:a")
    assert json.loads(letter.fields["data"]) == numbered(10)
    assert letter.error == "the record has no field 'nowhere' (in `nowhere > 1`)"


async def test_dropped_bad_rows_are_counted(folder: PipelineFolder, redis_client: redis.Redis, url: str) -> None:
    one_stage(folder, "{filter: 1 / (n - 2) < 5}", more=", on_error: drop")
    put(redis_client, "{p}:s", numbered(10))
    result = await folder.run(url, drain=True)
    assert ns(rows(redis_client, "{p}:t")) == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert (result.counters.stages["a"].dropped, result.counters.stages["a"].dead) == (1, 0)


async def test_what_may_pass_is_tried_again_for_the_whole_table(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    one_stage(folder, f"{{run: '{folder.steps(STEPS)}:flaky'}}")
    put(redis_client, "{p}:s", numbered(10))
    result = await folder.run(url, drain=True)
    assert rows(redis_client, "{p}:t") == numbered(10)
    assert (result.counters.stages["a"].retried, result.counters.stages["a"].dead) == (2, 0)


@pytest.mark.parametrize("data", [b"", b'{"n": 1}', TABLE_MAGIC + b"\0" * 20, None])
async def test_what_is_no_table_is_dead_with_its_bytes(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, data: bytes | None
) -> None:
    one_stage(folder, "")
    redis_client.xadd("{p}:s", {"data": data} if data is not None else {"other": b"x"})
    put(redis_client, "{p}:s", numbered(3))
    await folder.run(url, drain=True)
    assert rows(redis_client, "{p}:t") == numbered(3)
    found: Any = redis_client.xrange("{p}:@dead:a")
    assert found[0][1].get(b"data") == data


async def test_a_table_that_has_become_too_large_leaves_in_parts(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    one_stage(folder, "{set: {text: \"str(n) + 'x' * 100\"}}", more=", max_record: 4KiB")
    put(redis_client, "{p}:s", numbered(200))
    await folder.run(url, drain=True)
    assert ns(rows(redis_client, "{p}:t")) == list(range(200))
    found: Any = redis_client.xrange("{p}:t")
    assert len(found) > 5
    assert max(len(fields[b"data"]) for _, fields in found) <= 4096


async def test_a_source_packs_what_it_read_into_tables(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    lines = [json.dumps({"n": n}) for n in range(100)]
    lines[17], lines[42] = '{"n": "seventeen"}', "no JSON"
    (folder.path / "in.jsonl").write_text("\n".join(lines))
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {read: {jsonl: in.jsonl}, to: t, batch: {size: 50}}}
        streams: {t: {format: arrow, retain: all}}
        """
    )
    result = await folder.run(url)
    assert [len(table) for table in tables(redis_client, "{p}:t")] == [48, 50]
    assert ns(rows(redis_client, "{p}:t")) == [n for n in range(100) if n not in {17, 42}]
    assert (result.counters.stages["a"].emitted["t"], result.counters.stages["a"].dead) == (98, 2)
    letters = await dead_letters(url, "{p}:@dead:a")
    assert sorted(letter.fields["data"] for letter in letters) == ["no JSON", '{"n": "seventeen"}']
    assert any("'seventeen', which does not fit its column of int64" in letter.error for letter in letters)


async def test_records_that_do_not_fit_their_column_are_dead_alone(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, process: [{batch: {types: {n: int, at: datetime}}}, {set: {m: 100 // n}}], to: t}}
        streams: {s: {}, t: {format: arrow}}
        """
    )
    for n in ("5", 6, "x", 0, None, 7.0):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n, "at": "2026-01-31T12:00:00Z"})})
    result = await folder.run(url, drain=True)
    (table,) = tables(redis_client, "{p}:t")
    assert [(row["n"], row["m"]) for row in table] == [(5, 20), (6, 16), (7, 14)]
    assert {row["at"].isoformat() for row in table} == {"2026-01-31T12:00:00+00:00"}
    letters = await dead_letters(url, "{p}:@dead:a")
    assert Counter(json.loads(letter.fields["data"])["n"] for letter in letters) == Counter(["x", 0, None])
    assert result.counters.stages["a"].dead == 3


async def test_records_that_somebody_else_committed_meanwhile_are_in_no_table(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    """Many become one only if all of them are still ours: else the rest becomes another one."""
    module = folder.steps(STEALS.format(url=url))
    folder.pipeline(
        f"""\
        pipeline: p
        stages: {{a: {{from: s, process: [batch, {{run: "{module}:steals"}}], to: t}}}}
        streams: {{s: {{}}, t: {{format: arrow}}}}
        """
    )
    for n in range(10):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n})})
    result = await run_pipeline(folder.topology(), url, RunOptions(drain=True))
    assert [ns(table) for table in tables(redis_client, "{p}:t")] == [[0, 1, 5, 6, 7, 8, 9]]
    counters = result.counters.stages["a"]
    assert (counters.emitted["t"], counters.stale, counters.lost) == (7, 3, 3)


async def test_a_query_over_records_makes_a_table_of_them(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    """Records in, records out: nothing has to be said of tables, also where the query comes first."""
    folder.pipeline(
        """\
        pipeline: p
        stages:
          total: {from: s, process: [{sql: "SELECT k, sum(n) AS n FROM batch GROUP BY k"}], to: t}
          again: {from: t, process: [{filter: true}, {sql: "SELECT k, n * 2 AS n FROM batch"}], write: {jsonl: o.jsonl}}
        streams: {s: {}}
        """
    )
    for n in range(10):
        redis_client.xadd("{p}:s", {"data": json.dumps({"k": n % 2, "n": n})})
    result = await folder.run(url, drain=True)
    written = folder.output("o.jsonl")
    totals: Counter[int] = Counter()
    for record in written:
        totals[record["k"]] += record["n"]
    assert totals == {0: 40, 1: 50}
    total, again = result.counters.stages["total"], result.counters.stages["again"]
    assert (total.read, total.emitted["t"], again.written) == (10, len(written), len(written))


async def test_records_that_somebody_else_committed_meanwhile_are_in_no_file(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    """What was written for all of them together is taken back, and written again for the rest."""
    module = folder.steps(STEALS.format(url=url))
    folder.pipeline(
        f"""\
        pipeline: p
        stages: {{a: {{from: s, process: [batch, {{run: "{module}:steals"}}], write: {{csv: out.csv}}}}}}
        streams: {{s: {{}}}}
        """
    )
    for n in range(10):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n})})
    result = await run_pipeline(folder.topology(), url, RunOptions(drain=True))
    assert (folder.path / "out.csv").read_text().split() == ["n", *"0156789"]
    counters = result.counters.stages["a"]
    assert (counters.written, counters.stale, counters.lost) == (7, 3, 3)


async def test_a_file_that_no_row_fits_ends_the_run_and_buries_none(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.write("o.csv", "other\n1\n")
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, process: [{sql: SELECT n FROM batch}], write: {csv: o.csv}}}
        streams: {s: {}}
        """
    )
    for n in range(3):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n})})
    with pytest.raises(ConnectorError, match="has the columns other; the first record has n"):
        await folder.run(url, drain=True)
    pending: Any = redis_client.xpending("{p}:s", "a")
    assert (pending["pending"], redis_client.exists("{p}:@dead:a")) == (3, 0)


async def test_a_row_that_a_sink_refuses_is_dead_alone(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    module = folder.steps("""\
        import pyarrow as pa
        import pyarrow.compute

        def three(table: pa.Table):
            wide = pa.compute.field("n") == 3
            yield table.filter(~wide)
            if (odd := table.filter(wide)).num_rows:
                yield odd.append_column("extra", [[1] * odd.num_rows])
        """)
    folder.pipeline(
        f"""\
        pipeline: p
        stages: {{a: {{from: s, process: [{{run: "{module}:three"}}], write: {{csv: {{path: o.csv, columns: [n]}}}}}}}}
        streams: {{s: {{format: arrow}}}}
        """
    )
    put(redis_client, "{p}:s", numbered(6))
    result = await folder.run(url, drain=True)
    assert (folder.path / "o.csv").read_text().split() == ["n", *"01245"]
    counters = result.counters.stages["a"]
    assert (counters.read, counters.written, counters.dead) == (6, 5, 1)
    (letter,) = await dead_letters(url, "{p}:@dead:a")
    assert letter.error == "the file o.csv has no column 'extra'"


async def test_a_batch_that_becomes_more_than_a_commit_can_carry_is_dead(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, process: [{explode: l}, batch], to: t}}
        streams: {s: {}}
        """
    )
    for _ in range(3):
        redis_client.xadd("{p}:s", {"data": json.dumps({"l": list(range(5000))})})
    result = await folder.run(url, drain=True)
    assert (result.counters.stages["a"].dead, redis_client.xlen("{p}:t")) == (3, 0)
    letters = await dead_letters(url, "{p}:@dead:a")
    assert "more than the 10,000 of a commit" in letters[0].error


async def test_a_sink_writes_rows_and_splits_off_bad_ones(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, process: [{filter: 6 / n > 1}], write: {jsonl: out.jsonl}}}
        streams: {s: {format: arrow}}
        """
    )
    put(redis_client, "{p}:s", numbered(10))
    result = await folder.run(url, drain=True)
    assert ns(folder.output("out.jsonl")) == [1, 2, 3, 4, 5]
    counters = result.counters.stages["a"]
    assert (counters.read, counters.written, counters.dropped, counters.dead) == (10, 5, 4, 1)


@given(count=st.integers(1, 40), data=st.data())
async def test_sifting_finds_exactly_the_bad_rows_and_does_the_others_once(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1))

    async def attempt(rows: Sequence[int]) -> list[int]:
        if found := bad & set(rows):
            raise ValueError(f"bad: {min(found)}")
        return list(rows)

    result, failures = await sift(count, attempt, ValueError("all"))
    assert failures.keys() == bad
    assert (result or []) == [row for row in range(count) if row not in bad]


async def test_rows_that_fail_only_together_are_all_left_out() -> None:
    async def attempt(rows: Sequence[int]) -> list[int]:
        if len(rows) > 2:
            raise MemoryError("too many")
        return list(rows)

    result, failures = await sift(8, attempt, MemoryError("too many"))
    assert result is None
    assert len(failures) == 8
