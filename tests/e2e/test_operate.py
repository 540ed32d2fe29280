"""The operator's verbs: each does what its Redis command does, and says first what would be lost by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.harness.pipelines import Finished, PipelineFolder

Verb = Callable[..., Finished]


@pytest.fixture
def operated(chain: PipelineFolder, redis_client: redis.Redis, url: str) -> Verb:
    """A verb on the chain, whose stage b has 10 of 100 records pending with a consumer of another host, 20 acked."""
    chain.cli("run", "pipeline.yml", "--stage", "a", "--redis", url)
    entries: Any = redis_client.xreadgroup("b", "other.1.b.0", {"{p}:s": ">"}, count=30)
    redis_client.xack("{p}:s", "b", *[id_ for id_, _ in entries[0][1][:20]])

    def verb(name: str, *arguments: str, **options: Any) -> Finished:
        return chain.cli(name, "pipeline.yml", *arguments, "--redis", url, **options)

    return verb


def pending_ids(operated: Verb) -> list[str]:
    return [entry["id"] for entry in operated("pending", "b", "--json").json]


def test_groups_shows_all_groups_or_those_of_a_stream(operated: Verb, redis_client: redis.Redis) -> None:
    redis_client.xgroup_create("elsewhere", "g", "0", mkstream=True)
    rows = operated("groups", "--json").json
    b = next(row for row in rows if row["group"] == "b" and row["stream"] == "{p}:s")
    assert (b["consumers"], b["pending"], b["lag"]) == (1, 10, 70)
    assert [row["group"] for row in operated("groups", "--stream", "elsewhere:", "--json").json] == []
    assert "last delivered" in operated("groups").out


def test_consumers_shows_who_has_what(operated: Verb) -> None:
    (row,) = operated("consumers", "b", "--json").json
    assert (row["consumer"], row["pending"], row["group"]) == ("other.1.b.0", 10, "b")
    assert "other.1.b.0" in operated("consumers").out
    (same,) = operated("consumers", "--stream", "s", "--group", "b", "--json").json
    assert same["consumer"] == row["consumer"]


def test_pending_shows_ids_owners_idle_times_and_deliveries(operated: Verb) -> None:
    rows = operated("pending", "b", "--json").json
    assert len(rows) == 10
    assert (rows[0]["consumer"], rows[0]["deliveries"]) == ("other.1.b.0", 1)
    assert len(operated("pending", "b", "-n", "3", "--json").json) == 3
    assert operated("pending", "b", "--idle", "1h", "--json").json == []
    assert operated("pending", "b", "--consumer", "nobody", "--json").json == []
    assert len(operated("pending", "--stream", "s", "--group", "b", "--json").json) == 10


def test_claim_frees_entries_for_the_next_consumer_and_keeps_their_counts(
    operated: Verb, redis_client: redis.Redis
) -> None:
    asked = operated("claim", "b", stdin="n\n", code=1)
    assert "Take 10 entries from other.1.b.0 (work already in progress there is discarded)?" in asked.out
    first = pending_ids(operated)[0]
    assert operated("claim", "b", first, "--to", "me", "--yes", "--json").json == {"claimed": 1}
    owners: Any = redis_client.xpending_range("{p}:s", "b", "-", "+", 10)
    assert (owners[0]["consumer"], owners[0]["times_delivered"]) == (b"me", 1)
    again = operated("claim", "--stream", "s", "--group", "b", first, "--to", "me", "--yes", "--json").json
    assert again == {"claimed": 1}
    assert operated("claim", "b", "--yes", "--json").json == {"claimed": 10}
    run = operated("run", "--json", code=1).json  # takes them at once, and not after the claim time
    assert run["stages"]["b"]["lost"] == 20, "the other one acked them"
    assert (run["stages"]["b"]["claimed"], run["stages"]["b"]["read"]) == (10, 70)


def test_ack_is_refused_because_entries_would_be_lost(operated: Verb, redis_client: redis.Redis) -> None:
    first, second, *_ = pending_ids(operated)
    refused = operated("ack", "b", first, second, "--yes", code=2)
    assert "2 entries would be lost for 'b': acknowledged and never processed; use --force" in refused.err
    assert operated("ack", "b", first, second, "--force", "--json").json == {"acked": 2}
    assert operated("ack", "b", first, "--json").json == {"acked": 0}  # it is not pending any more
    assert redis_client.xpending("{p}:s", "b")["pending"] == 8
    assert operated("ack", "--stream", "s", "--group", "b", pending_ids(operated)[0], "--force", "--json").json == {
        "acked": 1
    }


def test_delete_is_refused_for_what_some_group_has_not_acked(operated: Verb, redis_client: redis.Redis) -> None:
    ids: Any = [id_.decode() for id_, _ in redis_client.xrange("{p}:s", count=100)]  # type: ignore[union-attr]
    waiting, undelivered = pending_ids(operated)[0], ids[-1]
    refused = operated("delete", "s", waiting, undelivered, "--yes", code=2)
    assert "entries that are not acked yet would be lost: 2 by 'b'" in refused.err
    assert operated("delete", "s", waiting, "--force", "--json").json == {"deleted": 1}
    redis_client.xgroup_destroy("{p}:s", "b")
    assert operated("delete", "s", undelivered, "--yes", "--json").json == {"deleted": 1}


def test_trim_takes_what_is_acked_and_more_only_by_force(operated: Verb, redis_client: redis.Redis) -> None:
    assert operated("trim", "--yes", "--json").json["trimmed"]["{p}:s"] == 20
    redis_client.xack("{p}:s", "b", *pending_ids(operated)[:4])
    assert operated("trim", "s", "--yes", "--json").json == {"trimmed": {"{p}:s": 4}}
    refused = operated("trim", "s", "--keep", "10", "--yes", code=2)
    assert "entries that are not acked yet would be lost: 66 by 'b'" in refused.err
    assert redis_client.xlen("{p}:s") == 76
    assert operated("trim", "s", "--keep", "10", "--force", "--json").json == {"trimmed": {"{p}:s": 66}}
    assert operated("trim", "s", "--before", "2999-01-01", "--force", "--json").json == {"trimmed": {"{p}:s": 10}}


def test_reset_plays_a_stage_again_and_skips_only_by_force(chain: PipelineFolder, url: str) -> None:
    chain.cli("run", "pipeline.yml", "--redis", url, "--set", "streams.s.retain=all")
    asked = chain.cli("reset", "pipeline.yml", "b", "--to", "earliest", "--redis", url, stdin="y\n")
    assert "Move 'b' to earliest, which replays 100 entries and skips 0?" in asked.out
    again = chain.cli("run", "pipeline.yml", "--redis", url, "--set", "streams.s.retain=all", "--json").json
    assert again["stages"]["b"]["read"] == 100
    assert len(chain.output("out.jsonl")) == 100
    chain.cli("reset", "pipeline.yml", "b", "--to", "2000-01-01", "--yes", "--redis", url)
    refused = chain.cli("reset", "pipeline.yml", "b", "--to", "latest", "--yes", "--redis", url, code=2)
    assert "100 entries would be skipped and never processed" in refused.err
    (moved,) = chain.cli("reset", "pipeline.yml", "b", "--to", "latest", "--force", "--json", "--redis", url).json
    assert (moved["again"], moved["skipped"]) == (0, 100)
    assert chain.cli("status", "pipeline.yml", "--redis", url, "--json").json["stages"]["b"]["lag"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("claim",), "name a stage ("),
        (("pending", "nowhere"), "unknown stage 'nowhere'"),
        (("pending", "a"), "'a' is only a source: it has no group"),
        (("pending", "b", "--idle", "soon"), "--idle: expected a duration"),
        (("pending", "--group", "b"), "--group needs --stream"),
        (("consumers", "--stream", "s"), "--stream needs --group"),
        (("pending", "b", "--stream", "t"), "'b' does not read 't'"),
        (("ack", "b"), "no entry ids given"),
        (("ack", "b", "first"), "'first' is not an entry id"),
        (("delete", "nowhere", "1-0"), "unknown stream 'nowhere'"),
        (("delete", "no:such:key", "1-0"), "no:such:key is not there"),
        (("trim", "--keep", "3"), "need a stream"),
        (("reset", "b"), "--to is missing"),
        (("reset", "b", "--to", "whenever"), "--to takes earliest, latest, an entry id, or a time"),
        (("ack", "b", "1-0", "--group", "b", "--stream", "s", "--json"), None),
    ],
)
def test_wrong_words_are_told_in_one_sentence(operated: Verb, arguments: tuple[str, ...], message: str | None) -> None:
    finished = operated(*arguments, code=None)
    if message is not None:
        assert message in finished.err
        assert finished.code in {2, 4}
    assert "Traceback" not in finished.err


def test_nothing_is_done_to_a_script_that_did_not_say_yes(operated: Verb, redis_client: redis.Redis) -> None:
    refused = operated("claim", "b", "--json", code=2)
    assert "confirm with --yes" in refused.err
    assert refused.out == ""
    owners: Any = redis_client.xpending_range("{p}:s", "b", "-", "+", 10)
    assert {owner["consumer"] for owner in owners} == {b"other.1.b.0"}


def test_tap_starts_at_a_time_and_follows(operated: Verb) -> None:
    shown = operated("tap", "s", "--from", "earliest", "-n", "1").out
    assert json.loads(shown)["data"] == {"n": 0}
    assert "--from latest needs --follow" in operated("tap", "s", "--from", "latest", code=2).err
