"""A run that may open too few files."""

from __future__ import annotations

import subprocess

from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import COMMAND, PipelineFolder


def test_too_few_open_files_are_one_sentence_at_once(folder: PipelineFolder) -> None:
    folder.records("in.jsonl", [{"n": 1}])
    folder.pipeline(
        "pipeline: p\nstages:\n  a: {read: {jsonl: in.jsonl}, to: s}\n  b: {from: s, consumers: 60, to: t}\n"
    )
    command = " ".join(["ulimit -n 40; exec", *COMMAND, "run", "pipeline.yml"])
    found = subprocess.run(
        command, shell=True, cwd=folder.path, capture_output=True, text=True, timeout=HANGS_SECONDS, check=False
    )
    assert found.returncode == 1
    (sentence,) = found.stderr.splitlines()
    assert "60 consumers need about" in sentence
    assert "`ulimit -n " in sentence
