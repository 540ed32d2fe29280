"""The server killed: with `always` nothing that was confirmed is lost; with `everysec` what is lost is lost whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults.workload import RECORDS, Workload, patiently, wait
from tests.harness.pipelines import PipelineFolder
from tests.harness.ports import free_port
from tests.harness.servers import LocalServer

CRASHES = 10


def survivors(workload: Workload) -> Iterator[int]:
    """The numbers that are in the first stream now: what the server has not lost."""
    return (record["n"] for _, record in workload.entries("in"))


def test_fsync_always_loses_nothing_that_was_confirmed(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]
) -> None:
    server = local_server("--appendonly", "yes", "--appendfsync", "always", port=free_port())
    workload = make_workload(server.url)
    workers = workload.pair_at_work()
    hot = 0
    workload.produce(RECORDS // 2)
    for _ in range(CRASHES):
        workload.produce(RECORDS // 2 // CRASHES)
        patiently(workload.at_work, "work in hand")
        wait(workload.dice.random() * 0.3)
        hot += workload.pending() > 0
        server.kill()
        server.start()
    workload.finish(*workers)
    print(f"{CRASHES} crashes, {hot} of them with entries in hand")
    assert hot >= CRASHES // 2
    assert workload.length("in") == workload.produced
    workload.verify()


def test_what_everysec_loses_is_lost_whole(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]
) -> None:
    """A power failure takes what the disk had not got yet: here, the end of the append-only file, cut anywhere."""
    server = local_server("--appendonly", "yes", "--appendfsync", "everysec", port=free_port())
    workload = make_workload(server.url)
    workers = workload.pair_at_work()
    lost_bytes = 0
    for _ in range(CRASHES):
        workload.produce(RECORDS // CRASHES)
        patiently(workload.at_work, "work in hand")
        wait(workload.dice.random() * 0.5)
        server.kill()
        lost_bytes += cut_off(server.folder, workload.dice.randrange(1, 2_000_000))
        server.start()
    workload.finish(*workers)
    lost = workload.produced - workload.length("in")
    print(f"{CRASHES} crashes took {lost_bytes:,} bytes of the log, and {lost:,} records with them")
    assert lost > 0, "nothing was lost: the harm did not take place"
    workload.verify(survivors(workload))


SINK = """\
    pipeline: f
    redis: redis://nowhere
    defaults: {batch: {size: 200}, claim_after: 1s}
    stages:
      split: {from: in, process: [{filter: n >= 0}], write: {jsonl: out.jsonl}}
    streams: {in: {retain: all}}
    """


def test_a_file_is_cut_back_with_what_the_server_lost(
    folder: PipelineFolder, local_server: Callable[..., LocalServer]
) -> None:
    """What was written for acks that are lost comes again: the file must not have it twice, without any restart."""
    server = local_server("--appendonly", "yes", "--appendfsync", "everysec", port=free_port())
    workload = Workload(folder, server.url, pipeline=SINK)
    worker, output, lost_bytes = workload.start(), folder.path / "out.jsonl", 0
    workload.produce(RECORDS // CRASHES)
    patiently(lambda: output.stat().st_size, "output")
    try:
        for _ in range(CRASHES):
            written = output.stat().st_size
            workload.produce(RECORDS // CRASHES)
            patiently(lambda: output.stat().st_size > written, "output")  # noqa: B023
            wait(workload.dice.random() * 0.2)
            server.kill()
            lost_bytes += cut_off(server.folder, workload.dice.randrange(1, 500_000))
            server.start()
        patiently(lambda: is_done(server), "the end of the work")
        assert worker.runs
    finally:
        worker.stop()
    lost = workload.produced - workload.length("in")
    print(f"{CRASHES} crashes took {lost_bytes:,} bytes of the log, and {lost:,} records with them")
    assert lost_bytes > 0
    found = Counter(record["n"] for record in folder.output("out.jsonl"))
    expected = Counter(survivors(workload))
    assert found == expected, f"lost {list(expected - found)[:5]}, doubled {list(found - expected)[:5]}"


def is_done(server: LocalServer) -> bool:
    with server.client as plain:
        groups: Any = plain.xinfo_groups("{f}:in")
        return bool(groups and not groups[0]["pending"] and not groups[0]["lag"])


def cut_off(folder: Path, size: int) -> int:
    """Cut so many bytes off the end of the server's log; returns how many there were to cut."""
    log = max(folder.rglob("*.incr.aof"), key=lambda path: path.name)
    size = min(size, log.stat().st_size - 200)
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - size)
    return size
