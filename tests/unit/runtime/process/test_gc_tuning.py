"""Python's garbage collector is told what our objects are like, and is as it was afterwards."""

from __future__ import annotations

import gc

import pytest

from papyra_flow.runtime.process.gc_tuning import THRESHOLD, tuned_gc


def test_the_collector_looks_less_often_and_is_then_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with tuned_gc():
        assert gc.get_threshold() == (THRESHOLD, *before[1:])
        assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_workers_that_overlap_leave_it_as_it_was() -> None:
    before = gc.get_threshold()
    first, second = tuned_gc(), tuned_gc()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] == THRESHOLD
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before


def test_a_worker_that_fails_leaves_it_as_it_was() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="no"), tuned_gc():
        raise ValueError("no")
    assert gc.get_threshold() == before


def test_one_who_is_more_patient_stays_it() -> None:
    before = gc.get_threshold()
    gc.set_threshold(THRESHOLD * 2)
    try:
        with tuned_gc():
            assert gc.get_threshold()[0] == THRESHOLD * 2
    finally:
        gc.set_threshold(*before)
