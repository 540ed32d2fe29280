"""The embedded server is one a folder, and never left behind, however those end that use it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from papyra_flow.errors import EmbeddedServerError
from papyra_flow.streams.embedded.server import EmbeddedServer
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, line_of
from tests.harness.servers import eventually, plain_client

ENDLESS = "pipeline: p\nstages:\n  g: {read: {generate: {rate: 50}}, to: s}\n  t: {from: s, to: out}\n"
USER = """\
import sys
from pathlib import Path
from papyra_flow.streams.embedded.server import EmbeddedServer

server = EmbeddedServer(Path(sys.argv[1]), "p")
server.start()
print(server.url, flush=True)
sys.stdin.readline()
"""


def pid_of(url: str) -> int:
    with plain_client(url) as found:
        return int(found.info("server")["process_id"])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def user(folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that uses the folder's server, and its address there."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield process, line_of(process, "unix://", process.stdout).strip()
    finally:
        process.kill()
        process.communicate(timeout=HANGS_SECONDS)


@pytest.fixture(params=["short", "deep"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder, and one whose path is longer than a socket's name may be."""
    found = tmp_path if request.param == "short" else tmp_path / ("d" * 80) / ("e" * 80)
    found.mkdir(parents=True, exist_ok=True)
    return found


def test_there_is_one_server_whatever_the_folder_for_temporary_files(place: Path, tmp_path: Path) -> None:
    others = [tmp_path / "a", tmp_path / "b"]
    for other in others:
        other.mkdir()
    with user(place, TMPDIR=str(others[0])) as (_, first), user(place, TMPDIR=str(others[1])) as (_, second):
        assert pid_of(first) == pid_of(second)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_last_user_that_is_killed_takes_the_server_along(place: Path, number: signal.Signals) -> None:
    with user(place) as (first, url), user(place) as (second, _):
        pid = pid_of(url)
        first.send_signal(number)
        first.wait()
        assert alive(pid), "another process still uses it"
        second.send_signal(number)
        second.wait()
        eventually(lambda: not alive(pid), "the server's end")


def test_what_was_written_is_there_after_a_kill(place: Path) -> None:
    with user(place) as (process, url):
        with plain_client(url) as found:
            found.set("k", "v")
        process.kill()
        process.wait()
    again = EmbeddedServer(place, "p")
    again.start()
    with plain_client(again.url) as found:
        assert found.get("k") == b"v"
    again.leave()


def test_it_has_stopped_when_the_last_user_has_left(place: Path) -> None:
    for _ in range(3):
        server, other = EmbeddedServer(place, "p"), EmbeddedServer(place, "p")
        server.start()
        other.start()
        pid = pid_of(server.url)
        server.leave()
        assert alive(pid)
        other.leave()
        assert not alive(pid)


def test_a_folder_that_is_in_use_gets_no_second_server(tmp_path: Path) -> None:
    """A server that does not answer on its socket (which somebody deleted) still has its files."""
    server = EmbeddedServer(tmp_path, "p")
    server.start()
    pid = pid_of(server.url)
    server.socket.unlink()
    try:
        with pytest.raises(EmbeddedServerError, match=r"another server has .*, and does not answer on its socket"):
            EmbeddedServer(tmp_path, "p").start()
    finally:
        os.kill(pid, signal.SIGTERM)
        server._caretaker.end() if server._caretaker else None
        server._forget()
    eventually(lambda: not alive(pid), "the server's end")


def test_a_folder_that_is_deleted_under_a_run_is_told(folder: PipelineFolder) -> None:
    folder.pipeline(ENDLESS)
    process = folder.start("run", "pipeline.yml")
    log = folder.path / ".papyra-flow" / "p" / "server.log"
    eventually(log.exists, "the server")
    url = f"unix://{log.with_name('server.sock')}"
    eventually(lambda: reached(url), "the server's answer")
    pid = pid_of(url)
    with plain_client(url) as found:
        eventually(lambda: found.exists("{p}:out"), "records")
    eventually(lambda: removed(folder.path / ".papyra-flow"), "the folder's end")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 4
    assert "was deleted while the embedded server ran: streams, checkpoints and dead letters are gone" in err
    assert "Traceback" not in err
    eventually(lambda: not alive(pid), "the server's end")


def removed(place: Path) -> bool:
    """Delete a folder, in which the server may be writing at the moment."""
    shutil.rmtree(place, ignore_errors=True)
    return not place.exists()


def reached(url: str) -> bool:
    try:
        with plain_client(url) as found:
            return bool(found.ping())
    except (redis.RedisError, OSError):
        return False


@pytest.mark.parametrize("words", [("status", "pipeline.yml", "--watch"), ("tap", "pipeline.yml", "s", "-f")])
def test_a_look_that_is_ended_leaves_no_server_behind(folder: PipelineFolder, words: tuple[str, ...]) -> None:
    folder.pipeline(ENDLESS + "streams: {s: {retain: all}}\n")
    folder.cli("add", "pipeline.yml", "s", '{"n": 1}')
    process = folder.start(*words)
    line_of(process, "", process.stdout)
    pid = pid_of(f"unix://{folder.path / '.papyra-flow' / 'p' / 'server.sock'}")
    process.terminate()
    process.communicate(timeout=HANGS_SECONDS)
    eventually(lambda: not alive(pid), "the server's end")
