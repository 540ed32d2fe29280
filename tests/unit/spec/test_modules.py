"""Each pipeline of a process has its own functions, whatever their modules are called."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from papyra_flow.spec import modules
from papyra_flow.spec.modules import read_again
from papyra_flow.steps.run import import_function
from papyra_flow.testing import Driver, drive

STEPS = """\
import helpers_here

MET = []


def name(record):
    from late_here import LATE

    MET.append(record)
    return {{**record, "by": "{0}", "helped": helpers_here.NAME, "late": LATE}}
"""
PIPELINE = """\
pipeline: p
stages: {a: {from: s, process: [run: steps_here:name], to: t}}
streams: {s: {}}
"""


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Two folders with modules of the same names."""
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        (folder / "steps_here.py").write_text(STEPS.format(name))
        (folder / "helpers_here.py").write_text(f"NAME = {name!r}\n")
        (folder / "late_here.py").write_text(f"LATE = {name!r}\n")
        (folder / "pipeline.yml").write_text(PIPELINE)
    yield tmp_path / "a", tmp_path / "b"
    for name in [name for name in sys.modules if name.endswith("_here")]:
        del sys.modules[name]


def by(driver: Driver) -> set[object]:
    driver.put("s", {"n": 1})
    return {record[key] for record in driver.out("t") for key in ("by", "helped", "late")}


def test_two_pipelines_with_modules_of_one_name_run_their_own_functions(folders: tuple[Path, Path]) -> None:
    with drive(folders[0] / "pipeline.yml") as a, drive(folders[1] / "pipeline.yml") as b:
        assert by(a) == {"a"}
        assert by(b) == {"b"}
        assert by(a) == {"a"}


def test_a_module_is_read_once_and_keeps_its_state_while_another_has_its_name(folders: tuple[Path, Path]) -> None:
    first = import_function("steps_here:name", folders[0])
    import_function("steps_here:name", folders[1])
    assert import_function("steps_here:name", folders[0]) is first


def test_a_module_that_only_the_other_folder_has_is_not_found(folders: tuple[Path, Path]) -> None:
    (folders[1] / "helpers_here.py").unlink()
    import_function("steps_here:name", folders[0])
    with pytest.raises(ValueError, match="module 'helpers_here' not found"):
        import_function("steps_here:name", folders[1])


def test_a_module_that_a_test_has_imported_is_not_taken_for_another_pipelines(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folders[0]))
    import steps_here  # type: ignore[import-not-found]

    assert import_function("steps_here:name", folders[1]) is not steps_here.name
    assert import_function("steps_here:name", folders[0]) is steps_here.name


def test_pipelines_in_threads_import_what_is_theirs(folders: tuple[Path, Path]) -> None:
    both = threading.Barrier(2)
    found: dict[str, set[object]] = {}

    def run(folder: Path) -> None:
        both.wait()
        with drive(folder / "pipeline.yml") as driver:
            found[folder.name] = by(driver)

    threads = [threading.Thread(target=run, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": {"a"}, "b": {"b"}}


def test_modules_that_are_read_again_are_those_of_the_folder_alone(folders: tuple[Path, Path]) -> None:
    first = import_function("steps_here:name", folders[0])
    other = import_function("steps_here:name", folders[1])
    with read_again(folders[0]):
        assert import_function("steps_here:name", folders[0]) is not first
    assert import_function("steps_here:name", folders[1]) is other


def test_modules_that_cannot_be_read_again_are_as_before(folders: tuple[Path, Path]) -> None:
    first = import_function("steps_here:name", folders[0])
    (folders[0] / "steps_here.py").write_text("1 / 0\n")
    with pytest.raises(ValueError, match="cannot be imported"), read_again(folders[0]):
        import_function("steps_here:name", folders[0])
    assert import_function("steps_here:name", folders[0]) is first


def test_modules_that_are_gone_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    """A new module's globals may be where those of an old one were."""
    for number in range(60):
        folder = tmp_path / str(number % 2)
        folder.mkdir(exist_ok=True)
        (folder / "helper_here.py").write_text(f"NUMBER = {number % 2}\n")
        (folder / "user_here.py").write_text("import helper_here\n\ndef number():\n    return helper_here.NUMBER\n")
        with read_again(folder):
            assert import_function("user_here:number", folder)() == number % 2
        if number % 2:
            gc.collect()


def test_what_is_installed_belongs_to_no_pipeline() -> None:
    """A folder that has papyra-flow itself in it, or a virtual environment, has none of their modules."""
    owned = modules.modules_of(Path(__file__).parents[3])
    assert "tests.unit.spec.test_modules" in owned
    assert [name for name in owned if name.startswith(("papyra_flow", "pytest", "pydantic"))] == []
