"""`papyra-flow test`, `papyra_flow.testing` and the pytest plugin, as a user has them."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

from tests.harness.pipelines import PipelineFolder

FAILING = """\
    pipeline: p
    stages:
      a: {from: s, process: [{set: {m: 10 // n}}], to: t}
    streams: {s: {}}
    tests:
      right: {input: {s: [{n: 2}]}, expect: {t: [{n: 2, m: 5}]}}
      wrong: {input: {s: [{n: 5}, {n: 1}]}, expect: {t: [{n: 5, m: 3}]}}
      partly: {input: {s: [{n: 5}]}, expect: {t: [{m: 2}]}, partial: true}
      dead as it should be: {input: {s: [{n: 0}]}, dead: {a: [{record: {n: 0}, error: division}]}}
      dead all of a sudden: {input: {s: [{n: 0}]}}
      dead in vain: {input: {s: [{n: 1}]}, dead: {a: [{error: division}]}}
    """


def test_what_is_not_as_expected_is_shown_as_a_difference(folder: PipelineFolder) -> None:
    folder.pipeline(FAILING)
    finished = folder.cli("test", "pipeline.yml", "--junit", "out.xml", code=1)
    assert "passed  pipeline.yml:6  right" in finished.out
    assert "FAILED  pipeline.yml:7  wrong" in finished.out
    assert '- {"m":3,"n":5}' in finished.out
    assert '+ {"m":2,"n":5}' in finished.out
    assert '+ {"m":10,"n":1}' in finished.out
    assert "passed  pipeline.yml:8  partly" in finished.out
    assert "passed  pipeline.yml:9  dead as it should be" in finished.out
    assert 'a has an unexpected dead letter: {"n":0}' in finished.out
    assert 'a dead letter of a is missing: {"error":"division"}' in finished.out
    assert finished.out.endswith("3 passed, 3 failed\n")
    report = ElementTree.parse(folder.path / "out.xml").getroot()
    cases = {case.get("name"): case for case in report.iter("testcase")}
    assert len(cases) == 6
    assert [name for name, case in cases.items() if case.find("failure") is not None] == [
        "wrong", "dead all of a sudden", "dead in vain",
    ]  # fmt: skip


def test_a_query_over_records_and_what_its_sink_refuses_are_as_in_a_run(folder: PipelineFolder) -> None:
    folder.pipeline("""\
        pipeline: p
        stages:
          total: {from: s, process: [{sql: "SELECT k, sum(n) AS n FROM batch GROUP BY k ORDER BY k"}], to: t}
          wide: {from: t, process: [{sql: "SELECT k FROM batch ORDER BY k"}], write: {csv: {path: k.csv, columns: [k]}}}
          narrow: {from: t, write: {csv: {path: n.csv, columns: [n]}}}
        streams: {s: {}}
        tests:
          it:
            input: {s: [{k: a, n: 1}, {k: b, n: 2}, {k: a, n: 3}]}
            expect: {t: [{k: a, n: 4}, {k: b, n: 2}], wide: [{k: a}, {k: b}], narrow: []}
            dead: {narrow: [{error: "no column 'k'"}, {error: "no column 'k'"}]}
        """)
    assert folder.cli("test").out.endswith("1 passed, 0 failed\n")
    assert sorted(path.name for path in folder.path.iterdir() if path.suffix == ".csv") == []


def test_all_files_with_tests_are_found_and_told_as_json(folder: PipelineFolder) -> None:
    folder.pipeline(FAILING)
    folder.write("pipelines/other.yml", FAILING)
    folder.write("pipelines/none.yml", "pipeline: q\nstages: {a: {read: stdin, to: s}}\n")
    told = folder.cli("test", "--json", "--match", "right").json
    assert [(one["file"], one["name"], one["passed"]) for one in told] == [
        ("pipeline.yml", "right", True),
        ("pipelines/other.yml", "right", True),
    ]


def test_without_any_test_it_says_how_to_write_one(folder: PipelineFolder) -> None:
    assert "write them under `tests:`" in folder.cli("test", code=2).err


def test_a_test_that_names_what_is_not_there_is_a_problem_of_the_file(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {from: s, to: t}}
        streams: {s: {}}
        tests: {one: {input: {ss: [{}]}, expect: {a: []}, dead: {b: []}}}
        """
    )
    err = folder.cli("validate", "pipeline.yml", code=2).err
    assert "unknown stream or stage 'ss'" in err
    assert "did you mean s?" in err
    assert "unknown stream, or stage with a sink 'a'" in err
    assert "unknown stage 'b'" in err


def test_what_init_writes_passes_its_own_tests(folder: PipelineFolder) -> None:
    folder.cli("init", "new")
    assert "2 passed, 0 failed" in folder.cli("test", "new/pipeline.yml").out
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_steps.py"],
        cwd=folder.path / "new", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "3 passed" in tested.stdout, tested.stdout


def test_the_plugin_brings_a_real_server(folder: PipelineFolder) -> None:
    folder.write(
        "test_it.py",
        """\
        import redis

        def test_it(flow_server):
            with redis.Redis.from_url(flow_server) as server:
                assert server.xadd("s", {"a": "b"})
                assert server.dbsize() == 1

        def test_again(flow_server):
            with redis.Redis.from_url(flow_server) as server:
                assert server.dbsize() == 0
        """,
    )
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=folder.path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 passed" in tested.stdout, tested.stdout
