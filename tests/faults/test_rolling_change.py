"""Workers stopped and started one after another under load, with a stage's steps changed in between: nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.faults.workload import RECORDS, Workload, data_of, patiently


def test_a_new_version_is_rolled_out_under_load(workload: Workload) -> None:
    workers = [workload.start() for _ in range(3)]
    producing = workload.in_background(RECORDS)
    given_back = 0
    for worker in workers:
        patiently(lambda: workload.busy(worker), "a worker at work")  # noqa: B023
    for version in range(1, 4):
        seen = workload.folder.path / f"seen-{version}"
        workload.folder.write("fault_steps.py", stamped(workload, version, seen) + "    #" * version + "\n")
        for index, worker in enumerate(workers):
            patiently(lambda: workload.busy(worker), "a worker at work")  # noqa: B023
            document = worker.stop()
            assert document["outcome"] == "stopped"
            given_back += workload.in_hand_of(worker)
            workers[index] = workload.start()
        patiently(lambda: workload.at_work() and seen.exists(), f"version {version} at work")  # noqa: B023
    producing.join()
    workload.finish(*workers)
    versions = {record.get("version", 0) for _, record in workload.entries("out")}
    print(f"versions at work: {sorted(versions)}; {given_back} entries were given back, and taken by others")
    assert versions == {0, 1, 2, 3}
    workload.verify()
    with workload.server as server:
        for stream in ("in", "parts", "even", "odd"):
            for group in server.xinfo_groups(f"{{f}}:{stream}"):
                consumers: Any = server.xinfo_consumers(f"{{f}}:{stream}", group["name"])
                assert consumers == [], "consumers that are gone were left behind"


def stamped(workload: Workload, version: int, seen: Path) -> str:
    """The steps of a later version, which says so in each record, and in a file."""
    more = f'open("{seen}", "w").close(); return '
    if workload.form == "arrow":
        table = f'table.append_column("version", pa.repeat({version}, table.num_rows))'
        return workload.steps.replace("return table", more + table)
    return workload.steps.replace("return record", f'{more}{{**record, "version": {version}}}')


def test_attempts_go_on_where_a_crash_left_them(workload: Workload) -> None:
    """Attempts are counted on the server: a worker that dies between two of them does not start anew."""
    workload.folder.write(
        "crash_steps.py",
        """\
        import pathlib
        def step(record):
            with pathlib.Path("attempts").open("a") as file:
                file.write("x")
            raise ValueError("never")
        """,
    )
    workload.folder.pipeline(
        f"""\
        pipeline: f
        defaults: {{claim_after: 1h, retry: {{attempts: 6, backoff: 300ms..300ms}}}}
        stages: {{a: {{from: in, process: [{{run: "crash_steps:step"}}], to: out}}}}
        streams: {{in: {{format: {workload.form}}}}}
        """
    )
    attempts = workload.folder.path / "attempts"
    with workload.server as server:
        server.xadd("{f}:in", {"data": data_of(workload.form, {"n": 1})})
        for count in (1, 3, 4):
            worker = workload.start()
            patiently(lambda: attempts.exists() and attempts.stat().st_size >= count, "an attempt")  # noqa: B023
            worker.kill()
        workload.drain()
        assert attempts.stat().st_size == 6
        (letter,) = server.xrange("{f}:@dead:a")
        assert json.loads(letter[1][b"@deliveries"]) == 6
