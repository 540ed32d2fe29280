"""A run that follows a log is killed while the log is written and rotated: every line arrives once."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import LocalServer, eventually, plain_client

SEED = int(os.environ.get("FAULT_SEED", "1"))
KILLS = 12
PIPELINE = """\
    pipeline: p
    redis: "%s"
    defaults: {batch: {size: 7}, claim_after: 500ms}
    stages:
      a: {read: {jsonl: "%s", follow: true}, to: s}
    streams: {s: {retain: all}}
    """


class Log:
    """A log that is written a line at a time, now and then in two pieces, and rotated by renaming."""

    def __init__(self, path: Path, dice: random.Random) -> None:
        self.path = path
        self.dice = dice
        self.written = 0
        self.rotated = 0
        self.file = path.open("ab", buffering=0)

    def write(self, lines: int) -> None:
        for _ in range(lines):
            line = json.dumps({"n": self.written, "pad": "x" * self.dice.randrange(200)}).encode() + b"\n"
            place = self.dice.randrange(len(line)) if self.dice.random() < 0.1 else 0
            self.file.write(line[:place])
            self.file.write(line[place:])
            self.written += 1

    def rotate(self) -> None:
        """The writer goes on with the old file for a few lines, as one does that was not told yet."""
        for number in range(self.rotated, 0, -1):
            self.path.with_name(f"app.log.{number}").rename(self.path.with_name(f"app.log.{number + 1}"))
        self.path.rename(self.path.with_name("app.log.1"))
        self.rotated += 1
        self.write(self.dice.randrange(5))
        self.file.close()
        self.file = self.path.open("ab", buffering=0)
        self.write(self.dice.randrange(5))


@pytest.mark.parametrize("pattern", ["logs/app.log", "logs/app.log*"])
def test_a_followed_log_arrives_once_through_kills_and_rotation(
    folder: PipelineFolder, local_server: Callable[..., LocalServer], pattern: str
) -> None:
    """kill -9 between any two lines, in the middle of rotations, too; the pattern names the rotated files, or not."""
    dice, server = random.Random(SEED), local_server()
    print(f"seed {SEED}")
    folder.pipeline(PIPELINE % (server.url, pattern))
    (folder.path / "logs").mkdir()
    log = Log(folder.path / "logs" / "app.log", dice)
    log.write(20)
    with plain_client(server.url) as plain:
        for kill in range(KILLS):
            before = plain.xlen("{p}:s")
            process = folder.start("run", "pipeline.yml")
            try:
                eventually(lambda: plain.xlen("{p}:s") > before, f"records of run {kill}")  # noqa: B023
                for _ in range(dice.randrange(1, 4)):
                    log.write(dice.randrange(200))
                    if pattern.endswith("*"):
                        log.rotate()
                if not pattern.endswith("*"):
                    # A file that came and was renamed between two looks has a name that the pattern does not know.
                    eventually(lambda: plain.xlen("{p}:s") >= log.written, "all lines")
                    log.rotate()
            finally:
                process.kill()
                process.communicate()
            log.write(dice.randrange(1, 50))
            if pattern.endswith("*"):
                log.rotate()
                log.write(1)
        assert log.rotated > 0
        process = folder.start("run", "pipeline.yml")
        try:
            eventually(lambda: plain.xlen("{p}:s") >= log.written, "all lines")
        finally:
            process.terminate()
            process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == 0
        arrived = Counter(json.loads(fields[b"data"])["n"] for _, fields in plain.xrange("{p}:s"))
    assert arrived == Counter(range(log.written))
