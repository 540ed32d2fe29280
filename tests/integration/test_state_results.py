"""S4: the same results whatever the batch size, partitions and workers, held to plain Python over the same records."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections import Counter, defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from papyra_flow.records.json_codec import read_json
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import plain_client

Record = dict[str, Any]
STEPS = """\
    failed = set()
    def step(record):
        if record["fails"] and record["n"] not in failed:
            failed.add(record["n"])
            raise ConnectionError("the first time")
        return record
    """
PIPELINE = """\
    pipeline: p
    defaults: {batch: {size: %(size)d}, claim_after: 1s, retry: {attempts: 9, backoff: 1ms..2ms}}
    stages:
      order: {from: in, ordered: true, process: [{run: "%(module)s:step"}], to: parts}
      count:
        from: parts
        process:
          - aggregate:
              by: k
              window: 10s
              time: t
              grace: 5s
              fields: {c: count(), xs: count(x), total: sum(x), least: min(x), most: max(x), seen: list(n)}
          - run: "%(module)s_behind:step"
        to: windows
      gaps:
        from: parts
        process: [{aggregate: {by: k, window: {gap: 7s}, time: t, grace: 1h, fields: {c: count(), total: sum(x)}}}]
        to: sessions
      once: {from: parts, process: [{dedupe: {by: [k, d]}}], to: unique}
      all: {from: parts, process: [{aggregate: {by: k, emit: each, fields: {c: count(), total: sum(x)}}}], to: totals}
    streams: {in: {}, parts: {partitions: %(partitions)d, by: k}}
    """
BEHIND = """\
    failed = set()
    def step(record):
        key = (record["k"], record["window_start"])
        if record["c"] % 2 and key not in failed:
            failed.add(key)
            raise ConnectionError("the first time, when the window has closed")
        return record
    """
keys = st.one_of(st.sampled_from(["a", "b", "c", "é", 0, 7, 2**60 + 1]), st.integers(0, 60).map("k{}".format))
numbers = st.one_of(st.none(), st.integers(-5, 5), st.integers(-(2**80), 2**80))
records = st.lists(
    st.fixed_dictionaries(
        {
            "k": keys,
            "t": st.integers(0, 120),
            "x": numbers,
            "d": st.integers(0, 2),
            "fails": st.sampled_from([False] * 9 + [True]),
        }
    ),
    min_size=1,
    max_size=150,
)


def text_of(key: object) -> str:
    return key if isinstance(key, str) else json.dumps(key)


class Expected:
    """What has to come of records, in one way of dividing them."""

    def __init__(self, given_: list[Record], partitions: int) -> None:
        self.windows: Counter[object] = Counter()
        self.late: Counter[object] = Counter()
        watermarks: dict[int, int] = defaultdict(lambda: -(2**40))
        found: dict[tuple[object, int], list[Record]] = defaultdict(list)
        for record in given_:
            partition = zlib.crc32(text_of(record["k"]).encode()) % partitions
            watermarks[partition] = max(watermarks[partition], record["t"])
            start = record["t"] // 10 * 10
            if start + 10 + 5 <= watermarks[partition]:
                self.late[record["n"]] += 1
            else:
                found[record["k"], start].append(record)
        for (key, start), rows in found.items():
            xs = [row["x"] for row in rows if row["x"] is not None]
            total, least, most = (sum(xs), min(xs), max(xs)) if xs else (None, None, None)
            self.windows[key, start, len(rows), len(xs), total, least, most, str(_in_time(rows))] += 1
        self.sessions, self.totals = sessions(given_), totals(given_)
        self.unique = Counter({(r["k"], r["d"]): r["n"] for r in reversed(given_)}.values())


def _in_time(rows: list[Record]) -> list[object]:
    """Records by their event time, those of one time as they came."""
    return [row["n"] for row in sorted(rows, key=lambda row: int(row["t"]))]


def sessions(given_: list[Record]) -> Counter[object]:
    by_key: dict[object, list[Record]] = defaultdict(list)
    for record in given_:
        by_key[record["k"]].append(record)
    found: Counter[object] = Counter()
    for key, of_key in by_key.items():
        rows = sorted(of_key, key=lambda row: int(row["t"]))
        begins = [0, *(i for i in range(1, len(rows)) if rows[i]["t"] - rows[i - 1]["t"] >= 7), len(rows)]
        for begin, end in pairwise(begins):
            part = rows[begin:end]
            xs = [row["x"] for row in part if row["x"] is not None]
            found[key, part[0]["t"], len(part), sum(xs) if xs else None] += 1
    return found


def totals(given_: list[Record]) -> Counter[object]:
    """Each version of each key's row."""
    counts: Counter[object] = Counter()
    sums: dict[object, int | None] = defaultdict(lambda: None)
    found: Counter[object] = Counter()
    for record in given_:
        key, x = record["k"], record["x"]
        counts[key] += 1
        if x is not None:
            sums[key] = (sums[key] or 0) + x
        found[key, counts[key], sums[key]] += 1
    return found


def start_of(row: Record) -> int:
    return int(datetime.fromisoformat(row["window_start"]).timestamp())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given_=records,
    size=st.sampled_from([1, 2, 7, 100, 1000]),
    partitions=st.integers(1, 8),
    workers=st.integers(1, 3),
)
def test_results_are_the_same_however_the_work_is_divided(
    url: str, place: Path, given_: list[Record], size: int, partitions: int, workers: int
) -> None:
    folder = PipelineFolder(place)
    module = folder.steps(STEPS)
    folder.write(f"{module}_behind.py", BEHIND)
    folder.pipeline(PIPELINE % {"size": size, "partitions": partitions, "module": module})
    for name in (module, f"{module}_behind"):
        if name in sys.modules:
            sys.modules[name].failed.clear()
    given_ = [{**record, "n": n} for n, record in enumerate(given_)]
    with plain_client(url) as server:
        server.flushall()
        for record in given_:
            server.xadd("{p}:in", {"data": json.dumps(record)})

        async def run() -> None:
            await asyncio.gather(*(folder.run(url, drain=True, consumer_name=f"w{n}") for n in range(workers)))

        asyncio.run(run())

        def rows(stream: str) -> list[Record]:
            found: list[Record] = [read_json(fields[b"data"]) for _, fields in server.xrange(f"{{p}}:{stream}")]
            return found

        expected = Expected(given_, partitions)
        windows = Counter(
            (
                row["k"], start_of(row), row["c"], row["xs"], row["total"], row["least"], row["most"],
                str(row["seen"]),
            )
            for row in rows("windows")
        )  # fmt: skip
        assert windows == expected.windows
        assert Counter(row["n"] for row in rows("@dead:count")) == expected.late
        assert (
            Counter((row["k"], start_of(row), row["c"], row["total"]) for row in rows("sessions")) == expected.sessions
        )
        assert Counter(row["n"] for row in rows("unique")) == expected.unique
        assert Counter((row["k"], row["c"], row["total"]) for row in rows("totals")) == expected.totals
        for stage in ("count", "gaps"):
            for key in server.keys(f"*@state:{stage}"):
                assert server.hlen(key) == 0
        assert server.keys("*@timers:*") == []
