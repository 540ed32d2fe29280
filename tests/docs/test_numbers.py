"""Numbers that prose repeats are those of the code: defaults, limits, waits."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from papyra_flow.cli.verbs.deploy import run
from papyra_flow.connectors.files import file_set, lock, mark
from papyra_flow.records.values import MAX_DIGITS
from papyra_flow.runtime.consumer import partitions
from papyra_flow.runtime.process import gc_tuning
from papyra_flow.runtime.services import trimming
from papyra_flow.runtime.stage import failure
from papyra_flow.spec import defaults, own_figures
from papyra_flow.spec.models import Tuning
from papyra_flow.spec.units import format_duration, format_size, parse_size
from papyra_flow.steps.functions import calls
from papyra_flow.streams.commit import commit
from papyra_flow.streams.connection import append_only, retry_policy
from papyra_flow.web import inputs

DOCS = Path(__file__).parents[2] / "docs"

TUNING = {
    "batch: {size}": f"{defaults.RECORDS_IN_BATCH} records, {defaults.TABLES_IN_BATCH} tables",
    "batch: {wait}": format_duration(defaults.BATCH_WAIT),
    "max_pending": f"{defaults.BATCHES_PENDING} batches",
    "max_backlog": f"{defaults.RECORDS_IN_BACKLOG:,} records, {defaults.TABLES_IN_BACKLOG} tables",
    "claim_after": format_duration(defaults.CLAIM_AFTER),
    "consumers": f"{defaults.CONSUMERS}",
    "retry: {attempts, backoff}": f"{defaults.ATTEMPTS}, {defaults.BACKOFF}",
    "idle_after": format_duration(defaults.IDLE_AFTER),
    "state_cache": format_size(defaults.STATE_CACHE),
    "max_record": format_size(defaults.MAX_RECORD),
}

SAID = {
    "explanation/exactly-once.md": [
        f"more than {commit.MAX_RECORDS} entries",
        f"`max(retry.attempts, {failure.MAX_DELIVERIES})`",
        f"up to {append_only.REWRITE_BELOW // 1024**3} GiB of memory",
    ],
    "explanation/failures.md": [
        f"up to {MAX_DIGITS:,} digits",
        f"longer than {inputs.MAX_BODY_BYTES // 1024**2} MiB (`serve`)",
        f"up to {inputs.PASSED_OVER_BYTES // 1024**2} MiB",
        f"after {lock.TELL_AFTER_SECONDS:g} s, then each minute",
        f"more than {calls.MAX_AFTER_SECONDS / 86400:g} days",
    ],
    "explanation/performance.md": [
        f"portions of {commit.MAX_RECORDS}",
        f"after {gc_tuning.THRESHOLD:,}",
    ],
    "explanation/retention.md": [f"every {trimming.EVERY_ENTRIES:,} acknowledged entries"],
    "explanation/state.md": [
        f"`claim_after` ({format_duration(defaults.CLAIM_AFTER)})",
        f"`idle_after` ({format_duration(defaults.IDLE_AFTER)})",
        f"`state_cache` ({defaults.STATE_CACHE // 1024**2} MiB)",
    ],
    "how-to/partitions.md": [f"`by` alone makes {defaults.PARTITIONS} partitions"],
    "how-to/tables.md": [f"at most {commit.MAX_FAN_OUT:,} of one table"],
    "how-to/extend.md": [f"up to {own_figures.MOST_NAMES} names"],
    "how-to/files.md": [f"first {mark.EDGE // 1024} KiB"],
    "reference/values.md": [f"up to {MAX_DIGITS:,} digits"],
}


def test_the_defaults_on_the_page_on_tuning_are_those_of_the_models() -> None:
    page = (DOCS / "explanation" / "tuning.md").read_text()
    shown = dict(re.findall(r"^\| `(.+?)` \| (.+?) \|", page, re.MULTILINE))
    assert shown == TUNING


@pytest.mark.parametrize(("page", "words"), [(page, words) for page, said in SAID.items() for words in said])
def test_numbers_in_prose_are_those_of_the_code(page: str, words: str) -> None:
    text = " ".join((DOCS / page).read_text().split())
    assert words in text


def test_pages_that_name_a_wait_in_words_mean_the_codes() -> None:
    """`a minute`, `half a second`, `five seconds`, `twice a second`: change the page with the number."""
    assert partitions.LOOK_AGAIN_SECONDS == 0.5
    assert (retry_policy.GIVE_UP_AFTER, lock.TELL_AGAIN_SECONDS) == (60, 60)
    assert trimming.EVERY_SECONDS == 0.5
    assert file_set.SETTLED_SECONDS == 5
    assert failure.KEPT_FROM_SECONDS == 1


def test_the_default_in_the_help_of_run_is_the_runtimes() -> None:
    assert parse_size(inspect.signature(run.run).parameters["rewrite_aof"].default) == append_only.REWRITE_BELOW


def test_every_default_of_a_stage_is_on_the_page_on_tuning() -> None:
    """All but what has no number: `on_error`."""
    named = {name.partition(":")[0] for name in TUNING} | {"on_error"}
    assert set(Tuning.model_fields) <= named
