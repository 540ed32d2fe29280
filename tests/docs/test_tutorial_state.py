"""The second part of the tutorial: its files are written, its commands run in a shell and print what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.harness import HANGS_SECONDS

PAGE = Path(__file__).parents[2] / "docs" / "tutorial-state.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLOCK = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")
"""When something failed, which is another time with each run."""
SET_UP = ("pip", "cd")


def lines(text: str) -> list[str]:
    """What people see of a text: without spaces at the ends of lines, and without the time of day."""
    return [CLOCK.sub("when", line.rstrip()) for line in text.splitlines()]


def shell(command: str, folder: Path) -> str:
    """Run a command as a reader does, with the one of this checkout in the path; returns what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", command], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=HANGS_SECONDS, check=False, env={**os.environ, "PATH": path, "COLUMNS": "160"},
    )  # fmt: skip
    return ran.stdout


def is_part(shown: list[str], printed: list[str]) -> bool:
    """Whether these lines stand together in what was printed."""
    return any(printed[start : start + len(shown)] == shown for start in range(len(printed) - len(shown) + 1))


def test_the_second_part_of_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    folder, compared = tmp_path / "my-delays", 0
    for language, text in BLOCK.findall(PAGE.read_text()):
        if language == "sh":
            for command in text.splitlines():
                if command.split()[0] not in SET_UP:
                    shell(command, tmp_path)
        elif language == "yaml":
            (folder / "delays.yml").write_text(text)
        elif language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                printed = shell(command, folder)
                if shown := lines(output):
                    assert is_part(shown, lines(printed)), printed
                    compared += 1
    assert compared == 7
