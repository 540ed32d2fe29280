"""A pipeline that keeps state, and the oracle that says what has to come of it.

The first stage keeps the order of what is put in, and makes of a number the record that goes to the stages with state.
What each of them has to give is computed from the numbers alone, in plain Python, with nothing of papyra-flow.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import redis

from tests.faults.workload import Workload, patiently

PARTITIONS = 4
PIPELINE = """\
    pipeline: f
    redis: redis://nowhere
    defaults: {batch: {size: 200}, claim_after: 1s, retry: {attempts: 3, backoff: 2ms..10ms}}
    stages:
      order:
        from: in
        ordered: true
        process: [{run: "fault_steps:look"}]
        match: all
        to:
          - {stream: parts}
          - {stream: orders, when: n % 2 == 0}
          - {stream: payments, when: n % 2 == 1 and n % 10 != 3}
      count:
        from: parts
        process: [{aggregate: {by: k, window: 10s, time: t, grace: 1s, fields: {c: count(), total: sum(n)}}}]
        to: windows
      gaps:
        from: parts
        process: [{aggregate: {by: k, window: {gap: 3s}, time: t, grace: 1s, fields: {c: count(), total: sum(n)}}}]
        to: sessions
      once:
        from: parts
        process: [{dedupe: {by: [k, d]}}]
        to: unique
      newest:
        from: parts
        process: [{table: k}]
        to: changed
      pair:
        from: [orders, payments]
        process:
          - join: {on: {orders: p, payments: p}, within: 5s, grace: 1s, kind: left, into: {orders: o, payments: q}}
        to: pairs
    streams:
      in: {retain: all}
      parts: {partitions: 4, by: k}
      orders: {partitions: 4, by: p, time: t}
      payments: {partitions: 4, by: p, time: t}
      windows: {retain: all}
      sessions: {retain: all}
      unique: {retain: all}
      changed: {retain: all}
      pairs: {retain: all}
    """
ONE_PARTITION = PIPELINE.replace("partitions: 4", "partitions: 1")
STEPS = """\
    failed = set()

    def look(record):
        n = record["n"]
        if n % 1000 == 13:
            raise ValueError(f"always fails: {n}")
        if n % 500 == 11 and n not in failed:
            failed.add(n)
            raise ConnectionError("fails the first time, in each process")
        late = n * 31 % 7  # a little out of order
        t = n / 100 + 5 * (n // 1000) - late / 100
        return {"n": n, "k": f"k{n * 7919 % 97}", "t": t, "d": n // 5000, "p": n // 2}
    """
STATEFUL = {"count": "parts", "gaps": "parts", "once": "parts", "newest": "parts", "pair": "orders"}
READ = {"in": 1, "parts": PARTITIONS, "orders": PARTITIONS, "payments": PARTITIONS}


def dies(n: int) -> bool:
    """Whether a number's record fails for ever."""
    return n % 1000 == 13


def key_of(n: int) -> str:
    return f"k{n * 7919 % 97}"


def hundredths(n: int) -> int:
    """A record's event time, in hundredths of a second."""
    return n + 500 * (n // 1000) - n * 31 % 7


def keys_of(stream: str, partitions: int) -> list[str]:
    return [f"{{f/{number}}}:{stream}" for number in range(partitions)] if partitions > 1 else [f"{{f}}:{stream}"]


class Keyed:
    """A workload whose stages keep state."""

    def __init__(self, workload: Workload, partitions: int = PARTITIONS) -> None:
        self.workload = workload
        self.partitions = partitions
        workload.folder.pipeline(PIPELINE if partitions > 1 else ONE_PARTITION)
        workload.folder.write("fault_steps.py", STEPS)

    # -- what goes in -----------------------------------------------------------------------------------------

    def feed(self, upto: int) -> None:
        """Have the numbers below this one put in, each once and in order, whatever the server does or loses."""

        def fed() -> bool:
            with self.workload.server as server:
                last: Any = server.xrevrange("{f}:in", count=1)
                first = json.loads(last[0][1][b"data"])["n"] + 1 if last else 0
                for start in range(first, upto, 1000):
                    pipe = server.pipeline(transaction=True)
                    for n in range(start, min(start + 1000, upto)):
                        pipe.xadd("{f}:in", {"data": json.dumps({"n": n})})
                    pipe.execute()
                return first >= upto

        patiently(fed, f"{upto} records put in")
        self.workload.produced = upto

    # -- how far it is ----------------------------------------------------------------------------------------

    def groups(self) -> Iterator[dict[str, Any]]:
        """What the server says of each group of each stream that is read."""
        with self.workload.server as server:
            for stream, partitions in READ.items():
                for key in keys_of(stream, min(partitions, self.partitions)):
                    yield from server.xinfo_groups(key)

    def read(self, stream: str, group: str) -> int:
        """Entries that a group has behind it."""
        with self.workload.server as server:
            keys = keys_of(stream, self.partitions)
            found = [one for key in keys for one in server.xinfo_groups(key) if one["name"].decode() == group]
        return sum(int(one["entries-read"] or 0) for one in found)

    def behind(self) -> int:
        """Entries that have not been read, in all stages."""
        try:
            return sum((group["lag"] or 0) + group["pending"] for group in self.groups())
        except redis.ResponseError:
            return 1  # not created yet

    def owners(self, stage: str) -> list[bytes]:
        """Who owns each partition of a stage."""
        with self.workload.server as server:
            keys = keys_of(f"@owner:{stage}", 1 if stage == "order" else self.partitions)
            return [server.hget(key, "owner") or b"" for key in keys]

    def pair_at_work(self) -> None:
        """Start two workers, and wait until each has begun: one that starts without a server ends at once."""
        for _ in range(2):
            self.workload.start()

        def begun() -> bool:
            with self.workload.server as server:
                return all(server.zcard(f"{{f}}:@owners:{stage}") == 2 for stage in STATEFUL)

        patiently(begun, "two workers at work")

    def done(self) -> None:
        """Wait until all that was put in has gone through all stages, by those who are at work now."""
        calm = 0

        def quiet() -> bool:
            nonlocal calm
            calm = calm + 1 if self.behind() == 0 else 0
            return calm >= 3

        patiently(quiet, "the end of the work")

    def finish(self) -> None:
        """Have those at work bring the work to its end, stop them, and have what is open close."""
        self.done()
        for worker in self.workload.workers:
            if worker.runs:
                worker.stop()
        self.workload.drain()

    # -- the oracle -------------------------------------------------------------------------------------------

    def rows(self, stream: str) -> list[dict[str, Any]]:
        return [record for _, record in self.workload.entries(stream)]

    def verify(self) -> None:
        """Each record counts once, in each of the stages."""
        lives = [n for n in range(self.workload.produced) if not dies(n)]
        report = {
            "windows": differing(self._windows(), windows(lives)),
            "sessions": differing(self._sessions(), sessions(lives)),
            "unique": differing(Counter(row["n"] for row in self.rows("unique")), Counter(unique(lives))),
            "changed": differing(Counter(row["n"] for row in self.rows("changed")), Counter(lives)),
            "pairs": differing(self._pairs(), Counter(pairs(self.workload.produced))),
            "dead": differing(self._dead(), Counter(n for n in range(self.workload.produced) if dies(n))),
            "out of order": self._out_of_order(),
            "left over": self._left_over(),
        }
        print(f"{self.workload.produced:,} records: {report}")
        assert set(report.values()) == {0}, report

    def _windows(self) -> Counter[object]:
        return Counter((row["k"], seconds(row["window_start"]), row["c"], row["total"]) for row in self.rows("windows"))

    def _sessions(self) -> Counter[object]:
        return Counter(
            (row["k"], seconds(row["window_start"]), row["c"], row["total"]) for row in self.rows("sessions")
        )

    def _pairs(self) -> Counter[object]:
        return Counter((row["o"]["n"], row["q"]["n"] if row["q"] is not None else None) for row in self.rows("pairs"))

    def _dead(self) -> Counter[int]:
        return Counter(row["n"] for row in self.rows("@dead:order"))

    def _out_of_order(self) -> int:
        """Records of a key that came behind a later one of it."""
        last: dict[str, int] = {}
        wrong = 0
        for row in self.rows("changed"):
            wrong += last.get(row["k"], -1) >= row["n"]
            last[row["k"]] = row["n"]
        return wrong

    def _left_over(self) -> int:
        """State of windows and joins that have closed, timers, and dead letters that nothing explains."""
        left = 0
        with self.workload.server as server:
            for stage in STATEFUL:
                for number in range(self.partitions):
                    tag = f"{{f/{number}}}" if self.partitions > 1 else "{f}"
                    left += int(server.zcard(f"{tag}:@timers:{stage}"))
                    if stage in {"count", "gaps", "pair"}:
                        left += int(server.hlen(f"{tag}:@state:{stage}"))
                left += int(server.xlen(f"{{f}}:@dead:{stage}"))
            newest = sum(int(server.hlen(key)) for key in keys_of("@state:newest", self.partitions))
            left += abs(newest - len({key_of(n) for n in range(self.workload.produced) if not dies(n)}))
        return left


def differing(found: Counter[Any], expected: Counter[Any]) -> int:
    """How many are missing or too many."""
    return sum((expected - found).values()) + sum((found - expected).values())


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def windows(numbers: list[int]) -> Counter[object]:
    """Ten seconds each, by key."""
    found: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for n in numbers:
        row = found[key_of(n), hundredths(n) // 1000]
        row[0] += 1
        row[1] += n
    return Counter((key, float(window * 10), count, total) for (key, window), (count, total) in found.items())


def sessions(numbers: list[int]) -> Counter[object]:
    """Ended by three seconds without a record of the key."""
    times: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for n in numbers:
        times[key_of(n)].append((hundredths(n), n))
    found: Counter[object] = Counter()
    for key, seen in times.items():
        session: list[tuple[int, int]] = []
        for at, n in [*sorted(seen), (2**40, -1)]:
            if session and at - session[-1][0] > 300:
                found[key, session[0][0] / 100, len(session), sum(one for _, one in session)] += 1
                session = []
            session.append((at, n))
    return found


def unique(numbers: list[int]) -> list[int]:
    """The first of each key and five thousand."""
    seen: dict[tuple[str, int], int] = {}
    for n in numbers:
        seen.setdefault((key_of(n), n // 5000), n)
    return list(seen.values())


def pairs(count: int) -> Iterator[tuple[int, int | None]]:
    """Each even number with the odd one behind it, where that one was paid and lives."""
    for n in range(0, count, 2):
        paid = n + 1 < count and (n + 1) % 10 != 3 and not dies(n + 1)
        yield n, n + 1 if paid else None
