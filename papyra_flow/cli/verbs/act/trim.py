"""`delete` and `trim`: entries removed from a stream by hand; each says first what would be lost by it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.consent import consent, counted
from papyra_flow.cli.console import told
from papyra_flow.cli.options import File, Force, Json, Redis, Set, StreamName, Yes
from papyra_flow.cli.stream_position import check_ids, entry_id
from papyra_flow.errors import UsageError

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.streams.connection.server import Server


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    for verb in (delete, trim):
        app.command()(verb)


def delete(
    file: File,
    stream: StreamName,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Entry ids.", show_default=False)],
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Delete entries of a stream (XDEL)."""
    from papyra_flow.cli.session import session
    from papyra_flow.operate.groups import write_off
    from papyra_flow.streams.admin import repair

    check_ids(ids)
    with session(file, redis, set_) as found:
        key = found.key_of(stream)
        unacked = found.ask(lambda server: repair.unacked_among(server.client, key, ids), about=(key,))
        consent(f"Delete {counted(len(ids))} of {key}", losing=_losing(unacked), yes=yes, force=force, json=json)

        async def delete_them(server: Server) -> int:
            losing = await repair.unacked_among(server.client, key, ids)
            return await write_off(server, found.topology, key, losing, repair.delete(server.client, key, ids))

        deleted = found.ask(delete_them, about=(key,))
    told({"deleted": deleted}, f"deleted {counted(deleted)} of {key}", json=json)


def trim(
    file: File,
    stream: Annotated[
        str | None, typer.Argument(metavar="[STREAM]", help="Only this stream.", show_default=False)
    ] = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="ID|TIME", help="Trim entries older than this, acked or not.", show_default=False
        ),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="N", min=0, help="Trim all but the newest N, acked or not.", show_default=False),
    ] = None,
    yes: Yes = False,
    force: Force = False,
) -> None:
    """Trim what every group has acked; with --before or --keep, older entries, acked or not (XTRIM)."""
    from papyra_flow.cli.session import session
    from papyra_flow.streams.retention import trim_acked

    if (before is not None or keep is not None) and (stream is None or (before is not None and keep is not None)):
        raise UsageError("--before and --keep need a stream, and are mutually exclusive")
    with session(file, redis, set_) as found:
        if stream is None:
            keys = [spec.key for spec in found.topology.streams.values() if spec.readers and not spec.external]
        else:
            keys = found.keys_of(stream) if keep is None else [found.key_of(stream)]

        async def trim_all(server: Server) -> dict[str, int]:
            return {key: await trim_acked(server.client, key, exact=True) for key in keys}

        if before is None and keep is None:
            consent(
                f"Trim what all groups of {counted(len(keys), 'stream')} have acked", yes=yes, force=force, json=json
            )
            done = found.ask(trim_all, about=keys)
        else:
            done = _trim_before(found, keys, _bound(found, keys[0], before, keep), yes=yes, force=force, json=json)
    told({"trimmed": done}, f"trimmed {counted(sum(done.values()))}", json=json)


def _trim_before(
    found: Session, keys: list[str], bound: str | None, *, yes: bool, force: bool, json: bool
) -> dict[str, int]:
    from papyra_flow.operate.groups import write_off
    from papyra_flow.streams.admin import repair

    if bound is None:
        return dict.fromkeys(keys, 0)

    async def weigh(server: Server) -> dict[str, int]:
        losing: Counter[str] = Counter()
        for key in keys:
            losing.update(await repair.unacked_before(server.client, key, bound))
        return losing

    async def trim_them(server: Server) -> dict[str, int]:
        trimmed = {}
        for key in keys:
            losing = await repair.unacked_before(server.client, key, bound)
            trimming = repair.trim_before(server.client, key, bound)
            trimmed[key] = await write_off(server, found.topology, key, losing, trimming)
        return trimmed

    what = keys[0] if len(keys) == 1 else f"{len(keys)} partitions"
    losing = _losing(found.ask(weigh, about=keys))
    consent(f"Trim {what} before {bound}", losing=losing, yes=yes, force=force, json=json)
    return found.ask(trim_them, about=keys)


def _bound(found: Session, key: str, before: str | None, keep: int | None) -> str | None:
    from papyra_flow.streams.admin import repair

    if before is not None:
        return entry_id(before, "--before")
    return found.ask(lambda server: repair.id_at_length(server.client, key, keep or 0), about=(key,))


def _losing(unacked: dict[str, int]) -> str | None:
    if not unacked:
        return None
    told = ", ".join(f"{count:,} by {group!r}" for group, count in unacked.items())
    return f"entries that are not acked yet would be lost: {told}"
