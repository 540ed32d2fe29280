"""Interoperation with Papyra: what its real persistence writes, a pipeline reads, without conversion."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from papyra.address import ActorAddress
from papyra.persistence.backends.redis import RedisStreamsConfig, RedisStreamsPersistence
from papyra.persistence.models import PersistedDeadLetter, PersistedEvent

from tests.harness.pipelines import PipelineFolder


@pytest.fixture
async def papyra(url: str) -> None:
    """An actor system's history: ten events and three dead letters."""
    persistence = RedisStreamsPersistence(RedisStreamsConfig(url=url, system_id="local"))
    for n in range(10):
        await persistence.record_event(
            PersistedEvent(
                system_id="local",
                actor_address=ActorAddress(system="local", actor_id=n),
                event_type="ActorStarted" if n % 2 else "ActorCrashed",
                payload={"n": n},
                timestamp=1000.0 + n,
            )
        )
    for n in range(3):
        await persistence.record_dead_letter(
            PersistedDeadLetter(
                system_id="local", target=None, message_type="Pay", payload={"amount": n}, timestamp=2000.0 + n
            )
        )
    await persistence.aclose()


@pytest.mark.usefixtures("papyra")
async def test_events_and_dead_letters_are_sources(folder: PipelineFolder, url: str) -> None:
    folder.pipeline(
        """\
        pipeline: watch
        stages:
          crashes:
            read: {stream: "papyra:local:events", follow: false}
            process: [{filter: kind == "event" and event_type == "ActorCrashed"}]
            write: {jsonl: crashes.jsonl}
          unpaid:
            read: {stream: "papyra:local:dead_letters", follow: false}
            process: [{map: {kind: kind, amount: payload.amount, type: message_type}}]
            write: {jsonl: unpaid.jsonl}
        """
    )
    result = await folder.run(url)
    assert result.counters.dead == 0
    assert [record["payload"]["n"] for record in folder.output("crashes.jsonl")] == [0, 2, 4, 6, 8]
    assert folder.output("unpaid.jsonl") == [{"kind": "dead_letter", "amount": n, "type": "Pay"} for n in range(3)]


@pytest.mark.usefixtures("papyra")
async def test_a_group_on_papyras_own_stream_leaves_it_as_it_is(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(
        """\
        pipeline: watch
        stages:
          started: {from: events, process: [{filter: event_type == "ActorStarted"}], to: started}
        streams: {events: {key: "papyra:local:events"}}
        """
    )
    await folder.run(url, drain=True)
    entries: Any = redis_client.xrange("{watch}:started")
    assert [json.loads(fields[b"data"])["payload"]["n"] for _, fields in entries] == [1, 3, 5, 7, 9]
    assert redis_client.xlen("papyra:local:events") == 10
