"""An append-only file that was cut anywhere in a commit, twice: nothing is doubled, nothing is lost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from papyra_flow.errors import LostEntriesError, ServerUnreachableError
from papyra_flow.streams.connection import append_only
from papyra_flow.streams.connection.append_only import AppendOnlyGuard, is_affected
from papyra_flow.streams.connection.server import Server
from tests.harness.append_only import cut, log_of, places
from tests.harness.pipelines import PipelineFolder
from tests.harness.ports import free_port
from tests.harness.servers import REDIS, VALKEY, LocalServer

RECORDS = 60
AOF = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
KINDS = [
    "before the commit", "inside MULTI", "behind MULTI", "inside a command", "between two commands",
    "inside the next command", "before EXEC", "inside EXEC", "behind EXEC",
]  # fmt: skip
Make = Callable[..., LocalServer]


@pytest.fixture
def pipeline(folder: PipelineFolder) -> PipelineFolder:
    return folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, process: [{set: {x: "1"}}], to: t}}
        streams: {s: {retain: all}, t: {retain: all}}
        """
    )


async def served(pipeline: PipelineFolder, make: Make, flavour: str, **options: Any) -> LocalServer:
    """A server on which the pipeline has done all there was to do, and that was killed then."""
    server = make(*AOF, flavour=flavour, port=free_port())
    with server.client as plain:
        for n in range(RECORDS):
            plain.xadd("{p}:s", {"data": f'{{"n": {n}}}'})
    await pipeline.run(server.url, drain=True, **options)
    server.kill()
    return server


def arrived(server: LocalServer) -> Counter[bytes]:
    with server.client as plain:
        entries: Any = plain.xrange("{p}:t")
    return Counter(fields[b"data"] for _, fields in entries)


async def crashes_twice(pipeline: PipelineFolder, server: LocalServer, kind: str, **options: Any) -> Counter[bytes]:
    """Cut the last commit, do it again, cut that one too; what arrived after a last restart."""
    for _ in range(2):
        cut(server.folder, places(log_of(server.folder).read_bytes())[kind])
        server.start()
        with server.client as plain:
            done = plain.xlen("{p}:t") == RECORDS
        await pipeline.run(server.url, drain=True, **options)
        server.kill()
        if done:
            break
    server.start()
    return arrived(server)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flavour", [REDIS, VALKEY])
async def test_a_file_cut_anywhere_in_a_commit_twice_doubles_nothing(
    pipeline: PipelineFolder, local_server: Make, flavour: str, kind: str
) -> None:
    server = await served(pipeline, local_server, flavour)
    found = await crashes_twice(pipeline, server, kind)
    assert (len(found), found.total()) == (RECORDS, RECORDS)


async def test_redis_without_the_rewrite_doubles_records(pipeline: PipelineFolder, local_server: Make) -> None:
    """The reason for all this: if it is not so any more, the guard can go."""
    server = await served(pipeline, local_server, REDIS, rewrite_below=0)
    with pytest.raises(LostEntriesError, match="processed again"):
        await crashes_twice(pipeline, server, "inside a command", rewrite_below=0)
    server.kill()
    server.start()
    assert arrived(server).total() > RECORDS


async def test_the_file_is_rewritten_once_a_start(pipeline: PipelineFolder, local_server: Make) -> None:
    server = await served(pipeline, local_server, REDIS)
    server.start()
    for _ in range(3):
        await pipeline.run(server.url, drain=True)
    with server.client as plain:
        facts: Any = plain.info("persistence")
    assert facts["aof_rewrites"] == 1


async def test_a_server_that_restarts_under_a_run_is_asked_again(pipeline: PipelineFolder, local_server: Make) -> None:
    server = await served(pipeline, local_server, REDIS)
    server.start()
    found = Server(server.url, rewrite_below=2**30)
    for _ in range(2):
        await found.client.call("DBSIZE")
        server.kill()
        server.start()
        with pytest.raises(ServerUnreachableError):
            await found.client.call("DBSIZE")
    await found.client.call("DBSIZE")
    await found.close()
    with server.client as plain:
        facts: Any = plain.info("persistence")
    assert facts["aof_rewrites"] == 1


@pytest.mark.parametrize(
    ("options", "setting", "told"),
    [
        ({"rewrite_below": 1000}, (), "more than --rewrite-aof allows"),
        ({}, ("ACL", "SETUSER", "default", "-bgrewriteaof"), "no permissions"),
    ],
)
async def test_what_cannot_be_cured_is_told(
    pipeline: PipelineFolder,
    local_server: Make,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    setting: tuple[str, ...],
    told: str,
) -> None:
    server = await served(pipeline, local_server, REDIS)
    server.start()
    if setting:
        with server.client as plain:
            plain.execute_command(*setting)
    with caplog.at_level(logging.WARNING):
        await pipeline.run(server.url, drain=True, **options)
    (message,) = [record.getMessage() for record in caplog.records if "append-only" in record.getMessage()]
    assert told in message
    assert "redis-check-aof --fix" in message


async def test_a_rewrite_that_fails_is_told_and_held_against_nobody(
    pipeline: PipelineFolder, local_server: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server = await served(pipeline, local_server, REDIS)
    server.start()
    for number in range(3, 12):  # where the next file is to be put
        for form in ("rdb", "aof"):
            (log_of(server.folder).parent / f"appendonly.aof.{number}.base.{form}").mkdir(exist_ok=True)
    with caplog.at_level(logging.WARNING):
        await pipeline.run(server.url, drain=True)
    assert any("rewriting it failed" in record.getMessage() for record in caplog.records)


BASE = {"aof_enabled": "1", "aof_rewrites": "0", "aof_last_bgrewrite_status": "ok", "redis_version": "7.0.15"}


@pytest.mark.parametrize(
    ("more", "affected"),
    [
        ({}, True),
        ({"aof_enabled": "0"}, False),
        ({"aof_rewrites": "1"}, False),
        ({"aof_rewrites": "1", "aof_rewrite_in_progress": "1"}, True),
        ({"aof_rewrites": "1", "aof_last_bgrewrite_status": "err"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, False),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.0"}, True),
    ],
)
def test_which_servers_are_affected(more: dict[str, str], affected: bool) -> None:
    assert is_affected({**BASE, **more}) is affected


async def test_a_rewrite_that_never_ends_holds_nobody_up_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(append_only, "LONGEST_SECONDS", 0.05)
    facts = "\r\n".join(f"{name}:{value}" for name, value in {**BASE, "aof_rewrite_in_progress": "1"}.items())

    async def ask(*command: object) -> bytes:
        return facts.encode()

    with caplog.at_level(logging.WARNING):
        await AppendOnlyGuard()(ask)
    assert "takes longer than" in caplog.text


def test_the_harness_finds_the_places(tmp_path: Path) -> None:
    words = [["SELECT", "0"], ["MULTI"], ["XACK", "s", "g", "1-0"], ["XADD", "t", "1-0", "a", "b"], ["EXEC"]]
    data = b"".join(
        b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in command)
        for command in words
    )
    found = places(data)
    assert list(found) == KINDS
    assert data[found["before the commit"] :].startswith(b"*1\r\n$5\r\nMULTI")
    assert data[: found["behind EXEC"]] == data
