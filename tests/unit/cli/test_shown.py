"""Nothing that a message, a table, a problem or a log line quotes is acted on by a terminal."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from papyra_flow.cli import console
from papyra_flow.cli.verbs.deploy import run
from papyra_flow.cli.verbs.develop import test as cases
from papyra_flow.errors import InvalidPipelineError, PapyraFlowError, Problem
from papyra_flow.observe.failures import Failures
from papyra_flow.observe.logs import TextFormatter
from papyra_flow.testing.cases import CaseResult
from tests.e2e.test_dead_letters import HOSTILE


def acts(text: str) -> list[str]:
    return [char for char in text if char in "\x1b\x07\x9b\u202e"]


def test_messages_and_problems(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_error(PapyraFlowError(f"first\nsecond {HOSTILE}"))
    problem = Problem(f"p{HOSTILE}.yml", 1, 1, "code", f"message {HOSTILE}", f"hint {HOSTILE}", f"line: {HOSTILE}")
    console.print_error(InvalidPipelineError([problem]))
    shown = capsys.readouterr().err
    assert shown.count("TITLE") == 5
    assert acts(shown) == []
    assert "first\nsecond" in shown


def test_tables_and_documents(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    table = io.StringIO()
    console.print_table(("a",), [(HOSTILE,)], file=table)
    console.print_json({"a": HOSTILE})
    shown = table.getvalue() + capsysbinary.readouterr().out.decode()
    assert shown.count("TITLE") == 2
    assert acts(shown) == []


def test_what_failed_in_a_run_and_in_a_test(capsys: pytest.CaptureFixture[str]) -> None:
    run._print_failures([Failures("a", 1, 1, ((HOSTILE, 1),), True)], Path("p.yml"))
    cases._print(CaseResult(Path("p.yml"), "a test", 1, 0.1, [f"expected\n{HOSTILE}"]))
    printed = capsys.readouterr()
    shown = printed.out + printed.err
    assert shown.count("TITLE") == 2
    assert acts(shown) == []


def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    record = logging.LogRecord("papyra_flow", logging.WARNING, "", 1, "%s\nnext", (HOSTILE,), None)
    shown = TextFormatter("%(message)s").format(record)
    assert acts(shown) == []
    assert shown.endswith("\nnext")
