"""What a server's settings mean for a pipeline: told before a run and by `doctor`, whatever the user may not ask."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from papyra_flow.operate.doctor import examine
from papyra_flow.streams.admin.health import Advice, server_findings
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.acl import users
from tests.harness.pipelines import PipelineFolder
from tests.harness.ports import free_port
from tests.harness.servers import REDIS, VALKEY, LocalServer, eventually

SAFE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
PIPELINE = """\
    pipeline: h
    stages: {a: {from: s, to: t}, w: {from: t, write: {jsonl: out.jsonl}}}
    streams: {s: {}}
    """


async def found(server: LocalServer, url: str = "") -> dict[str, Advice]:
    asked = Server(url or server.url)
    try:
        return {one.check: one for one in await server_findings(asked.client)}
    finally:
        await asked.close()


@pytest.mark.parametrize("flavour", [VALKEY, REDIS])
async def test_a_safe_server_is_healthy(local_server: Callable[..., LocalServer], flavour: str) -> None:
    told = await found(local_server(*SAFE, flavour=flavour))
    assert [one for one in told.values() if one.bad] == []
    assert {"version", "eviction", "persistence"} <= told.keys()


@pytest.mark.parametrize("flavour", [VALKEY, REDIS])
@pytest.mark.parametrize(
    ("settings", "check", "level", "says"),
    [
        (("--maxmemory-policy", "allkeys-lru"), "eviction", "warning", "once one is set"),
        (("--maxmemory-policy", "allkeys-random", "--maxmemory", "100mb"), "eviction", "warning", "allkeys-random"),
        (("--maxmemory-policy", "volatile-lru"), "eviction", "ok", "volatile-lru"),
        (("--appendonly", "no"), "persistence", "warning", "nothing on disk"),
        (("--appendonly", "no", "--save", "60", "1"), "persistence", "info", "snapshots (save 60 1)"),
        (("--appendfsync", "no"), "fsync", "warning", "appendfsync is no"),
        (("--appendfsync", "everysec"), "fsync", "info", "the last second"),
    ],
)
async def test_what_may_lose_records_is_told(
    local_server: Callable[..., LocalServer],
    flavour: str,
    settings: tuple[str, ...],
    check: str,
    level: str,
    says: str,
) -> None:
    told = (await found(local_server(*SAFE, *settings, flavour=flavour)))[check]
    assert (told.level, says in told.message) == (level, True), told


@pytest.mark.parametrize("flavour", [VALKEY, REDIS])
async def test_without_the_right_to_ask_for_settings_it_is_told_as_far_as_info_says(
    local_server: Callable[..., LocalServer], flavour: str
) -> None:
    server = local_server("--maxmemory-policy", "allkeys-lfu", flavour=flavour)
    with server.client as plain:
        plain.execute_command("ACL", "SETUSER", "low", "on", ">pw", "~*", "+@all", "-config")
    url = server.url.replace("unix://", "unix://low:pw@")
    told = await found(server, url)
    assert (told["eviction"].level, told["persistence"].level) == ("warning", "info")
    with server.client as plain:
        plain.execute_command("ACL", "SETUSER", "low", "-info")
    assert await found(server, url) == {}


async def test_a_master_that_commits_without_its_replicas_is_told(local_server: Callable[..., LocalServer]) -> None:
    master = local_server(*SAFE, port=free_port())
    replica = local_server("--replicaof", "127.0.0.1", str(master.port), port=free_port())
    eventually(replica.in_step, "the replica")
    assert (await found(master))["replicas"].level == "warning"
    assert (await found(replica))["replicas"].level == "error"
    with master.client as plain:
        plain.config_set("min-replicas-to-write", 1)
    assert "replicas" not in await found(master)


async def test_a_run_says_it_once_and_goes_on(
    local_server: Callable[..., LocalServer], folder: PipelineFolder, caplog: pytest.LogCaptureFixture
) -> None:
    server = local_server("--maxmemory-policy", "allkeys-lru")
    caplog.set_level(logging.WARNING, "papyra_flow")
    result = await folder.pipeline(PIPELINE).run(server.url, drain=True)
    assert result.outcome == "drained"
    told = [record.message for record in caplog.records if record.name == "papyra_flow.run"]
    assert [sum(word in line for line in told) for word in ("allkeys-lru", "nothing on disk")] == [1, 1]


async def test_a_run_on_a_safe_server_says_nothing(
    local_server: Callable[..., LocalServer], folder: PipelineFolder, caplog: pytest.LogCaptureFixture
) -> None:
    server = local_server(*SAFE)
    caplog.set_level(logging.WARNING, "papyra_flow")
    await folder.pipeline(PIPELINE).run(server.url, drain=True)
    assert caplog.records == []


# -- rights -----------------------------------------------------------------------------------------------------------


async def rights(folder: PipelineFolder, url: str) -> Advice:
    topology = folder.pipeline(PIPELINE).topology()
    return next(one for one in await examine(topology, url) if one.check == "permissions")


async def test_every_right_that_a_run_lacks_is_found_and_nothing_is_changed_by_that(
    local_server: Callable[..., LocalServer], folder: PipelineFolder
) -> None:
    server = local_server(*SAFE, flavour=REDIS)
    (user,) = users(folder.pipeline(PIPELINE).topology())
    url = server.url.replace("unix://", "unix://h:PASSWORD@")
    with server.client as plain:
        plain.execute_command(*user.command.split())
        await folder.run(url, drain=True)
        plain.xadd("{h}:s", {"data": "{}"})
        before = plain.execute_command("DEBUG", "DIGEST") if _may_debug(plain) else b""
        assert (await rights(folder, url)).level == "ok"
        for command in (
            "xadd",
            "xack",
            "xreadgroup",
            "xautoclaim",
            "xclaim",
            "xpending",
            "xtrim",
            "evalsha",
            "hincrby",
        ):
            plain.execute_command("ACL", "SETUSER", "h", f"-{command}")
            told = await rights(folder, url)
            assert (told.level, command.upper() in told.message) == ("error", True), (command, told)
            plain.execute_command("ACL", "SETUSER", "h", f"+{command}")
        plain.execute_command("ACL", "SETUSER", "h", "resetkeys", "~{h}:@*")
        assert "{h}:s" in (await rights(folder, url)).message
        after = plain.execute_command("DEBUG", "DIGEST") if _may_debug(plain) else b""
        assert (before, plain.xlen("{h}:s")) == (after, 1)


def _may_debug(plain: object) -> bool:
    import redis

    try:
        plain.execute_command("DEBUG", "DIGEST")  # type: ignore[attr-defined]
    except redis.ResponseError:
        return False
    return True
