"""Real runs that write files, while they are killed, and while others have their way with the files."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import eventually

COUNT = 15_000
KILLED = """\
    pipeline: p
    defaults: {batch: {size: 100}}
    stages:
      a: {read: {jsonl: in.jsonl}, to: s}
      b: {from: s, write: {jsonl: "${OUT}", fsync: false}}
    """
GATED = """\
    pipeline: p
    defaults: {{batch: {{size: 10}}}}
    stages:
      a: {{read: {{jsonl: in.jsonl}}, to: s}}
      b: {{from: s, process: [{{run: "{module}:step"}}], write: {{{kind}: out}}}}
    """
STEP = """\
    import asyncio, pathlib
    async def step(record):
        while record["n"] >= 50 and not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
        return record
    """


def outputs(folder: Path) -> list[dict[str, int]]:
    """All records of all output files, whatever they are called by now."""
    lines = [line for path in folder.glob("out*") for line in path.read_text().splitlines()]
    return [orjson.loads(line) for line in lines]


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("out*"))


@pytest.mark.parametrize("between", ["path", "rename", "append"])
def test_killed_again_and_again_nothing_is_lost_and_what_may_be_there_twice_is_told(
    folder: PipelineFolder, between: str
) -> None:
    """Between runs the path changes and comes back, the file is renamed, or others append to it."""
    dice, kills, foreign, told, out, count = random.Random(between), 0, 0, "", "out.jsonl", 0
    folder.pipeline(KILLED)
    while kills < 2:  # as a rule more often; runs that are through before they are killed are given more to do
        with (folder.path / "in.jsonl").open("a") as more:
            more.writelines(f'{{"n": {n}}}\n' for n in range(count, count + COUNT))
        count += COUNT
        while True:
            process = folder.start("run", "pipeline.yml", OUT=out)
            wanted = total(folder.path) + dice.randrange(1, 70_000)
            eventually(lambda: process.poll() is not None or total(folder.path) >= wanted)  # noqa: B023
            if (ended := process.poll()) is None:
                process.kill()
            told += process.communicate()[1]
            if ended is not None:
                assert ended == 0, told
                break
            kills += 1
            if between == "path":
                out = dice.choice(["out.jsonl", "out-2.jsonl"])
            elif between == "rename":
                (folder.path / out).rename(folder.path / f"{out}.{kills}")
            else:
                with (folder.path / out).open("ab") as file:
                    end = file.tell()
                    whole = not end or (folder.path / out).read_bytes().endswith(b"\n")
                    file.write((b"" if whole else b"\n") + b'{"foreign":%d}\n' % kills)
                foreign += 1
    found = outputs(folder.path) if between != "append" else readable(folder.path / out)
    numbers = Counter(record["n"] for record in found if "n" in record)
    assert sorted(record["foreign"] for record in found if "foreign" in record) == list(range(1, foreign + 1))
    assert set(numbers) == set(range(count))
    twice = sum(numbers.values()) - count
    assert not twice or (between == "append" and "may be duplicated" in told)


def readable(path: Path) -> list[dict[str, int]]:
    """The records of a file in which the last line of a killed run may be torn: others wrote behind it."""
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return found


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("how", "code"),
    [
        (lambda path: path.unlink(), 1),
        (lambda path: path.write_bytes(b""), 1),
        (lambda path: path.rename(path.with_name("out.1")), 0),
        (lambda path: None, 0),
    ],
    ids=["deleted", "emptied", "renamed", "left alone"],
)
def test_what_becomes_of_a_file_under_a_run_is_in_the_exit_code(
    folder: PipelineFolder, kind: str, how: Callable[[Path], object], code: int
) -> None:
    folder.records("in.jsonl", [{"n": n} for n in range(100)])
    folder.pipeline(GATED.format(module=folder.steps(STEP), kind=kind))
    process, path = folder.start("run", "pipeline.yml", "--json"), folder.path / "out"
    eventually(lambda: path.exists() and b"49" in path.read_bytes())
    how(path)
    (folder.path / "go").touch()
    out, err = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == code, err
    lost = orjson.loads(out)["stages"]["b"]["lost"]
    assert (lost > 0) == bool(code)
    lines = [line for file in folder.path.glob("out*") for line in file.read_text().splitlines()]
    assert sum(line != "n" for line in lines) == 100 - lost
    if code:
        assert "bytes that were committed are gone" in err


def test_two_pipelines_that_write_one_file_take_turns_and_keep_what_the_other_wrote(folder: PipelineFolder) -> None:
    for name in ("one", "two"):
        folder.records(f"{name}.jsonl", [{name: n} for n in range(100)])
        folder.write(
            f"{name}.yml",
            f"pipeline: {name}\nstages:\n  a: {{read: {{jsonl: {name}.jsonl}}, to: s}}\n"
            "  b: {from: s, write: {jsonl: out.jsonl}}\n",
        )
    both = [folder.start("run", f"{name}.yml") for name in ("one", "two")]
    for process in both:
        err = process.communicate(timeout=HANGS_SECONDS)[1]
        assert process.returncode == 0, err
    with (folder.path / "one.jsonl").open("a") as more:
        more.write('{"one": 100}\n')
    assert "duplicated" not in folder.cli("run", "one.yml").err
    found = Counter((name, n) for record in folder.output("out.jsonl") for name, n in record.items())
    assert found == Counter([("one", n) for n in range(101)] + [("two", n) for n in range(100)])
