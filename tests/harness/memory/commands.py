"""The commands on streams and groups, as Redis 7 and Valkey document them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.harness.memory.keys import KeyCommands, flat
from tests.harness.memory.replies import OK, Refused, Reply
from tests.harness.memory.streams import LARGEST, ZERO, Delivered, Group, Id, Stream, read_bounds, read_id, show_id

CLAIM_FLAGS = (b"JUSTID", b"FORCE")


class StreamCommands(KeyCommands):
    """Commands on streams; what blocks is the server's business."""

    def group(self, key: bytes, name: bytes) -> tuple[Stream, Group]:
        """A stream and its group; raises Refused as the server does."""
        stream = self.find(Stream, key)
        if stream is None or name not in stream.groups:
            shown = (key.decode(), name.decode())
            raise Refused("NOGROUP No such key '{}' or consumer group '{}'".format(*shown))
        return stream, stream.groups[name]

    # -- entries ----------------------------------------------------------------------------------------------

    def do_xadd(self, key: bytes, *arguments: bytes) -> Reply:
        create = arguments[0] != b"NOMKSTREAM"
        at, *fields = arguments if create else arguments[1:]
        if len(fields) % 2 or not fields:
            raise Refused("ERR wrong number of arguments for 'xadd' command")
        stream = self.find(Stream, key)
        if stream is None and not create:
            return None
        made = stream or Stream()
        id_ = self._next(made) if at == b"*" else read_id(at)
        made.add(id_, fields)
        self.keys[key] = made
        return show_id(id_)

    def _next(self, stream: Stream) -> Id:
        milliseconds, sequence = stream.last
        return (now, 0) if (now := self.now()) > milliseconds else (milliseconds, sequence + 1)

    def do_xlen(self, key: bytes) -> Reply:
        return len(stream.entries) if (stream := self.find(Stream, key)) else 0

    def do_xrange(self, key: bytes, start: bytes, end: bytes, *options: bytes) -> Reply:
        count = int(options[1]) if options else None
        stream = self.find(Stream, key) or Stream()
        return [[show_id(at), fields] for at, fields in stream.between(*read_bounds(start, end), count)]

    def do_xrevrange(self, key: bytes, end: bytes, start: bytes, *options: bytes) -> Reply:
        stream = self.find(Stream, key) or Stream()
        found: list[Reply] = [[show_id(at), fields] for at, fields in stream.between(*read_bounds(start, end))]
        found.reverse()
        return found[: int(options[1])] if options else found

    def do_xdel(self, key: bytes, *ids: bytes) -> Reply:
        stream = self.find(Stream, key) or Stream()
        gone = [at for at in map(read_id, ids) if stream.entries.pop(at, None) is not None]
        stream.deleted = max([stream.deleted, *gone])
        return len(gone)

    def do_xtrim(self, key: bytes, kind: bytes, how: bytes, bound: bytes) -> Reply:
        stream = self.find(Stream, key) or Stream()
        if kind == b"MINID":
            gone = [at for at in stream.entries if at < read_id(bound)]
        else:
            gone = list(stream.entries)[: max(0, len(stream.entries) - int(bound))]
        if how == b"~" and len(gone) < 100:
            return 0  # whole nodes only
        for at in gone:
            del stream.entries[at]
        return len(gone)

    # -- groups -----------------------------------------------------------------------------------------------

    def do_xgroup(self, what: bytes, key: bytes, name: bytes, *arguments: bytes) -> Reply:
        stream = self.find(Stream, key)
        if stream is None:
            if what.upper() != b"CREATE" or b"MKSTREAM" not in arguments:
                raise Refused("ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may ...")
            stream = self.make(Stream, key)
        if what.upper() == b"CREATE":
            if name in stream.groups:
                raise Refused("BUSYGROUP Consumer Group name already exists")
            stream.groups[name] = Group(stream.last if arguments[0] == b"$" else read_id(arguments[0]))
            return OK
        if what.upper() == b"DESTROY":
            return int(stream.groups.pop(name, None) is not None)
        if name not in stream.groups:
            raise Refused(f"NOGROUP No such consumer group '{name.decode()}' for key name '{key.decode()}'")
        group = stream.groups[name]
        if what.upper() == b"SETID":
            group.last = stream.last if arguments[0] == b"$" else read_id(arguments[0])
            group.read = int(arguments[2]) if len(arguments) > 2 else None
            return OK
        if what.upper() == b"CREATECONSUMER":
            new = arguments[0] not in group.consumers
            group.consumers.setdefault(arguments[0], self.now())
            return int(new)
        gone = [at for at, entry in group.pending.items() if entry.consumer == arguments[0]]
        for at in gone:
            del group.pending[at]
        group.consumers.pop(arguments[0], None)
        return len(gone)

    def do_xinfo(self, what: bytes, key: bytes, *arguments: bytes) -> Reply:
        stream = self.find(Stream, key)
        if stream is None:
            raise Refused("ERR no such key")
        if what.upper() == b"CONSUMERS":
            _, group = self.group(key, arguments[0])
            return [
                flat(
                    [
                        (b"name", name),
                        (b"pending", sum(entry.consumer == name for entry in group.pending.values())),
                        (b"idle", max(0, self.now() - seen)),
                    ]
                )
                for name, seen in sorted(group.consumers.items())
            ]
        if what.upper() == b"STREAM":
            return flat([(b"length", len(stream.entries)), (b"entries-added", stream.added)])
        return [
            flat(
                [
                    (b"name", name),
                    (b"consumers", len(group.consumers)),
                    (b"pending", len(group.pending)),
                    (b"last-delivered-id", show_id(group.last)),
                    (b"entries-read", group.read),
                    (b"lag", stream.lag(group)),
                ]
            )
            for name, group in sorted(stream.groups.items())
        ]

    # -- reading and acknowledging ----------------------------------------------------------------------------

    def read_new(self, group: bytes, consumer: bytes, keys: Sequence[bytes], count: int) -> list[Reply]:
        """What XREADGROUP delivers just now, stream by stream; raises Refused where a group is missing."""
        for key in keys:
            self._group_to_read(key, group)
        found: list[Reply] = []
        for key in keys:
            stream, of = self._group_to_read(key, group)
            entries = stream.between((of.last[0], of.last[1] + 1), LARGEST, count)
            self._seen(of, consumer, entries)
            for at, _ in entries:
                stream.deliver(of, at)
                of.pending[at] = Delivered(consumer, self.now(), 1)
            if entries:
                found.append([key, [[show_id(at), fields] for at, fields in entries]])
        return found

    def read_behind(self, keys: Sequence[bytes], positions: Sequence[bytes], count: int) -> list[Reply]:
        """What XREAD finds just now behind these positions, stream by stream."""
        found: list[Reply] = []
        for key, position in zip(keys, positions, strict=True):
            after = read_id(position)
            entries = (self.find(Stream, key) or Stream()).between((after[0], after[1] + 1), LARGEST, count)
            if entries:
                found.append([key, [[show_id(at), fields] for at, fields in entries]])
        return found

    def _group_to_read(self, key: bytes, name: bytes) -> tuple[Stream, Group]:
        try:
            return self.group(key, name)
        except Refused as exc:
            if not str(exc).startswith("NOGROUP"):
                raise
            raise Refused(f"{exc} in XREADGROUP with GROUP option") from None

    def do_xack(self, key: bytes, name: bytes, *ids: bytes) -> Reply:
        stream = self.find(Stream, key) or Stream()
        if name not in stream.groups:
            return 0
        return sum(stream.groups[name].pending.pop(at, None) is not None for at in map(read_id, ids))

    def do_xpending(self, key: bytes, name: bytes, *arguments: bytes) -> Reply:
        _, group = self.group(key, name)
        if not arguments:
            if not group.pending:
                return [0, None, None, None]
            counts: dict[bytes, int] = {}
            for _, entry in group.in_order():
                counts[entry.consumer] = counts.get(entry.consumer, 0) + 1
            told: list[Reply] = [[consumer, b"%d" % count] for consumer, count in sorted(counts.items())]
            return [len(group.pending), show_id(min(group.pending)), show_id(max(group.pending)), told]
        least = 0
        if arguments[0] == b"IDLE":
            least, arguments = int(arguments[1]), arguments[2:]
        start, end, count, *consumer = arguments
        found: list[Reply] = [
            [show_id(at), entry.consumer, self.idle(entry), entry.times]
            for at, entry in group.in_order(*read_bounds(start, end))
            if (not consumer or entry.consumer == consumer[0]) and self.idle(entry) >= least
        ]
        return found[: int(count)]

    def idle(self, entry: Delivered) -> int:
        """Milliseconds since an entry was delivered."""
        return max(0, self.now() - entry.at)

    # -- claiming ---------------------------------------------------------------------------------------------

    def do_xclaim(self, key: bytes, name: bytes, consumer: bytes, least: bytes, *arguments: bytes) -> Reply:
        stream, group = self.group(key, name)
        ids = [argument for argument in arguments if b"-" in argument]
        options = [argument for argument in arguments if b"-" not in argument]
        idle = int(options[options.index(b"IDLE") + 1]) if b"IDLE" in options else 0
        found: list[Reply] = []
        for at in map(read_id, ids):
            entry = group.pending.get(at)
            if at not in stream.entries:
                group.pending.pop(at, None)
                continue
            if entry is None and b"FORCE" in options:
                entry = group.pending[at] = Delivered(consumer, self.now(), 0 if b"JUSTID" in options else 1)
            if entry is None or self.idle(entry) < int(least):
                continue
            self._take(entry, consumer, self.now() - idle, counts=b"JUSTID" not in options)
            found.append(show_id(at) if b"JUSTID" in options else [show_id(at), stream.entries[at]])
        self._seen(group, consumer, found)
        return found

    def do_xautoclaim(
        self, key: bytes, name: bytes, consumer: bytes, least: bytes, start: bytes, *rest: bytes
    ) -> Reply:
        stream, group = self.group(key, name)
        count = int(rest[rest.index(b"COUNT") + 1]) if b"COUNT" in rest else 100
        looks, cursor = 10 * count, ZERO
        found: list[Reply] = []
        deleted: list[Reply] = []
        for at, entry in list(group.in_order(read_id(start))):
            if not looks or len(found) + len(deleted) == count:
                cursor = at
                break
            looks -= 1
            if at not in stream.entries:
                del group.pending[at]
                deleted.append(show_id(at))
            elif self.idle(entry) >= int(least):
                self._take(entry, consumer, self.now(), counts=b"JUSTID" not in rest)
                found.append(show_id(at) if b"JUSTID" in rest else [show_id(at), stream.entries[at]])
        self._seen(group, consumer, found)
        return [show_id(cursor), found, deleted]

    def _seen(self, group: Group, consumer: bytes, got: Sequence[object]) -> None:
        """A consumer is made when it gets something (later versions make it before)."""
        if got or consumer in group.consumers:
            group.consumers[consumer] = self.now()

    def _take(self, entry: Delivered, consumer: bytes, at: int, *, counts: bool) -> None:
        entry.consumer, entry.at = consumer, at
        entry.times += counts
