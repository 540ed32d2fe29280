"""The other verbs as processes: what they say to people, what to scripts, and with which exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.pipelines import COMMAND, PipelineFolder

ROOT = Path(__file__).parents[2]

# -- validate, schema, graph, init: no server -------------------------------------------------------------------------


def test_validate_says_that_a_file_is_valid(chain: PipelineFolder) -> None:
    assert chain.cli("validate", "pipeline.yml").out == "pipeline.yml: valid, 3 stages and 2 streams\n"
    assert chain.cli("validate", "pipeline.yml", "--json").json == []
    assert not list(chain.path.glob(".papyra-flow"))


BROKEN = """\
    pipeline: p
    stages:
      a: {read: {jsonl: in.jsonl}, too: s}
      b:
        from: s
        process:
          - filter: size(n) > 3
        to: t
    """


def test_validate_shows_every_problem_with_its_line(folder: PipelineFolder) -> None:
    finished = folder.pipeline(BROKEN).cli("validate", "pipeline.yml", code=2)
    assert finished.out == ""
    assert finished.err == (
        "pipeline.yml:3:32: unknown key 'too' [unknown-key]\n"
        "  3 |   a: {read: {jsonl: in.jsonl}, too: s}\n"
        "                                     ^\n"
        "  hint: did you mean to?\n"
        "pipeline.yml:7:17: unknown function 'size' [wrong-value]\n"
        "  7 |       - filter: size(n) > 3\n"
        "                      ^\n"
        "2 problems found\n"
    )


def test_validate_json_has_the_names_that_scripts_rely_on(folder: PipelineFolder) -> None:
    found = folder.pipeline(BROKEN).cli("validate", "pipeline.yml", "--json", code=2).json
    assert [problem["code"] for problem in found] == ["unknown-key", "wrong-value"]
    assert set(found[0]) == {"file", "line", "column", "code", "message", "hint"}


def test_schema_is_a_json_schema(folder: PipelineFolder) -> None:
    assert folder.cli("schema").json["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(("format_", "part"), [("mermaid", "flowchart"), ("dot", "digraph"), ("ascii", "│ a ")])
def test_graph_draws_to_stdout_or_a_file(chain: PipelineFolder, format_: str, part: str) -> None:
    drawn = chain.cli("graph", "pipeline.yml", "--format", format_).out
    assert part in drawn
    chain.cli("graph", "pipeline.yml", "-f", format_, "-o", "picture")
    assert (chain.path / "picture").read_text() == drawn


def test_graph_json_has_the_names_that_scripts_rely_on(chain: PipelineFolder) -> None:
    drawn = chain.cli("graph", "pipeline.yml", "--json").json
    assert ("stream:s", "stream", "s") in [(node["id"], node["kind"], node["label"]) for node in drawn["nodes"]]
    assert {"from": "stage:a", "to": "stream:s"} in drawn["edges"]


def test_an_unknown_format_is_refused(chain: PipelineFolder) -> None:
    assert "unknown format 'png'" in chain.cli("graph", "pipeline.yml", "-f", "png", code=2).err


def test_init_writes_a_pipeline_that_runs_and_whose_test_passes(folder: PipelineFolder) -> None:
    assert "next: papyra-flow run new/pipeline.yml" in folder.cli("init", "new").out
    finished = folder.cli("run", "new/pipeline.yml", "--json", code=3)
    stages = finished.json["stages"]
    assert (stages["price"]["emitted"], stages["price"]["dead"]) == ({"large": 2, "small": 1}, 1)
    assert [record["total"] for record in folder.output("new/out/large.jsonl")] == [195.0, 100.0]
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_steps.py"],
        cwd=folder.path / "new", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    assert "already exists" in folder.cli("init", "new", code=2).err


def test_version_and_help(folder: PipelineFolder) -> None:
    assert folder.cli("--version").out.startswith("papyra-flow 0.")
    out = folder.cli("--help").out
    for verb in (
        "run",
        "validate",
        "plan",
        "apply",
        "destroy",
        "graph",
        "status",
        "schema",
        "init",
        "add",
        "tap",
        "dead",
    ):
        assert re.search(rf"^\W*{verb}\b", out, re.MULTILINE), verb


# -- plan, apply, destroy ---------------------------------------------------------------------------------------------


def test_plan_apply_plan_destroy(chain: PipelineFolder) -> None:
    before = chain.cli("plan", "pipeline.yml", "--json").json
    assert before["changes"] == 4
    assert {stream["state"] for stream in before["streams"]} == {"create"}
    created = chain.cli("apply", "pipeline.yml", "--json").json["created"]
    assert [(spec["key"], spec["group"], spec["start"]) for spec in created] == [
        ("{p}:s", "b", "0"),
        ("{p}:t", "c", "0"),
    ]
    assert chain.cli("apply", "pipeline.yml").out == "nothing to create: everything exists\n"
    after = chain.cli("plan", "pipeline.yml", "--json").json
    assert after["changes"] == 0
    assert after["unknown_keys"] == []
    assert {link["promise"] for link in after["links"]} == {"exactly-once"}
    removed = chain.cli("destroy", "pipeline.yml", "--yes", "--json").json
    assert "{p}:s" in removed["keys"]
    assert chain.cli("plan", "pipeline.yml", "--json").json["changes"] == 4


def test_plan_is_readable(chain: PipelineFolder) -> None:
    out = chain.cli("plan", "pipeline.yml").out
    assert "p on unix://" in out
    assert "4 to create" in out
    assert re.search(r"create\s+b\s+s\s+0\s+0\s+0", out)
    assert re.search(r"s -> t\s+exactly-once\s+b acks and forwards in one script", out)


def test_plan_shows_what_the_file_does_not_know(chain: PipelineFolder) -> None:
    chain.cli("apply", "pipeline.yml")
    renamed = chain.path / "renamed.yml"
    text = chain.file.read_text().replace("b: {from", "bee: {from")
    renamed.write_text(text.replace("to: t", "to: u").replace("from: t", "from: u"))
    plan = chain.cli("plan", "renamed.yml", "--json").json
    assert "{p}:t" in plan["unknown_keys"]
    assert ("b", "foreign") in {(group["group"], group["state"]) for group in plan["groups"]}


def test_destroy_refuses_while_something_is_pending(chain: PipelineFolder) -> None:
    chain.cli("run", "pipeline.yml", "--stage", "a")
    refused = chain.cli("destroy", "pipeline.yml", "--yes", code=2)
    assert "100 records are not processed yet and would be lost; use --force" in refused.err
    assert chain.cli("status", "pipeline.yml", "--json").json["stages"]["b"]["lag"] == 100
    chain.cli("destroy", "pipeline.yml", "--force")
    assert chain.cli("status", "pipeline.yml", "--json").json["stages"]["b"]["lag"] == 0


# -- status, add, tap, dead -------------------------------------------------------------------------------------------


def test_status_has_the_names_that_scripts_rely_on(chain: PipelineFolder) -> None:
    chain.cli("run", "pipeline.yml", "--stage", "a")
    document = chain.cli("status", "pipeline.yml", "--json").json
    assert document["pipeline"] == "p"
    assert document["stages"]["b"] == {
        "stream": "s", "group": "b", "consumers": 0, "pending": 0, "lag": 100, "oldest_pending_ms": None, "dead": 0,
        "waiting": 0,
    }  # fmt: skip
    stream = document["streams"]["s"]
    assert (stream["key"], stream["length"]) == ("{p}:s", 100)
    assert set(stream) == {"key", "length", "first_id", "last_id", "bytes"}
    assert stream["bytes"] > 0
    assert re.search(r"b\s+s\s+0\s+0\s+100", chain.cli("status", "pipeline.yml").out)


def test_add_puts_records_in_and_tap_shows_them(chain: PipelineFolder) -> None:
    added = chain.cli("add", "pipeline.yml", "s", '{"n": 2}', '{"n": 3}', "--json").json
    assert (added["added"], added["key"]) == (2, "{p}:s")
    assert chain.cli("add", "pipeline.yml", "s", "-", stdin='{"n": 4}\n\n{"n": 5}\n').out == "added 2 to {p}:s\n"
    lines = [json.loads(line) for line in chain.cli("tap", "pipeline.yml", "s").out.splitlines()]
    assert [line["data"]["n"] for line in lines] == [2, 3, 4, 5]
    assert len(chain.cli("tap", "pipeline.yml", "s", "-n", "3", "--json").json) == 3
    later = chain.cli("tap", "pipeline.yml", "s", "--from", lines[2]["id"], "--json").json
    assert [record["data"]["n"] for record in later] == [4, 5]
    assert chain.cli("tap", "pipeline.yml", "s", "--from", "2999-01-01", "--json").json == []


def test_add_says_how_many_went_in_before_a_line_that_is_no_record(chain: PipelineFolder) -> None:
    finished = chain.cli("add", "pipeline.yml", "s", stdin='{"n": 1}\n{"n": 2}\nnope\n{"n": 3}\n', code=2)
    assert "stdin, line 3 is not JSON" in finished.err
    assert "2 records were added before it" in finished.err
    assert len(chain.cli("tap", "pipeline.yml", "s", "--json").json) == 2
    assert "argument 2 is a JSON list" in chain.cli("add", "pipeline.yml", "s", '{"n": 1}', "[1]", code=2).err


def test_a_stream_that_is_not_there_is_told_with_those_that_are(chain: PipelineFolder) -> None:
    assert "unknown stream 'x'; the streams are s, t" in chain.cli("tap", "pipeline.yml", "x", code=2).err
    assert (
        "--from takes earliest, latest, an entry id, or a time"
        in chain.cli("tap", "pipeline.yml", "s", "--from", "soon", code=2).err
    )


def test_dead_letters_are_listed_shown_replayed_and_dropped(chain: PipelineFolder) -> None:
    failing = ("--set", "stages.b.process=[{filter: n / (n - 7) < 0}, {filter: n < 4}]")
    chain.cli("run", "pipeline.yml", *failing, code=3)
    (letter,) = chain.cli("dead", "list", "pipeline.yml", "--json").json
    assert (letter["stage"], letter["origin"], letter["deliveries"]) == ("b", "{p}:s", 1)
    assert letter["error"] == "division by zero (in `n / (n - 7) < 0`)"
    assert json.loads(letter["fields"]["data"]) == {"n": 7}
    assert "division by zero" in chain.cli("dead", "list", "pipeline.yml", "b").out
    assert "division by zero" in chain.cli("dead", "show", "pipeline.yml").out
    assert chain.cli("dead", "list", "pipeline.yml", "--match", "other", "--json").json == []
    assert chain.cli("dead", "replay", "pipeline.yml", "b", "--json").json == {"replayed": {"b": 1}}
    assert chain.cli("dead", "replay", "pipeline.yml", "--json").json == {"replayed": {}}
    again = chain.cli("run", "pipeline.yml", *failing, "--json", code=3).json
    assert (again["stages"]["b"]["read"], again["stages"]["b"]["dead"]) == (1, 1)
    chain.cli("dead", "replay", "pipeline.yml")
    mended = chain.cli("run", "pipeline.yml", "--set", "stages.b.process=[]", "--json").json
    assert mended["stages"]["b"]["emitted"] == {"t": 1}
    assert [record["n"] for record in chain.output("out.jsonl")] == [1, 2, 3, 7]


def test_dead_letters_are_not_dropped_without_a_word(chain: PipelineFolder) -> None:
    chain.cli("run", "pipeline.yml", "--set", "stages.b.process=[{filter: m > 0}]", code=3)
    assert (
        "Delete 100 dead letters for good: confirm with --yes"
        in chain.cli("dead", "drop", "pipeline.yml", "--json", code=2).err
    )
    chain.cli("dead", "drop", "pipeline.yml", stdin="n\n", code=1)
    assert chain.cli("dead", "drop", "pipeline.yml", "--yes", "--json").json == {"dropped": {"a": 0, "b": 100, "c": 0}}
    assert chain.cli("dead", "list", "pipeline.yml", "--json").json == []


# -- terminals --------------------------------------------------------------------------------------------------------


def on_a_terminal(folder: PipelineFolder, *arguments: str, **environment: str) -> str:
    """What the command shows on a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder.path, stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    process.wait()
    os.close(ours)
    return shown.decode()


def test_run_shows_progress_on_a_terminal_a_line_a_stage(folder: PipelineFolder) -> None:
    folder.pipeline(
        "pipeline: p\nstages:\n  a: {read: {generate: {count: 700, rate: 500}}, to: s}\n  b: {from: s, to: t}\n"
    )
    shown = on_a_terminal(folder, "run", "pipeline.yml")
    assert re.search(r"stage\s+records\s+records/s\s+backlog\s+dead", re.sub(r"\x1b\[[0-9;]*m", "", shown))
    assert "drained after" in shown


def test_no_color_is_honoured(folder: PipelineFolder) -> None:
    folder.pipeline(BROKEN)
    assert "\x1b[31m" in on_a_terminal(folder, "validate", "pipeline.yml", NO_COLOR="")
    assert "\x1b" not in on_a_terminal(folder, "validate", "pipeline.yml", NO_COLOR="1")


def test_a_reader_that_goes_away_is_no_traceback(chain: PipelineFolder) -> None:
    script = f"{sys.executable} -m papyra_flow schema | head -c 10"
    finished = subprocess.run(["bash", "-c", script], cwd=chain.path, capture_output=True, text=True, check=False)
    assert "Traceback" not in finished.stderr


def test_a_step_module_that_cannot_be_imported_is_told_with_its_place(folder: PipelineFolder) -> None:
    folder.write("bad.py", "raise RuntimeError('boom')\n")
    folder.pipeline("pipeline: p\nstages:\n  a: {read: stdin, process: [{run: 'bad:f'}], to: s}\n")
    finished = folder.cli("validate", "pipeline.yml", code=2)
    assert "bad cannot be imported: RuntimeError: boom" in finished.err
    assert "pipeline.yml:3:" in finished.err
    assert "Traceback" not in finished.err


def test_debug_shows_the_traceback_of_what_went_wrong(chain: PipelineFolder) -> None:
    finished = chain.cli("run", "nowhere.yml", "--debug", code=None)
    assert "Traceback" in finished.err
