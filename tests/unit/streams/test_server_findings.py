"""What a server says of itself: also what no test can bring about on a real one, an old version or a bad disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from papyra_flow.streams.admin.health import clock_finding, server_findings

SAFE = {"redis_version": "7.0.15", "aof_enabled": "1", "role": "master", "connected_slaves": "0"}


class Told:
    """A client of a server that answers INFO with these facts, its clock off by some seconds, and refuses CONFIG."""

    def __init__(self, facts: dict[str, str], off: float = 0.0) -> None:
        self._info = "".join(f"{name}:{value}\r\n" for name, value in facts.items()).encode()
        self._off = off

    async def call_many(self, commands: Sequence[Sequence[object]]) -> list[object]:
        return [self._info if command[0] == "INFO" else None for command in commands]

    async def call(self, *_: object) -> list[bytes]:
        return [b"%d" % (time.time() + self._off), b"0"]


def client(facts: dict[str, str], off: float = 0.0) -> Any:
    return Told(facts, off)


@pytest.mark.parametrize(
    ("facts", "check", "level", "message"),
    [
        ({"redis_version": "7.0.4"}, "version", "warning", "CVE-2022-35951"),
        ({"aof_last_write_status": "err"}, "disk", "error", "could not write its append-only file"),
        ({"rdb_last_bgsave_status": "err"}, "disk", "error", "could not write its snapshot"),
        ({"role": "slave"}, "replicas", "error", "accepts no writes"),
    ],
)
async def test_what_is_wrong_with_a_server_is_found(
    facts: dict[str, str], check: str, level: str, message: str
) -> None:
    assert not [one for one in await server_findings(client(SAFE)) if one.bad]
    (found,) = [one for one in await server_findings(client(SAFE | facts)) if one.bad]
    assert (found.check, found.level) == (check, level)
    assert message in found.message
    assert found.hint


@pytest.mark.parametrize(("off", "told"), [(-3600.0, "s behind this machine's"), (3600.0, "s ahead of this machine's")])
async def test_a_clock_that_differs_is_found(off: float, told: str) -> None:
    found = await clock_finding(client(SAFE, off))
    assert found.level == "warning"
    assert told in found.message
    assert not (await clock_finding(client(SAFE))).bad
