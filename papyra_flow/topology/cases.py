"""Whether the tests in a file name streams and stages that are there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from papyra_flow.spec.models import PipelineConfig
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.model import Topology


def misnamed(topology: Topology, config: PipelineConfig) -> Iterator[Finding]:
    """Every name in `tests` of neither a stream nor a stage; `expect` takes a stage only where it has a sink."""
    streams = [name for name, stream in topology.named.items() if not stream.spec.internal]
    sinks = [name for name, stage in topology.stages.items() if stage.sink is not None]
    for test, case in config.tests.items():
        known: dict[str, tuple[Iterable[str], list[str], str]] = {
            "input": (case.input, [*streams, *topology.stages], "stream or stage"),
            "expect": (case.expect, [*streams, *sinks], "stream, or stage with a sink"),
            "dead": (case.dead, list(topology.stages), "stage"),
        }
        for part, (named, names, what) in known.items():
            for name in named:
                if name not in names:
                    near = difflib.get_close_matches(name, names, 1)
                    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
                    yield ("tests", test, part, name), "test-name", f"unknown {what} {name!r}", hint
