"""I9: memory is bounded by configuration, whatever the input's size, for the worker and for Redis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import redis

from papyra_flow.streams.embedded.server import EmbeddedServer
from tests.faults.workload import RECORDS, Workload, patiently
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import eventually, plain_client

PIPELINE = """\
    pipeline: p
    stages:
      a: {read: {generate: {count: COUNT, fields: {n: n, text: "'x' * 150"}}}, to: s}
      b: {from: s, process: [{set: {m: n + 1}}], to: t}
      c: {from: t, process: [{filter: m % 1000 == 0}], write: {jsonl: out.jsonl}}
    streams: {s: {max_backlog: BACKLOG, format: FORM}, t: {max_backlog: BACKLOG, format: FORM}}
    """


def peaks(folder: PipelineFolder, form: str, count: int) -> tuple[float, float]:
    """Megabytes at the most, of the worker and of its embedded server, for an input of this length."""
    backlog = 20_000 if form == "json" else 40  # tables of 500 records
    text = PIPELINE.replace("COUNT", str(count)).replace("BACKLOG", str(backlog)).replace("FORM", form)
    folder.pipeline(text)
    process = folder.start("run", "pipeline.yml", "--json")
    worker = server = 0.0
    status = Path(f"/proc/{process.pid}/status")

    def look() -> bool:
        nonlocal worker, server
        try:
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
            worker = max(worker, int(line.split()[1]) / 1024)
            facts: Any = plain_client(EmbeddedServer(folder.path, "p").url).info("memory")
            server = max(server, facts["used_memory_peak"] / 2**20)
        except (OSError, ValueError, StopIteration, LookupError):
            pass
        except Exception:  # noqa: BLE001 - the server may be starting or gone
            return process.poll() is not None
        return process.poll() is not None

    eventually(look, "the end of the run", 2 * HANGS_SECONDS)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["stages"]["c"]["written"] == count // 1000
    return worker, server


def test_a_million_records_need_no_more_memory_than_a_tenth_of_them(tmp_path: Path, form: str) -> None:
    found = {}
    for count in (RECORDS // 2, RECORDS * 5):
        folder = PipelineFolder(tmp_path / str(count))
        folder.path.mkdir()
        found[count] = peaks(folder, form, count)
        worker, server = found[count]
        print(f"{count:>9,} records: worker {worker:.0f} MB, server {server:.0f} MB at the most")
    (worker, _), (worker_more, server_more) = found.values()
    assert worker_more < 1.3 * worker
    assert server_more > 1, "the server was not looked at"
    # 20,000 entries of backlog on each of two streams, as many that a trim has not reached yet, and the server's own
    # buffers: bounded by the configuration, at a tenth of what went through.
    assert server_more < 40


def test_a_slow_last_stage_stops_the_first_within_max_backlog(workload: Workload) -> None:
    """The source, two stages away, stands still while the last stage is stuck; the streams are as long as allowed."""
    batch, entries = (500, 100_000) if workload.form == "json" else (10, 10_000)
    workload.folder.write(
        "slow.py",
        """\
        import pathlib, threading
        def step(record):
            while pathlib.Path("hold").exists():
                threading.Event().wait(0.01)
            return record
        """,
    )
    workload.folder.pipeline(
        f"""\
        pipeline: f
        stages:
          a: {{read: {{generate: {{count: 100000}}}}, to: in, batch: {{size: {batch}}}}}
          b: {{from: in, to: parts}}
          c: {{from: parts, process: [{{run: "slow:step"}}], to: out}}
        streams:
          in: {{max_backlog: 2000, format: {workload.form}}}
          parts: {{max_backlog: 3000, format: {workload.form}}}
          out: {{format: {workload.form}}}
        """
    )
    (workload.folder.path / "hold").touch()
    workload.start("--stage", "c", name="slow")
    fast = workload.start("--stage", "a", "--stage", "b", name="fast")
    with workload.server as server:
        patiently(lambda: backlog(server, "parts") >= 3000 and backlog(server, "in") >= 1500, "full streams")
        most = [max(backlog(server, stream) for _ in range(100)) for stream in ("in", "parts")]
    print(f"backlogs at the most while the last stage was stuck: {most}")
    assert most[0] <= 2000 + 500
    assert most[1] <= 3000 + 500
    assert fast.runs
    (workload.folder.path / "hold").unlink()
    with workload.server as server:
        eventually(lambda: server.xlen("{f}:out") == entries, "all records")


def backlog(server: redis.Redis, stream: str) -> int:
    """What the slowest group of a stream has still to do."""
    groups: Any = server.xinfo_groups(f"{{f}}:{stream}")
    return max((group["pending"] + (group["lag"] or 0) for group in groups), default=0)
