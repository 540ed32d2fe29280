"""Whether what a pipeline reads and writes outside of its own server is there: files, and other servers.

Nothing is opened for writing, and no record is read.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from papyra_flow.errors import PapyraFlowError, ServerError
from papyra_flow.streams.admin.health import Advice
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology


async def endpoint_findings(topology: Topology) -> list[Advice]:
    """What is not there, stage by stage."""
    found: list[Advice] = []
    for stage in topology.stages.values():
        found += _files(topology, stage)
        for component in stage.components:
            for used in component.redis_keys(topology.pipeline, stage.name):
                if used.server and used.type:
                    found += await _server(stage, topology.public(used.server), used.server, used.key, used.type)
    return found or [Advice("connectors", "ok", "files and other servers are available")]


def _files(topology: Topology, stage: StageSpec) -> Iterator[Advice]:
    for name in (name for component in (stage.source, *stage.steps) if component for name in component.files()):
        if reason := _unreadable(topology.folder, name):
            yield Advice("connectors", "error", f"{stage.name}: {reason}", "create it, or fix the path in the pipeline")
    for name in stage.sink.files() if stage.sink is not None else ():
        if reason := _unwritable(topology.folder, name):
            yield Advice("connectors", "error", f"{stage.name}: {reason}", "a run would fail to write there")


def _unreadable(folder: Path, name: str) -> str | None:
    exact = folder / name
    files = [exact] if exact.exists() else [Path(p) for p in glob.glob(str(exact), recursive=True)]  # noqa: PTH207
    if not files:
        return f"file not found: {name}"
    refused = next((file for file in files if not os.access(file, os.R_OK)), None)
    if refused is not None:
        return f"no permission to read {refused.name}"
    other = next((file for file in files if file.is_dir()), None)
    return f"{other.name} is a folder" if other is not None else None


def _unwritable(folder: Path, name: str) -> str | None:
    fixed = re.split(r"[%{]", name, maxsplit=1)[0]  # where a path has the date in it, what stands before that
    target = folder / (fixed if fixed == name else os.path.dirname(fixed))  # noqa: PTH120 - may be ''
    if target.is_dir() and fixed == name:
        return f"{name} is a folder"
    while not target.exists() and target != target.parent:
        target = target.parent
    return None if os.access(target, os.W_OK) else f"no permission to write {name}"


async def _server(stage: StageSpec, shown: str, url: str, key: str, kind: str) -> list[Advice]:
    server: Server | None = None
    try:
        server = Server(url, key=key)
        await server.check()
        reply = await server.client.call("TYPE", key)
    except PapyraFlowError as exc:
        return [Advice("connectors", "error", f"{stage.name}: {shown}: {exc}", "a run would fail at startup")]
    finally:
        if server is not None:
            with suppress(ServerError):
                await server.close()
    found = reply.decode() if isinstance(reply, bytes) else str(reply)
    if found in {kind, "none"}:
        return []
    return [Advice("connectors", "error", f"{stage.name}: {key} on {shown} holds a {found}, not a {kind}")]
