"""Records beyond a limit are dead with their bytes, and nothing is half committed."""

from __future__ import annotations

import json

import redis

from tests.harness.pipelines import PipelineFolder
from tests.harness.records import dead_letters


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
