"""The limit of open files: raised as far as it may be, else told before anything is opened."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator

import pytest

from papyra_flow.errors import OpenFilesError
from papyra_flow.runtime.process.open_files import ensure_open_files
from papyra_flow.streams.connection.server import Server


@pytest.fixture
def limit() -> Iterator[int]:
    """The soft limit, which is put back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_limit_that_is_enough_is_left_alone(limit: int) -> None:
    ensure_open_files(1, 1)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == limit


def test_a_limit_that_may_be_raised_is_raised(limit: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, most))
    ensure_open_files(300, 2)
    assert 300 < resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= most


def test_a_limit_that_cannot_be_raised_far_enough_is_told_with_what_is_needed(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (40, 40))
    with pytest.raises(
        OpenFilesError, match=r"60 consumers need about \d+ open files, .* may have 40: .*ulimit -n \d+"
    ):
        ensure_open_files(60, 2)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "unix:///nowhere.sock"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_a_connection_that_lacks_a_descriptor_is_not_taken_for_a_server_that_does_not_answer(
    url: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise OSError(number, "Too many open files")

    monkeypatch.setattr("asyncio.open_connection", refused)
    monkeypatch.setattr("asyncio.open_unix_connection", refused)
    server = Server(url)
    with pytest.raises(OpenFilesError, match="ulimit -n"):
        await server.check()
