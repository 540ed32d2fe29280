"""Whether a stage reads the streams that its steps name, such as the two sides of a join."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from papyra_flow.topology.finding import Finding
from papyra_flow.topology.model import Topology


def unread(topology: Topology) -> Iterator[Finding]:
    """Every stream that a step names and its stage does not read, or the other way round."""
    for stage in topology.stages.values():
        for index, step in enumerate(stage.steps):
            if not (named := step.streams()):
                continue
            path = ("stages", stage.name, "process", index, step.name)
            reads = list(stage.config.from_)
            hint = f"write `from: [{', '.join(named)}]`"
            for name in named:
                if name not in reads:
                    near = difflib.get_close_matches(name, reads, 1)
                    message = f"`{step.name}` names the stream {name!r}, which the stage {stage.name!r} does not read"
                    yield path, "unread-stream", message, f"did you mean {near[0]}?" if near else hint
            for name in reads:
                if name not in named and len(reads) > len(named):
                    message = f"the stage {stage.name!r} reads {name!r}, which its `{step.name}` does not name"
                    yield path, "unread-stream", message, hint
