"""`doctor`, and removing what it finds: each with what to do about it, and without the pipeline's code."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import LocalServer, plain_client

SAFE = ("--appendonly", "yes", "--appendfsync", "always")
PIPELINE = """\
    pipeline: d
    stages:
      a: {from: s, process: [{run: "there.is.no:such_module"}, {lookup: {csv: table.csv, on: k, as: row}}], to: t}
      w: {from: t, write: {jsonl: out.jsonl}}
      r: {read: {csv: "data/*.csv"}, to: s}
    """


@pytest.fixture
def server(local_server: Callable[..., LocalServer]) -> LocalServer:
    return local_server(*SAFE)


def findings(folder: PipelineFolder, url: str, code: int) -> dict[str, list[dict[str, Any]]]:
    document = folder.cli("doctor", "pipeline.yml", "--redis", url, "--json", code=code).json
    assert document["healthy"] == (code == 0)
    told: dict[str, list[dict[str, Any]]] = {}
    for one in document["findings"]:
        assert one["hint"] or one["level"] in {"ok", "error"}, one
        told.setdefault(one["check"], []).append(one)
    return told


def test_a_pipeline_in_good_order_has_no_problems(folder: PipelineFolder, server: LocalServer) -> None:
    folder.pipeline(PIPELINE)
    folder.write("table.csv", "k\n1\n")
    folder.write("data/1.csv", "k\n1\n")
    told = findings(folder, server.url, 0)
    expected = {"version", "eviction", "persistence", "clock", "scripting", "permissions", "keys", "orphans", "pending",
                "connectors"}  # fmt: skip
    assert expected <= told.keys()
    assert "no problems found" in folder.cli("doctor", "pipeline.yml", "--redis", server.url).out


def test_all_that_is_wrong_is_told_at_once(folder: PipelineFolder, server: LocalServer) -> None:
    folder.pipeline(PIPELINE)
    with server.client as plain:
        plain.config_set("maxmemory-policy", "allkeys-lru")
        plain.config_set("appendonly", "no")
        plain.set("{d}:t", "no stream")
        plain.xadd("{d}:gone", {"data": "{}"})
        plain.xadd("{d}:@dead:old", {"data": "{}"})
        plain.xgroup_create("{d}:s", "old", "0", mkstream=True)
        plain.xgroup_create("{d}:s", "other.stage", "0")
        plain.xgroup_create("{d}:s", "a", "0")
        plain.xadd("{d}:s", {"data": "{}"})
        plain.xreadgroup("a", "dead-consumer", {"{d}:s": ">"})
        (entry,) = plain.xrange("{d}:s")
        plain.xclaim("{d}:s", "a", "dead-consumer", 0, [entry[0]], idle=900_000, retrycount=50, justid=True)
    told = findings(folder, server.url, 1)
    levels = {check: [one["level"] for one in some] for check, some in told.items()}
    assert levels["eviction"] == levels["persistence"] == ["warning"]
    assert levels["keys"] == ["error"]
    assert levels["orphans"] == ["warning", "info", "warning", "warning"]
    assert "drop-group FILE s old" in told["orphans"][0]["hint"]
    assert levels["poisoned"] == ["warning"]
    assert levels["ownerless"] == ["info"]  # no worker runs that should have taken it
    assert sorted(one["message"] for one in told["connectors"]) == [
        "a: file not found: table.csv", "r: file not found: data/*.csv",
    ]  # fmt: skip
    text = folder.cli("doctor", "pipeline.yml", "--redis", server.url, code=1).out
    assert "papyra-flow drop-group pipeline.yml s old" in text
    assert text.rstrip().endswith("problems found")


def test_a_server_that_is_not_there_is_a_finding_and_the_rest_is_looked_at(folder: PipelineFolder) -> None:
    folder.pipeline(PIPELINE)
    told = findings(folder, "redis://user:hush@127.0.0.1:1", 1)
    assert [one["level"] for one in told["server"]] == ["error"]
    assert len(told["connectors"]) == 2
    assert "hush" not in json.dumps(told)


def test_other_servers_and_their_keys_are_looked_at(folder: PipelineFolder, server: LocalServer, url: str) -> None:
    with plain_client(url) as plain:
        plain.set("k", "no stream")
    folder.pipeline(f"""\
        pipeline: d
        stages:
          a: {{read: {{stream: k, redis: "{url}"}}, to: s}}
          b: {{from: s, write: {{stream: x, redis: "redis://:hush@127.0.0.1:1"}}}}
        """)
    told = findings(folder, server.url, 1)["connectors"]
    assert ["holds a string, not a stream" in told[0]["message"], "no server answers" in told[1]["message"]] == [
        True
    ] * 2
    assert "hush" not in json.dumps(told)


# -- drop-group, drop-consumer ----------------------------------------------------------------------------------------

SMALL = """\
    pipeline: d
    stages: {a: {from: s, process: [{run: "there.is.no:such_module"}], to: t, claim_after: 5s}}
    streams: {s: {}, t: {retain: all}}
    """


@contextmanager
def at_work(url: str, consumer: str) -> Iterator[None]:
    """A consumer that asks for its own entries again and again, however long a verb takes to start."""
    over = threading.Event()

    def ask() -> None:
        with plain_client(url) as plain:
            while not over.wait(0.1):
                plain.xreadgroup("a", consumer, {"{d}:s": "0"}, count=1)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_group_goes_when_what_would_be_lost_was_said(folder: PipelineFolder, url: str) -> None:
    folder.pipeline(SMALL)
    with plain_client(url) as plain:
        for n in range(3):
            plain.xadd("{d}:s", {"data": f'{{"n": {n}}}'})
        plain.xgroup_create("{d}:s", "old", "0")
        plain.xgroup_create("{d}:s", "a", "$")
        plain.xgroup_create("{d}:s", "empty", "$")
        plain.xreadgroup("old", "c", {"{d}:s": ">"}, count=1)
        refused = folder.cli("drop-group", "pipeline.yml", "s", "old", "--yes", "--redis", url, code=2)
        assert "1 entry pending" in refused.err
        assert "2 entries of {d}:s not read" in refused.err
        refused = folder.cli("drop-group", "pipeline.yml", "s", "a", "--yes", "--redis", url, code=2)
        assert "the position of the stage 'a'" in refused.err
        folder.cli("drop-group", "pipeline.yml", "s", "empty", "--redis", url, code=1, stdin="n\n")
        assert folder.cli("drop-group", "pipeline.yml", "s", "empty", "--yes", "--json", "--redis", url).json == {
            "stream": "{d}:s", "group": "empty", "dropped": True, "pending": 0, "lag": 0,
        }  # fmt: skip
        folder.cli("drop-group", "pipeline.yml", "{d}:s", "old", "--force", "--redis", url)
        told = folder.cli("drop-group", "pipeline.yml", "s", "old", "--force", "--redis", url, code=2)
        assert "known groups: a" in told.err
        groups: Any = plain.xinfo_groups("{d}:s")
        assert [group["name"] for group in groups] == [b"a"]


def test_a_consumers_entries_are_handed_over_before_it_goes(folder: PipelineFolder, url: str) -> None:
    folder.pipeline(SMALL)
    with plain_client(url) as plain:
        ids = [plain.xadd("{d}:s", {"data": f'{{"n": {n}}}'}) for n in range(1200)]
        plain.xgroup_create("{d}:s", "a", "0")
        plain.xreadgroup("a", "gone", {"{d}:s": ">"})
        plain.xclaim("{d}:s", "a", "gone", 0, ids, idle=60_000, retrycount=3, justid=True)
        done = folder.cli("drop-consumer", "pipeline.yml", "a", "gone", "--force", "--json", "--redis", url).json
        assert done == {"stage": "a", "group": "a", "consumer": "gone", "claimed": 1200, "dropped": True}
        pending: Any = plain.xpending_range("{d}:s", "a", "-", "+", 2000)
        assert {(one["consumer"], one["times_delivered"]) for one in pending} == {(b"dropped", 3)}
        assert len(pending) == 1200
        assert min(one["time_since_delivered"] for one in pending) >= 5000  # the next claim takes them at once
        folder.cli("drop-consumer", "pipeline.yml", "a", "dropped", "--to", "mine", "--force", "--redis", url)
        consumers: Any = plain.xinfo_consumers("{d}:s", "a")
        assert [(one["name"], one["pending"]) for one in consumers] == [(b"mine", 1200)]
        told = folder.cli("drop-consumer", "pipeline.yml", "a", "nope", "--yes", "--redis", url, code=2)
        assert "known consumers: mine" in told.err
        with at_work(url, "mine"):
            refused = folder.cli("drop-consumer", "pipeline.yml", "a", "mine", "--yes", "--redis", url, code=2)
        assert "if it is still active" in refused.err
        folder.cli("drop-consumer", "pipeline.yml", "a", "mine", "--to", "mine", "--redis", url, code=2)


def test_a_renamed_stages_group_is_told_by_run_and_plan_and_its_stream_is_trimmed_when_it_is_gone(
    folder: PipelineFolder, server: LocalServer
) -> None:
    text = """\
        pipeline: d
        stages: {%s: {from: s, process: [{set: {x: "1"}}], to: t}}
        streams: {s: {}, t: {retain: all}}
        """
    folder.pipeline(text % "old").cli("run", "pipeline.yml", "--drain", "--redis", server.url)
    folder.pipeline(text % "new")
    with server.client as plain:
        for n in range(20):
            plain.xadd("{d}:s", {"data": f'{{"n": {n}}}'})
        told = folder.cli("run", "pipeline.yml", "--drain", "--redis", server.url).err
        assert "the group 'old' on {d}:s, which has 20 entries not read" in told
        assert plain.xlen("{d}:s") == 20
        assert "drop-group FILE s old" in folder.cli("plan", "pipeline.yml", "--redis", server.url).out
        folder.cli("drop-group", "pipeline.yml", "s", "old", "--force", "--redis", server.url)
        assert folder.cli("run", "pipeline.yml", "--drain", "--redis", server.url).err == ""
        assert (plain.xlen("{d}:s"), plain.xlen("{d}:t")) == (0, 20)


def test_groups_shows_a_lag_that_is_not_known_as_the_most_that_it_can_be(folder: PipelineFolder, url: str) -> None:
    folder.pipeline(SMALL.replace("there.is.no:such_module", "json:dumps"))
    with plain_client(url) as plain:
        ids = [plain.xadd("{d}:s", {"data": "x" * 100_000}) for _ in range(200)]
        plain.xgroup_create("{d}:s", "a", "0")
        plain.xdel("{d}:s", ids[100])
    (row,) = folder.cli("groups", "pipeline.yml", "--json", "--redis", url).json
    assert (row["lag"], row["lag_exact"]) == (199, False)
    assert "≤ 199" in folder.cli("groups", "pipeline.yml", "--redis", url).out
    assert "≤ 199" in folder.cli("status", "pipeline.yml", "--redis", url).out
