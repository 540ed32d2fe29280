"""The terminal screen of `top`, driven by textual's pilot against a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from textual.pilot import Pilot
from textual.widgets import DataTable, RichLog, Static

from papyra_flow.observe.figures import Snapshot
from papyra_flow.streams.connection.server import Server
from papyra_flow.tui.rows import COLUMNS
from papyra_flow.tui.screen import Top
from tests.harness.pipelines import PipelineFolder, Running, until

ESCAPE = "\x1b[31m"


@pytest.fixture
async def shop(folder: PipelineFolder, url: str, redis_client: redis.Redis) -> PipelineFolder:
    """A pipeline that has run, with dead letters, and pending entries of a consumer elsewhere."""
    folder.records("in.jsonl", [{"n": n, "text": ESCAPE} for n in range(20)])
    folder.pipeline(
        """\
        pipeline: p
        defaults: {claim_after: 1ms}
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, process: [{set: {m: 10 // (n % 5)}}], to: t}
          c: {from: t, to: u}
        """
    )
    await folder.run(url)
    for n in range(3):
        redis_client.xadd("{p}:t", {"data": json.dumps({"n": n})})
    redis_client.xreadgroup("c", "elsewhere.1.c.0", {"{p}:t": ">"})
    return folder


@pytest.fixture
async def screen(shop: PipelineFolder, url: str) -> AsyncIterator[tuple[Top, Pilot[None]]]:
    server = Server(url)
    app = Top(server, shop.topology())
    async with app.run_test(size=(150, 40)) as pilot:
        await pilot.pause()
        yield app, pilot
    await server.close()


def cell(app: Top, stage: str, column: str) -> str:
    return str(app.query_one("#stages", DataTable).get_cell(stage, column))


def details(app: Top) -> str:
    return str(app.query_one("#details", Static).render())


async def test_stages_stand_in_order_with_their_figures(screen: tuple[Top, Pilot[None]]) -> None:
    app, _ = screen
    table = app.query_one("#stages", DataTable)
    assert [str(table.get_row_at(row)[0]) for row in range(3)] == ["a", "b", "c"]
    assert [str(column.label) for column in table.ordered_columns] == list(COLUMNS)
    assert cell(app, "b", "dead") == "4"
    assert cell(app, "c", "pending") == cell(app, "c", "backlog") == "3"
    assert cell(app, "b", "reads") == "s"
    assert "no consumer works on it" in cell(app, "c", "")


async def test_the_chosen_stage_is_shown_closely(screen: tuple[Top, Pilot[None]]) -> None:
    app, pilot = screen
    await pilot.press("down")
    await until(lambda: details(app).startswith("b\n"))
    assert "integer division or modulo by zero" in details(app)
    await pilot.press("down")
    await until(lambda: details(app).startswith("c\n"))
    assert "elsewhere.1.c.0  pending 3" in details(app)
    assert "delivered 1 times" in details(app)


async def test_figures_follow_what_happens(
    screen: tuple[Top, Pilot[None]], shop: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    app, _ = screen
    async with Running(shop.topology(), url, drain=False):
        await until(lambda: cell(app, "b", "consumers") == "1")
        for n in range(1, 100):
            redis_client.xadd("{p}:s", {"data": json.dumps({"n": n * 5 + 1})})
        await until(lambda: cell(app, "b", "p99") != "" and cell(app, "b", "out/s") != "")
        await until(lambda: cell(app, "b", "in/s") not in {"", "0"} or redis_client.xlen("{p}:u") > 50)
        await until(lambda: cell(app, "c", "backlog") == "0")


async def test_a_stage_is_paused_and_resumed(
    screen: tuple[Top, Pilot[None]], shop: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    app, pilot = screen
    async with Running(shop.topology(), url, drain=False) as running:
        await pilot.press("down", "p")
        await until(lambda: cell(app, "b", "") == "paused")
        await until(lambda: running.worker._context.pauses.holds("b"))
        done = redis_client.xlen("{p}:u")
        redis_client.xadd("{p}:s", {"data": '{"n": 1}'})
        # It is taken by a read that was on its way, if there was one.
        await until(lambda: redis_client.xlen("{p}:u") == done + 1 or cell(app, "b", "backlog") == "1")
        redis_client.xadd("{p}:s", {"data": '{"n": 1}'})
        await until(lambda: cell(app, "b", "backlog") in {"1", "2"})
        await pilot.press("r")
        await until(lambda: redis_client.xlen("{p}:u") == done + 2)
        await until(lambda: cell(app, "b", "backlog") == "0" and cell(app, "b", "") == "")


async def test_dead_letters_are_put_back_after_a_yes(
    screen: tuple[Top, Pilot[None]], redis_client: redis.Redis
) -> None:
    app, pilot = screen
    await pilot.press("down", "d")
    await pilot.press("n")
    assert redis_client.xlen("{p}:b@replay") == 0
    await pilot.press("d", "y")
    await until(lambda: redis_client.xlen("{p}:b@replay") == 4)
    await until(lambda: cell(app, "b", "dead") == "0")


async def test_idle_entries_are_freed_for_whoever_claims(
    screen: tuple[Top, Pilot[None]], redis_client: redis.Redis
) -> None:
    app, pilot = screen
    await pilot.press("down", "down", "c", "y")
    await until(lambda: any("freed 3 pending entries of c" in told.message for told in app._notifications))
    pending: Any = redis_client.xpending_range("{p}:t", "c", "-", "+", 10)
    assert len(pending) == 3


async def test_records_are_tapped_and_cannot_write_to_the_terminal(screen: tuple[Top, Pilot[None]]) -> None:
    app, pilot = screen
    await pilot.press("down", "down", "t")
    await until(lambda: bool(app.screen.query("#tapped")))
    log = app.screen.query_one("#tapped", RichLog)
    await until(lambda: len(log.lines) >= 3)
    shown = "\n".join(line.text for line in log.lines)
    assert '{"n": 2}' in shown
    assert "\x1b" not in shown
    await pilot.press("escape")
    await until(lambda: not app.screen.query("#tapped"))


async def test_a_server_that_goes_away_is_said_and_asked_again(folder: PipelineFolder, local_server: Any) -> None:
    server = local_server("--appendonly", "yes")
    folder.pipeline("pipeline: p\nstages: {a: {from: s, to: t}}\nstreams: {s: {}}\n")
    ours = Server(server.url)
    app = Top(ours, folder.topology())
    async with app.run_test(size=(120, 30)):
        server.kill()
        await until(lambda: str(app.query_one("#trouble", Static).render()) != "")
        server.start()
        await until(lambda: str(app.query_one("#trouble", Static).render()) == "")
    await ours.close()


def test_without_a_terminal_it_says_what_to_use(folder: PipelineFolder) -> None:
    folder.pipeline("pipeline: p\nstages: {a: {read: stdin, to: t}}\n")
    assert "top needs a terminal" in folder.cli("top", "pipeline.yml", code=2).err


async def test_a_look_that_comes_back_when_the_screen_is_closed_shows_nothing_and_fails_nowhere(
    shop: PipelineFolder, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(url)
    app = Top(server, shop.topology())
    async with app.run_test() as pilot:
        await pilot.pause()
        asked, closed, look = asyncio.Event(), asyncio.Event(), app._figures.look

        async def late() -> Snapshot:
            found = await look()
            asked.set()
            await closed.wait()
            return found

        monkeypatch.setattr(app._figures, "look", late)
        looking = asyncio.create_task(app.look())
        await asked.wait()
    closed.set()
    await looking
    await server.close()
