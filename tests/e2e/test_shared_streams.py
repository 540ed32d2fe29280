"""Streams that several pipelines read: each has all of them, and none touches what is the others'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import plain_client

KEY = "shared:events"


def pipeline(path: Path, name: str, stage: str = "export", more: str = "", start: str = "earliest") -> PipelineFolder:
    path.mkdir(exist_ok=True)
    return PipelineFolder(path).pipeline(f"""\
        pipeline: {name}
        stages:
          {stage}: {{from: events, write: {{jsonl: out.jsonl}}, start: {start}{more}}}
        streams: {{events: {{key: "{KEY}"}}}}
        """)


def fill(plain: redis.Redis, first: int, last: int) -> None:
    for n in range(first, last):
        plain.xadd(KEY, {"data": f'{{"n": {n}}}'})


def groups(plain: redis.Redis) -> set[str]:
    found: Any = plain.xinfo_groups(KEY)
    return {group["name"].decode() for group in found}


def read(folder: PipelineFolder) -> list[int]:
    return [record["n"] for record in folder.output("out.jsonl")]


def test_pipelines_with_stages_of_the_same_name_have_all_records_each(tmp_path: Path, any_url: str) -> None:
    alpha, beta = pipeline(tmp_path / "a", "alpha"), pipeline(tmp_path / "b", "beta")
    with plain_client(any_url) as plain:
        fill(plain, 0, 5)
        for folder in (alpha, beta):
            folder.cli("run", "pipeline.yml", "--redis", any_url, "--drain")
        fill(plain, 5, 8)
        alpha.cli("destroy", "pipeline.yml", "--redis", any_url, "--force")
        beta.cli("run", "pipeline.yml", "--redis", any_url, "--drain")
        assert (read(alpha), read(beta), groups(plain)) == ([*range(5)], [*range(8)], {"beta.export"})


@pytest.mark.parametrize("verb", ["run", "apply"])
def test_a_group_of_the_stages_name_is_not_left_behind_without_a_word(
    folder: PipelineFolder, url: str, verb: str
) -> None:
    """Neither from the beginning, which doubles what was done, nor from the end, which loses what was not."""
    with plain_client(url) as plain:
        fill(plain, 0, 6)
        plain.xgroup_create(KEY, "export", "0")
        done = plain.xreadgroup("export", "x", {KEY: ">"}, count=2, noack=True)
        plain.xreadgroup("export", "x", {KEY: ">"}, count=1)
        assert done
        arguments = [verb, "pipeline.yml", "--redis", url, *(["--drain"] if verb == "run" else [])]
        refused = pipeline(folder.path, "alpha").cli(*arguments, code=2)
        assert refused.err.count("\n") == 1
        assert "`group: export`" in refused.err
        assert "`group: alpha.export` to start at the stream's beginning" in refused.err
        assert "1 pending" in refused.err
        assert groups(plain) == {"export"}
        told = folder.cli("plan", "pipeline.yml", "--redis", url)
        assert "`group: export`" in told.out
        # Continue from it, with what was pending:
        (folder.path / "out.jsonl").unlink(missing_ok=True)
        pipeline(folder.path, "alpha", more=", group: export, claim_after: 10ms")
        folder.cli("run", "pipeline.yml", "--redis", url, "--drain")
        assert sorted(read(folder)) == [2, 3, 4, 5]


def test_the_new_group_is_begun_when_the_file_says_so(folder: PipelineFolder, url: str) -> None:
    with plain_client(url) as plain:
        fill(plain, 0, 6)
        plain.xgroup_create(KEY, "export", "$")
        pipeline(folder.path, "alpha", more=", group: alpha.export")
        folder.cli("run", "pipeline.yml", "--redis", url, "--drain")
        assert (read(folder), groups(plain)) == ([*range(6)], {"export", "alpha.export"})
        # From now on there is nothing to ask.
        pipeline(folder.path, "alpha")
        folder.cli("run", "pipeline.yml", "--redis", url, "--drain")


def test_what_another_pipeline_has_still_to_read_from_ours_keeps_us_from_destroying_it(
    tmp_path: Path, url: str
) -> None:
    (tmp_path / "a").mkdir()
    alpha = PipelineFolder(tmp_path / "a").pipeline("""\
        pipeline: alpha
        stages: {a: {from: s, to: t}}
        streams: {s: {}, t: {retain: all}}
        """)
    (tmp_path / "b").mkdir()
    beta = PipelineFolder(tmp_path / "b").pipeline("""\
        pipeline: beta
        stages: {b: {from: t, write: {jsonl: out.jsonl}}}
        streams: {t: {key: "{alpha}:t"}}
        """)
    alpha.cli("add", "pipeline.yml", "s", '{"n": 1}', "--redis", url)
    alpha.cli("run", "pipeline.yml", "--drain", "--redis", url)
    beta.cli("apply", "pipeline.yml", "--redis", url)
    refused = alpha.cli("destroy", "pipeline.yml", "--yes", "--redis", url, code=2)
    assert "1 records would be lost to the group beta.b on {alpha}:t" in refused.err
    beta.cli("run", "pipeline.yml", "--drain", "--redis", url)
    assert read(beta) == [1]
    alpha.cli("destroy", "pipeline.yml", "--yes", "--redis", url)
