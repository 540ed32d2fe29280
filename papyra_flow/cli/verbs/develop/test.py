"""`test`: run the tests that stand in pipeline files; no server is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.options import Json
from papyra_flow.errors import EXIT_FAILED, UsageError
from papyra_flow.escapes import visible_lines

if TYPE_CHECKING:
    from papyra_flow.testing.cases import CaseResult

PLACES = ("*.yml", "*.yaml", "pipelines/*.yml", "pipelines/*.yaml")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("test")(run_tests)


def run_tests(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Pipeline files; default: all with `tests:` here and in pipelines/."),
    ] = None,
    json: Json = False,
    match: Annotated[
        str | None,
        typer.Option("--match", metavar="TEXT", help="Only tests with this in their name.", show_default=False),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="OUT", help="Also write JUnit XML.", show_default=False)
    ] = None,
) -> None:
    """Run pipelines' own tests: records in, records out, without a server."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import load
    from papyra_flow.testing.cases import run_cases

    verdicts: list[CaseResult] = []
    for file in files or _found():
        for verdict in run_cases(load(file, None, None), file, match=match):
            verdicts.append(verdict)
            if not json:
                _print(verdict)
    if not verdicts:
        raise UsageError("no tests were found: write them under `tests:` in a pipeline file")
    if junit is not None:
        _write_junit(junit, verdicts)
    failed = sum(not verdict.passed for verdict in verdicts)
    if json:
        print_json([
            {"file": str(v.file), "line": v.line, "name": v.name, "passed": v.passed, "problems": v.problems}
            for v in verdicts
        ])  # fmt: skip
    else:
        print(f"{len(verdicts) - failed} passed, {failed} failed")
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _found() -> list[Path]:
    """Files at the usual places that have tests."""
    return [
        file for place in PLACES for file in sorted(Path().glob(place)) if file.is_file() and "\ntests:" in _text(file)
    ]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}") from exc


def _print(verdict: CaseResult) -> None:
    print(f"{'passed' if verdict.passed else 'FAILED'}  {verdict.place}  {verdict.name}")
    for problem in verdict.problems:
        print("".join(f"        {line}\n" for line in visible_lines(problem).split("\n")), end="")


def _write_junit(out: Path, verdicts: list[CaseResult]) -> None:
    from junitparser import Failure, JUnitXml, TestCase, TestSuite

    report = JUnitXml("papyra-flow")
    for file in dict.fromkeys(verdict.file for verdict in verdicts):
        suite = TestSuite(str(file))
        for verdict in verdicts:
            if verdict.file == file:
                case = TestCase(verdict.name, str(file), verdict.seconds)
                if not verdict.passed:
                    failure = Failure(verdict.problems[0].splitlines()[0])
                    failure.text = "\n".join(verdict.problems)
                    case.result = [failure]
                suite.add_testcase(case)
        report.add_testsuite(suite)
    try:
        report.write(str(out))
    except OSError as exc:
        raise UsageError(f"cannot write {out}: {exc.strerror}") from exc
