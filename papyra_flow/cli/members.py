"""The groups that a verb is about, as the command line names them: by a stage, or by `--stream` and `--group`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.admin.repair import Membership


def members_of(
    found: Session, stage: str | None, stream: str | None, group: str | None, *, needs_one: bool = False
) -> list[Membership]:
    """The groups that a verb is about: a stage's, or `--group` on `--stream`, or those of all stages.

    With `needs_one` a stage has to be named where there is more than one.
    """
    from papyra_flow.streams.admin.repair import Membership

    if group is not None:
        if stream is None or stage is not None:
            raise UsageError("--group needs --stream, and replaces the stage")
        return [Membership(key, group) for key in found.keys_of(stream)]
    if stage is None and stream is not None:
        raise UsageError("--stream needs --group, or a stage that reads several streams")
    specs = [found.stage(stage)] if stage else [spec for spec in found.topology.stages.values() if spec.inputs]
    if needs_one and len(specs) != 1:
        named = ", ".join(spec.name for spec in specs)
        raise UsageError(f"name a stage ({named}), or a group with --stream KEY --group NAME")
    members = [Membership(found.topology.streams[name].key, spec.group) for spec in specs for name in spec.inputs]
    if stage is not None and not members:
        raise UsageError(f"{stage!r} is only a source: it has no group")
    if stream is not None:
        members = [member for member in members if member.key in found.keys_of(stream)]
        if not members:
            raise UsageError(f"{stage!r} does not read {stream!r}")
    return members


def note_missing(found: Session, members: list[Membership]) -> None:
    """Say on stderr which of these groups are not there: an empty list would hide a wrong name."""
    from papyra_flow.streams.admin.repair import missing_groups

    for member in found.ask(lambda server: missing_groups(server.client, members), about=(m.key for m in members)):
        stream = found.stream(member.key)
        if stream is None or not stream.replay:  # that one is made together with the stage's own
            print(f"no group {member.group!r} on {member.key}; `run` and `apply` create it", file=sys.stderr)
