"""Whole pipelines in this process, against real servers: what arrives where, and that nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from papyra_flow.errors import ConnectionLostError, ConnectorError, PipelineFailedError, UsageError, WrongKeyTypeError
from papyra_flow.records.entries import Entry
from papyra_flow.streams.admin.dead_letters import DeadLetter, find_dead
from papyra_flow.streams.commit.commit import Commit, Committed
from papyra_flow.streams.commit.committer import Committer
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.claims import Claimer
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, Running, until
from tests.harness.servers import plain_client

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
    return [{"n": n} for n in range(count)]


def ns(records: list[dict[str, Any]]) -> list[int]:
    return [record["n"] for record in records]


async def test_a_batch_is_processed_while_the_one_before_is_committed_and_sent_after_it(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit waits until a record of the next batch was seen: without the overlap that would be for ever."""
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{batch: {{size: 10}}}}
        stages: {{a: {{from: s, process: [{{run: "{module}:note"}}], to: t}}}}
        streams: {{s: {{}}}}
        """
    )
    for n in range(100):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n})})
    commit, under_way, most = Committer.commit, 0, 0

    async def waiting(committer: Committer, batch: Commit, **options: Any) -> Committed:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        done = len(sys.modules[module].seen)
        await until(lambda: len(sys.modules[module].seen) > done or done == 100)
        result = await commit(committer, batch, **options)
        under_way -= 1
        return result

    monkeypatch.setattr(Committer, "commit", waiting)
    await folder.run(url, drain=True)
    entries: Any = redis_client.xrange("{p}:t")
    assert [json.loads(fields[b"data"])["n"] for _, fields in entries] == list(range(100))
    assert most == 1


async def test_a_bounded_run_ends_when_all_has_arrived_and_keeps_the_order(
    folder: PipelineFolder, any_url: str
) -> None:
    folder.records("in.jsonl", numbered(3000))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          read: {read: {jsonl: in.jsonl}, to: a}
          odd: {from: a, process: [{filter: n % 3 > 0}], to: b}
          out: {from: b, write: {jsonl: out.jsonl}}
        """
    )
    result = await folder.run(any_url)
    assert result.outcome == "drained"
    assert ns(folder.output("out.jsonl")) == [n for n in range(3000) if n % 3]
    stages = result.counters.stages
    assert (stages["read"].emitted["a"], stages["odd"].read, stages["odd"].dropped) == (3000, 3000, 1000)
    assert (stages["odd"].emitted["b"], stages["out"].written) == (2000, 2000)
    assert {name: facts["backlog"] for name, facts in result.streams.items()} == {"a": 0, "b": 0}


async def test_a_second_run_has_nothing_to_do_and_changes_nothing(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(100))
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, write: {jsonl: out.jsonl}}\n")
    await folder.run(url)
    again = await folder.run(url)
    assert again.counters.stages["a"].read == 0
    assert len(folder.output("out.jsonl")) == 100


async def test_every_kind_of_step_works_in_a_chain(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", [{"n": n, "xs": [{"k": "a"}, {"k": "b"}], "junk": 1} for n in range(20)])
    folder.write("t.csv", "k,v\na,1\nb,2\n")
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          all:
            read: {{jsonl: in.jsonl}}
            process:
              - filter: n < 10
              - explode: {{field: xs, as: x}}
              - set: {{k: x.k}}
              - drop: [junk, x]
              - lookup: {{csv: t.csv, key: k, on: k, fields: [v], types: {{v: int}}}}
              - rename: {{v: value}}
              - run: {module}:twice
              - run: {module}:slow
              - map: {{n: n, k: k, value: value * 10, copy: copy}}
            write: {{jsonl: out.jsonl}}
        """
    )
    await folder.run(url)
    expected = [
        {"n": n, "k": k, "value": v, "copy": c} for n in range(10) for k, v in (("a", 10), ("b", 20)) for c in (0, 1)
    ]
    assert folder.output("out.jsonl") == expected


async def test_a_lookup_in_a_redis_hash_asks_for_what_holds_now(folder: PipelineFolder, any_url: str) -> None:
    with plain_client(any_url) as server:
        server.hset("prices", mapping={"a": '{"price": 3}', "b": "plain"})
    folder.records("in.jsonl", [{"n": 0, "k": "a"}, {"n": 1, "k": "b"}, {"n": 2, "k": "none"}])
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a:
            read: {jsonl: in.jsonl}
            process: [{lookup: {hash: prices, on: k, as: found, missing: "null"}}]
            write: {jsonl: out.jsonl}
        """
    )
    await folder.run(any_url)
    assert [record["found"] for record in folder.output("out.jsonl")] == [{"price": 3}, "plain", None]


async def test_emit_chooses_the_stream_and_headers_travel_on(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(10))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, process: [{{run: "{module}:choose"}}], to: [odd, even], match: all}}
          b: {{from: odd, process: [{{filter: n > 4}}], to: end}}
        """
    )
    await folder.run(url)
    assert redis_client.xlen("{p}:even") == 5
    entries: Any = redis_client.xrange("{p}:end")
    assert [(json.loads(fields[b"data"])["n"], fields[b"key"], fields[b"h"]) for _, fields in entries] == [
        (n, str(n).encode(), b"x") for n in (5, 7, 9)
    ]


async def test_records_with_headers_that_are_all_dropped_are_dropped(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, process: [{filter: n > 5}], to: [{stream: t, when: n > 7}, u]}}
        streams: {s: {}}
        """
    )
    for n in range(3):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n}), "h": "x"})
    result = await folder.run(url, drain=True)
    assert (result.counters.stages["a"].dropped, result.counters.stages["a"].dead) == (3, 0)
    assert redis_client.xlen("{p}:@dead:a") == 0


async def test_match_all_copies_to_every_route_that_fits(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(10))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a:
            read: {jsonl: in.jsonl}
            match: all
            to: [{stream: s, when: n > 2}, {stream: t, when: n > 6}, u]
        """
    )
    result = await folder.run(url)
    assert dict(result.counters.stages["a"].emitted) == {"s": 7, "t": 3, "u": 10}
    assert redis_client.xlen("{p}:u") == 10


# -- failures ---------------------------------------------------------------------------------------------------------


async def test_retries_hold_nobody_up_and_are_counted(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(100))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{retry: {{backoff: 1ms..2ms}}}}
        stages:
          a: {{read: {{jsonl: in.jsonl}}, process: [{{run: "{module}:flaky"}}], write: {{jsonl: out.jsonl}}}}
        """
    )
    result = await folder.run(url)
    written = ns(folder.output("out.jsonl"))
    assert sorted(written) == list(range(100))
    assert written[:90] == [n for n in range(100) if n % 10]
    stage = result.counters.stages["a"]
    assert (stage.retried, stage.dead) == (20, 0)


async def test_attempts_that_are_used_up_end_in_the_dead_letters_with_all_that_is_known(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(20))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{retry: {{attempts: 3, backoff: 1ms..2ms}}}}
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b: {{from: s, process: [{{run: "{module}:hopeless"}}], to: t}}
        """
    )
    result = await folder.run(url)
    assert (result.counters.dead, result.counters.stages["b"].retried) == (4, 4)
    letters: Any = redis_client.xrange("{p}:@dead:b")
    told = {
        json.loads(fields[b"data"])["n"]: (fields[b"@error"].decode(), int(fields[b"@deliveries"]))
        for _, fields in letters
    }
    assert told == {3: ("ValueError: no 3", 3), 13: ("ValueError: no 13", 3), 4: ("said so", 1), 14: ("said so", 1)}
    fields = letters[-1][1]
    assert fields[b"@stream"] == b"{p}:s"
    assert b"in hopeless" in fields[b"@traceback"]
    assert redis_client.xpending("{p}:s", "b")["pending"] == 0


@pytest.mark.parametrize(("on_error", "dropped"), [("drop", 2), ("halt", 0)])
async def test_on_error_drops_or_halts(folder: PipelineFolder, url: str, on_error: str, dropped: int) -> None:
    folder.records("in.jsonl", numbered(20))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{on_error: {on_error}, retry: {{attempts: 1}}}}
        stages:
          a:
            read: {{jsonl: in.jsonl}}
            process: [{{filter: n % 10 != 4}}, {{run: "{module}:hopeless"}}]
            write: {{jsonl: out.jsonl}}
        """
    )
    if on_error == "halt":
        with pytest.raises(PipelineFailedError, match=r"the stage 'a' halts: the record .* failed: ValueError: no 3"):
            await folder.run(url)
    else:
        result = await folder.run(url)
        assert result.counters.stages["a"].dropped == dropped + 2
    assert ns(folder.output("out.jsonl")) == [n for n in range(20) if n % 10 not in {3, 4}]


async def test_a_step_may_ask_for_another_try(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(5))
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, process: [{{run: "{module}:patient"}}], write: {{jsonl: out.jsonl}}}}
        """
    )
    result = await folder.run(url)
    assert (len(folder.output("out.jsonl")), result.counters.stages["a"].retried) == (5, 5)


async def test_records_that_cannot_be_read_are_dead_with_their_bytes(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.write("in.csv", "n\n1\nx\n3\n")
    for fields in ({"data": b"\xff\xfe"}, {"data": "[1]"}, {"other": "1"}, {"data": '{"n": 7}'}):
        redis_client.xadd("{p}:s", fields)  # type: ignore[arg-type]
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {csv: in.csv, types: {n: int}}, to: s}
          b: {from: s, process: [{filter: n > 0}], to: t}
        """
    )
    result = await folder.run(url)
    assert (result.counters.stages["a"].dead, result.counters.stages["b"].dead) == (1, 3)
    assert redis_client.xlen("{p}:t") == 3
    first: Any = redis_client.xrange("{p}:@dead:b")[0]  # type: ignore[index]
    assert first[1][b"data"] == b"\xff\xfe"
    source: Any = redis_client.xrange("{p}:@dead:a")[0]  # type: ignore[index]
    assert (source[1][b"@stream"], source[1][b"@id"]) == (b"in.csv", b"3")


# -- groups and streams -----------------------------------------------------------------------------------------------


async def test_a_stage_may_read_several_streams_and_feed_several_stages(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(100))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: [{stream: low, when: n < 50}, high]}
          b: {from: low, to: out}
          c: {from: [low, high], write: {jsonl: c.jsonl}}
          d: {from: [out, high], consumers: 3, to: all}
          e: {from: all, write: {jsonl: e.jsonl}}
        """
    )
    await folder.run(url)
    assert sorted(ns(folder.output("c.jsonl"))) == list(range(100))
    assert sorted(ns(folder.output("e.jsonl"))) == list(range(100))


async def test_acked_entries_are_trimmed_and_those_of_other_groups_and_keys_stay(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    redis_client.xgroup_create("{p}:watched", "foreign", "0", mkstream=True)
    for n in range(10):
        redis_client.xadd("theirs", {"data": json.dumps({"n": n})})
    folder.records("in.jsonl", numbered(1000))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, to: watched}
          c: {from: watched, to: kept}
          d: {from: kept, to: end}
          e: {from: theirs, to: end}
        streams: {kept: {retain: all}, theirs: {key: theirs}}
        """
    )
    await folder.run(url)
    lengths = {name: redis_client.xlen(name) for name in ("{p}:s", "{p}:watched", "{p}:kept", "{p}:end", "theirs")}
    assert lengths == {"{p}:s": 0, "{p}:watched": 1000, "{p}:kept": 1000, "{p}:end": 1010, "theirs": 10}


async def test_a_group_starts_where_its_stage_says(folder: PipelineFolder, redis_client: redis.Redis, url: str) -> None:
    for n in range(10):
        redis_client.xadd("theirs", {"data": json.dumps({"n": n})}, id=f"{n + 1}-0")
    folder.pipeline(
        """\
        pipeline: p
        stages:
          all: {from: theirs, write: {jsonl: all.jsonl}}
          late: {from: theirs, start: latest, write: {jsonl: late.jsonl}}
          some: {from: theirs, start: 7-0, write: {jsonl: some.jsonl}}
        streams: {theirs: {key: theirs}}
        """
    )
    await folder.run(url, drain=True)
    assert {name: len(folder.output(f"{name}.jsonl")) for name in ("all", "late", "some")} == {
        "all": 10, "late": 0, "some": 3,
    }  # fmt: skip


async def test_records_as_fields_are_read_and_written(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    redis_client.xadd("theirs", {"name": "ada", "age": "36"})
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {from: theirs, process: [{set: {age: int(age) + 1, tags: '["x"]'}}], to: out}
        streams: {theirs: {key: theirs, format: fields}, out: {format: fields}}
        """
    )
    await folder.run(url, drain=True)
    (entry,) = redis_client.xrange("{p}:out")  # type: ignore[misc]
    assert entry[1] == {b"name": b"ada", b"age": b"37", b"tags": b'["x"]'}


async def test_a_key_of_another_type_stops_the_run_with_one_sentence(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(5))
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s}\n  b: {from: s, to: t}\n")
    redis_client.set("{p}:s", "mine")
    with pytest.raises(WrongKeyTypeError, match=r"\{p\}:s holds a string"):
        await folder.run(url)
    redis_client.delete("{p}:s")
    redis_client.set("{p}:t", "mine")  # only written to: no group is created on it
    with pytest.raises(WrongKeyTypeError, match=r"\{p\}:t holds a string"):
        await folder.run(url)
    redis_client.delete("{p}:t")
    await folder.run(url)
    assert redis_client.xlen("{p}:t") == 5


# -- backpressure -----------------------------------------------------------------------------------------------------


async def test_a_slow_stage_stops_the_first_within_max_backlog(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(5000))
    folder.pipeline(
        """\
        pipeline: p
        defaults: {batch: {size: 50}}
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, to: t}
          c: {from: t, write: {jsonl: out.jsonl}}
        streams: {s: {max_backlog: 300}, t: {max_backlog: 200}}
        """
    )
    async with Running(folder.topology(), url, stages=("a", "b")) as running:
        await until(lambda: redis_client.xlen("{p}:t") >= 200)
        await until(lambda: running.counters.stages["a"].read >= 300 + 200)
        for _ in range(20):
            await asyncio.sleep(0)
        assert redis_client.xlen("{p}:t") <= 200 + 50
        assert running.counters.stages["a"].read <= 300 + 200 + 3 * 50
    await folder.run(url)
    assert ns(folder.output("out.jsonl")) == list(range(5000))


async def test_a_consumer_holds_no_more_than_max_pending(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(500))
    module = folder.steps("def never(record):\n    raise ValueError('not today')\n")
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b:
            from: s
            process: [{{run: "{module}:never"}}]
            to: t
            batch: {{size: 20}}
            max_pending: 60
            retry: {{attempts: 1000, backoff: 1h}}
        """
    )
    async with Running(folder.topology(), url) as running:
        await until(lambda: running.counters.stages["b"].retried >= 60)
        await until(lambda: redis_client.xpending("{p}:s", "b")["pending"] == 60)
        assert redis_client.xpending("{p}:s", "b")["pending"] == 60


# -- stopping, sharing, taking over -----------------------------------------------------------------------------------


async def test_a_graceful_stop_gives_back_what_it_did_not_process_and_loses_nothing(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(20_000))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, process: [{filter: n >= 0}], to: t}
          c: {from: t, write: {jsonl: out.jsonl}}
        """
    )
    runs = 0
    while True:
        async with Running(folder.topology(), url) as running:
            await until(lambda: running.counters.stages["c"].written > 1000 or running.ended)
            outcome = await running.stop()
            runs += 1
        for stage, stream in (("b", "s"), ("c", "t")):
            left: Any = redis_client.xpending_range(f"{{p}}:{stream}", stage, "-", "+", 10_000)
            assert all(entry["time_since_delivered"] > 30_000 for entry in left), "not given back"
        if outcome == "drained":
            break
    assert runs > 2
    assert ns(folder.output("out.jsonl")) == list(range(20_000))


async def test_two_shares_of_a_pipeline_end_together(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", numbered(2000))
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, to: t}
          c: {from: t, write: {jsonl: out.jsonl}}
        """
    )
    first, second = Running(folder.topology(), url, stages=("a", "c")), Running(folder.topology(), url, stages=("b",))
    async with first, second:
        assert first.task is not None
        assert second.task is not None
        assert set(await asyncio.gather(first.task, second.task)) == {"drained"}
    assert ns(folder.output("out.jsonl")) == list(range(2000))
    assert set(second.counters.stages) == {"a", "b", "c"}
    assert second.counters.stages["b"].read == 2000


async def test_an_unknown_stage_is_a_usage_error(folder: PipelineFolder, url: str) -> None:
    folder.pipeline("pipeline: p\nstages:\n  a: {read: stdin, to: s}\n")
    with pytest.raises(UsageError, match="unknown stage 'x'; the stages are a"):
        await folder.run(url, stages=("x",))


async def test_entries_of_a_consumer_that_stays_silent_are_claimed(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.records("in.jsonl", numbered(50))
    folder.pipeline(
        """\
        pipeline: p
        defaults: {claim_after: 200ms}
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, to: t}
        """
    )
    await folder.run(url, stages=("a",))
    redis_client.xreadgroup("b", "elsewhere.7.b.0", {"{p}:s": ">"}, count=30)
    result = await folder.run(url)
    assert result.counters.stages["b"].claimed == 30
    entries: Any = redis_client.xrange("{p}:t")
    assert Counter(json.loads(fields[b"data"])["n"] for _, fields in entries) == Counter(range(50))


async def test_suspects_are_not_forgotten_when_the_connection_breaks_while_they_are_taken(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.records("in.jsonl", numbered(50))
    folder.pipeline(
        "pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s}\n  b: {from: s, to: t, claim_after: 200ms}\n"
    )
    await folder.run(url, stages=("a",))
    redis_client.xreadgroup("b", "elsewhere.7.b.0", {"{p}:s": ">"}, count=30)
    take = Claimer.take
    broken: list[int] = []

    async def breaks_once(claimer: Claimer, ids: Sequence[bytes]) -> list[Entry]:
        if ids and not broken:
            broken.append(len(ids))
            raise ConnectionLostError("the connection to the server was lost")
        return await take(claimer, ids)

    monkeypatch.setattr(Claimer, "take", breaks_once)
    async with asyncio.timeout(HANGS_SECONDS):
        await folder.run(url)
    assert broken == [30]
    assert redis_client.xlen("{p}:t") == 50


@pytest.fixture
def dead_process() -> int:
    """The id of a process that has ended."""
    found = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return int(found.stdout)


async def test_entries_of_a_dead_process_of_this_host_are_taken_over_at_once(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, dead_process: int
) -> None:
    folder.records("in.jsonl", numbered(50))
    folder.pipeline(
        "pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s}\n  b: {from: s, to: t, claim_after: 1h}\n"
    )
    await folder.run(url, stages=("a",))
    name = f"{socket.gethostname()}.{dead_process}.b.0"
    redis_client.xreadgroup("b", name, {"{p}:s": ">"}, count=30)
    result = await folder.run(url)
    assert result.counters.stages["b"].claimed == 30
    assert redis_client.xlen("{p}:t") == 50
    consumers: Any = redis_client.xinfo_consumers("{p}:s", "b")
    assert consumers == []


async def test_suspects_are_in_hand_one_batch_at_a_time_whatever_the_number_of_consumers_and_stages(
    folder: PipelineFolder, redis_client: redis.Redis, url: str, dead_process: int
) -> None:
    """I5: were the process to end now, what is counted against is in one batch."""
    module = folder.steps(
        f"""\
        from redis.asyncio import Redis

        in_hand = []

        async def look(record):
            async with Redis.from_url("{url}") as server:
                for _ in range(5):
                    pending = [
                        await server.xpending_range("{{p}}:" + stream, group, "-", "+", 1000)
                        for stream, group in (("s", "b"), ("t", "c"))
                    ]
                    in_hand.append(sum(entry["times_delivered"] > 1 for entries in pending for entry in entries))
            return record
        """
    )
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{batch: {{size: 4}}, consumers: 2, claim_after: 1h}}
        stages:
          b: {{from: s, process: [{{run: "{module}:look"}}], to: u}}
          c: {{from: t, process: [{{run: "{module}:look"}}], to: u}}
        streams: {{s: {{}}, t: {{}}}}
        """
    )
    for stream, group in (("s", "b"), ("t", "c")):
        key = f"{{p}}:{stream}"
        redis_client.xgroup_create(key, group, "0", mkstream=True)
        for n in range(150):  # more than one consumer takes over at once
            redis_client.xadd(key, {"data": json.dumps({"n": n})})
        redis_client.xreadgroup(group, f"{socket.gethostname()}.{dead_process}.{group}.0", {key: ">"})
    await folder.run(url, drain=True)
    assert redis_client.xlen("{p}:u") == 300
    assert max(sys.modules[module].in_hand) == 1


# -- sources and sinks ------------------------------------------------------------------------------------------------


async def test_a_missing_file_ends_the_run_with_one_sentence(folder: PipelineFolder, url: str) -> None:
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: nowhere.jsonl}, to: s}\n")
    with pytest.raises(ConnectorError, match=r"there is no file nowhere\.jsonl"):
        await folder.run(url)


async def test_a_stream_of_another_server_is_copied_once_with_its_headers(
    folder: PipelineFolder, url: str, local_server: Any
) -> None:
    other = local_server()
    with other.client as far:
        for n in range(100):
            far.xadd("events", {"data": json.dumps({"n": n}), "trace": f"t{n}"})
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{stream: events, redis: "{other.url}"}}, to: s}}
          b: {{from: s, write: {{stream: copied, redis: "{other.url}"}}}}
          c: {{from: s, write: {{stream: here}}}}
        """
    )
    for _ in range(2):
        await folder.run(url, drain=True)
    with other.client as far, plain_client(url) as near:
        copied: Any = far.xrange("copied")
        assert [json.loads(fields[b"data"])["n"] for _, fields in copied] == list(range(100))
        here: Any = near.xrange("here")
        assert [fields[b"trace"] for _, fields in here] == [b"t%d" % n for n in range(100)]


async def test_a_source_that_never_ends_cannot_be_drained_and_says_so(folder: PipelineFolder, url: str) -> None:
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {generate: {rate: 10}}, to: s}\n")
    with pytest.raises(UsageError, match="never ends"):
        await folder.run(url, drain=True)


@pytest.mark.parametrize("before", ["", '{"n": -1}\n'])
async def test_a_sink_killed_between_its_very_first_write_and_the_commit_writes_nothing_twice(
    folder: PipelineFolder, url: str, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    folder.records("in.jsonl", numbered(10))
    folder.write("out.jsonl", before)
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, write: {jsonl: out.jsonl}}\n")

    async def killed(*_: object, **__: object) -> None:
        raise PipelineFailedError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(Committer, "commit", killed)
        with pytest.raises(PipelineFailedError, match="killed here"):
            await folder.run(url)
    assert len(folder.output("out.jsonl")) >= 10
    await folder.run(url)
    assert ns(folder.output("out.jsonl")) == ([-1] if before else []) + list(range(10))


async def test_an_owner_that_was_overtaken_while_it_waited_for_the_file_leaves_it_alone(
    folder: PipelineFolder, url: str
) -> None:
    """A newer owner came, wrote everything and left, between this one's lease and its lock on the file."""
    folder.records("in.jsonl", numbered(10))
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, write: {jsonl: out.jsonl}}\n")
    plain_client(url).hset("{p}:@sink:a", "checkpoint", "0")
    with (folder.path / "out.jsonl").open("ab") as somebody:
        fcntl.flock(somebody, fcntl.LOCK_EX)
        async with Running(folder.topology(), url) as late:
            await until(lambda: plain_client(url).hget("{p}:@sink:a", "epoch") == b"1")
            async with Running(folder.topology(), url) as newer:
                await until(lambda: plain_client(url).hget("{p}:@sink:a", "epoch") == b"2")
                # The newer one is through: as if it had had the lock before, and had let go of it again.
                (folder.path / "out.jsonl").write_text("all that it wrote\n")
                plain_client(url).hset("{p}:@sink:a", mapping={"epoch": "3", "owner": "newest", "checkpoint": "18"})
                fcntl.flock(somebody, fcntl.LOCK_UN)
                await until(lambda: late.worker.at_rest and newer.worker.at_rest)
                assert (folder.path / "out.jsonl").read_text() == "all that it wrote\n"


async def dead_letters(url: str, key: str) -> list[DeadLetter]:
    server = Server(url)
    try:
        return await find_dead(server.client, key)
    finally:
        await server.close()


# -- limits -----------------------------------------------------------------------------------------------------------


async def test_records_too_large_too_wide_or_too_deep_are_dead_with_their_bytes(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    large, deep = json.dumps({"x": "y" * 5000}), '{"a":' * 400 + "1" + "}" * 400
    for data in (large, deep, '{"n": 1}', '{"grow": 1}', '{"many": 20000}'):
        redis_client.xadd("{p}:s", {"data": data})
    redis_client.xadd("{p}:s", {"data": '{"n": 2}', **{f"header{n}": "x" for n in range(5000)}})
    module = folder.steps(
        """\
        def step(record):
            if "grow" in record:
                return {"x": "y" * 5000}
            if "many" in record:
                return ({"n": n} for n in range(record["many"]))
            return {**record, "seen": True}
        """
    )
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{max_record: 4KiB}}
        stages:
          a: {{from: s, process: [{{run: "{module}:step"}}], to: t}}
        streams: {{s: {{}}}}
        """
    )
    result = await folder.run(url, drain=True)
    assert result.counters.stages["a"].dead == 5
    assert redis_client.xlen("{p}:t") == 1
    letters = await dead_letters(url, "{p}:@dead:a")
    told = {letter.fields["data"]: letter.error for letter in letters}
    assert told == {
        large: f"the record has {len(large):,} bytes, more than `max_record` allows",
        deep: "the record is nested more than 254 levels deep",
        '{"grow": 1}': "the record has become 5,008 bytes, more than `max_record` allows",
        '{"many": 20000}': "the record became 20,000, more than the 10,000 of a commit",
        '{"n": 2}': "the record has 53,902 bytes, more than `max_record` allows",
    }
    assert max(len(letter.fields) for letter in letters) == 5001
    assert redis_client.xpending("{p}:s", "a")["pending"] == 0


async def test_an_entry_with_more_fields_than_lua_can_unpack_is_never_half_committed(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    redis_client.xadd("{p}:s", {"data": "{}", **{f"h{n}": "x" for n in range(4500)}})
    redis_client.xadd("{p}:s", {"data": "{}"})
    folder.pipeline("pipeline: p\nstages:\n  a: {from: s, to: t}\nstreams: {s: {}}\n")
    result = await folder.run(url, drain=True)
    assert (result.counters.stages["a"].dead, redis_client.xlen("{p}:t")) == (1, 1)
    (letter,) = await dead_letters(url, "{p}:@dead:a")
    assert letter.error == "the record has 4,501 fields, more than the 3,500 of a commit"
    assert len(letter.fields) == 4501


async def test_a_source_line_that_is_too_large_is_dead(folder: PipelineFolder, url: str) -> None:
    folder.records("in.jsonl", [{"n": 1}, {"x": "y" * 3000}, {"n": 2}])
    folder.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s, max_record: 2KiB}\n")
    result = await folder.run(url)
    assert (result.counters.stages["a"].dead, dict(result.counters.stages["a"].emitted)) == (1, {"s": 2})


# -- consumers that are gone ------------------------------------------------------------------------------------------


async def test_a_silent_consumer_elsewhere_is_removed_once_its_entries_were_claimed(
    folder: PipelineFolder, redis_client: redis.Redis, url: str
) -> None:
    folder.pipeline(
        """\
        pipeline: p
        defaults: {claim_after: 50ms}
        stages: {a: {from: s, to: t}}
        streams: {s: {}}
        """
    )
    redis_client.xgroup_create("{p}:s", "a", "0", mkstream=True)
    for n in range(10):
        redis_client.xadd("{p}:s", {"data": json.dumps({"n": n})})
    redis_client.xreadgroup("a", "elsewhere.1.a.0", {"{p}:s": ">"}, count=5)
    async with Running(folder.topology(), url) as running:
        await until(lambda: running.counters.stages["a"].read == 5 and b"elsewhere.1.a.0" not in names(redis_client))
        await until(lambda: running.worker.at_rest)
        assert redis_client.xlen("{p}:t") == 10
        assert running.counters.stages["a"].claimed == 5


def names(redis_client: redis.Redis) -> list[bytes]:
    found: Any = redis_client.xinfo_consumers("{p}:s", "a")
    return [consumer["name"] for consumer in found]
