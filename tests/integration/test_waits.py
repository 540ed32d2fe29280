"""`Retry(after=...)` is kept by the server: it outlives restarts, counts real calls only, is made once."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from papyra_flow.records.entries import Entry, Origin
from papyra_flow.streams.commit.commit import Commit
from papyra_flow.streams.commit.committer import Committer
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.groups.delayed import fields_to_wait, opened, waiting, wake
from papyra_flow.streams.groups.lifecycle import GroupSpec, create_groups
from papyra_flow.streams.groups.reading import GroupReader
from papyra_flow.testing import drive
from tests.faults.workload import patiently
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, Running, until

IN, REPLAY, LATER, OUT, PROBE = "{w}:in", "{w}:s@replay", "{w}:@later:s", "{w}:out", "{w}:@probe"
FORMATS = {
    "records": ("", "", "def f(r):\n    return tried(r['n'], r)\n"),
    "fields": (", format: fields", "", "def f(r):\n    return tried(int(r['n']), r)\n"),
    "rows": ("", "batch, ", "import pyarrow as pa\ndef f(t: pa.Table):\n    return tried(t['n'][0].as_py(), t)\n"),
}
STEPS = """
from papyra_flow import Retry
calls = {}
def tried(n, found):
    calls[n] = calls.get(n, 0) + 1
    if n >= 100 and calls[n] <= TIMES:
        raise Retry(f"call {calls[n]}", after=AFTER)
    return found
"""


def piped(folder: PipelineFolder, form: str = "records", *, times: int = 1, after: float = 3600) -> PipelineFolder:
    stream, batch, function = FORMATS[form]
    steps = STEPS.replace("TIMES", str(times)).replace("AFTER", str(after))
    module = folder.steps(steps + function)
    out = ", format: arrow" if batch else ""
    return folder.pipeline(f"""
        pipeline: w
        defaults: {{batch: {{size: 1}}, retry: {{attempts: 3}}}}
        stages: {{s: {{from: in, process: [{batch}{{run: "{module}:f"}}], to: out}}}}
        streams: {{in: {{retain: acked{stream}}}, out: {{retain: all{out}}}}}
        """)


def put(plain_client: Any, form: str, *numbers: int) -> None:
    for n in numbers:
        plain_client.xadd(IN, {"n": n} if form == "fields" else {"data": json.dumps({"n": n}), "h": "x"})


def make_due(plain_client: Any) -> None:
    """As if the time had come."""
    for member in plain_client.zrange(LATER, 0, -1):
        plain_client.zadd(LATER, {member: 1}, xx=True)  # one that went on meanwhile must not come twice


@pytest.mark.parametrize("form", FORMATS)
async def test_a_long_wait_outlives_restarts_and_burns_no_attempt(
    folder: PipelineFolder, url: str, redis_client: Any, form: str
) -> None:
    piped(folder, form, times=10)
    async with Running(folder.topology(), url):
        put(redis_client, form, 1, 100, 2)
        await until(lambda: redis_client.xlen(OUT) == 2)
        await until(lambda: redis_client.zcard(LATER) == 1)
    origin: Any = redis_client.xinfo_stream(IN)["last-generated-id"]
    for _ in range(5):
        async with Running(folder.topology(), url) as running:
            put(redis_client, form, 3)
            left = redis_client.xlen(OUT)
            await until(lambda left=left: redis_client.xlen(OUT) > left)  # type: ignore[misc]
            assert running.counters.stages["s"].retried == 0
    assert redis_client.xpending(IN, "s")["pending"] == 0
    assert redis_client.xlen("{w}:@dead:s") == 0
    for attempt in (2, 3):
        async with Running(folder.topology(), url) as running:
            make_due(redis_client)
            counters = running.counters.stages["s"]
            await until(lambda counters=counters: counters.retried + counters.dead)  # type: ignore[misc]
            assert (counters.retried, counters.dead) == ((1, 0) if attempt == 2 else (0, 1))
    letter: Any
    ((_, letter),) = redis_client.xrange("{w}:@dead:s")
    assert letter[b"@error"] == b"Retry: call 3"
    assert letter[b"@deliveries"] == b"3"
    assert letter[b"@stream"] == IN.encode()
    assert letter[b"@id"] < origin
    assert not {b"@waited", b"@@waited"} & letter.keys()
    assert letter.get(b"h" if form != "fields" else b"n") == (b"x" if form != "fields" else b"100")
    assert redis_client.zcard(LATER) == 0


@pytest.mark.parametrize("form", FORMATS)
async def test_a_record_that_waited_goes_on_as_it_was(
    folder: PipelineFolder, url: str, redis_client: Any, form: str
) -> None:
    piped(folder, form)
    async with Running(folder.topology(), url):
        put(redis_client, form, 100)
        await until(lambda: redis_client.zcard(LATER) == 1)
        make_due(redis_client)
        await until(lambda: redis_client.xlen(OUT) == 1)
    fields: Any
    ((_, fields),) = redis_client.xrange(OUT)
    assert b"@waited" not in fields
    if form != "rows":
        assert json.loads(fields[b"data"])["n"] in {100, "100"}
    assert redis_client.xlen(REPLAY) == 0


def test_a_bounded_run_waits_and_says_what_for(folder: PipelineFolder, url: str, redis_client: Any) -> None:
    piped(folder)
    folder.cli("add", "pipeline.yml", "in", "--redis", url, stdin='{"n": 100}\n{"n": 1}\n')
    running = folder.start("run", "pipeline.yml", "--redis", url, "--drain", "--json")
    patiently(lambda: redis_client.zcard(LATER) == 1, "the record that waits")
    status: Any = folder.cli("status", "pipeline.yml", "--redis", url, "--json").json
    assert status["stages"]["s"]["waiting"] == 1
    assert folder.cli("destroy", "pipeline.yml", "--redis", url, "--yes", code=None).code != 0
    assert "@later" not in folder.cli("plan", "pipeline.yml", "--redis", url).out
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=HANGS_SECONDS)
    assert (running.returncode, json.loads(out)["outcome"]) == (0, "stopped")
    assert "1 record waits for another attempt, due in" in err
    assert "the next run continues with it" in err

    running = folder.start("run", "pipeline.yml", "--redis", url, "--drain", "--json")

    def ended() -> bool:
        make_due(redis_client)
        return running.poll() is not None

    patiently(ended, "the end of the run")
    document = json.loads(running.communicate()[0])
    assert (running.returncode, document["outcome"]) == (0, "drained")
    assert document["stages"]["s"]["emitted"] == {"out": 1}


def test_a_test_without_a_server_tries_again_at_once(folder: PipelineFolder) -> None:
    piped(folder)
    with drive(folder.file) as driver:
        driver.put("in", {"n": 100})
        assert driver.out("out") == [{"n": 100}]


# -- the scripts ----------------------------------------------------------------------------------------------


async def read(client: Client, key: str, count: int = 10) -> list[Entry]:
    await create_groups(client, [GroupSpec(key, "s")], marker="{w}:@applied")
    batches = await GroupReader(client, client, keys=[key], group="s", consumer="one").read(count, block=1)
    return [opened(batch).entry(place) for batch in batches for place in range(len(batch))]


def committer(client: Client, source: str = IN, consumer: str = "one") -> Committer:
    return Committer(
        client,
        source=source,
        group="s",
        consumer=consumer,
        probe=PROBE,
        lease=None,
        targets=[OUT],
        ledger="{w}:@ledger",
        later=LATER,
    )


async def test_a_wait_and_its_acknowledgement_are_one_step_that_is_made_once(client: Client) -> None:
    for n in range(3):
        await client.call("XADD", IN, "*", "data", b'{"n":%d}' % n, "\x00odd", b"\xff\x00\n")
    entries = await read(client, IN)
    for consumer in ("one", "two"):
        commit = Commit()
        for entry in entries:
            assert commit.wait(entry.id, 0, fields_to_wait(entry))
        done = await committer(client, consumer=consumer).commit(commit)
        assert done.acked == (3 if consumer == "one" else 0)
        assert len(done.stale) == (0 if consumer == "one" else 3)
    ((three, first),) = [(found.records, found.first) for found in await waiting(client, [LATER])]
    assert (three, first) == (3, 0.0)
    assert [await wake(client, [(LATER, REPLAY)]) for _ in range(2)] == [[(3, 0)], [(0, 0)]]
    again = await read(client, REPLAY)
    assert [(e.fields, e.origin, e.deliveries) for e in again] == [(e.fields, Origin(IN, e.id), 2) for e in entries]
    # And once more: the origin stays, the attempts go on.
    commit = Commit()
    commit.wait(again[0].id, 0, fields_to_wait(again[0]))
    assert (await committer(client, source=REPLAY).commit(commit)).acked == 1
    await wake(client, [(LATER, REPLAY)])
    (third,) = await read(client, REPLAY)
    assert (third.origin, third.deliveries) == (Origin(IN, entries[0].id), 3)


async def test_records_that_are_alike_all_wait(client: Client) -> None:
    entry = Entry(IN, b"1-1", [b"data", b"{}"])
    for _ in range(3):
        await client.call("XADD", IN, "*", "data", b"{}")
    commit = Commit()
    for found in await read(client, IN):
        commit.wait(found.id, 3_600_000_000, fields_to_wait(entry))
    await committer(client).commit(commit)
    (found_,) = await waiting(client, [LATER])
    assert found_.records == 3
    assert 1000 * (3600 - HANGS_SECONDS) < found_.first <= 3_600_000
    assert await wake(client, [(LATER, REPLAY)]) == [(0, 3)]


async def test_nothing_is_lost_where_the_stream_to_go_to_is_none(client: Client) -> None:
    await client.call("XADD", IN, "*", "data", b"{}")
    (entry,) = await read(client, IN)
    commit = Commit()
    commit.wait(entry.id, 0, fields_to_wait(entry))
    await committer(client).commit(commit)
    await client.call("SET", REPLAY, "x")
    with pytest.raises(Exception, match="not a stream"):
        await wake(client, [(LATER, REPLAY)])
    assert (await waiting(client, [LATER]))[0].records == 1


async def test_a_set_of_another_type_refuses_the_commit_before_it_begins(client: Client) -> None:
    await client.call("XADD", IN, "*", "data", b"{}")
    (entry,) = await read(client, IN)
    await client.call("SET", LATER, "x")
    commit = Commit()
    commit.wait(entry.id, 0, fields_to_wait(entry))
    with pytest.raises(Exception, match="holds a string"):
        await committer(client).commit(commit)
    reply = await client.call("XPENDING", IN, "s")
    assert isinstance(reply, list)
    assert reply[0] == 1
