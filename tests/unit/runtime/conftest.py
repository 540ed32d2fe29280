"""What is run here runs on a server in memory, and its time passes as soon as there is nothing left to do."""

from __future__ import annotations

import random

import pytest

from tests.harness.memory import MemoryServer
from tests.harness.virtual_time import VirtualTimePolicy


@pytest.fixture
def event_loop_policy() -> VirtualTimePolicy:
    """What pytest-asyncio makes each test's loop with."""
    return VirtualTimePolicy()


@pytest.fixture
def memory() -> MemoryServer:
    """An empty server."""
    return MemoryServer()


@pytest.fixture(autouse=True)
def _same_chances() -> None:
    """Waits that are drawn by lot come out the same each time."""
    random.seed(1)
