"""Pipelines with steps that keep state, driven as a run would: dedupe, join, table, and functions with timers."""

from __future__ import annotations

from papyra_flow.testing import drive
from tests.harness.pipelines import PipelineFolder

STEPS = """\
    from datetime import timedelta
    from papyra_flow import State

    def score(order: dict, state: State) -> dict:
        state["orders"] = state.get("orders", 0) + 1
        state.timer(timedelta(minutes=10), "idle")
        if order["amount"] < 0:
            raise ValueError("negative")
        return {**order, "orders": state["orders"]}

    def expire(customer: str, name: str, state: State):
        yield {"customer": customer, "amount": 0, "orders": state["orders"], "why": name}
        if state["orders"] < 5:
            state["orders"] += 1
            state.timer(timedelta(minutes=10), "again")
    """


def test_the_first_of_each_key_passes_a_stage(folder: PipelineFolder) -> None:
    folder.pipeline("pipeline: p\nstages: {a: {from: s, process: [{dedupe: id}], to: t}}\nstreams: {s: {}}\n")
    with drive(folder.file) as driver:
        for batch in ("1234333", "41134421"):
            driver.put("s", *({"id": one} for one in batch))
        assert [record["id"] for record in driver.out("t")] == ["1", "2", "3", "4"]


def test_a_lookup_in_a_stage_s_table_finds_what_that_has_by_now(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: p
        stages:
          kept: {from: s, process: [{table: id}], to: changed}
          found: {from: t, process: [{lookup: {table: kept, on: id, as: row, missing: "null"}}], to: u}
        streams: {s: {}, t: {}}
        """
    )
    with drive(folder.file) as driver:
        driver.put("t", {"id": 1}).put("s", {"id": 1, "n": 1}, {"id": 1, "n": 2}).put("t", {"id": 1})
        assert [record["row"] for record in driver.out("u")] == [None, {"id": 1, "n": 2}]


def test_two_streams_are_joined_and_what_stays_alone_leaves_at_the_end(folder: PipelineFolder) -> None:
    folder.pipeline(
        """\
        pipeline: shop
        stages:
          paid:
            from: [orders, payments]
            process: [{join: {on: {orders: id, payments: order}, within: 10m, kind: left, into: {payments: payment}}}]
            to: paid
        streams: {orders: {time: at}, payments: {time: at}}
        """
    )
    with drive(folder.file) as driver:
        driver.put("orders", {"id": 1, "at": 0}, {"id": 2, "at": 60})
        driver.put("payments", {"order": 1, "at": 600}, {"order": 2, "at": 661})
        one = {"orders": {"id": 1, "at": 0}, "payment": {"order": 1, "at": 600}}
        assert driver.out("paid") == [one]
        driver.end()
        assert driver.out("paid") == [one, {"orders": {"id": 2, "at": 60}, "payment": None}]


def test_a_function_remembers_its_key_and_timers_go_off_until_the_input_ends(folder: PipelineFolder) -> None:
    module = folder.steps(STEPS)
    folder.pipeline(
        f"""\
        pipeline: shop
        stages:
          scored:
            from: orders
            process: [{{run: "{module}:score", key: customer, on_timer: "{module}:expire"}}]
            to: scored
        streams: {{orders: {{time: at}}}}
        """
    )
    with drive(folder.file) as driver:
        driver.put("orders", *({"customer": c, "amount": n, "at": 60 * n} for n, c in enumerate("aba")))
        driver.put("orders", {"customer": "b", "amount": -1, "at": 240}, {"customer": "c", "amount": 9, "at": 661})
        assert [(record["customer"], record["orders"]) for record in driver.out("scored")] == [
            ("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 1),
        ]  # fmt: skip
        assert [letter.error for letter in driver.dead("scored")] == ["ValueError: negative"]
        driver.end()
        assert [(record["customer"], record["why"]) for record in driver.out("scored")[5:]] == [
            ("a", "idle"), ("b", "again"), ("c", "idle"),
        ]  # fmt: skip
