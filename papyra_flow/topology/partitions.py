"""Whether the partitions of streams are said as they can be: what decides on one, and where there can be several."""

from __future__ import annotations

from collections.abc import Iterator

from papyra_flow.expressions.check import HEADERS, checked, names_in
from papyra_flow.spec.streams import StreamConfig
from papyra_flow.streams.connection.addresses import names_cluster
from papyra_flow.topology.finding import Finding
from papyra_flow.topology.model import StageSpec, Topology


def partition_findings(topology: Topology) -> Iterator[Finding]:
    """All that is wrong with the partitions of a pipeline's streams."""
    for stream in topology.named.values():
        if stream.spec.internal:
            continue
        config = stream.spec.config
        for key, message, hint in _of_stream(stream.name, config):
            yield ("streams", stream.name, key), "partitions", message, hint
        if stream.partitions is not None and names_cluster(topology.redis):
            message = f"{stream.name!r} has {stream.partitions} partitions, which a cluster would have in several slots"
            key = "by" if config.partitions is None else "partitions"
            hint = "a commit reaches one slot: say `partitions: 1`, or run on a single server"
            yield ("streams", stream.name, key), "partitions", message, hint


def _of_stream(name: str, config: StreamConfig) -> Iterator[tuple[str, str, str | None]]:
    """What is wrong with a stream's own settings: the key at fault, the message, the hint."""
    if config.partitions is not None and config.partitions > 1 and not config.by:
        message = f"{name!r} has {config.partitions} partitions, and nothing says which of them a record goes to"
        yield "partitions", message, "add `by: FIELD`: records with the same value of it are in one partition"
    if not config.by:
        return
    if config.key is not None:
        yield "by", f"{name!r} has a `key`: a stream of others is one key, and has no partitions", None
    elif config.format == "arrow" and config.total > 1:
        message = f"{name!r} holds tables, whose rows would have to go to different partitions"
        yield "by", message, "use `format: json`, or leave `by` out"
    if any(HEADERS in names_in(checked(text)) for text in config.by):
        yield "by", "`by` is asked of the record, and cannot use its headers", "put what is in the header into a field"


def uneven(topology: Topology, stage: StageSpec) -> Iterator[Finding]:
    """Inputs with different partitions, where one owner is to read a number of each."""
    counts = {stream.of: stream.total for stream in topology.inputs(stage) if not stream.internal}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name!r} {total}" for name, total in counts.items())
        message = f"the stage {stage.name!r} reads streams with different numbers of partitions: {told}"
        yield ("stages", stage.name, "from"), "partitions", message, "give them the same `partitions`"
