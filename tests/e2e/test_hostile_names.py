"""Keys, groups and consumers are named by whoever comes to the server: no verb has a terminal act on them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from tests.e2e.test_dead_letters import HOSTILE
from tests.harness.pipelines import PipelineFolder

VERBS = ("plan", "doctor", "groups", "consumers", "pending", "status", "dead list", "plan --json", "doctor --json")


@pytest.mark.parametrize("verb", VERBS)
def test_names_that_others_chose_are_shown_as_escapes(
    folder: PipelineFolder, url: str, redis_client: redis.Redis, verb: str
) -> None:
    folder.pipeline("pipeline: p\nstages: {a: {from: s, to: t}}\nstreams: {s: {}}\n")
    redis_client.xadd("{p}:s", {"data": "{}"})
    redis_client.xgroup_create("{p}:s", "a", "0")
    redis_client.xgroup_create("{p}:s", HOSTILE, "0")
    redis_client.xreadgroup("a", HOSTILE, {"{p}:s": ">"})
    entries: Any = redis_client.xrange("{p}:s")
    redis_client.xclaim("{p}:s", "a", HOSTILE, 0, [entries[0][0]], idle=900_000, retrycount=50, justid=True)
    redis_client.xadd(f"{{p}}:{HOSTILE}", {"data": "{}"})
    redis_client.xadd(f"{{p}}:@dead:{HOSTILE}", {"data": "{}"})
    name, *rest = verb.split()
    words = (name, rest[0], "pipeline.yml") if name == "dead" else (name, "pipeline.yml", *rest)
    found = folder.cli(*words, "--redis", url, code=None)
    assert [char for char in found.out + found.err if char in "\x1b\x07\x9b\u202e"] == []
    assert "Traceback" not in found.err
    if "--json" in words:
        json.loads(found.out)
