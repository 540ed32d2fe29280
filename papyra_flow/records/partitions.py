"""Which partition of a stream a record belongs to, by its key: a rule that a service in any language can follow."""

from __future__ import annotations

from zlib import crc32

import msgspec

from papyra_flow.records.values import json_form

_canonical = msgspec.json.Encoder(order="sorted").encode
"""JSON without spaces, with the keys of objects in order: the same bytes for the same value."""


def key_text(value: object) -> bytes:
    """The text of a key: a string as it is, all else as canonical JSON; RecordError for what JSON cannot hold."""
    form = json_form(value)
    return form.encode() if isinstance(form, str) else _canonical(form)


def partition_of(text: bytes, partitions: int) -> int:
    """The number of the partition, from 0, of a key with this text."""
    return crc32(text) % partitions
