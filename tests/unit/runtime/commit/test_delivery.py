"""From an outcome to its commit, and what is told afterwards: with a committer that answers as it is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from papyra_flow.connectors.jsonl.sink import json_line
from papyra_flow.errors import ConnectionLostError, PipelineFailedError, RecordError
from papyra_flow.observe.counters import StageCounters
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import Record
from papyra_flow.runtime.commit.delivery import Delivery
from papyra_flow.runtime.commit.sink_writer import SinkWriter
from papyra_flow.runtime.services.backpressure import Gates
from papyra_flow.runtime.services.connector_retries import ConnectorRetries
from papyra_flow.runtime.services.keepalive import Keepalive
from papyra_flow.runtime.services.pauses import Pauses
from papyra_flow.runtime.services.trimming import Trimmer
from papyra_flow.runtime.stage.outcome import Became, Outcome
from papyra_flow.runtime.stage.stage import StageRuntime, WorkerContext
from papyra_flow.streams.commit.commit import NOWHERE, Commit, Committed
from papyra_flow.streams.commit.lease import Lease, Leases
from papyra_flow.streams.commit.operations import MoveCheckpoint, PutState
from papyra_flow.streams.connection.server import Server
from tests.harness.pipelines import PipelineFolder

SERVER = "redis://nowhere.invalid"
Answer = Committed | Exception


@dataclass
class Script:
    """A committer: takes down what it is sent, and answers as told, or that all was ours."""

    answers: list[Answer] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    moved: list[MoveCheckpoint | None] = field(default_factory=list)
    together: list[bool] = field(default_factory=list)

    async def commit(
        self, commit: Commit, *, together: bool = False, checkpoint: MoveCheckpoint | None = None
    ) -> Committed:
        self.commits.append(commit)
        self.moved.append(checkpoint)
        self.together.append(together)
        answer = self.answers.pop(0) if self.answers else Committed(acked=len(commit))
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class MemorySink:
    """A sink that keeps what it is given, and knows what of it was committed."""

    written: list[list[bytes]] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)

    def encode(self, record: Record, raw: bytes | None) -> bytes:
        return json_line(record, raw)

    async def write(self, payloads: Sequence[tuple[bytes, bytes]], origins: object = None) -> str:
        self.written.append([payload for _, payload in payloads])
        return str(len(self.kept) + len(payloads))

    def committed(self) -> None:
        self.kept += self.written[-1]


@dataclass
class Made:
    """A stage with its delivery, on no server."""

    stage: StageRuntime
    delivery: Delivery
    script: Script
    sink: MemorySink

    def batch(self, *data: bytes) -> Batch:
        ids = [b"%d-0" % number for number in range(1, len(data) + 1)]
        return Batch(self.stage.inputs[0].key, ids, [[b"data", one] for one in data])

    async def run(self, *data: bytes) -> None:
        """Take a batch all the way."""
        batch = self.batch(*data)
        outcome = await self.stage.program.run(batch, self.delivery.encode)
        await self.delivery.commit(self.delivery.prepare(batch, outcome))

    @property
    def counts(self) -> StageCounters:
        return self.stage.counters


async def _nothing() -> None:
    """No lease to keep."""


@pytest.fixture
def made(folder: PipelineFolder) -> Callable[..., Made]:
    def make(stage: str, *answers: Answer, lease: Lease | None = None) -> Made:
        folder.pipeline(f"pipeline: p\nstages: {{a: {{from: s, {stage}}}}}\nstreams: {{s: {{}}}}\n")
        topology, server = folder.topology(), Server(SERVER)
        context = WorkerContext(
            topology, server, "test", Gates(), Keepalive(SERVER), Trimmer(server.client, {}),
            Leases(server.client, "test", topology.keys.probe), Pauses(server.client, topology.keys.paused),
        )  # fmt: skip
        runtime = StageRuntime(topology.stages["a"], context, StageCounters())
        sink, script = MemorySink(), Script(list(answers))
        writer = None
        if runtime.spec.sink is not None:
            retries = ConnectorRetries("a", runtime.spec.settings, context, runtime.counters, _nothing)
            writer = SinkWriter(sink, lease, retries, context.stopping.is_set)  # type: ignore[arg-type]
        delivery = Delivery(runtime, "c", writer)
        delivery._committers = dict.fromkeys(delivery._committers, script)  # type: ignore[arg-type]
        return Made(runtime, delivery, script, sink)

    return make


def n(*numbers: int) -> list[bytes]:
    return [b'{"n":%d}' % number for number in numbers]


async def test_a_plain_batch_is_one_commit_in_columns(made: Callable[..., Made]) -> None:
    one = made("to: [{stream: t, when: n > 1}, {stream: u, when: n > 0}]")
    await one.run(*n(2, 1, 0))
    (commit,) = one.script.commits
    assert list(commit.outcomes()) == [(0, (b"data", b'{"n":2}')), (1, (b"data", b'{"n":1}'))]
    assert (len(commit), one.counts.emitted, one.counts.dropped) == (3, {"t": 1, "u": 1}, 1)


async def test_what_the_first_try_did_was_ours_where_only_its_reply_was_lost(made: Callable[..., Made]) -> None:
    one = made("to: t", ConnectionLostError("gone"), Committed(stale={b"1-0", b"2-0"}))
    await one.run(*n(1, 2))
    assert (one.counts.emitted["t"], one.counts.stale) == (2, 0)


async def test_what_another_consumer_committed_is_counted_as_stale_and_not_as_emitted(
    made: Callable[..., Made],
) -> None:
    one = made("process: [{filter: n > 0}], to: t", Committed(acked=2, stale={b"1-0"}))
    await one.run(*n(1, 2, 0))
    assert (one.counts.emitted["t"], one.counts.stale, one.counts.dropped) == (1, 1, 1)


LEASE = "{p}:@sink:a"


async def test_an_exclusive_sink_writes_the_rest_again_without_what_is_not_ours(made: Callable[..., Made]) -> None:
    lease = Lease(LEASE, 3, "0", 0, False, 0)
    one = made("write: {jsonl: o.jsonl}", Committed(missing={b"2-0"}), lease=lease)
    await one.run(*n(1, 2, 3))
    assert one.sink.written == [[b'{"n":1}\n', b'{"n":2}\n', b'{"n":3}\n'], [b'{"n":1}\n', b'{"n":3}\n']]
    assert one.sink.kept == [b'{"n":1}\n', b'{"n":3}\n']
    assert [commit.ids for commit in one.script.commits] == [[b"1-0", b"2-0", b"3-0"], [b"1-0", b"3-0"]]
    assert one.script.moved == [MoveCheckpoint(LEASE, 3, "0", "3"), MoveCheckpoint(LEASE, 3, "0", "2")]
    assert (lease.checkpoint, one.counts.written, one.counts.stale) == ("2", 2, 1)


async def test_a_sink_has_its_dead_letters_and_drops_in_the_same_commit(made: Callable[..., Made]) -> None:
    one = made("process: [{filter: 1 / n > 0}], write: {jsonl: o.jsonl}")
    await one.run(*n(0, -1, 1))
    assert one.sink.kept == [b'{"n":1}\n']
    assert (one.counts.written, one.counts.dropped, one.counts.dead) == (1, 1, 1)
    assert [target for target, _ in one.script.commits[0].outcomes()] == [one.stage.targets.dead]
    assert sorted(one.script.commits[0].ids) == [b"1-0", b"2-0", b"3-0"]


async def test_records_that_became_one_table_are_made_again_of_those_that_are_left(made: Callable[..., Made]) -> None:
    one = made('process: [{sql: "SELECT sum(n) AS n FROM batch"}], to: t', Committed(missing={b"2-0"}))
    await one.run(*n(1, 2, 3))
    assert [list(commit.outcomes()) for commit in one.script.commits] == [
        [(0, (b"data", b'{"n":6}'))], [(0, (b"data", b'{"n":4}'))],
    ]  # fmt: skip
    assert (one.script.together, one.script.commits[1].ids) == ([True, True], [b"1-0", b"3-0"])
    assert (one.counts.emitted["t"], one.counts.stale) == (1, 1)


async def test_all_of_a_table_fail_where_one_commit_cannot_carry_it(made: Callable[..., Made]) -> None:
    one = made("process: [batch], to: t")
    batch = one.batch(*n(1, 2))
    became = Became([(0, (b"data", b"x"))] * 10_001, rows={0: 10_001})
    outcome = Outcome(became={0: became}, done=[b"2-0"], together=True)
    await one.delivery.commit(one.delivery.prepare(batch, outcome))
    assert (one.counts.dead, one.counts.emitted) == (2, {})


async def test_a_halt_comes_after_the_rest_was_committed(made: Callable[..., Made]) -> None:
    one = made("process: [{filter: 1 / n > 0}], to: t, on_error: halt")
    with pytest.raises(PipelineFailedError, match="the record 1-0 failed: division by zero"):
        await one.run(*n(0, 1))
    assert (one.script.commits[0].ids, one.counts.emitted["t"]) == ([b"2-0"], 1)


async def test_state_changes_are_operations_of_their_entry(made: Callable[..., Made]) -> None:
    one = made("to: t")
    put = PutState(0, b"k", b"v")
    outcome = Outcome(became={0: Became([(0, (b"data", b"1"))], changes=[put])})
    prepared = one.delivery.prepare(one.batch(*n(1)), outcome)
    (portion,) = prepared.commit.seal()
    assert portion.arguments == [1, b"1-0", b"*", 2, 4, 2, b"data", b"1", b"put", 3, 0, b"k", b"v"]


def test_counts_leave_out_what_is_stale() -> None:
    outcome = Outcome(
        [b"1", b"2", b"3"], [0, NOWHERE, 0], [b"a", b"", b"c"],
        payloads=[(3, b"x"), (4, b"y")],
        became={
            5: Became([(0, (b"data", b"table"))], rows={0: 7}, dropped=2, bad=[([b"data", b"r"], RecordError("r"))]),
            6: Became([(1, (b"data", b"z")), (1, (b"data", b"z"))], payloads=[b"p"]),
        },
    )  # fmt: skip
    ids = [b"1", b"2", b"3", b"4", b"5", b"6", b"7"]
    every = outcome.tally(ids)
    assert (every.entries, every.records) == ({0: 3, 1: 2}, {0: 9, 1: 2})
    assert (every.written, every.dropped, every.bad) == (3, 3, 1)
    some = outcome.tally(ids, {b"1", b"2", b"4", b"6"})
    assert (some.entries, some.records) == ({0: 1, 1: 2}, {0: 1, 1: 2})
    assert (some.written, some.dropped, some.bad) == (2, 0, 0)


def test_a_stage_of_records_needs_no_pyarrow(folder: PipelineFolder) -> None:
    folder.pipeline("pipeline: p\nstages: {a: {from: s, process: [{filter: n > 0}], to: t}}\nstreams: {s: {}}\n")
    code = (
        "import sys; from papyra_flow.testing import drive\n"
        "with drive('pipeline.yml') as driver: driver.put('s', {'n': 1}); assert driver.out('t') == [{'n': 1}]\n"
        "assert not {'pyarrow', 'duckdb', 'polars'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder.path, check=True)
