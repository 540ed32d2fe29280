"""How results and errors reach a person or a script: JSON on stdout, words for people, problems with their line.

Colour only on a terminal and without NO_COLOR (https://no-color.org).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from papyra_flow.errors import InvalidPipelineError, OutputError, PapyraFlowError, Problem, UsageError
from papyra_flow.escapes import visible, visible_json, visible_lines
from papyra_flow.observe.logs import set_up_logging
from papyra_flow.stdout import forget_stdout, write_whole


@dataclass(slots=True)
class Verbosity:
    """What `-q`, `-v` and `--debug` asked for."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False

    def set_up_logging(self) -> None:
        """Log to stderr: warnings, with `-v` what happens, with `-q` errors only, with `--debug` everything."""
        level = logging.WARNING
        if self.debug:
            level = logging.DEBUG
        elif self.verbose:
            level = logging.INFO
        elif self.quiet:
            level = logging.ERROR
        set_up_logging(level)


def has_colour(stream: IO[str]) -> bool:
    """Whether to colour what goes to a stream."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def print_json(document: object) -> None:
    """One JSON document, and nothing else, on stdout."""
    import orjson

    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)
    try:
        write_whole(visible_json(text) + b"\n")
    except BrokenPipeError:
        raise
    except OSError as exc:
        forget_stdout()
        raise OutputError(f"cannot write to standard output: {exc.strerror}") from exc


def write_out(text: str, output: Path | None) -> None:
    """Text to a file, or to stdout without one; raises UsageError if it cannot be written."""
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"cannot write {output}: {exc.strerror}") from exc


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    file: IO[str] | None = None,
) -> None:
    """A table for people; numbers are set flush right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = file or sys.stdout
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | None) for row in rows)
        table.add_column(column, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(cell)) for cell in row))
    width = None if stream.isatty() else 160
    Console(file=stream, no_color=not has_colour(stream), highlight=False, width=width).print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else visible(str(value))


def print_error(error: PapyraFlowError) -> None:
    """An error on stderr: one sentence, or every problem of a file."""
    if isinstance(error, InvalidPipelineError):
        for problem in error.problems:
            print(format_problem(problem, colour=has_colour(sys.stderr)), file=sys.stderr)
        count = len(error.problems)
        print(f"{count} problem{'s' if count != 1 else ''} found", file=sys.stderr)
    else:
        print(f"papyra-flow: {visible_lines(str(error))}", file=sys.stderr)


def format_problem(problem: Problem, *, colour: bool = False) -> str:
    """A problem as compilers show it: place and sentence, the line, a caret below it, and a hint."""
    red, bold, reset = ("\033[31m", "\033[1m", "\033[0m") if colour else ("", "", "")
    lines = [f"{bold}{visible(problem.place)}:{reset} {red}{visible(problem.message)}{reset} [{problem.code}]"]
    if problem.excerpt is not None and problem.column is not None:
        excerpt = visible(problem.excerpt.replace("\t", " "))
        start = max(0, problem.column - 60)
        number = f"{problem.line} | "
        lines.append(f"  {number}{excerpt[start : start + 100]}")
        lines.append(" " * (len(number) + 1 + problem.column - start) + f"{red}^{reset}")
    if problem.hint:
        lines.append(f"  hint: {visible(problem.hint)}")
    return "\n".join(lines)


def told(document: object, words: str, *, json: bool) -> None:
    """Say what was done: as JSON to a script, in words to a person."""
    if json:
        print_json(document)
    else:
        print(words)
