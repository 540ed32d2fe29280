"""Fixtures for the fault suite: a workload on a server of its own, whose workers are ended after the test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.workload import Workload
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import LocalServer

TIMEOUT_SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Faults take longer than other tests."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(params=["json", "arrow"])
def form(request: pytest.FixtureRequest) -> str:
    """The format that the records travel in: each by itself, or in tables."""
    form: str = request.param
    return form


@pytest.fixture
def make_workload(folder: PipelineFolder, form: str) -> Iterator[Callable[..., Workload]]:
    """Makes workloads in the test's folder; `make(url)`."""
    made: list[Workload] = []

    def make(url: str, **options: object) -> Workload:
        made.append(Workload(folder, url, form=form, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for workload in made:
        for worker in workload.workers:
            if worker.runs:
                worker.signal(signal.SIGCONT)
                worker.kill()
            worker.process.communicate()


@pytest.fixture
def workload(make_workload: Callable[..., Workload], local_server: Callable[..., LocalServer]) -> Workload:
    """A workload on an empty Valkey of its own."""
    return make_workload(local_server().url)
