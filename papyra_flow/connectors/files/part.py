"""What a source remembers of a file: which file it is, and how far it was read.

A file is known by what it begins with and by what stands before the place up to which it was read; a name alone, or
an inode, may be given to another file. The place is a number of bytes of the text, decompressed where it is
compressed.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Literal

import orjson

from papyra_flow.connectors.base import BadRecord, SourceItem, fields_of
from papyra_flow.connectors.files.open_file import LOOK_BYTES, OpenFile
from papyra_flow.errors import ConnectorError

Likeness = Literal["same", "shorter", "other"]


@dataclass(slots=True)
class FilePart:
    """A file's state. `size` and `modified` are those it had when its end was reached last (on disk, if packed)."""

    path: str
    pattern: str
    device: int
    inode: int
    offset: int = 0
    line: int = 0
    head: str = ""
    tail: str = ""
    size: int = -1
    modified: int = 0
    unfinished: tuple[int, int] | None = None
    """Where the record began (offset, lines before it) that was sent though its last line had no end."""
    sent: list[str] = field(default_factory=list)
    """The digest of what was sent of that, if anything was."""
    moved: bool = False
    """Whether it has been renamed since: then what is written to it will soon be whole."""
    gone: bool = False

    def encode(self) -> str:
        """The state as it is kept on the server."""
        return orjson.dumps({name: value for name, value in asdict(self).items() if value or name == "offset"}).decode()

    @property
    def started(self) -> bool:
        """Whether anything of it was read."""
        return self.offset > 0


def decode_part(text: str) -> FilePart:
    """The state of a file as it was kept; raises ConnectorError."""
    try:
        facts = orjson.loads(text)
        if (unfinished := facts.get("unfinished")) is not None:
            facts["unfinished"] = (int(unfinished[0]), int(unfinished[1]))
        return FilePart(**{"path": "", "pattern": "", "device": 0, "inode": 0, **facts})
    except (ValueError, TypeError, AttributeError, LookupError) as exc:
        raise ConnectorError(f"the state of a file cannot be understood ({exc}): {text[:200]}") from exc


def digest(data: bytes) -> str:
    """A short digest of some bytes."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def digest_of(item: SourceItem) -> str:
    """A short digest of what was sent."""
    if isinstance(item, BadRecord):
        return digest(item.raw + item.error.encode(errors="replace"))
    return digest(item if isinstance(item, bytes) else b"\0".join(fields_of(item)))


def likeness(file: OpenFile, part: FilePart) -> Likeness:
    """Whether an open file is the one that was read, as far as it was read."""
    if not part.started:
        return "same"
    if not file.packed and file.status().st_size < part.offset:
        return "shorter"
    length = min(part.offset, LOOK_BYTES)
    head = file.at(0, length)
    if len(head) < length:
        return "shorter"
    if part.head and digest(head) != part.head:
        return "other"
    if part.tail:
        tail = file.at(part.offset - LOOK_BYTES, LOOK_BYTES)
        if len(tail) < LOOK_BYTES:
            return "shorter"
        if digest(tail) != part.tail:
            return "other"
    return "same"
