"""`papyra-flow run` as a process: outcomes, exit codes, signals, kills, several processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from papyra_flow.streams.embedded.watchdog import OFTEN
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, line_of
from tests.harness.servers import eventually, plain_client


def test_run_ends_by_itself_and_says_what_arrived_where(chain: PipelineFolder) -> None:
    finished = chain.cli("run", "pipeline.yml")
    assert "drained after" in finished.out
    assert [record["n"] for record in chain.output("out.jsonl")] == list(range(0, 100, 2))


def test_run_json_is_one_document_and_nothing_else(chain: PipelineFolder) -> None:
    document = chain.cli("run", "pipeline.yml", "--json").json
    assert (document["pipeline"], document["outcome"]) == ("p", "drained")
    assert document["stages"]["b"] == {
        "read": 100, "emitted": {"t": 50}, "written": 0, "dropped": 50, "retried": 0, "dead": 0, "claimed": 0,
        "stale": 0,
        "late": 0,
        "lost": 0,
    }  # fmt: skip
    assert document["stages"]["c"]["written"] == 50
    assert document["streams"] == {"s": {"length": 0, "backlog": 0}, "t": {"length": 0, "backlog": 0}}


def test_dead_letters_are_exit_code_3(chain: PipelineFolder) -> None:
    finished = chain.cli("run", "pipeline.yml", "--set", "stages.b.process=[{filter: n / (n - 7) > 0}]", code=3)
    assert finished.err.startswith("b: 1 dead letter\n  1 x division by zero")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("run", "nowhere.yml"), 2, "cannot read nowhere.yml: No such file or directory"),
        (("run", "pipeline.yml", "--stage", "x"), 2, "unknown stage 'x'; the stages are a, b, c"),
        (("run", "pipeline.yml", "--set", "stages.b.consumers=0"), 2, "greater than or equal to 1"),
        (("run", "pipeline.yml", "--set", "stages.a.read.jsonl=gone.jsonl"), 1, "file not found: gone.jsonl"),
        (("run", "pipeline.yml", "--redis", "redis://127.0.0.1:1"), 4, "no server answers"),
        (("run", "pipeline.yml", "--redis", "http://x"), 2, "is not a server address"),
        (("run", "pipeline.yml", "--set", "stages.c.write.jsonl=in.jsonl/x"), 1, "cannot write"),
        (("run",), 2, "Missing argument"),
        (("rnu", "pipeline.yml"), 2, "No such command"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_an_exit_code(
    chain: PipelineFolder, arguments: tuple[str, ...], code: int, message: str
) -> None:
    finished = chain.cli(*arguments, code=code)
    assert message in finished.err
    assert "Traceback" not in finished.err


def test_an_unreachable_server_shows_no_password(chain: PipelineFolder) -> None:
    finished = chain.cli("run", "pipeline.yml", "-v", "--redis", "redis://me:hunter2@127.0.0.1:1", code=4)
    assert "hunter2" not in finished.err + finished.out


ENDLESS = """\
    pipeline: p
    stages:
      a: {read: {generate: {rate: 1000}}, to: s}
      b: {from: s, process: [{run: "%s:step"}], to: t}
    """


@pytest.fixture
def endless(folder: PipelineFolder) -> PipelineFolder:
    """A pipeline without an end, whose step waits where the records' numbers say so."""
    module = folder.steps(
        """\
        import pathlib, threading
        def step(record):
            pathlib.Path("begun").touch()
            while pathlib.Path("hold").exists():
                threading.Event().wait(0.01)
            return record
        """
    )
    return folder.pipeline(ENDLESS % module)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_an_orderly_way(endless: PipelineFolder, number: signal.Signals) -> None:
    process = endless.start("run", "pipeline.yml", "--json")
    eventually((endless.path / "begun").exists)
    process.send_signal(number)
    out, err = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 0, err
    assert '"outcome": "stopped"' in out
    document = endless.cli("status", "pipeline.yml", "--json").json
    assert document["stages"]["b"]["pending"] == 0 or document["stages"]["b"]["oldest_pending_ms"] > 30_000


STUCK = """\
    import asyncio, pathlib, threading
    async def waits(record):
        pathlib.Path("begun").touch()
        await asyncio.Event().wait()
    def blocks(record):
        pathlib.Path("begun").touch()
        threading.Event().wait()
    """


@pytest.mark.parametrize("step", ["waits", "blocks"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once(endless: PipelineFolder, number: signal.Signals, code: int, step: str) -> None:
    module = endless.steps(STUCK)
    endless.pipeline(ENDLESS.replace("step", step) % module)
    process = endless.start("run", "pipeline.yml")
    eventually((endless.path / "begun").exists)
    process.send_signal(number)
    line_of(process, "press Ctrl-C again to exit immediately")
    process.send_signal(number)
    _, err = process.communicate(timeout=HANGS_SECONDS)
    # The kernel ends a process that a busy machine does not let end by itself; to a shell both are one code.
    assert process.returncode in {code, -number}, err
    assert "Traceback" not in err


def numbers(folder: PipelineFolder, name: str = "out.jsonl") -> Counter[int]:
    return Counter(record["n"] for record in folder.output(name))


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again_every_line_arrives_once(folder: PipelineFolder, seed: int) -> None:
    """A source, a stage and a file sink in one process that is killed at moments of no choosing."""
    kills, count, dice = 0, 0, random.Random(seed)
    folder.pipeline(
        """\
        pipeline: p
        defaults: {batch: {size: 100}}
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, process: [{set: {m: n * 2}}], consumers: 2, to: t}
          c: {from: t, write: {jsonl: out.jsonl, fsync: false}}
        """
    )
    while kills < 3:  # as a rule three times as often; a run that is through before it is killed is given more to do
        with (folder.path / "in.jsonl").open("a") as file:
            file.writelines(f'{{"n": {n}}}\n' for n in range(count, count + 60_000))
        count += 60_000
        kills += killed_until_it_is_through(folder, dice)
    assert numbers(folder) == Counter(range(count))


def killed_until_it_is_through(folder: PipelineFolder, dice: random.Random) -> int:
    kills, out = 0, folder.path / "out.jsonl"
    while True:
        process = folder.start("run", "pipeline.yml")
        size = out.stat().st_size if out.exists() else 0
        wanted = size + dice.randrange(1, 200_000)
        eventually(lambda: process.poll() is not None or (out.exists() and out.stat().st_size >= wanted))  # noqa: B023
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()[1]
            return kills
        process.kill()
        process.communicate()
        kills += 1


def test_several_processes_share_the_work_and_end_together(folder: PipelineFolder) -> None:
    folder.records("in.jsonl", [{"n": n} for n in range(5000)])
    module = folder.steps(
        """\
        import asyncio, os, pathlib
        here = pathlib.Path("here")
        async def step(record):
            here.mkdir(exist_ok=True)
            (here / str(os.getpid())).touch()
            while len(list(here.iterdir())) < 2:  # hold what is in hand until the other process has some too
                await asyncio.sleep(0.01)
            return {**record, "pid": os.getpid()}
        """
    )
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b: {{from: s, process: [{{run: "{module}:step"}}], consumers: 2, batch: {{size: 50}}, to: t}}
          c: {{from: t, write: {{jsonl: out.jsonl}}}}
        """
    )
    document = folder.cli("run", "pipeline.yml", "--processes", "2", "--json").json
    assert document["outcome"] == "drained"
    assert document["stages"]["b"]["read"] == 5000
    assert numbers(folder) == Counter(range(5000))
    assert len({record["pid"] for record in folder.output("out.jsonl")}) == 2


def test_a_worker_process_that_dies_is_started_again(folder: PipelineFolder) -> None:
    folder.records("in.jsonl", [{"n": n} for n in range(3000)])
    module = folder.steps(
        """\
        import os, pathlib, signal
        def step(record):
            died = pathlib.Path("died")
            if record["n"] == 1234 and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return record
        """
    )
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, process: [{{run: "{module}:step"}}], write: {{jsonl: out.jsonl}}}}
        """
    )
    finished = folder.cli("run", "pipeline.yml", "--processes", "2")
    assert "restarting it" in finished.err
    assert numbers(folder) == Counter(range(3000))


def test_shares_on_two_machines_end_together(chain: PipelineFolder) -> None:
    first = chain.start("run", "pipeline.yml", "--stage", "a", "--stage", "c", "--json")
    second = chain.start("run", "pipeline.yml", "--stage", "b", "--json")
    for process in (first, second):
        _, err = process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == 0, err
    assert len(chain.output("out.jsonl")) == 50


def test_an_embedded_server_is_found_again_and_stopped_by_the_last(endless: PipelineFolder) -> None:
    process = endless.start("run", "pipeline.yml")
    eventually((endless.path / "begun").exists)
    (socket,) = endless.path.rglob("server.sock")
    before: Any = plain_client(f"unix://{socket}").info("server")
    endless.cli("status", "pipeline.yml")
    during: Any = plain_client(f"unix://{socket}").info("server")
    assert before["process_id"] == during["process_id"]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=HANGS_SECONDS)
    assert not _runs(before["process_id"])


def test_an_embedded_server_that_is_killed_is_started_again(folder: PipelineFolder) -> None:
    folder.records("in.jsonl", [{"n": n} for n in range(20_000)])
    module = folder.steps(
        """\
        import asyncio, pathlib
        async def step(record):
            while record["n"] == 19_999 and not pathlib.Path("killed").exists():
                await asyncio.sleep(0.01)
            return record
        """
    )
    folder.pipeline(
        f"""\
        pipeline: p
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b: {{from: s, process: [{{run: "{module}:step"}}], write: {{jsonl: out.jsonl}}}}
        """
    )
    process, killed = folder.start("run", "pipeline.yml", PAPYRA_FLOW_LOG="text"), None
    output = folder.path / "out.jsonl"
    for part in (1, 2):
        eventually(lambda: output.exists() and output.stat().st_size > 50_000 * part, "output")  # noqa: B023
        (socket,) = folder.path.rglob("server.sock")
        eventually(lambda: _pid_of(socket) not in {None, killed}, "a server")  # noqa: B023
        killed = _pid_of(socket)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
    (folder.path / "killed").touch()
    _, err = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 0, err
    assert err.count("the embedded server exited; restarting it") == 2
    assert numbers(folder) == Counter(range(20_000))
    assert not list(folder.path.rglob("server.sock"))


def test_an_embedded_server_that_ends_again_and_again_is_left_alone(endless: PipelineFolder) -> None:
    process = endless.start("run", "pipeline.yml", PAPYRA_FLOW_LOG="text")
    eventually((endless.path / "begun").exists)
    (socket,) = endless.path.rglob("server.sock")
    lines: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")))  # type: ignore[union-attr]
    reader.start()

    def killed_often() -> bool:
        """A busy machine may take longer for the first ends than they may lie apart."""
        if (pid := _pid_of(socket)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return any("keeps exiting; not restarting it" in line for line in lines)

    try:
        eventually(killed_often, "the last end")
    finally:
        process.kill()
        reader.join()
        process.communicate()
    assert sum("restarting it" in line for line in lines) >= OFTEN


def _pid_of(socket: Path) -> int | None:
    try:
        info: Any = plain_client(f"unix://{socket}").info("server")
    except redis.RedisError:
        return None
    return int(info["process_id"])


def test_the_embedded_server_is_its_owners_alone(endless: PipelineFolder) -> None:
    process = endless.start("run", "pipeline.yml")
    eventually((endless.path / "begun").exists)
    (socket,) = endless.path.rglob("server.sock")
    assert socket.parent.stat().st_mode & 0o077 == 0
    assert socket.stat().st_mode & 0o077 == 0
    info: Any = plain_client(f"unix://{socket}").config_get("port")
    assert info["port"] == "0"
    process.kill()
    process.communicate()


def test_a_pipeline_in_a_long_path_still_has_an_embedded_server(folder: PipelineFolder) -> None:
    deep = PipelineFolder(folder.path / ("d" * 60) / ("e" * 60))
    deep.path.mkdir(parents=True)
    deep.records("in.jsonl", [{"n": 1}])
    deep.pipeline("pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, write: {jsonl: out.jsonl}}\n")
    deep.cli("run", "pipeline.yml")
    assert len(deep.output("out.jsonl")) == 1


def test_stdin_to_stdout_is_a_filter_in_a_shell(folder: PipelineFolder) -> None:
    folder.pipeline("pipeline: p\nstages:\n  a: {read: stdin, process: [{filter: n > 1}], write: stdout}\n")
    finished = folder.cli("run", "pipeline.yml", stdin='{"n": 1}\n{"n": 2}\nnot json\n{"n": 3}', code=3)
    assert finished.out == '{"n": 2}\n{"n": 3}\n'
    assert "drained after" in finished.err


def test_a_server_that_is_too_old_is_refused(chain: PipelineFolder, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A program that says it is Redis 6.2, as far as the version's look goes."""
    import socket
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                for line in data.split(b"*")[1:]:
                    info = b"redis_version:6.2.14\r\n"
                    is_info = b"INFO" in line
                    connection.sendall(b"$%d\r\n%s\r\n" % (len(info), info) if is_info else b"+OK\r\n")

    threading.Thread(target=serve, daemon=True).start()
    port = listener.getsockname()[1]
    finished = chain.cli("run", "pipeline.yml", "--redis", f"redis://127.0.0.1:{port}", code=4)
    assert "is Redis 6.2.14; papyra-flow needs Redis 7.0 or Valkey 7.2, or newer" in finished.err
    listener.close()


def test_a_second_run_at_the_same_time_does_no_harm(folder: PipelineFolder) -> None:
    folder.records("in.jsonl", [{"n": n} for n in range(20_000)])
    folder.pipeline(
        "pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s}\n  b: {from: s, write: {jsonl: out.jsonl}}\n"
    )
    processes: list[subprocess.Popen[str]] = [folder.start("run", "pipeline.yml", "-q") for _ in range(3)]
    for process in processes:
        _, err = process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == 0, err
    assert numbers(folder) == Counter(range(20_000))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
