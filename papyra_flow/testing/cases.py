"""Tests that stand in pipeline files: running them, and saying what came out instead of what was expected."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from papyra_flow.errors import PapyraFlowError
from papyra_flow.records.values import record_form
from papyra_flow.spec.cases import Advance, Case, DeadCase
from papyra_flow.spec.pipeline import PipelineSpec
from papyra_flow.streams.admin.dead_letters import DeadLetter
from papyra_flow.streams.admin.display import shown_json
from papyra_flow.testing.driver import Driver
from papyra_flow.topology.build import build_topology


@dataclass(slots=True)
class CaseResult:
    """How a test ended: `problems` are empty if it passed; `line` is where it stands in the file, if it does."""

    file: Path
    name: str
    line: int | None
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Where it is written."""
        return str(self.file) if self.line is None else f"{self.file}:{self.line}"

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.problems


def run_cases(spec: PipelineSpec, file: Path, *, match: str | None = None) -> Iterator[CaseResult]:
    """Run a file's tests, each with a driver of its own; only those with `match` in their name.

    Raises InvalidPipelineError for a file that is not valid.
    """
    topology = build_topology(spec)
    for name, case in spec.config.tests.items():
        if match is not None and match not in name:
            continue
        place = spec.where(("tests", name))
        verdict = CaseResult(file, name, place.key[0] if place is not None else None)
        started = time.perf_counter()
        try:
            with Driver(topology) as driver:
                _feed(driver, case)
                verdict.problems += _compare(driver, case)
        except PapyraFlowError as exc:
            verdict.problems.append(str(exc))
        verdict.seconds = time.perf_counter() - started
        yield verdict


def _feed(driver: Driver, case: Case) -> None:
    """Put a test's records in, let time pass where it says so, and let the input end."""
    for where, items in case.input.items():
        for passes, group in groupby(items, lambda item: isinstance(item, Advance)):
            if passes:
                driver.advance(sum(item.advance for item in group if isinstance(item, Advance)))
            else:
                driver.put(where, *(item for item in group if not isinstance(item, Advance)))
    if not case.open:
        driver.end()


def _compare(driver: Driver, case: Case) -> Iterator[str]:
    for name, records in case.expect.items():
        expected = [dict[str, object](record_form(record)) for record in records]  # YAML has dates, JSON has text
        found = driver.out(name) if name in driver.topology.named else driver.written(name)
        shown = [_only(record, like) for record, like in zip(found, expected, strict=False)] if case.partial else found
        shown += found[len(shown) :]
        if shown != expected:
            yield f"{name} is not as expected:\n{_difference(expected, shown)}"
    for stage in driver.topology.stages:
        yield from _compare_dead(stage, case.dead.get(stage, []), driver)


def _compare_dead(stage: str, expected: Sequence[DeadCase], driver: Driver) -> Iterator[str]:
    letters = list(zip(driver.dead(stage), driver.dead_records(stage), strict=False))
    for wanted in expected:
        fits = next((found for found in letters if _fits(wanted, *found)), None)
        if fits is None:
            told = f"a dead letter of {stage} is missing: {_line(wanted.model_dump(exclude_none=True))}"
            yield told + "".join(f"\n  found: {_line(record)}: {letter.error}" for letter, record in letters)
        else:
            letters.remove(fits)
    for letter, record in letters:
        yield f"{stage} has an unexpected dead letter: {_line(record)}: {letter.error}"


def _fits(wanted: DeadCase, letter: DeadLetter, record: Mapping[str, object]) -> bool:
    same = wanted.record is None or dict(record) == record_form(wanted.record)
    return same and (wanted.error or "") in letter.error


def _only(record: Mapping[str, object], like: Mapping[str, object]) -> Mapping[str, object]:
    """The fields of a record that an expected one names."""
    return {name: value for name, value in record.items() if name in like}


def _line(record: object) -> str:
    ordered = dict(sorted(record.items())) if isinstance(record, Mapping) else record
    return shown_json(ordered).decode()


def _difference(expected: Sequence[object], found: Sequence[object]) -> str:
    """Records that are missing (-) and too many (+), with marks under what differs within a line."""
    lines = difflib.ndiff([_line(record) for record in expected], [_line(record) for record in found])
    return "\n".join(f"  {line.rstrip()}" for line in lines)
