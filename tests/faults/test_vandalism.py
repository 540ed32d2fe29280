"""Keys and groups taken away or replaced under a running pipeline, and every refusal that a server can answer with.

What waiting cures is waited for, what it does not cure ends the run with one sentence; nothing spins.
"""

from __future__ import annotations

import json
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.faults.workload import RECORDS, Worker, Workload, patiently
from tests.harness import HANGS_SECONDS
from tests.harness.ports import free_port
from tests.harness.servers import LocalServer


def ended(worker: Worker, code: int, message: str) -> None:
    """The run ends by itself, with one sentence."""
    patiently(lambda: not worker.runs, "the end of the run")
    out, err = worker.process.communicate()
    assert worker.process.returncode == code, err
    assert re.search(message, err), err
    assert "Traceback" not in err
    assert json.loads(out)["outcome"] == "failed"


def under_way(workload: Workload) -> Worker:
    """A worker that has begun to work."""
    worker = workload.start()
    workload.produce(5000)
    patiently(lambda: workload.length("out") > 0, "the first records")
    return worker


def commands(server: redis.Redis) -> int:
    facts: Any = server.info("stats")
    return int(facts["total_commands_processed"])


def test_after_flushall_the_pipeline_goes_on_with_what_comes_next(workload: Workload) -> None:
    worker = under_way(workload)
    worker.codes = frozenset({1})
    with workload.server as server:
        for _ in range(5):
            workload.produce(2000)
            server.flushall()
            patiently(lambda: server.exists("{f}:@applied") and len(groups(server)) == 1, "the groups, anew")
    before = workload.produced
    workload.produce(RECORDS // 4)
    (document,) = workload.finish(worker)
    assert document["outcome"] == "failed"
    assert sum(stage.get("lost", 0) for stage in document["stages"].values()) > 0
    expected, dead = workload.expected(range(before, workload.produced))
    after = [(r["n"], r["copy"]) for _, r in workload.entries("out") if r["n"] >= before]
    buried = [(r["n"], r["copy"]) for _, r in workload.entries("@dead:check") if r["n"] >= before]
    assert (Counter(after), Counter(buried)) == (expected, dead)


def groups(server: redis.Redis) -> list[Any]:
    found: Any = server.xinfo_groups("{f}:in")
    return list(found)


def test_a_group_that_is_destroyed_ends_the_run_with_one_sentence(workload: Workload) -> None:
    worker = under_way(workload)
    with workload.server as server:
        server.xgroup_destroy("{f}:parts", "check")
    ended(worker, 1, r"the group 'check' of the stage 'check' was destroyed while it ran; run again to create it")


def test_a_stream_that_is_deleted_ends_the_run_with_one_sentence(workload: Workload) -> None:
    worker = under_way(workload)
    with workload.server as server:
        server.delete("{f}:in")
    ended(worker, 1, r"the stream \{f\}:in was deleted or evicted while it ran, and with it the group 'split'")


@pytest.mark.parametrize("stream", ["in", "parts", "out"])
def test_a_stream_that_is_replaced_by_another_type_ends_the_run_and_loses_nothing_pending(
    workload: Workload, stream: str
) -> None:
    worker = under_way(workload)
    with workload.server as server:
        server.set(f"{{f}}:{stream}", "mine")  # in one step: a stream that is only gone is another matter
        if stream == "out":
            workload.produce(1000)
        ended(worker, 4, r"WRONGTYPE|holds a string")
        assert server.get(f"{{f}}:{stream}") == b"mine"


def test_no_script_is_no_trouble(workload: Workload) -> None:
    worker = under_way(workload)
    flushed = 0
    with workload.server as server:
        for _ in range(20):
            workload.produce(RECORDS // 100)
            server.script_flush()
            flushed += 1
    workload.finish(worker)
    assert flushed == 20
    workload.verify()


def test_a_server_that_is_busy_with_somebodys_script_is_waited_for(workload: Workload) -> None:
    worker = under_way(workload)
    busy = 0
    with workload.server as server:
        server.config_set("busy-reply-threshold", 50)
        for _ in range(3):
            workload.produce(2000)
            script = threading.Thread(target=loops, args=(workload,))
            script.start()
            patiently(lambda: is_busy(server), "a busy server")
            busy += 1
            threading.Event().wait(0.5)
            patiently(server.script_kill, "the script's end")
            script.join()
    assert busy == 3
    goes_on(workload, worker)


def loops(workload: Workload) -> None:
    with workload.server as server, pytest.raises(redis.RedisError):
        server.eval("while true do end", 0)


def is_busy(server: redis.Redis) -> bool:
    try:
        server.get("x")
    except redis.ResponseError as exc:
        return "BUSY" in str(exc)
    return False


def goes_on(workload: Workload, worker: Worker) -> None:
    """The worker is still there, works, and all is right in the end."""
    assert worker.runs
    length = workload.length("out")
    workload.produce(2000)
    patiently(lambda: workload.length("out") > length, "going on")
    workload.finish(worker)
    workload.verify()


def test_a_server_out_of_memory_is_waited_for_and_said(workload: Workload) -> None:
    """maxmemory with noeviction: the commit is refused whole, the worker backs off, says so, and goes on."""
    worker = under_way(workload)
    workload.produce(20_000)
    with workload.server as server:
        server.config_set("maxmemory", 1)
        before = commands(server)
        patiently(lambda: refused(server) > 0, "a refusal")
        threading.Event().wait(3.0)
        spent = commands(server) - before
        server.config_set("maxmemory", 0)
    assert spent < 2000, f"{spent} commands in 3 s: it spins"
    length = workload.length("out")
    workload.produce(2000)
    patiently(lambda: workload.length("out") > length, "going on")
    worker.process.send_signal(signal.SIGTERM)
    _, err = worker.process.communicate(timeout=HANGS_SECONDS)
    assert "OOM" in err
    workload.drain()
    workload.verify()


def refused(server: redis.Redis) -> int:
    facts: Any = server.info("stats")
    return int(facts["total_error_replies"])


def test_a_server_that_cannot_save_is_waited_for(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]
) -> None:
    """MISCONF: a snapshot failed, and writes are refused until one succeeds."""
    server = local_server()
    workload = make_workload(server.url)
    worker = under_way(workload)
    with server.client as plain:
        plain.config_set("save", "3600 1")
        (server.folder / "dump.rdb").mkdir()
        patiently(lambda: bgsave(plain) and is_misconfigured(plain), "MISCONF")
        threading.Event().wait(1.0)
        (server.folder / "dump.rdb").rmdir()
        plain.config_set("save", "")
        patiently(lambda: bgsave(plain) and not is_misconfigured(plain), "a snapshot")
    goes_on(workload, worker)


def bgsave(plain: redis.Redis) -> bool:
    plain.bgsave()
    return True


def is_misconfigured(plain: redis.Redis) -> bool:
    try:
        plain.set("x", "y")
    except redis.ResponseError as exc:
        return "MISCONF" in str(exc)
    return False


def test_a_server_that_is_loading_is_waited_for(
    make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]
) -> None:
    server = local_server("--appendonly", "yes", "--key-load-delay", "200", "--loading-process-events-interval-bytes",
                          "1024", flavour="redis", port=free_port())  # fmt: skip
    workload = make_workload(server.url)
    worker = under_way(workload)
    with server.client as plain:
        for n in range(20_000):
            plain.set(f"ballast:{n}", "x" * 100)
    server.kill()
    starting = threading.Thread(target=server.start)
    starting.start()
    patiently(lambda: is_loading(server), "a server that loads")
    starting.join()
    goes_on(workload, worker)


def is_loading(server: LocalServer) -> bool:
    try:
        with server.client as plain:
            plain.get("x")
    except redis.BusyLoadingError:
        return True
    except redis.RedisError:
        return False
    return False


def test_a_password_that_is_set_under_way_ends_the_run_with_one_sentence(workload: Workload) -> None:
    """NOAUTH: connections that are there stay; new ones are refused."""
    worker = under_way(workload)
    with workload.server as server:
        server.config_set("requirepass", "secret")
        server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        server.execute_command("AUTH", "secret")
        ended(worker, 4, r"NOAUTH|authentication failed|permission denied")
        server.config_set("requirepass", "")


def test_a_permission_that_is_taken_away_ends_the_run_and_loses_nothing(workload: Workload) -> None:
    """NOPERM in the middle: no entry is acked and not forwarded."""
    worker = under_way(workload)
    workload.produce(20_000)
    with workload.server as server:
        server.execute_command("ACL", "SETUSER", "default", "-xadd")
        ended(worker, 4, "authentication failed|permission denied")
        server.execute_command("ACL", "SETUSER", "default", "+xadd")
    workload.drain()
    workload.verify()
