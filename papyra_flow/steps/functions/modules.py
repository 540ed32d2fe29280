"""The user's own modules, imported from a pipeline's folder: forgetting them, so that they are read anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType


def modules_of(folder: Path) -> dict[str, ModuleType]:
    """Imported modules whose file lies in a folder, by name."""
    place = folder.resolve()
    found: dict[str, ModuleType] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is not None and Path(file).resolve().is_relative_to(place) and ".venv" not in Path(file).parts:
            found[name] = module
    return found


@contextmanager
def read_anew(folder: Path) -> Iterator[None]:
    """Import the folder's modules anew; if that fails, those that were there before are back.

    From their source: Python takes compiled code for up to date if the source's size and second of change are the same,
    which two quick edits may leave as they were.
    """
    before, writes_none = modules_of(folder), sys.dont_write_bytecode
    for name, module in before.items():
        del sys.modules[name]
        if (compiled := getattr(module, "__cached__", None)) is not None:
            with suppress(OSError):
                Path(compiled).unlink()
    sys.dont_write_bytecode = True
    try:
        yield
    except BaseException:
        for name in modules_of(folder):
            del sys.modules[name]
        sys.modules.update(before)
        raise
    finally:
        sys.dont_write_bytecode = writes_none
