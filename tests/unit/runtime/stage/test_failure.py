"""What becomes of a record that failed."""

from __future__ import annotations

import pytest

from papyra_flow.errors import Dead, MissingKeyError, RecordError, Retry
from papyra_flow.records.entries import Entry
from papyra_flow.runtime.stage.failure import FailurePolicy, describe_failure
from papyra_flow.spec.models import Settings
from papyra_flow.spec.units import Backoff


def entry(deliveries: int) -> Entry:
    return Entry("k", b"1-1", [], deliveries)


@pytest.mark.parametrize(
    ("exc", "deliveries", "action"),
    [
        (ValueError("x"), 1, "retry"), (ValueError("x"), 4, "retry"), (ValueError("x"), 5, "dead"),
        (RecordError("x"), 1, "dead"), (MissingKeyError("x"), 1, "dead"), (Dead("x"), 1, "dead"),
        (Retry("x"), 1, "retry"), (Retry("x"), 5, "dead"),
    ],
)  # fmt: skip
def test_attempts_are_counted_by_deliveries(exc: Exception, deliveries: int, action: str) -> None:
    assert FailurePolicy(Settings(attempts=5)).judge(entry(deliveries), exc).action == action


@pytest.mark.parametrize("on_error", ["dead", "drop", "halt"])
def test_on_error_decides_what_follows_the_last_attempt_but_dead_is_dead(on_error: str) -> None:
    policy = FailurePolicy(Settings(attempts=1, on_error=on_error))  # type: ignore[arg-type]
    assert policy.judge(entry(1), ValueError()).action == on_error
    assert policy.judge(entry(1), Dead("x")).action == "dead"


def test_exceptions_are_retried_by_their_names_and_those_of_their_bases() -> None:
    only = FailurePolicy(Settings(retry_on=("OSError",)))
    assert only.judge(entry(1), ConnectionResetError()).action == "retry"
    assert only.judge(entry(1), ValueError()).action == "dead"
    never = FailurePolicy(Settings(retry_never=("builtins.LookupError",)))
    assert never.judge(entry(1), KeyError("x")).action == "dead"
    assert never.judge(entry(1), ValueError()).action == "retry"


def test_a_step_may_say_when_to_try_again() -> None:
    assert FailurePolicy(Settings()).judge(entry(1), Retry(after=7)).delay == 7


def test_backoff_doubles_up_to_its_longest_with_jitter() -> None:
    policy = FailurePolicy(Settings(attempts=100, backoff=Backoff(1.0, 8.0)))
    delays = [policy.judge(entry(n), ValueError()).delay for n in (1, 2, 3, 4, 50)]
    for delay, longest in zip(delays, (1, 2, 4, 8, 8), strict=True):
        assert longest / 2 <= delay <= longest
    several = {policy.judge(entry(3), ValueError()).delay for _ in range(10)}
    assert len(several) > 1


def test_a_dead_letter_shows_the_steps_own_frames() -> None:
    def step() -> None:
        raise ValueError("no good")

    with pytest.raises(ValueError, match="no good") as caught:
        step()
    error, trace = describe_failure(caught.value)
    assert error == "ValueError: no good"
    assert "in step" in trace
    assert describe_failure(Dead("customer unknown"))[0] == "customer unknown"
