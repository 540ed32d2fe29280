"""What a server's settings mean for a pipeline's records: what may be lost there, and what to do about it.

All of it is asked in one round trip. What CONFIG GET may not say (managed servers, a user without the right) is taken
from INFO, and left out where that does not say it either: a missing right is not a finding. What does not live
here: whether a pipeline's keys and rights are in order (`papyra_flow.operate.doctor`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from papyra_flow.streams.connection.client import Argument, Client, Reply
from papyra_flow.streams.connection.server import parse_capabilities

Level = Literal["ok", "info", "warning", "error"]
CLOCK_SECONDS = 5.0
_SECTIONS = ("server", "memory", "persistence", "replication")
_SETTINGS = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save", "min-replicas-to-write")
_OLD = (("redis", (7, 0), (7, 0, 5), "XAUTOCLAIM can overflow the heap (CVE-2022-35951)"),)
"""Versions with known faults in what a pipeline uses: flavour, from, fixed in, what (Redis' own release notes)."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What was looked at, what was found, and what to do about it; `warning` and `error` are for someone to act on."""

    check: str
    level: Level
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    @property
    def bad(self) -> bool:
        """Whether something would go wrong."""
        return self.level in {"warning", "error"}


Facts = Mapping[str, str]


async def server_findings(client: Client) -> list[Advice]:
    """What the server's version and settings mean; raises ServerErrors only where it cannot be reached."""
    commands: list[tuple[Argument, ...]] = [("INFO", section) for section in _SECTIONS]
    commands += [("CONFIG", "GET", name) for name in _SETTINGS]
    replies = await client.call_many(commands)
    facts: dict[str, str] = {}
    for reply in replies[: len(_SECTIONS)]:
        if isinstance(reply, bytes):
            lines = [line.partition(":") for line in reply.decode(errors="replace").splitlines()]
            facts |= {name: value for name, colon, value in lines if colon and not name.startswith("#")}
    for name, reply in zip(_SETTINGS, replies[len(_SECTIONS) :], strict=True):
        if isinstance(reply, list) and len(reply) == 2 and isinstance(reply[1], bytes):
            facts[f"config {name}"] = reply[1].decode(errors="replace")
    checks: list[Callable[[Facts], Advice | None]] = [
        _version, _eviction, _persistence, _durability, _disk, _cut_file, _replicas,
    ]  # fmt: skip
    return [found for check in checks if (found := check(facts)) is not None]


async def clock_finding(client: Client) -> Advice:
    """Whether the server's clock and this machine's agree: ids and idle times go by the server's."""
    before = time.time()
    reply: Reply = await client.call("TIME")
    now = (before + time.time()) / 2
    off = int(reply[0]) + int(reply[1]) / 1e6 - now if isinstance(reply, list) else 0.0
    if abs(off) < CLOCK_SECONDS:
        return Advice("clock", "ok", "the server's clock and this machine's agree")
    where = "ahead of" if off > 0 else "behind"
    return Advice(
        "clock", "warning", f"the server's clock is {abs(off):,.0f} s {where} this machine's",
        "sync both with NTP: ids, `retain` and idle times go by the server's clock",
    )  # fmt: skip


def _version(facts: Facts) -> Advice | None:
    if "redis_version" not in facts and "valkey_version" not in facts:
        return None
    found = parse_capabilities("\n".join(f"{name}:{value}" for name, value in facts.items()))
    for flavour, since, fixed, what in _OLD:
        if flavour == found.flavour and since <= found.version < fixed:
            told = ".".join(map(str, fixed))
            return Advice("version", "warning", f"the server is {found}: {what}", f"upgrade it to {told} or newer")
    return Advice("version", "ok", f"the server is {found}")


def _eviction(facts: Facts) -> Advice | None:
    policy = facts.get("config maxmemory-policy", facts.get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        limit = "" if facts.get("config maxmemory", facts.get("maxmemory", "0")) != "0" else " (once one is set)"
        message = (
            f"maxmemory-policy is {policy}: at its memory limit{limit} the server deletes streams with their records"
        )
        return Advice("eviction", "warning", message, "set it to noeviction, which makes writers wait instead")
    return Advice("eviction", "ok", f"maxmemory-policy is {policy}: no stream is evicted") if policy else None


def _persistence(facts: Facts) -> Advice | None:
    if _has_file(facts):
        return Advice("persistence", "ok", "the server keeps an append-only file")
    save = facts.get("config save")
    if save:
        return Advice(
            "persistence", "info", f"there are only snapshots (save {save}): a crash loses all after the last one",
            "set appendonly to yes to keep every commit",
        )  # fmt: skip
    if save is None:
        return None if "aof_enabled" not in facts else Advice(
            "persistence", "info", "the server keeps no append-only file, and does not report its snapshots"
        )  # fmt: skip
    return Advice(
        "persistence", "warning", "the server keeps nothing on disk: a restart loses every record in the pipeline",
        "set appendonly to yes",
    )  # fmt: skip


def _durability(facts: Facts) -> Advice | None:
    policy = facts.get("config appendfsync")
    if policy is None or not _has_file(facts) or policy == "always":
        return None
    lost = {"everysec": "the last second", "no": "what the system had not written yet, half a minute or more"}
    return Advice(
        "fsync", "warning" if policy == "no" else "info",
        f"appendfsync is {policy}: a power failure loses {lost.get(policy, 'what was not written yet')} of commits",
        "set it to always if no record may be lost; records stay exactly once inside Redis either way",
    )  # fmt: skip


def _disk(facts: Facts) -> Advice | None:
    failed = [
        what
        for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot"))
        if facts.get(name) == "err"
    ]
    if not failed:
        return None
    told = " and ".join(failed)
    return Advice("disk", "error", f"the server could not write its {told}", "check its log; it may refuse commits")


def _cut_file(facts: Facts) -> Advice | None:
    """Redis leaves the MULTI of a cut commit in the file, so that a second restart may do half of it again."""
    if not _has_file(facts) or "valkey_version" in facts or "redis_version" not in facts:
        return None
    message = "a crash can cut the append-only file so that the second restart of Redis repeats half a commit"
    hint = "run `redis-check-aof --fix` before restarting it, or BGREWRITEAOF afterwards"
    return Advice("cut-file", "info", message, hint)


def _replicas(facts: Facts) -> Advice | None:
    if facts.get("role") == "slave":
        return Advice("replicas", "error", "the server is a replica: it accepts no writes", "use the master's address")
    count = facts.get("connected_slaves", "0")
    least = facts.get("config min-replicas-to-write", "1" if "min_slaves_good_slaves" in facts else "0")
    if count == "0" or least != "0":
        return None
    return Advice(
        "replicas", "warning", f"min-replicas-to-write is 0 with {count} replicas: a failover may lose commits",
        "set it to 1, with min-replicas-max-lag, so that an isolated master accepts none",
    )  # fmt: skip


def _has_file(facts: Facts) -> bool:
    return facts.get("config appendonly", "yes" if facts.get("aof_enabled") == "1" else "no") == "yes"
