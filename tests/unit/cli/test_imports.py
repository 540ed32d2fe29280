"""What the command line imports before a verb needs it: next to nothing, so that `--help` comes at once."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("asyncio", "jinja2", "networkx", "orjson", "pydantic", "redis", "rich", "yaml")


def imported_by(*arguments: str) -> set[str]:
    code = "import sys\ntry:\n    from papyra_flow.cli.main import main; main()\nfinally:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)
    return set(done.stdout.split())


def test_help_imports_nothing_heavy() -> None:
    found = imported_by("--help")
    assert "papyra_flow.cli.verbs.deploy.run" in found
    assert [name for name in HEAVY if name in found] == []


def test_validating_needs_no_templates_and_no_terminal_library() -> None:
    found = imported_by("validate", "pipelines/flights.yml")
    assert "networkx" in found, "the verb did not get as far as the graph"
    assert [name for name in ("jinja2", "rich") if name in found] == []
