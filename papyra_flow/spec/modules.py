"""The user's own modules: each pipeline has those of its folder, also where another pipeline's have their names.

Python keeps one module a name, but each pipeline has its `steps.py`. So the modules of one folder at a time are in
`sys.modules`, and that folder on `sys.path`: those of the folder before are set aside, and come back unchanged when it
is its turn again. An import inside a function of one of them, which may come at any time and in any thread, makes it
its folder's turn (`_import`); for that `__import__` is replaced, once a process has pipelines in two folders.
"""

from __future__ import annotations

import builtins
import importlib
import os
import sys
import sysconfig
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

_INSTALLED = frozenset({"site-packages", "dist-packages", ".venv"})
_OURS = (Path(__file__).parents[1], sysconfig.get_path("stdlib"))
_OWN = tuple(f"{os.path.realpath(place)}{os.sep}" for place in _OURS)
"""Folders of papyra-flow and of Python itself, of which no pipeline has a module to itself."""


@dataclass(slots=True)
class _Folder:
    """A folder that modules were imported from, and what of `sys.modules` is kept here while it is not its turn."""

    path: Path
    there: dict[str, ModuleType]
    """Modules with files in it that others had imported before: those stay where they are."""
    modules: dict[str, ModuleType] = field(default_factory=dict)
    on_path: bool = False
    """Whether it was put on `sys.path` here, and has to be taken off again."""
    displaced: dict[str, ModuleType] = field(default_factory=dict)
    """Modules of others that have the name of one in the folder; they are back when its turn is over."""


class _Turns:
    """Whose modules `sys.modules` has; one a process, as that is."""

    lock = threading.RLock()
    folders: dict[Path, _Folder] = {}  # noqa: RUF012 - see above
    current: _Folder | None = None
    owners: dict[int, tuple[weakref.ref[ModuleType], _Folder]] = {}  # noqa: RUF012
    """Modules and their folders by the `id` of the modules' globals, which may be another's once a module is gone."""


@contextmanager
def importing_from(folder: Path) -> Iterator[None]:
    """Imports find the modules of a folder first, and none of another pipeline's."""
    with _Turns.lock:
        found = _take_turn(folder.resolve())
        _displace(found)
        importlib.invalidate_caches()
        yield
        if len(_Turns.folders) > 1:
            _own(found, _own_modules(found))


@contextmanager
def read_again(folder: Path) -> Iterator[None]:
    """Read the folder's modules again when they are next imported; if that fails, those of before are back.

    From their source: Python takes compiled code for up to date if the source's size and second of change are the same,
    which two quick edits may leave as they were.
    """
    writes_none = sys.dont_write_bytecode
    with _Turns.lock:
        _take_turn(folder.resolve())
        before = modules_of(folder)
        for name, module in before.items():
            del sys.modules[name]
            if (compiled := getattr(module, "__cached__", None)) is not None:
                with suppress(OSError):
                    Path(compiled).unlink()
    sys.dont_write_bytecode = True
    try:
        yield
    except BaseException:
        with _Turns.lock:
            _take_turn(folder.resolve())
            for name in modules_of(folder):
                del sys.modules[name]
            sys.modules.update(before)
        raise
    finally:
        sys.dont_write_bytecode = writes_none


def modules_of(folder: Path) -> dict[str, ModuleType]:
    """Imported modules whose file lies in a folder, by name; not what is installed there."""
    place = f"{folder.resolve()}{os.sep}"
    return {name: module for name, module in list(sys.modules.items()) if _file_of(module).startswith(place)}


def _file_of(module: ModuleType) -> str:
    """The module's file, if it may be a pipeline's; else ''."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or _INSTALLED.intersection(Path(file).parts) or module.__name__ == "__main__":
        return ""
    found = os.path.realpath(file)
    return "" if found.startswith(_OWN) else found


def _take_turn(path: Path) -> _Folder:
    current = _Turns.current
    if current is not None and current.path == path:
        found = current
    else:
        if current is not None:
            _set_aside(current)
        found = _Turns.folders.setdefault(path, _Folder(path, modules_of(path)))
        sys.modules.update(found.modules)
        found.modules = {}
        _Turns.current = found
        if len(_Turns.folders) > 1 and builtins.__import__ is not _import:
            _Original.function = staticmethod(builtins.__import__)
            builtins.__import__ = _import
    if str(path) not in sys.path:
        sys.path.insert(0, str(path))
        found.on_path = True
    return found


def _set_aside(folder: _Folder) -> None:
    folder.modules = _own_modules(folder)
    _own(folder, folder.modules)
    for name in folder.modules:
        del sys.modules[name]
    for name, module in folder.displaced.items():
        sys.modules.setdefault(name, module)
    folder.displaced = {}
    if folder.on_path and str(folder.path) in sys.path:
        sys.path.remove(str(folder.path))
    folder.on_path = False


def _displace(folder: _Folder) -> None:
    """Take away modules of others that the folder's own imports would find in place of its own."""
    names = {entry.name.partition(".")[0] for entry in os.scandir(folder.path)} if folder.path.is_dir() else set()
    for name in names & sys.modules.keys():
        file = _file_of(sys.modules[name])
        if file and not file.startswith(f"{folder.path}{os.sep}"):
            for other in [known for known in sys.modules if known == name or known.startswith(f"{name}.")]:
                folder.displaced[other] = sys.modules.pop(other)


def _own_modules(folder: _Folder) -> dict[str, ModuleType]:
    there = folder.there
    return {name: module for name, module in modules_of(folder.path).items() if there.get(name) is not module}


def _own(folder: _Folder, modules: Mapping[str, ModuleType]) -> None:
    _Turns.owners.update((id(vars(module)), (weakref.ref(module), folder)) for module in modules.values())


def _owner_of(globals_: Mapping[str, object] | None) -> _Folder | None:
    """The folder whose module's globals these are."""
    if (found := _Turns.owners.get(id(globals_))) is None:
        return None
    module, folder = found[0](), found[1]
    return folder if module is not None and vars(module) is globals_ else None


class _Original:
    function = staticmethod(builtins.__import__)


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,  # noqa: A002 - its name in Python
    locals: Mapping[str, object] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """`import`, which finds for a pipeline's module what that pipeline's folder has."""
    owner = _owner_of(globals)
    if owner is None:
        return _Original.function(name, globals, locals, fromlist, level)
    with _Turns.lock:
        if _Turns.current is not owner:
            _displace(_take_turn(owner.path))
        return _Original.function(name, globals, locals, fromlist, level)


def _after_fork() -> None:
    _Turns.lock = threading.RLock()  # another thread may have held it


os.register_at_fork(after_in_child=_after_fork)
