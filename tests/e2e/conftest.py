"""Fixtures for tests of the command as a process, on the embedded server of a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import plain_client

CHAIN = """\
    pipeline: p
    stages:
      a: {read: {jsonl: in.jsonl}, to: s}
      b: {from: s, process: [{filter: n % 2 == 0}], to: t}
      c: {from: t, write: {jsonl: out.jsonl}}
    """


@pytest.fixture
def chain(folder: PipelineFolder) -> PipelineFolder:
    """A chain of three stages with 100 records to read."""
    folder.records("in.jsonl", [{"n": n} for n in range(100)])
    return folder.pipeline(CHAIN)


@pytest.fixture(autouse=True)
def no_server_is_left_behind(tmp_path: Path) -> Iterator[None]:
    """End what a test's embedded server may have left running, e.g. after it was killed."""
    yield
    for socket in tmp_path.rglob("server.sock"):
        try:
            with plain_client(f"unix://{socket}") as left:
                left.shutdown(nosave=True)
        except (redis.RedisError, OSError):
            continue
