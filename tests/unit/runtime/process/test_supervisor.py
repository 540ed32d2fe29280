"""Several processes: one that dies is started again, but not for ever; what ends one ends all; counts add up."""

from __future__ import annotations

import asyncio
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest

from papyra_flow.errors import PapyraFlowError, PipelineFailedError, ServerUnreachableError
from papyra_flow.observe.counters import RunCounters
from papyra_flow.runtime.process.options import RunOptions, Share
from papyra_flow.runtime.process.supervisor import DEATHS_BEFORE_START, DEATHS_WITHOUT_PROGRESS, STARTED, Supervisor
from tests.harness.pipelines import PipelineFolder
from tests.harness.virtual_time import until


class FakeProcess:
    """A process that does what the test says; its pipe is a real one."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.ours, self.theirs = Pipe()
        self.exitcode: int | None = None
        self.killed = False
        self.deaf = False

    def tell(self, *messages: object) -> None:
        """What a child's pipe says."""
        for message in messages:
            self.theirs.send(message)

    def die(self, code: int = -9) -> None:
        """End, and with it the pipe."""
        self.exitcode = code
        self.theirs.close()

    def end(self, outcome: str = "stopped") -> None:
        """End in an orderly way."""
        self.tell(counted(0), outcome)
        self.die(0)

    @property
    def told_to_stop(self) -> bool:
        """Whether it was asked to end; it does."""
        return self.theirs.closed or self.theirs.poll()

    def join(self, timeout: float | None = None) -> None:
        if self.exitcode is None and not self.deaf and self.theirs.poll():
            self.end()

    def is_alive(self) -> bool:
        return self.exitcode is None

    def kill(self) -> None:
        self.killed = True
        self.die()


class Processes:
    """All that were started."""

    def __init__(self) -> None:
        self.all: list[FakeProcess] = []

    def __call__(self, share: Share) -> tuple[FakeProcess, Connection]:
        self.all.append(FakeProcess(share))
        return self.all[-1], self.all[-1].ours


def counted(read: int) -> RunCounters:
    counters = RunCounters.of(["a"])
    counters.stages["a"].read = read
    return counters


@pytest.fixture
def processes() -> Processes:
    return Processes()


@pytest.fixture
def supervisor(folder: PipelineFolder, processes: Processes) -> Supervisor:
    folder.pipeline("pipeline: p\nstages: {a: {from: s, to: t}}\nstreams: {s: {}}\n")
    return Supervisor(
        folder.topology(), "redis://none", RunOptions(processes=2), RunCounters.of(["a"]), spawn=processes
    )


async def test_each_process_gets_its_share_and_the_run_ends_when_all_are_drained(
    supervisor: Supervisor, processes: Processes
) -> None:
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(processes.all) == 2)
    assert [(p.share.index, p.share.total) for p in processes.all] == [(0, 2), (1, 2)]
    processes.all[0].end("drained")
    await asyncio.sleep(60)
    assert not running.done()
    processes.all[1].end("drained")
    assert await running == "drained"


async def test_a_process_that_dies_is_started_again_with_the_same_share(
    supervisor: Supervisor, processes: Processes
) -> None:
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(processes.all) == 2)
    processes.all[1].tell(STARTED)
    processes.all[1].die()
    await until(lambda: len(processes.all) == 3)
    assert processes.all[2].share.index == 1
    supervisor.stop()
    assert all(process.told_to_stop for process in (processes.all[0], processes.all[2]))
    for process in (processes.all[0], processes.all[2]):
        process.end()
    assert await running == "stopped"


@pytest.mark.parametrize(("started", "limit"), [(False, DEATHS_BEFORE_START), (True, DEATHS_WITHOUT_PROGRESS)])
async def test_one_that_dies_again_and_again_without_progress_ends_the_run(
    supervisor: Supervisor, processes: Processes, started: bool, limit: int
) -> None:
    running = asyncio.create_task(supervisor.run())
    for deaths in range(1, limit + 1):
        await until(lambda deaths=deaths: len(processes.all) == deaths + 1)  # type: ignore[misc]
        victim = processes.all[0] if deaths == 1 else processes.all[-1]
        if started:
            victim.tell(STARTED)
        victim.die()
    with pytest.raises(PipelineFailedError, match=f"process 0 died {limit} times without making progress"):
        await running
    assert len(processes.all) == limit + 1
    assert not processes.all[1].is_alive(), "the other one is ended with it"


async def test_deaths_count_from_the_last_progress_on(supervisor: Supervisor, processes: Processes) -> None:
    running = asyncio.create_task(supervisor.run())
    for deaths in range(1, 3 * DEATHS_BEFORE_START):
        await until(lambda deaths=deaths: len(processes.all) == deaths + 1)  # type: ignore[misc]
        victim = processes.all[0] if deaths == 1 else processes.all[-1]
        victim.tell(counted(1))
        victim.die()
    await until(lambda: len(processes.all) == 3 * DEATHS_BEFORE_START + 1)
    supervisor.stop()
    for process in processes.all:
        if process.is_alive():
            process.end()
    assert await running == "stopped"


async def test_the_error_of_one_ends_all_and_is_the_runs(supervisor: Supervisor, processes: Processes) -> None:
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(processes.all) == 2)
    error: PapyraFlowError = ServerUnreachableError("no server answers")
    processes.all[0].tell(counted(0), error)
    processes.all[0].die(0)
    with pytest.raises(ServerUnreachableError, match="no server answers"):
        await running
    assert not processes.all[1].is_alive()
    assert not processes.all[1].killed


async def test_one_that_does_not_listen_is_killed_in_the_end(supervisor: Supervisor, processes: Processes) -> None:
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(processes.all) == 2)
    processes.all[1].deaf = True
    processes.all[0].tell(PipelineFailedError("halted"))
    processes.all[0].die(0)
    with pytest.raises(PipelineFailedError):
        await running
    assert processes.all[1].killed


async def test_counts_of_the_dead_and_the_living_add_up(supervisor: Supervisor, processes: Processes) -> None:
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(processes.all) == 2)
    processes.all[0].tell(STARTED, counted(5))
    processes.all[0].die()
    await until(lambda: len(processes.all) == 3)
    processes.all[1].tell(counted(7), "drained")
    processes.all[2].tell(counted(2), "drained")
    for process in processes.all[1:]:
        process.die(0)
    assert await running == "drained"
    assert supervisor.counters.stages["a"].read == 14


async def test_a_run_that_is_cancelled_kills_them_at_once(supervisor: Supervisor, processes: Processes) -> None:
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(processes.all) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert all(process.killed for process in processes.all)
