"""Checkpoints of versions that had one for all files of a glob: `{"file", "offset", "line"}`.

The files before it, by their names as text, had been read to their ends then.
"""

from __future__ import annotations

import logging
import os

import orjson

from papyra_flow.connectors.files.open_file import BUFFER_BYTES, LOOK_BYTES, OpenFile, readable
from papyra_flow.connectors.files.part import FilePart
from papyra_flow.connectors.files.pattern import FilePattern, Member
from papyra_flow.errors import ConnectorError

_log = logging.getLogger("papyra_flow.source")


def parts_of_old_checkpoint(checkpoint: str, pattern: FilePattern) -> list[FilePart]:
    """The parts that an old checkpoint stands for; raises ConnectorError if it is none."""
    try:
        facts = orjson.loads(checkpoint)
        reached, offset, line = str(facts["file"]), int(facts["offset"]), int(facts["line"])
    except (ValueError, TypeError, KeyError) as exc:
        raise ConnectorError(f"the checkpoint of {pattern.text} cannot be understood: {checkpoint[:200]}") from exc
    parts = []
    for member in pattern.members():
        name = os.path.relpath(pattern.folder / member.name, pattern.folder)
        if name == reached:
            parts.append(_part(member, pattern, offset, line))
        elif name < reached:
            parts.append(_part(member, pattern, None, 0))
    if len(parts) > 1:
        _log.info("%s and the %d files before it by name were read by an older version", reached, len(parts) - 1)
    return parts


def _part(member: Member, pattern: FilePattern, offset: int | None, line: int) -> FilePart:
    """A file that was read up to a place, or to its end."""
    part = FilePart(member.name, pattern.text, *member.inode, offset or 0, line)
    with readable(member.name):
        file = OpenFile(member.path, member.name)
        try:
            if offset is None:
                while data := file.reader.read(BUFFER_BYTES):
                    part.offset, part.line = part.offset + len(data), part.line + data.count(b"\n")
                part.size, part.modified = member.status.st_size, member.status.st_mtime_ns
            _go_back_to_a_line(part, file)
        finally:
            file.close()
    return part


def _go_back_to_a_line(part: FilePart, file: OpenFile) -> None:
    """Have a line that had no end when it was read be looked at again, should it have grown."""
    start = max(0, part.offset - LOOK_BYTES)
    before = file.at(start, part.offset - start)
    if before and len(before) == part.offset - start and not before.endswith(b"\n"):
        part.unfinished = start + before.rfind(b"\n") + 1, max(0, part.line - 1)
        part.sent = ["?"]
