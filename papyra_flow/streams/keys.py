"""Names of keys in Redis: `{flights}:raw` for a stream, `{flights}:@...` for the bookkeeping beside it.

The hash tag keeps everything of one pipeline in one slot
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags), which is what
makes a commit atomic on a cluster too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from redis.crc import key_slot


def slot_of(key: str) -> int:
    """A key's slot in a cluster, which its hash tag decides if it has one."""
    slot: int = key_slot(key.encode())
    return slot


def parts_of(lease: str) -> str:
    """The hash of the states of a source's parts, beside its lease."""
    return f"{lease}:parts"


@dataclass(frozen=True, slots=True)
class Keyspace:
    """The keys under one hash tag."""

    tag: str

    def partition(self, number: int) -> Keyspace:
        """The keys of a partition: a hash tag of its own, so that on a cluster it may have another slot."""
        return Keyspace(f"{self.tag}/{number}")

    def any_partition(self, name: str) -> str:
        """How the keys of the stream `name` in all partitions are shown; it matches them as a glob."""
        return f"{{{self.tag}/*}}:{name}"

    def stream(self, name: str) -> str:
        """The stream `name`."""
        return f"{{{self.tag}}}:{name}"

    def dead(self, stage: str) -> str:
        """The dead-letter stream of a stage."""
        return f"{{{self.tag}}}:@dead:{stage}"

    def later(self, stage: str) -> str:
        """The set of a stage's records that wait for another attempt (`streams.waiting`)."""
        return f"{{{self.tag}}}:@later:{stage}"

    def state(self, stage: str) -> str:
        """The hash of a stage's state."""
        return f"{{{self.tag}}}:@state:{stage}"

    def timers(self, stage: str) -> str:
        """The sorted set of a stage's timers, by the time when they go off."""
        return f"{{{self.tag}}}:@timers:{stage}"

    def owner(self, stage: str) -> str:
        """The lease of a stage's partition: who owns it, and how far it is (`streams.ownership`)."""
        return f"{{{self.tag}}}:@owner:{stage}"

    def owners(self, stage: str) -> str:
        """The sorted set of those who share a stage's partitions, by their last sign of life."""
        return f"{{{self.tag}}}:@owners:{stage}"

    def source(self, stage: str) -> str:
        """The lease of a stage's source: who owns it, and how far it is (`streams.lease`)."""
        return f"{{{self.tag}}}:@source:{stage}"

    def parts(self, stage: str) -> str:
        """The states of the parts of a stage's source, beside its lease (`streams.lease`)."""
        return parts_of(self.source(stage))

    def sink(self, stage: str) -> str:
        """The lease of a stage's sink."""
        return f"{{{self.tag}}}:@sink:{stage}"

    @property
    def probe(self) -> str:
        """A key that never exists: writing nothing to it shows that a script may write at all."""
        return f"{{{self.tag}}}:@probe"

    @property
    def applied(self) -> str:
        """A key that is there as long as the pipeline's groups are: it tells a lost server from a lost group."""
        return f"{{{self.tag}}}:@applied"

    @property
    def workers(self) -> str:
        """The hash in which each process that works on the pipeline reports what it does."""
        return f"{{{self.tag}}}:@workers"

    @property
    def paused(self) -> str:
        """The hash of the stages that are paused."""
        return f"{{{self.tag}}}:@paused"

    @property
    def ledger(self) -> str:
        """The hash that counts what each group's consumers have acked (`streams.ledger`)."""
        return f"{{{self.tag}}}:@ledger"

    @property
    def destroyed(self) -> str:
        """A key that is there for a minute after the pipeline was destroyed under its workers."""
        return f"{{{self.tag}}}:@destroyed"

    @property
    def pattern(self) -> str:
        """A glob that matches all under the pipeline's own hash tag."""
        return f"{{{self.tag}}}:*"

    @property
    def wide_pattern(self) -> str:
        """A glob that matches all of the pipeline, its partitions included; `owns` tells what else it matches."""
        return f"{{{self.tag}[}}/]*"

    def owns(self, key: str) -> bool:
        """Whether a key is the pipeline's own, or one of a partition of it."""
        return re.match(rf"\{{{re.escape(self.tag)}(/\d+)?\}}:", key) is not None
