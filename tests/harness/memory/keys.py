"""What is beside streams: keys, hashes, sorted sets, the clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from tests.harness.memory.replies import OK, Refused, Reply, Status
from tests.harness.memory.streams import Stream

V = TypeVar("V", bound="Value")
Value: TypeAlias = Stream | bytes | dict[bytes, bytes] | dict[bytes, float]
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


class Hash(dict[bytes, bytes]):
    """A hash."""


class SortedSet(dict[bytes, float]):
    """A sorted set: its members' scores."""


class KeyCommands:
    """Commands on keys, hashes and sorted sets; a command's method has its name."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        """Milliseconds since 1970."""
        self.keys: dict[bytes, Value] = {}

    def find(self, kind: type[V], key: bytes) -> V | None:
        """What a key holds, None if nothing; raises Refused for what is of another kind."""
        value = self.keys.get(key)
        if value is not None and not isinstance(value, kind):
            raise Refused(WRONG_TYPE)
        return value

    def make(self, kind: type[V], key: bytes) -> V:
        """What a key holds, created if it is not there."""
        found = self.find(kind, key)
        if found is None:
            found = kind()
            self.keys[key] = found
        return found

    def _tidy(self, key: bytes) -> None:
        if not self.keys.get(key) and not isinstance(self.keys.get(key), Stream | bytes):
            self.keys.pop(key, None)

    def do_type(self, key: bytes) -> Reply:
        kinds = {Stream: b"stream", bytes: b"string", Hash: b"hash", SortedSet: b"zset"}
        return Status(kinds[type(self.keys[key])] if key in self.keys else b"none")

    def do_exists(self, *keys: bytes) -> Reply:
        return sum(key in self.keys for key in keys)

    def do_del(self, *keys: bytes) -> Reply:
        return sum(self.keys.pop(key, None) is not None for key in keys)

    def do_set(self, key: bytes, value: bytes, *options: bytes) -> Reply:
        if (b"XX" if key not in self.keys else b"NX") in options:
            return None
        if b"PX" in options and int(options[options.index(b"PX") + 1]) <= 1:
            self.keys.pop(key, None)  # gone in a moment
            return OK
        self.keys[key] = value
        return OK

    def do_get(self, key: bytes) -> Reply:
        return self.find(bytes, key)

    def do_time(self) -> Reply:
        now = self.now()
        return [b"%d" % (now // 1000), b"%d" % (now % 1000 * 1000)]

    # -- hashes -----------------------------------------------------------------------------------------------

    def do_hset(self, key: bytes, *pairs: bytes) -> Reply:
        found = self.make(Hash, key)
        new = len(set(pairs[::2]) - found.keys())
        found.update(zip(pairs[::2], pairs[1::2], strict=True))
        return new

    def do_hget(self, key: bytes, name: bytes) -> Reply:
        return (self.find(Hash, key) or Hash()).get(name)

    def do_hmget(self, key: bytes, *names: bytes) -> Reply:
        found = self.find(Hash, key) or Hash()
        return [found.get(name) for name in names]

    def do_hgetall(self, key: bytes) -> Reply:
        return [part for pair in (self.find(Hash, key) or Hash()).items() for part in pair]

    def do_hscan(self, key: bytes, cursor: bytes, *options: bytes) -> Reply:
        return [b"0", self.do_hgetall(key)]

    def do_hlen(self, key: bytes) -> Reply:
        return len(self.find(Hash, key) or ())

    def do_hdel(self, key: bytes, *names: bytes) -> Reply:
        found = self.find(Hash, key) or Hash()
        gone = sum(found.pop(name, None) is not None for name in names)
        self._tidy(key)
        return gone

    def do_hincrby(self, key: bytes, name: bytes, by: bytes) -> Reply:
        found = self.make(Hash, key)
        found[name] = b"%d" % (int(found.get(name, b"0")) + int(by))
        return int(found[name])

    # -- sorted sets ------------------------------------------------------------------------------------------

    def do_zadd(self, key: bytes, *arguments: bytes) -> Reply:
        only = arguments[0] if arguments[0] in {b"NX", b"XX"} else None
        pairs = arguments[1:] if only else arguments
        found = self.make(SortedSet, key)
        new = 0
        for score, member in zip(pairs[::2], pairs[1::2], strict=True):
            if only is None or (member in found) == (only == b"XX"):
                new += member not in found
                found[member] = float(score)
        self._tidy(key)
        return new

    def do_zrem(self, key: bytes, *members: bytes) -> Reply:
        found = self.find(SortedSet, key) or SortedSet()
        gone = sum(found.pop(member, None) is not None for member in members)
        self._tidy(key)
        return gone

    def do_zremrangebyscore(self, key: bytes, least: bytes, most: bytes) -> Reply:
        scores = self.find(SortedSet, key) or SortedSet()
        return self.do_zrem(key, *[member for member, at in scores.items() if _edge(least) <= at <= _edge(most)])

    def do_zcard(self, key: bytes) -> Reply:
        return len(self.find(SortedSet, key) or ())

    def do_zscore(self, key: bytes, member: bytes) -> Reply:
        score = (self.find(SortedSet, key) or SortedSet()).get(member)
        return None if score is None else _score(score)

    def do_zrange(self, key: bytes, start: bytes, stop: bytes, *options: bytes) -> Reply:
        found = sorted((self.find(SortedSet, key) or SortedSet()).items(), key=lambda item: (item[1], item[0]))
        if b"BYSCORE" in options:
            chosen = [item for item in found if _edge(start) <= item[1] <= _edge(stop)]
            if b"LIMIT" in options:
                at = options.index(b"LIMIT")
                chosen = chosen[int(options[at + 1]) :][: int(options[at + 2])]
        else:
            end = int(stop) + 1
            chosen = found[int(start) : end or None]
        if b"WITHSCORES" in options:
            return [part for member, score in chosen for part in (member, _score(score))]
        return [member for member, _ in chosen]


def _edge(text: bytes) -> float:
    return {b"-inf": -math.inf, b"+inf": math.inf}.get(text) or float(text)


def _score(score: float) -> bytes:
    return b"%d" % score if score == int(score) else repr(score).encode()


def flat(pairs: Sequence[tuple[bytes, Reply]]) -> list[Reply]:
    """Names and values in turn, as INFO-like commands answer."""
    return [part for pair in pairs for part in pair]
