"""Loading a file: all errors at once, each with file:line:column, the line and a hint."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from papyra_flow.config.load import load_pipeline
from papyra_flow.errors import InvalidPipelineError, Problem, UsageError
from papyra_flow.spec.pipeline import PipelineSpec
from papyra_flow.steps.filter import Filter
from papyra_flow.steps.lookup import Lookup

VALID = """\
pipeline: p
stages:
  a: {read: {jsonl: in.jsonl}, to: s}
  b: {from: s, write: stdout}
"""


def load(folder: Path, text: str, *overrides: str, **environment: str) -> PipelineSpec:
    file = folder / "p.yml"
    file.write_text(textwrap.dedent(text))
    return load_pipeline(file, overrides=overrides, environment=environment)


def problems(folder: Path, text: str, *overrides: str) -> list[Problem]:
    with pytest.raises(InvalidPipelineError) as caught:
        load(folder, text, *overrides)
    return caught.value.problems


def test_a_valid_file_becomes_models(tmp_path: Path) -> None:
    config = load(tmp_path, VALID).config
    assert list(config.stages) == ["a", "b"]
    assert config.redis == "embedded"
    assert config.settings("b").batch_size == 500


def test_all_problems_of_a_file_are_told_at_once_in_its_order(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """\
        pipeline: 3 blind mice
        defaults: {batch: {size: 0, wait: 20}}
        stages:
          a:
            form: x
            process:
              - fliter: a > 1
              - filter: a >
            to: s
          b: {from: s, write: stdout, consumers: many}
        """,
    )
    told = [(p.line, p.column, p.code) for p in found]
    assert told == [
        (1, 11, "wrong-value"),
        (2, 26, "wrong-value"),
        (2, 35, "wrong-value"),
        (5, 5, "unknown-key"),
        (7, 9, "unknown-component"),
        (8, 20, "wrong-value"),
        (10, 42, "wrong-value"),
    ]
    hints = {p.code: p.hint for p in found}
    assert hints["unknown-key"] == "did you mean from?"
    assert hints["unknown-component"] == "did you mean filter?"
    assert found[3].excerpt == "    form: x"


def test_a_misspelt_option_of_a_step_gets_the_nearest_name(tmp_path: Path) -> None:
    (problem,) = problems(
        tmp_path,
        """\
        pipeline: p
        stages:
          a:
            from: s
            process: [{lookup: {csv: a.csv, on: k, misssing: drop}}]
            write: stdout
        """,
    )
    assert (problem.code, problem.hint, problem.line) == ("unknown-key", "did you mean missing?", 5)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("{to: s}", "a stage needs either `from` or `read`"),
        ("{from: s, read: stdin, to: t}", "a stage needs either `from` or `read`"),
        ("{from: s}", "a stage needs either `to` or `write`"),
        ("{from: s, to: t, write: stdout}", "a stage has either `to` or `write`, not both"),
    ],
)
def test_a_stage_has_one_way_in_and_one_way_out(tmp_path: Path, stage: str, message: str) -> None:
    (problem,) = problems(tmp_path, f"pipeline: p\nstages:\n  a: {stage}\n")
    assert problem.message == message


def test_components_have_short_and_long_forms(tmp_path: Path) -> None:
    text = """\
    pipeline: p
    stages:
      a:
        from: s
        process:
          - filter: x > 1
          - filter: {expression: x > 2}
          - lookup: {csv: t.csv, on: k}
          - {lookup: {csv: t.csv}, on: k, missing: drop}
        write: stdout
    """
    steps = load(tmp_path, text).config.stages["a"].process
    assert isinstance(steps[0], Filter)
    assert isinstance(steps[1], Filter)
    assert isinstance(steps[3], Lookup)
    assert steps[3].missing == "drop"


def test_the_stages_own_word_wins_over_defaults_field_by_field(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """\
        pipeline: p
        defaults: {consumers: 3, batch: {size: 10, wait: 1s}, retry: {attempts: 9}}
        stages:
          a: {from: s, write: stdout, batch: {size: 20}, retry: {backoff: 1s..2s}}
        """,
    ).config
    settings = config.settings("a")
    assert (settings.consumers, settings.batch_size, settings.batch_wait) == (3, 20, 1.0)
    assert (settings.attempts, settings.backoff.first, settings.max_pending) == (9, 1.0, 80)


def test_set_replaces_values_of_the_file(tmp_path: Path) -> None:
    loaded = load(tmp_path, VALID, "stages.b.consumers=4", "stages.b.batch.size=7", "streams.s={retain: all}")
    assert loaded.config.settings("b").consumers == 4
    assert loaded.config.settings("b").batch_size == 7
    assert loaded.config.stream("s").retain == "all"


@pytest.mark.parametrize("override", ["stages", "=3", "stages.b.consumers.x.y=1", "stages.a.read=[1"])
def test_a_malformed_set_is_a_usage_error(tmp_path: Path, override: str) -> None:
    with pytest.raises((UsageError, InvalidPipelineError)):
        load(tmp_path, VALID, override)


def test_a_wrong_set_is_told_as_a_problem(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, VALID, "stages.b.consumers=0")
    assert "greater than or equal to 1, not 0" in problem.message


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "3"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert (problem.line, problem.message) == (1, "a pipeline file is a mapping")


def test_a_file_that_is_no_text_or_not_there_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "binary.yml").write_bytes(b"pipeline: p\nstages: \xff\xfe")
    with pytest.raises(InvalidPipelineError, match=r"binary\.yml:2:1: the file is not UTF-8 text"):
        load_pipeline(tmp_path / "binary.yml")
    with pytest.raises(UsageError, match=r"cannot read .*: No such file"):
        load_pipeline(tmp_path / "nowhere.yml")
    with pytest.raises(UsageError, match=r"cannot read .*: Is a directory"):
        load_pipeline(tmp_path)


def test_the_longest_example_of_the_design_is_valid(tmp_path: Path) -> None:
    load(
        tmp_path,
        """\
        pipeline: flights
        redis: ${REDIS_URL:-embedded}
        defaults: {consumers: 1, batch: {size: 500, wait: 20ms}, retry: {attempts: 5, backoff: 200ms..30s}}

        stages:
          ingest:
            read: {csv: data/flights.csv.gz, null_values: [NA], types: {arr_delay: int, distance: float}}
            to: raw
          clean:
            from: raw
            process:
              - filter: arr_delay is not None
              - map: {flight: carrier + flight, arr_delay: arr_delay, origin: origin, dest: dest}
            to: clean
          enrich:
            from: clean
            process:
              - lookup: {csv: data/airports.csv, key: faa, on: dest, as: airport}
              - run: flights.steps:great_circle
            consumers: 2
            to:
              - {stream: late, when: arr_delay > 60}
              - {stream: on_time}
          export_late:
            from: late
            write: {jsonl: out/late.jsonl}
        streams:
          raw: {retain: acked, max_backlog: 50_000}
          audits: {key: "papyra:local:audits"}
        """,
    )


def test_a_python_file_without_its_pipelines_name_is_not_read_as_yaml(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text("from papyra_flow import Pipeline\npipeline = Pipeline('shop')\n")
    with pytest.raises(UsageError, match=r"shop\.py is Python: name the pipeline in it, such as .*shop\.py:pipeline"):
        load_pipeline(file)
