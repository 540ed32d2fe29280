"""Records that wait on the server for another attempt, while their workers are killed: each arrives once."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.faults.workload import SEED, patiently, wait
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import LocalServer

RECORDS, KILLS = 300, 8
STEPS = """
import os, pathlib
from papyra_flow import Retry
def f(r):
    mark = pathlib.Path(__file__).with_name(f"mark-{r['n']}")
    if r["n"] % 3 == 0 and not mark.exists():
        mark.touch()
        raise Retry("not yet", after=1.01 + r["n"] / 1000)
    return r
"""


def test_what_waits_arrives_once_though_workers_are_killed(
    folder: PipelineFolder, local_server: Callable[..., LocalServer]
) -> None:
    module, dice = folder.steps(STEPS), random.Random(SEED)
    server = local_server()
    folder.pipeline(f"""
        pipeline: w
        defaults: {{batch: {{size: 20}}, claim_after: 1s, retry: {{attempts: 100}}}}
        stages: {{s: {{from: in, process: [{{run: "{module}:f"}}], to: out, consumers: 2}}}}
        streams: {{in: {{}}, out: {{retain: all}}}}
        """)
    with server.client as plain:
        plain_client: Any = plain
        begin = ("run", "pipeline.yml", "--redis", server.url)
        worker = folder.start(*begin)
        try:
            patiently(lambda: plain_client.exists("{w}:in"), "the group")
            for kill in range(KILLS):
                numbers = range(kill * RECORDS // KILLS, (kill + 1) * RECORDS // KILLS)
                for n in numbers:
                    plain_client.xadd("{w}:in", {"data": json.dumps({"n": n})})
                marks = [folder.path / f"mark-{n}" for n in numbers]
                patiently(lambda: any(mark.exists() for mark in marks), "a record that waits")  # noqa: B023
                wait(dice.random() * 0.5)
                worker.kill()
                worker.communicate()
                worker = folder.start(*begin)
        finally:
            worker.kill()
            worker.communicate()
        assert folder.cli(*begin, "--drain", "--json").json["outcome"] == "drained"
        arrived = Counter(json.loads(fields[b"data"])["n"] for _, fields in plain_client.xrange("{w}:out"))
        assert arrived == Counter(range(RECORDS))
        assert plain_client.zcard("{w}:@later:s") == 0
        assert plain_client.xlen("{w}:@dead:s") == 0
        assert plain_client.xlen("{w}:s@replay") == 0
