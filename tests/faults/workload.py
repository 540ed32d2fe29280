"""The pipeline that is harmed, the records that go through it, and the oracle that says what has to come out.

Nothing in here asks papyra-flow what it did: records are put in and read back by plain redis-py, and what is expected
is computed from the records' numbers alone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
import redis

from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import plain_client

RECORDS = int(os.environ.get("FAULT_RECORDS", "200000"))
SEED = int(os.environ.get("FAULT_SEED", "1"))
COPIES = (0, 1)
Part = tuple[int, int]

PIPELINE = """\
    pipeline: f
    redis: redis://nowhere
    defaults: {batch: {size: 200}, claim_after: 1s, retry: {attempts: 30, backoff: 2ms..10ms}}
    stages:
      split:
        from: in
        process: [{run: "fault_steps:split"}]
        to: parts
      check:
        from: parts
        process: [{filter: n % 7 != 3}, {run: "fault_steps:check"}]
        to: [{stream: even, when: n % 2 == 0}, {stream: odd}]
      collect:
        from: [even, odd]
        to: out
    streams: {in: {retain: all}, out: {retain: all}}
    """
STEPS = """\
    import os

    failed = set()

    def split(record):
        return ({"n": record["n"], "copy": copy} for copy in (0, 1))

    def check(record):
        if "CALM" in os.environ:
            return record
        n, copy = record["n"], record["copy"]
        if n % 1000 == 13:
            raise ValueError(f"always fails: {n}")
        if n % 50 == 11 and (n, copy) not in failed:
            failed.add((n, copy))
            raise ConnectionError("fails the first time, in each process")
        return record
    """
TABLES = """\
    pipeline: f
    redis: redis://nowhere
    defaults: {claim_after: 1s, retry: {attempts: 30, backoff: 2ms..10ms}}
    stages:
      split:
        from: in
        batch: {size: 50}
        process: [batch, {run: "fault_steps:split"}]
        to: parts
      check:
        from: parts
        process: [{filter: n % 7 != 3}, {run: "fault_steps:check"}]
        to: [{stream: even, when: n % 2 == 0}, {stream: odd}]
      collect:
        from: [even, odd]
        to: out
    streams:
      in: {retain: all}
      parts: {format: arrow}
      even: {format: arrow}
      odd: {format: arrow}
      out: {format: arrow, retain: all}
    """
"""The same over tables: 50 records become one, in which single rows fail."""

TABLE_STEPS = """\
    import os
    import pyarrow as pa

    failed = set()

    def split(table: pa.Table):
        for copy in (0, 1):
            yield table.append_column("copy", pa.repeat(copy, table.num_rows))

    def check(table: pa.Table) -> pa.Table:
        for n, copy in zip(table["n"].to_pylist(), table["copy"].to_pylist()):
            if "CALM" in os.environ:
                break
            if n % 1000 == 13:
                raise ValueError(f"always fails: {n}")
            if n % 50 == 11 and (n, copy) not in failed:
                failed.add((n, copy))
                raise ConnectionError("fails the first time, in each process")
        return table
    """
PARTITIONED = (
    PIPELINE.replace("        from: [even, odd]\n", "        from: [even, odd]\n        ordered: false\n")
    .replace("        from: parts\n", "        from: parts\n        ordered: false\n")
    .replace(
        "{in: {retain: all}, out: {retain: all}}",
        "{in: {retain: all}, parts: {partitions: 8, by: n % 10, retain: all}, even: {partitions: 3, by: n % 10}, "
        "out: {retain: all}}",
    )
)
"""The first one, with streams in between that have partitions, whose stages share them."""

STAGES = {"split": ("in",), "check": ("parts",), "collect": ("even", "odd")}


def rows_of(fields: dict[bytes, bytes]) -> list[dict[str, Any]]:
    """The records of an entry: one as JSON, or those of a table."""
    data = fields[b"data"]
    if data.startswith(b"{"):
        return [json.loads(data)]
    with pa.ipc.open_stream(data) as reader:
        rows: list[dict[str, Any]] = reader.read_all().to_pylist()
    return rows


def data_of(form: str, *records: dict[str, Any]) -> bytes:
    """Records as an entry's `data`: a table, or one of them as JSON."""
    if form == "json":
        return json.dumps(records[0]).encode()
    table, sink = pa.Table.from_pylist(list(records)), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def flows(n: int) -> bool:
    """Whether the filter lets a number through."""
    return n % 7 != 3


def dies(n: int) -> bool:
    """Whether a number's records fail for ever."""
    return n % 1000 == 13


def retried(n: int) -> bool:
    """Whether a number's records fail the first time, and so may come later than others."""
    return n % 50 == 11


@dataclass
class Worker:
    """A process that runs the pipeline."""

    process: subprocess.Popen[str]
    name: str | None
    codes: frozenset[int] = frozenset({0, 3})
    """How it may end when it is stopped; 1 where something was lost under it."""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> dict[str, Any]:
        """Stop in an orderly way; returns the document that `run --json` ends with."""
        if self.runs:
            self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=HANGS_SECONDS)
        if self.process.returncode == -signal.SIGTERM:
            return {"stages": {}}  # it had not begun yet
        assert self.process.returncode in self.codes, err
        document: dict[str, Any] = json.loads(out)
        return document


@dataclass
class Workload:
    """A pipeline under harm on the server at `url`; `via` is the address that workers are given."""

    folder: PipelineFolder
    url: str
    seed: int = SEED
    via: str | None = None
    find: Callable[[], str] | None = None
    """Where the server is just now, if it is not always at `url`."""
    form: str = "json"
    pipeline: str = ""
    partitions: dict[str, int] = field(default_factory=dict)
    """How many each stream has, of those that have any."""
    calm: bool = False
    """Whether no record fails: then all of them come out in order."""
    environment: dict[str, str] = field(default_factory=dict)
    codes: frozenset[int] = frozenset({0, 3})
    """How its workers may end; 1 where something was lost or doubled under them."""
    produced: int = 0
    workers: list[Worker] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.folder.pipeline(self.pipeline or (TABLES if self.form == "arrow" else PIPELINE))
        self.folder.write("fault_steps.py", self.steps)
        if self.calm:
            self.environment["CALM"] = "1"
        print(f"seed {self.seed}: FAULT_SEED={self.seed} does the same harm again")

    @property
    def server(self) -> redis.Redis:
        return plain_client(self.where)

    @property
    def where(self) -> str:
        """The server's address, as it is just now."""
        return self.find() if self.find is not None else self.url

    @property
    def steps(self) -> str:
        """The module of step functions."""
        return TABLE_STEPS if self.form == "arrow" else STEPS

    # -- records ------------------------------------------------------------------------------------------------------

    def produce(self, count: int) -> None:
        """Put the next numbers in, and wait until the server has confirmed them."""
        with self.turn, self.server as server:
            for start in range(self.produced, self.produced + count, 1000):
                pipe = server.pipeline(transaction=False)
                for n in range(start, min(start + 1000, self.produced + count)):
                    pipe.xadd("{f}:in", {"data": json.dumps({"n": n})})
                pipe.execute()
            self.produced += count

    def produce_through(self, count: int) -> None:
        """As `produce`, through failovers.

        What broke in the middle is put in again: then its numbers are there twice, and have to come out twice.
        """

        def produced() -> bool:
            self.produce(count)
            return True

        patiently(produced, "records that are put in")

    def in_background(self, total: int, chunk: int = 1000) -> threading.Thread:
        """Put records in while something else goes on."""

        def feed() -> None:
            for _ in range(total // chunk):
                self.produce(chunk)

        thread = threading.Thread(target=feed)
        thread.start()
        return thread

    def entries(self, stream: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Records of a stream in order, each with its entry's id."""
        start = "-"
        with self.server as server:
            while page := server.xrange(f"{{f}}:{stream}", start, "+", count=5000):
                for id_, fields in page:
                    for record in rows_of(fields):
                        yield id_.decode(), record
                start = f"({page[-1][0].decode()}"

    def length(self, stream: str) -> int:
        with self.server as server:
            return int(server.xlen(f"{{f}}:{stream}"))

    def reads(self) -> Iterator[tuple[str, str]]:
        """Each stage with the key of each stream that it reads."""
        for stage, streams in STAGES.items():
            for stream in streams:
                count = self.partitions.get(stream)
                for tag in ["f"] if count is None else [f"f/{number}" for number in range(count)]:
                    yield stage, f"{{{tag}}}:{stream}"

    def pending(self) -> int:
        """Pending entries of all stages."""
        with self.server as server:
            return sum(server.xpending(key, stage)["pending"] for stage, key in self.reads())

    # -- workers ------------------------------------------------------------------------------------------------------

    def start(self, *arguments: str, name: str | None = None) -> Worker:
        """Start a worker on all stages."""
        named = ("--consumer-name", name) if name else ()
        url = self.via or self.url
        process = self.folder.start(
            "run", "pipeline.yml", "--json", "--redis", url, *named, *arguments, **self.environment
        )
        worker = Worker(process, name, self.codes)
        self.workers.append(worker)
        return worker

    def pair_at_work(self) -> list[Worker]:
        """Start two workers, and wait until each has begun: one that starts without a server ends at once."""
        pair = [self.start(), self.start()]
        for worker in pair:
            patiently(lambda: self.busy(worker), "a worker at work")  # noqa: B023
        return pair

    def drain(self, via: str | None = None) -> dict[str, Any]:
        """Run the pipeline, past all harm, until nothing is left to do."""
        finished = self.folder.cli(
            "run", "pipeline.yml", "--drain", "--json", "--redis", via or self.url, code=None, **self.environment
        )
        assert finished.code in self.codes, finished.err
        document: dict[str, Any] = finished.json
        return document

    def settled(self) -> bool:
        """Whether every stage has done all that is in its streams."""
        with self.server as server:
            for stage, key in self.reads():
                facts: Any = server.xinfo_stream(key)
                groups: Any = server.xinfo_groups(key)
                group = next((found for found in groups if found["name"].decode() == stage), None)
                if group is None or group["pending"]:
                    return False
                if _id(group["last-delivered-id"]) < _id(facts["last-generated-id"]):
                    return False
        return True

    def finish(self, *workers: Worker, via: str | None = None) -> list[dict[str, Any]]:
        """Past all harm, have those who lived through it bring the work to its end; returns what they say of it.

        A fresh run that drains after them would take up whatever they had forgotten.
        """
        patiently(lambda: self.settled() or not all(worker.runs for worker in workers), "the end of the work")
        left = self.pending()
        documents = [worker.stop() for worker in workers]
        assert left == 0
        self.drain(via)
        return documents

    def in_hand_of(self, worker: Worker) -> int:
        """How many entries are pending for a worker at this moment."""
        return self.in_hand(f"{worker.name}." if worker.name else f".{worker.pid}.")

    def in_hand(self, mark: str) -> int:
        """How many entries are pending for consumers with this in their names."""
        total = 0
        with self.server as server:
            for stage, key in self.reads():
                try:
                    consumers: Any = server.xinfo_consumers(key, stage)
                except redis.ResponseError:
                    continue
                total += sum(c["pending"] for c in consumers if mark in c["name"].decode())
        return total

    def busy(self, worker: Worker) -> bool:
        """Whether a worker has entries in hand; puts more records in where there is nothing to do."""
        return self.or_more_to_do(self.in_hand_of(worker))

    def at_work(self) -> bool:
        """Whether anything is in hand; puts more records in where there is nothing to do."""
        return self.or_more_to_do(self.pending())

    def or_more_to_do(self, in_hand: int) -> bool:
        """Whether there are so many entries in hand; if there are none, and nothing to do, puts more records in."""
        if in_hand:
            return True
        with self.server as server:
            groups: Any = server.xinfo_groups("{f}:in")
            if all(group["lag"] == 0 for group in groups):
                self.produce(500)
        return False

    # -- the oracle ---------------------------------------------------------------------------------------------------

    def expected(self, numbers: Iterator[int] | range) -> tuple[Counter[Part], Counter[Part]]:
        """What has to be in `out`, and in the dead letters, for these numbers."""
        out: Counter[Part] = Counter()
        dead: Counter[Part] = Counter()
        for n in numbers:
            for copy in COPIES:
                if flows(n):
                    (dead if dies(n) and not self.calm else out)[n, copy] += 1
        return out, dead

    def verify(self, numbers: Iterator[int] | range | None = None) -> None:
        """Every record is where it belongs, once, and nothing is left to do."""
        out, dead = self.expected(range(self.produced) if numbers is None else numbers)
        found = Counter((record["n"], record["copy"]) for _, record in self.entries("out"))
        buried = Counter((record["n"], record["copy"]) for _, record in self.entries("@dead:check"))
        report = {
            "lost": len(out - found), "duplicated": len(found - out),
            "dead letters lost": len(dead - buried), "dead letters too many": len(buried - dead),
            "pending": self.pending(),
        }  # fmt: skip
        print(f"{sum(out.values()):,} records and {sum(dead.values()):,} dead letters expected: {report}")
        more = f"lost {list(out - found)[:5]}, doubled {list(found - out)[:5]}, wrongly dead {list(buried - dead)[:5]}"
        assert set(report.values()) == {0}, f"{report}; {more}"
        with self.server as server:
            for stage in ("split", "collect"):
                assert server.xlen(f"{{f}}:@dead:{stage}") == 0


def _id(text: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(b"-"))


def wait(seconds: float) -> None:
    """Let harm last, or come at a moment of its own; never used to wait for a result."""
    threading.Event().wait(seconds)


def patiently(condition: Callable[[], object], what: str, seconds: float = HANGS_SECONDS) -> None:
    """Wait for a condition that may be answered by errors while the server is being harmed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (redis.RedisError, OSError):
            pass
        wait(0.02)
    pytest.fail(f"{what} did not come about within {seconds:g} s")
