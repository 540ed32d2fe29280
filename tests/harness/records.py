"""Steps and records that tests of whole pipelines share."""

from __future__ import annotations

from typing import Any

from papyra_flow.streams.admin.dead_letters import DeadLetter, find_dead
from papyra_flow.streams.connection.server import Server

STEPS = """\
    import asyncio
    from papyra_flow import Dead, Emit, Retry

    seen = []
    calls = {}

    def note(record):
        seen.append(record["n"])
        return record

    def twice(record):
        yield {**record, "copy": 0}
        yield {**record, "copy": 1}

    async def slow(record):
        await asyncio.sleep(0)
        return record

    def choose(record):
        return Emit(record, to="odd" if record["n"] % 2 else "even", key=str(record["n"]), headers={"h": "x"})

    def flaky(record):
        calls[record["n"]] = calls.get(record["n"], 0) + 1
        if record["n"] % 10 == 0 and calls[record["n"]] < 3:
            raise ConnectionError("not yet")
        return record

    def hopeless(record):
        if record["n"] % 10 == 3:
            raise ValueError(f"no {record['n']}")
        if record["n"] % 10 == 4:
            raise Dead("said so")
        return record

    def patient(record):
        calls[record["n"]] = calls.get(record["n"], 0) + 1
        if calls[record["n"]] == 1:
            raise Retry(after=0.01)
        return record
    """


def numbered(count: int) -> list[dict[str, Any]]:
    """Records with these numbers."""
    return [{"n": n} for n in range(count)]


def ns(records: list[dict[str, Any]]) -> list[int]:
    """Their numbers."""
    return [record["n"] for record in records]


async def dead_letters(url: str, key: str) -> list[DeadLetter]:
    """All dead letters of a stream."""
    server = Server(url)
    try:
        return await find_dead(server.client, key)
    finally:
        await server.close()
