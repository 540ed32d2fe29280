"""The user's own modules, imported from a pipeline's folder: forgetting them, so that they are read anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Import the folder's modules anew; if that fails, those that were there before are back."""
    before = modules_of(folder)
    for name in before:
        del sys.modules[name]
    try:
        yield
    except BaseException:
        for name in modules_of(folder):
            del sys.modules[name]
        sys.modules.update(before)
        raise
