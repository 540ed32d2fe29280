"""`run` with `key`: what a function remembers of a key, what timers call, and that a failure leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from papyra_flow import Context, Emit, State
from papyra_flow.errors import RecordError, SetupError
from papyra_flow.records.json_codec import read_json
from papyra_flow.spec.components import SetupContext
from papyra_flow.state.event_time import END_OF_TIME
from papyra_flow.steps.keyed import Keyed, KeyedRows
from papyra_flow.steps.run import Run
from tests.unit.state.partition import Out, Partition, Row, in_order_of_time

HERE = SetupContext(Path(__file__).parent, "shop", "score")


def keyed(function: Callable[..., Any], **fields: Any) -> Keyed:
    found = Run.model_validate({"function": function, "key": "k", **fields}).build_keyed(HERE)
    assert found is not None
    return found


def ran(function: Callable[..., Any], rows: list[Row], batch: int = 100, **fields: Any) -> Partition:
    return Partition(keyed(function, **fields), batch).run(rows)


def rows_of(*keys: object) -> list[Row]:
    return [Row({"k": key, "n": n}, n * 1000) for n, key in enumerate(keys)]


def kept(partition: Partition) -> dict[bytes, Any]:
    return {field: read_json(value) for field, value in partition.hash.items()}


def seen(record: dict[str, Any], state: State) -> dict[str, Any]:
    state["seen"] = state.get("seen", 0) + 1
    return {**record, "seen": state["seen"]}


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_a_function_remembers_what_it_said_of_each_key(batch: int) -> None:
    partition = ran(seen, rows_of("a", "b", "a", "a", "b"), batch)
    assert [out.record["seen"] for out in partition.outs] == [1, 1, 2, 3, 2]
    assert kept(partition) == {b'["a"]': {"seen": 3}, b'["b"]': {"seen": 2}}


def test_a_key_may_have_several_parts_and_must_not_be_null() -> None:
    def keys(record: dict[str, Any], state: State) -> dict[str, Any]:
        return {"key": state.key}

    partition = ran(keys, [*rows_of("a", None), Row({"k": "x"})], key=["k", "n"])
    assert [out.record["key"] for out in partition.outs] == [["a", 0]]
    assert [isinstance(exc, RecordError) for exc in partition.failed] == [True, True]
    assert ran(keys, rows_of("a")).outs[0].record["key"] == "a"


class Totals(BaseModel):
    count: int = 0
    last: datetime | None = None
    tags: list[str] = []


def counted(record: dict[str, Any], totals: Totals) -> dict[str, Any]:
    totals.count += 1
    totals.last = datetime(2024, 1, record["n"] + 1, tzinfo=UTC)
    totals.tags.append(record["k"])
    return {"count": totals.count, "tags": list(totals.tags)}


@pytest.mark.parametrize("batch", [1, 100])
def test_a_model_is_the_state_where_a_parameter_is_annotated_with_one(batch: int) -> None:
    partition = ran(counted, rows_of("a", "a", "b"), batch)
    assert partition.outs[1].record == {"count": 2, "tags": ["a", "a"]}
    assert kept(partition)[b'["a"]'] == {"count": 2, "last": "2024-01-02T00:00:00Z", "tags": ["a", "a"]}


def test_a_model_that_is_as_it_begins_is_forgotten() -> None:
    def reset(record: dict[str, Any], totals: Totals) -> None:
        totals.count = 1 if record["n"] == 0 else 0

    assert len(kept(ran(reset, rows_of("a")))) == 1
    assert kept(ran(reset, rows_of("a", "a"), 1)) == {}


def test_what_a_function_leaves_in_a_model_has_to_fit_it() -> None:
    def spoil(record: dict[str, Any], totals: Totals) -> dict[str, Any]:
        totals.count = "many" if record["n"] == 1 else 7  # type: ignore[assignment]
        return record

    partition = ran(spoil, rows_of("a", "a"))
    assert "the state does not fit Totals: count" in str(partition.failed[0])
    assert kept(partition)[b'["a"]']["count"] == 7


def test_state_that_does_not_fit_the_model_any_more_fails_its_records() -> None:
    partition = Partition(keyed(counted), hash={b'["a"]': b'{"count":"x"}'}).run(rows_of("a", "b"))
    assert "the state does not fit Totals" in str(partition.failed[0])
    assert len(partition.outs) == 1


def test_a_model_may_come_with_a_state_that_clears_it_and_sets_timers() -> None:
    def both(record: dict[str, Any], totals: Totals, state: State) -> None:
        totals.count += 1
        state.timer(timedelta(seconds=5), "t")
        if record["n"] == 1:
            state.clear()
        if record["n"] == 2:
            state["x"] = 1

    partition = ran(both, rows_of("a"), on_timer=noted)
    assert kept(partition)[b'["a"]']["count"] == 1
    assert partition.timers == {b'["a","t"]': 5000}
    partition = ran(both, rows_of("a", "a", "a"), on_timer=noted)
    assert kept(partition) == {}
    assert "change them there" in str(partition.failed[0])


def half(record: dict[str, Any], state: State) -> dict[str, Any]:
    state["n"] = record["n"]
    state.setdefault("items", []).append(record["n"])
    if record["n"] % 2:
        raise ValueError("odd")
    return record


@pytest.mark.parametrize("batch", [1, 100])
def test_an_exception_leaves_the_state_as_it_was(batch: int) -> None:
    partition = ran(half, rows_of("a", "a", "a", "b"), batch)
    assert kept(partition) == {b'["a"]': {"n": 2, "items": [0, 2]}}
    assert [str(exc) for exc in partition.failed] == ["odd", "odd"]


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800", 10**5000], ids=type)
def test_what_json_does_not_have_fails_its_record(value: object) -> None:
    def put(record: dict[str, Any], state: State) -> dict[str, Any]:
        state["x"] = [value] if record["n"] else value
        return record

    partition = ran(put, rows_of("a", "a"))
    assert [isinstance(exc, RecordError) for exc in partition.failed] == [True, True]
    assert partition.hash == {}


def test_values_are_json_s_and_nobody_else_s() -> None:
    kept_back: list[Any] = []

    def put(record: dict[str, Any], state: State) -> dict[str, Any]:
        if record["n"] == 0:
            state["at"] = datetime(2024, 1, 1, tzinfo=UTC)
            state["big"] = 2**80
            state["record"] = record
            record["more"] = [1]  # as in a dict, it is the same object until the call has returned
            kept_back.extend([record, state])
        else:
            kept_back[0]["more"].append("later")
            kept_back[1]["big"] = 0
        return {**record, "state": {name: state[name] for name in sorted(state)}}

    partition = ran(put, rows_of("a", "a"), 1)
    expected = {"at": "2024-01-01T00:00:00+00:00", "big": 2**80, "record": {"k": "a", "n": 0, "more": [1]}}
    assert kept(partition) == {b'["a"]': expected}
    assert partition.outs[1].record["state"] == expected
    assert ran(put, rows_of("a", "a"), 100).outs[1].record["state"] == expected


def test_a_state_is_a_mapping() -> None:
    def use(record: dict[str, Any], state: State) -> dict[str, Any]:
        state.update(a=1, b=None)
        del state["a"]
        with pytest.raises(KeyError):
            state["a"]
        assert state.setdefault("c", []) is state["c"]
        assert "b" in state
        assert "a" not in state
        return {"items": dict(state), "length": len(state), "shown": repr(state)}

    (out,) = ran(use, rows_of("a")).outs
    assert out.record == {"items": {"b": None, "c": []}, "length": 2, "shown": "State({'b': None, 'c': []})"}


def test_names_of_values_are_text() -> None:
    def put(record: dict[str, Any], state: State) -> None:
        state[5] = 1  # type: ignore[index]

    assert "text, not 5" in str(ran(put, rows_of("a")).failed[0])


def test_a_key_is_forgotten_when_its_state_is_empty() -> None:
    def once(record: dict[str, Any], state: State) -> None:
        state["n"] = 1
        if record["n"]:
            state.clear()

    assert kept(ran(once, rows_of("a", "a"), 1)) == kept(ran(once, rows_of("a", "a"), 2)) == {}


def test_a_function_that_only_reads_changes_nothing() -> None:
    def read(record: dict[str, Any], state: State) -> dict[str, Any]:
        return {"n": state.get("n")}

    partition = Partition(keyed(read), hash={b'["a"]': b'{"n":5}'}).run(rows_of("a"))
    assert partition.outs == [Out({"n": 5})]
    assert partition.puts == 0


def test_generators_and_emits_leave_as_from_any_step() -> None:
    def several(record: dict[str, Any], state: State) -> Iterator[Any]:
        for number in range(2):
            state["n"] = number
            yield {"n": number}
        yield Emit({"n": "emitted"}, key="k")

    partition = ran(several, rows_of("a"))
    assert [out.record["n"] for out in partition.outs] == [0, 1, "emitted"]
    assert kept(partition) == {b'["a"]': {"n": 1}}


def test_a_context_comes_with_the_state() -> None:
    def where(record: dict[str, Any], state: State, context: Context) -> dict[str, Any]:
        return {"context": str(context), "time": state.time.isoformat()}

    step = keyed(where)
    assert step.context is HERE
    prepared = step.step.prepare(KeyedRows([{"k": 1}], [1500], [0], "s", ["here"]))  # type: ignore[list-item]
    partition = Partition(step)
    partition.store.load([b"[1]"], [None])
    assert list(step.step.apply(prepared, partition.store)) == [
        {"context": "here", "time": "1970-01-01T00:00:01.500000+00:00"}
    ]


# -- timers -------------------------------------------------------------------------------------------------------


def noted(key: Any, name: str, state: State) -> dict[str, Any]:
    return {"key": key, "name": name, "n": state.get("n"), "time": state.time.isoformat()}


def waits(record: dict[str, Any], state: State) -> None:
    state["n"] = record["n"]
    state.timer(state.time + timedelta(seconds=10), "idle")


@pytest.mark.parametrize("batch", [1, 100])
def test_a_timer_is_called_when_the_watermark_gets_there_and_may_be_moved(batch: int) -> None:
    partition = ran(waits, rows_of("a", "b", "a"), batch, on_timer=noted)
    assert partition.timers == {b'["a","idle"]': 12_000, b'["b","idle"]': 11_000}
    assert partition.advance(10_999).outs == []
    partition.advance(12_000)
    assert [(out.record["key"], out.record["n"], out.time) for out in partition.outs] == [
        ("b", 1, 11_000),
        ("a", 2, 12_000),
    ]
    assert partition.timers == {}


@pytest.mark.parametrize(
    "at", [datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC), "1970-01-01T00:00:07Z", 7, 7.0, timedelta(seconds=7)]
)
def test_when_a_timer_goes_off_is_said_as_any_event_time(at: Any) -> None:
    def wait(record: dict[str, Any], state: State) -> None:
        state.timer(at)

    assert ran(wait, rows_of("a"), on_timer=noted).timers == {b'["a",""]': 7000}


def test_a_timer_may_be_called_off() -> None:
    def wait(record: dict[str, Any], state: State) -> None:
        state.timer(99, "x")
        if record["n"]:
            state.cancel("x")

    assert ran(wait, rows_of("a", "a"), 1, on_timer=noted).timers == {}
    assert ran(wait, rows_of("a", "a"), 2, on_timer=noted).timers == {}


def test_a_timer_that_fails_or_whose_record_failed_changes_nothing() -> None:
    def wait(record: dict[str, Any], state: State) -> None:
        state.timer(5, "x")
        state["n"] = 1
        if record["k"] == "b":
            raise ValueError("no")

    def late(key: str, name: str, state: State) -> None:
        state["n"] = 2
        raise ValueError("later")

    partition = ran(wait, rows_of("a", "b"), on_timer=late)
    assert partition.timers == {b'["a","x"]': 5000}
    partition.advance(9000)
    assert [str(exc) for exc in partition.failed] == ["no", "later"]
    assert kept(partition) == {b'["a"]': {"n": 1}}


def again(key: Any, name: str, state: State) -> dict[str, Any]:
    state.timer(timedelta(seconds=10), name)
    return {"time": state.time.timestamp()}


def test_a_timer_may_set_itself_again_until_time_ends() -> None:
    partition = ran(waits, rows_of("a"), on_timer=again).advance(35_000)
    assert [out.record["time"] for out in partition.outs] == [10, 20, 30]
    assert partition.timers == {b'["a","idle"]': 40_000}
    partition.advance(END_OF_TIME)
    assert [out.record["time"] for out in partition.outs] == [10, 20, 30, 40]
    assert partition.timers == {}


def test_a_timer_s_emit_and_records_of_a_list_leave_at_its_time() -> None:
    def several(key: Any, name: str) -> list[Any]:
        return [{"n": 1}, Emit({"n": 2}, to="x"), None]

    step = keyed(waits, on_timer=several)
    partition = Partition(step).run(rows_of("a")).advance(10_000)
    assert partition.outs == [Out({"n": 1}, 10_000), Out({"n": 2}, 10_000)]


def test_timers_need_something_to_call() -> None:
    partition = ran(waits, rows_of("a"))
    assert "no `on_timer`" in str(partition.failed[0])
    assert partition.hash == {}


# -- async --------------------------------------------------------------------------------------------------------


class Meeting:
    """Lets calls through only when as many as said are there at once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.now: set[str] = set()
        self.most = 0
        self.doubled = False

    async def __call__(self, record: dict[str, Any], state: State) -> dict[str, Any]:
        self.doubled |= record["k"] in self.now
        self.now.add(record["k"])
        self.most = max(self.most, len(self.now))
        for _ in range(1000):
            await asyncio.sleep(0)
            if self.most >= self.count:
                break
        self.now.remove(record["k"])
        state["order"] = [*state.get("order", []), record["n"]]
        if record["n"] == 2:
            raise ValueError("two")
        return record


def test_an_async_function_is_called_for_one_key_in_order_and_for_others_meanwhile() -> None:
    meeting = Meeting(3)
    partition = ran(meeting, rows_of("a", "b", "a", "c", "a", "b"))
    assert (meeting.most, meeting.doubled) == (3, False)
    assert kept(partition) == {b'["a"]': {"order": [0, 4]}, b'["b"]': {"order": [1, 5]}, b'["c"]': {"order": [3]}}
    assert [out.record["n"] for out in partition.outs] == [0, 1, 3, 4, 5]


def test_no_more_calls_than_said_run_at_a_time() -> None:
    meeting = Meeting(2)
    ran(meeting, rows_of("a", "b", "c", "d"), concurrency=2)
    assert meeting.most == 2


async def streamed(record: dict[str, Any], state: State) -> AsyncIterator[dict[str, Any]]:
    for number in range(2):
        state["n"] = number
        yield {"n": number}


def in_a_thread(record: dict[str, Any], state: State) -> dict[str, Any]:
    state["n"] = record["n"]
    return {"n": record["n"]}


async def asked(key: Any, name: str, state: State) -> dict[str, Any]:
    await asyncio.sleep(0)
    state["asked"] = True
    return {"asked": key}


def test_async_generators_threads_and_timers_are_awaited() -> None:
    assert [out.record["n"] for out in ran(streamed, rows_of("a")).outs] == [0, 1]
    partition = ran(in_a_thread, rows_of("a", "b", "a"), thread=True)
    assert [out.record["n"] for out in partition.outs] == [0, 1, 2]
    partition = ran(waits, rows_of("a"), on_timer=asked).advance(10_000)
    assert partition.outs == [Out({"asked": "a"}, 10_000)]
    assert kept(partition) == {b'["a"]': {"n": 0, "asked": True}}


async def stuck(record: dict[str, Any], state: State) -> None:
    state["n"] = 1
    if record["n"] == 0:
        await asyncio.Event().wait()


def test_a_call_that_takes_too_long_fails_and_the_key_goes_on() -> None:
    partition = ran(stuck, rows_of("a", "a"), timeout="10ms")
    assert [type(exc) for exc in partition.failed] == [TimeoutError]
    assert (partition.dropped, kept(partition)) == (1, {b'["a"]': {"n": 1}})


async def test_who_stops_waiting_stops_the_calls() -> None:
    step: Any = keyed(stuck).step
    partition = Partition(keyed(stuck))
    prepared = step.prepare(KeyedRows([{"k": "a", "n": 0}, {"k": "a", "n": 0}], [0, 0], [0, 0]))
    partition.store.load([b'["a"]'], [None])
    task = asyncio.create_task(step.apply_async(prepared, partition.store))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- what is refused ----------------------------------------------------------------------------------------------


def without(record: dict[str, Any]) -> dict[str, Any]:
    return record


class Needs(BaseModel):
    a: int


def needs(record: dict[str, Any], state: Needs) -> None: ...


def two(record: dict[str, Any], a: State, b: State) -> None: ...


def three(key: Any, name: str, state: State, more: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "fields", "told"),
    [
        (without, {}, "takes no state: annotate a parameter with `State`"),
        (needs, {}, "Needs cannot begin empty: give its field 'a' a default"),
        (two, {}, "more than one state"),
        (seen, {"on_timer": without}, "has to take a key, a timer's name"),
        (seen, {"on_timer": three}, "has to take a key, a timer's name"),
        (seen, {"on_timer": "nowhere:f"}, "module 'nowhere' not found"),
        (seen, {"timeout": "1s"}, "a timeout needs `thread: true`"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(function: Any, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        keyed(function, **fields)


def test_a_function_with_a_state_needs_a_key() -> None:
    with pytest.raises(ValueError, match="say with `key` what it is remembered by"):
        Run.model_validate({"function": seen}).build(HERE)
    with pytest.raises(ValueError, match="keeps state"):
        Run.model_validate({"function": seen, "key": "k"}).build(HERE)
    assert Run.model_validate({"function": without}).build_keyed(HERE) is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"key": "k", "batch": True}, "do not go together"),
        ({"on_timer": noted}, "`on_timer` needs `key`"),
        ({"key": "headers.x"}, "cannot read headers"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Run.model_validate({"function": seen, **fields})


class Priced:
    """A class that is set up before it is called."""

    def setup(self, context: SetupContext) -> None:
        if context.stage != "score":
            raise ValueError("not here")
        self.factor = 10

    def __call__(self, record: dict[str, Any], state: State) -> dict[str, Any]:
        state["sum"] = state.get("sum", 0) + record["n"] * self.factor
        return {"sum": state["sum"]}


async def test_a_class_is_set_up_before_it_is_called() -> None:
    step = keyed(Priced)
    assert step.start is not None
    assert step.close is not None
    await step.start()
    partition = Partition(step).run(rows_of("a", "a", "a"))
    assert [out.record["sum"] for out in partition.outs] == [0, 10, 30]
    await step.close()
    other = Run.model_validate({"function": Priced, "key": "k"}).build_keyed(SetupContext(Path(), stage="other"))
    assert other is not None
    assert other.start is not None
    with pytest.raises(SetupError, match="not here"):
        await other.start()


# -- any order, any batches ---------------------------------------------------------------------------------------


def sessions(record: dict[str, Any], state: State) -> dict[str, Any] | None:
    """Counts what comes within 5 s of each other, and gives it when nothing has come for that long."""
    if record["n"] % 7 == 6:
        state["count"] = -1
        raise ValueError("seventh")
    state["count"] = state.get("count", 0) + 1
    state.setdefault("ns", []).append(record["n"])
    state.timer(timedelta(milliseconds=5), "end")
    return None


def ended(key: str, name: str, state: State) -> dict[str, Any]:
    found = {"key": key, **state}
    state.clear()
    return found


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=40),
    batch=st.sampled_from([1, 2, 5, 1000]),
    budget=st.sampled_from([0, 600, 10**6]),
    twice=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_batches_change_nothing_where_the_watermark_stands(
    rows: list[tuple[str, int]], batch: int, budget: int, twice: bool
) -> None:
    came: list[tuple[dict[str, Any], int]] = [({"k": key, "n": n}, time) for n, (key, time) in enumerate(rows)]
    given_rows = [row._replace(watermark=0) for row in in_order_of_time(came)]
    partition = Partition(keyed(sessions, on_timer=ended), batch, budget, twice).run(given_rows).end()
    expected: dict[str, list[int]] = {}
    for record, _ in came:
        if record["n"] % 7 != 6:
            expected.setdefault(record["k"], []).append(record["n"])
    assert {out.record["key"]: out.record["ns"] for out in partition.outs} == expected
    assert all(out.record["count"] == len(out.record["ns"]) for out in partition.outs)
    assert (partition.hash, partition.timers) == ({}, {})
