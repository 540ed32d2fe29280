"""What is driven without a server is what a run gives: for any batch size and partitions, late records included."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from papyra_flow.testing import Driver
from papyra_flow.topology.model import Topology
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import plain_client

STAGES = ("windows", "sessions", "each", "once", "fails", "joined")
PIPELINE = """\
pipeline: p
streams:
  s: {{partitions: {partitions}, by: k}}
  o: {{partitions: {partitions}, by: k}}
defaults: {{batch: {{size: {size}}}, retry: {{attempts: 2, backoff: 1ms..1ms}}}}
stages:
  read: {{read: {{jsonl: in.jsonl, time: at}}, to: s}}
  others: {{read: {{jsonl: others.jsonl, time: at}}, to: o}}
  windows:
    from: s
    process:
      - aggregate: {{by: k, window: {{size: 10s, every: 5s}}, grace: 3s, fields: {{n: count(), xs: list(x)}}}}
    to: windows
  sessions:
    from: s
    process: [{{aggregate: {{by: k, window: {{gap: 4s}}, fields: {{n: count(), sum: sum(x)}}}}}}]
    to: sessions
  each: {{from: s, process: [{{aggregate: {{by: k, fields: {{last: last(x), most: max(x)}}}}}}], to: each}}
  once: {{from: s, process: [{{dedupe: {{by: k, within: 5s}}}}], to: once}}
  fails:
    from: s
    process:
      - filter: 10 / x < 11
      - aggregate: {{by: k, window: 10s, fields: {{sum: sum(x)}}, emit: each}}
      - filter: 10 / (sum - 5) < 11
    to: fails
  joined:
    from: [o, s]
    process: [{{join: {{on: {{o: k, s: k}}, within: 2s, kind: outer, grace: 1h}}}}]
    to: joined
"""

RECORDS = st.lists(
    st.fixed_dictionaries({"k": st.sampled_from("abcde"), "at": st.integers(0, 60), "x": st.integers(-2, 5)}),
    max_size=40,
)

DEAD_BEHIND_THE_STATE = [
    {"k": key, "at": at, "x": x}
    for key, at, x in [
        ("c", 5, -1),
        ("e", 5, 5),
        ("c", 46, 5),
        ("d", 23, 0),
        ("a", 41, 3),
        ("b", 7, 2),
        ("c", 8, 1),
    ]
]
"""What opens a window and fails there moves the watermark all the same: what comes behind it is late."""

Found = dict[str, dict[str, list[Any]]]


def by_key(records: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """What left of each key, in its order; pairs have none among them, and are sorted."""
    found: dict[str, list[Any]] = defaultdict(list)
    for record in records:
        found[record.get("k", "pairs")].append(record)
    found["pairs"].sort(key=lambda pair: json.dumps(pair, sort_keys=True))
    return dict(found)


def of_a_run(folder: PipelineFolder, url: str, topology: Topology) -> tuple[Found, Found]:
    """What was left and what is dead, by stage and key."""

    def entries(*keys: str) -> list[tuple[dict[str, Any], str]]:
        found = [fields for key in keys for _, fields in server.xrange(key)]
        return [(json.loads(fields[b"data"]), fields.get(b"@error", b"").decode()) for fields in found]

    with plain_client(url) as server:
        server.flushall()
        asyncio.run(folder.run(url, drain=True))
        left = {name: by_key([record for record, _ in entries(*topology.named[name].keys)]) for name in STAGES}
        dead = {name: with_errors(entries(topology.stages[name].dead_key)) for name in STAGES}
    return left, dead


def driven(topology: Topology, folder: PipelineFolder) -> tuple[Found, Found]:
    """The same, without a server."""
    with Driver(topology) as driver:
        for stage, file in (("read", "in.jsonl"), ("others", "others.jsonl")):
            driver.put(stage, *folder.output(file))
        driver.end()
        left = {name: by_key(driver.out(name)) for name in STAGES}
        letters = {name: [letter.error for letter in driver.dead(name)] for name in STAGES}
        dead = {name: with_errors(list(zip(driver.dead_records(name), letters[name], strict=True))) for name in STAGES}
    return left, dead


def with_errors(letters: Sequence[tuple[dict[str, Any], str]]) -> dict[str, list[Any]]:
    """Dead letters by key; those of one batch have no order among them, and are sorted."""
    found = by_key([{**record, "error": error} for record, error in letters])
    return {key: sorted(records, key=lambda one: json.dumps(one, sort_keys=True)) for key, records in found.items()}


@settings(
    max_examples=8, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(records=RECORDS, others=RECORDS, partitions=st.sampled_from([1, 3]), size=st.sampled_from([1, 3, 100]))
@example(records=DEAD_BEHIND_THE_STATE, others=[], partitions=1, size=1)
def test_a_driver_gives_what_a_run_gives(
    folder: PipelineFolder, url: str, records: list[Any], others: list[Any], partitions: int, size: int
) -> None:
    folder.records("in.jsonl", records)
    folder.records("others.jsonl", others)
    folder.pipeline(PIPELINE.format(partitions=partitions, size=size))
    expected = driven(folder.topology("defaults.batch.size=1000"), folder)
    assert of_a_run(folder, url, folder.topology()) == expected
    assert driven(folder.topology(), folder) == expected
