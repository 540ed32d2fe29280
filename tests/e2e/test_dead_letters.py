"""What an operator sees of dead letters: the newest first, a page of how many, alike ones together."""

from __future__ import annotations

import json

import pytest
import redis

from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder, line_of

HOSTILE = "\x1b]0;TITLE\x07\x1b[2J \x9b31m \u202e"


@pytest.fixture
def failed(folder: PipelineFolder, url: str) -> PipelineFolder:
    """Of 30 records 10 have died of a number, 20 of a text."""
    folder.records("in.jsonl", [{"n": n, "of": 0 if n % 3 == 0 else "x"} for n in range(30)])
    folder.pipeline(
        """\
        pipeline: p
        defaults: {retry: {attempts: 1}}
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, process: [{set: {m: n // of}}], to: t}
        """
    )
    folder.cli("run", "pipeline.yml", "--redis", url, code=3)
    return folder


def numbers(text: str) -> list[int]:
    return [json.loads(letter["fields"]["data"])["n"] for letter in json.loads(text)]


def test_the_newest_come_first_and_the_rest_page_by_page(failed: PipelineFolder, url: str) -> None:
    first = failed.cli("dead", "list", "pipeline.yml", "b", "-n", "20", "--json", "--redis", url)
    assert numbers(first.out) == list(range(29, 9, -1))
    rest = failed.cli("dead", "list", "pipeline.yml", "b", "--before", first.json[-1]["id"], "--json", "--redis", url)
    assert numbers(rest.out) == list(range(9, -1, -1))


def test_a_page_says_how_many_there_are_and_how_to_see_them(failed: PipelineFolder, url: str) -> None:
    out = failed.cli("dead", "list", "pipeline.yml", "-n", "20", "--redis", url).out
    assert "20 of 30 dead letters" in out
    assert "older: papyra-flow dead list pipeline.yml b --before " in out
    assert "30 dead letters" in failed.cli("dead", "list", "pipeline.yml", "--redis", url).out


def test_letters_that_died_alike_are_one_group(failed: PipelineFolder, url: str) -> None:
    groups = failed.cli("dead", "list", "pipeline.yml", "--by-error", "--json", "--redis", url).json
    assert sorted(group["count"] for group in groups) == [10, 20]
    assert all(group["stage"] == "b" and group["first"] < group["last"] for group in groups)
    assert "by zero" in failed.cli("dead", "list", "pipeline.yml", "--by-error", "--redis", url).out


@pytest.mark.parametrize(
    "fields",
    [
        {"foreign": "entry"},
        {"@deliveries": "many", "@error": "e", "data": "{}"},
        {"@packed": "no base64", "@error": "e"},
        {"@packed": "YQ==", "@error": "e"},
        {b"\xff\xfe": b"\xff", "@traceback": b"\xff"},
    ],
)
def test_a_letter_that_is_none_hides_no_other(
    failed: PipelineFolder, url: str, redis_client: redis.Redis, fields: dict[str, str]
) -> None:
    redis_client.xadd("{p}:@dead:b", fields)  # type: ignore[arg-type]
    for verb in ("list", "show"):
        shown = failed.cli("dead", verb, "pipeline.yml", "-n", "100", "--json", "--redis", url).json
        assert len(shown) == 31
        failed.cli("dead", verb, "pipeline.yml", "--redis", url)
    assert failed.cli("dead", "replay", "pipeline.yml", "--json", "--redis", url).json["replayed"]["b"] >= 30


def test_what_was_not_put_back_is_told(failed: PipelineFolder, url: str, redis_client: redis.Redis) -> None:
    redis_client.xadd("{p}:@dead:b", {"@error": "nothing but facts"})
    replayed = failed.cli("dead", "replay", "pipeline.yml", "--redis", url)
    assert "put back 30 records" in replayed.out
    assert "not put back: 1 dead letter," in replayed.err


def test_an_id_that_is_none_is_one_sentence(failed: PipelineFolder, url: str) -> None:
    for words in (["show", "pipeline.yml", "--id", "x"], ["list", "pipeline.yml", "--before", "(1-0"]):
        assert "takes an id such as" in failed.cli("dead", *words, "--redis", url, code=2).err


def test_no_record_and_no_error_acts_on_the_terminal(folder: PipelineFolder, url: str) -> None:
    module = folder.steps("def bad(record):\n    raise ValueError('\\x1b[2J\\x9b' + record['v'])\n")
    folder.records("in.jsonl", [{"v": HOSTILE}])
    folder.pipeline(
        f"""\
        pipeline: p
        defaults: {{retry: {{attempts: 1}}}}
        stages:
          a: {{read: {{jsonl: in.jsonl}}, to: s}}
          b: {{from: s, process: [{{run: {module}:bad}}], to: t}}
        streams: {{s: {{retain: all}}}}
        """
    )
    folder.cli("run", "pipeline.yml", "--redis", url, code=3)
    for words in ("dead list", "dead show", "dead list --json", "dead show --json", "tap pipeline.yml s"):
        parts = words.split()
        if "pipeline.yml" not in parts:
            parts.insert(2, "pipeline.yml")
        out = folder.cli(*parts, "--redis", url).out
        assert [char for char in out if char in "\x1b\x07\x9b\u202e"] == []
        if "--json" in parts:
            json.loads(out)


def test_a_run_that_ends_with_dead_letters_says_what_failed_and_what_to_do(failed: PipelineFolder, url: str) -> None:
    failed.cli("dead", "replay", "pipeline.yml", "--redis", url)
    err = failed.cli("run", "pipeline.yml", "--redis", url, code=3).err
    assert "b: 30 dead letters" in err
    assert [int(line.split(" x ")[0]) for line in err.splitlines() if " x " in line] == [20, 10]
    assert "next: papyra-flow dead show pipeline.yml b" in err
    assert "papyra-flow dead replay pipeline.yml b" in err


def test_a_watched_run_says_what_fails(failed: PipelineFolder, url: str) -> None:
    run = failed.start("run", "pipeline.yml", "--watch", "--redis", url, PAPYRA_FLOW_LOG="text")
    try:
        # The second time all was drained before: a watched run waits for what comes later.
        for _ in range(2):
            failed.cli("dead", "replay", "pipeline.yml", "--redis", url)
            line_of(run, "dead letter")
            line_of(run, "by zero")
    finally:
        run.terminate()
        run.communicate(timeout=HANGS_SECONDS)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("t",), "nothing was ever added to {p}:t"),
        (("s",), "{p}:s is empty: all of the 30 entries that were added are acknowledged and trimmed"),
        (("dead:b", "--from", "9999999999999"), "{p}:@dead:b has 30 entries, none of them in this range"),
        (("dead:a",), "nothing was ever added to {p}:@dead:a"),
    ],
)
def test_a_tap_that_shows_nothing_says_why(failed: PipelineFolder, url: str, words: tuple[str, ...], why: str) -> None:
    tapped = failed.cli("tap", "pipeline.yml", *words, "--redis", url)
    assert tapped.out == ""
    assert why in tapped.err


def test_a_record_that_dies_again_tells_its_first_origin_and_all_attempts(failed: PipelineFolder, url: str) -> None:
    (before,) = failed.cli("dead", "list", "pipeline.yml", "b", "-n", "1", "--json", "--redis", url).json
    for times in (2, 3):
        failed.cli("dead", "replay", "pipeline.yml", "--redis", url)
        failed.cli("run", "pipeline.yml", "--redis", url, code=3)
        letters = failed.cli("dead", "list", "pipeline.yml", "b", "--json", "--redis", url).json
        (again,) = [letter for letter in letters if letter["origin_id"] == before["origin_id"]]
        assert (again["origin"], again["deliveries"]) == (before["origin"], times)
        assert again["fields"] == before["fields"]
