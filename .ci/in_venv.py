#!/usr/bin/env python3
"""Run a command in the project's virtual environment, which is made first where it is not there yet.

    python3 .ci/in_venv.py [--with EXTRA] COMMAND [ARGUMENT ...]

Needs nothing but Python >= 3.11 and its venv module. The environment is `.venv/` in the checkout; it is brought up
to date whenever pyproject.toml has changed or an extra is asked for that it has not got.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "papyra-flow-installed"


def main(arguments: list[str]) -> int:  # noqa: RET503 - execvpe does not return
    """Prepare the environment and become the command."""
    extras = set()
    while arguments[:1] == ["--with"] and len(arguments) > 1:
        extras.add(arguments[1])
        arguments = arguments[2:]
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts it may have any Python
        print(f"papyra-flow needs Python 3.11 or newer, this is {sys.version.split()[0]}", file=sys.stderr)
        return 2
    prepare(extras)
    programs = VENV / "bin"
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONHOME", None)
    program = programs / arguments[0]
    os.execvpe(program if program.exists() else arguments[0], arguments, environment)  # noqa: S606 - that is its job


def prepare(extras: set[str]) -> None:
    """Make the environment, or bring it up to date, if need be."""
    digest = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    there = STAMP.read_text().split() if STAMP.exists() else [""]
    if there[0] == digest and extras <= set(there[1:]):
        return
    if there[0] == digest:
        extras |= set(there[1:])
    if not (VENV / "bin" / "python").exists():
        print("making .venv/ ...", file=sys.stderr)
        try:
            venv.create(VENV, with_pip=True)
        except subprocess.CalledProcessError:
            sys.exit("this Python has no complete venv module (Debian and Ubuntu: apt-get install python3-venv)")
    wanted = f"{ROOT}[{','.join(sorted(extras))}]" if extras else str(ROOT)
    print("installing papyra-flow and what it needs into .venv/ ...", file=sys.stderr)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--editable", wanted], check=True, cwd=ROOT)  # noqa: S603 - our own arguments
    STAMP.write_text(" ".join([digest, *sorted(extras)]))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as exc:
        sys.exit(exc.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
