#!/usr/bin/env python3
"""Writes docs/images/: the flights pipeline as it is drawn, and the live page and the terminal screen of one that runs.

    python tools/pictures.py

Needs chromium. Look at the pictures before they are committed.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from papyra_flow.config.load import load_pipeline
from papyra_flow.drawing.picture import picture
from papyra_flow.drawing.render import render
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.embedded.server import EmbeddedServer
from papyra_flow.topology.build import build_topology
from papyra_flow.tui.screen import Top

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
SHOP = """\
pipeline: shop
description: Orders, priced and parted by size
stages:
  ingest: {read: {generate: {rate: 800, fields: {order: n, quantity: n % 11, price: "5 + n % 90"}}}, to: orders}
  price:
    from: orders
    process:
      - filter: quantity != 7
      - set: {total: quantity * price, each: 100 // quantity}
    consumers: 2
    to: [{stream: large, when: total >= 100}, {stream: small}]
  audit: {from: orders, to: audited}
  export_large: {from: large, write: {jsonl: out/large.jsonl}}
  export_small: {from: small, write: {jsonl: out/small.jsonl}}
"""
SECONDS = 6.0
"""How long the pipeline runs before it is looked at."""


def main() -> None:
    """Draw all of them."""
    IMAGES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no chromium on PATH (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as place, running(Path(place)) as (file, url, address):
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1600, "height": 560})
            flights(page, Path(place))
            live(page, address)
            browser.close()
        asyncio.run(screen(file, url))


def flights(page: Page, place: Path) -> None:
    """The flights pipeline, as an SVG and as a page with a stage chosen."""
    loaded = load_pipeline(ROOT / "pipelines" / "flights.yml", environment={})
    drawn = picture(build_topology(loaded), loaded.positions)
    (IMAGES / "flights.svg").write_text(render(drawn, "svg"))
    file = place / "flights.html"
    file.write_text(render(drawn, "html"))
    page.goto(file.as_uri())
    page.locator('[data-id="stage:enrich"] .label').click()
    page.screenshot(path=IMAGES / "graph-html.png")


def live(page: Page, address: str) -> None:
    """The page of `serve`."""
    page.set_viewport_size({"width": 1400, "height": 860})
    page.goto(address)
    expect(page.locator("#stages tr[data-name=price] td").nth(10)).not_to_have_text("0", timeout=30_000)
    page.wait_for_timeout(SECONDS * 1000)
    page.screenshot(path=IMAGES / "serve.png")


@contextmanager
def running(place: Path) -> Iterator[tuple[Path, str, str]]:
    """A pipeline that runs and is served: its file, its server's address, and its page's."""
    file = place / "shop.yml"
    file.write_text(SHOP)
    embedded = EmbeddedServer(place, "shop")
    embedded.start()
    command = [sys.executable, "-m", "papyra_flow"]
    run = subprocess.Popen([*command, "run", str(file), "-q"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    serve = subprocess.Popen(
        [*command, "serve", str(file), "--port", "0", "--allow-actions"], stdout=subprocess.PIPE, text=True
    )
    try:
        said = serve.stdout.readline() if serve.stdout is not None else ""
        found = re.search(r"http://\S+", said)
        if found is None:
            sys.exit(f"serve said {said!r}")
        yield file, embedded.url, found[0]
    finally:
        for process in (run, serve):
            process.terminate()
            process.wait()
        embedded.leave()


async def screen(file: Path, url: str) -> None:
    """The terminal screen, as an SVG."""
    server = Server(url)
    app = Top(server, build_topology(load_pipeline(file, environment={})))
    async with app.run_test(size=(132, 30)) as pilot:
        await pilot.press("down")
        await asyncio.sleep(SECONDS)
        await pilot.pause()
        app.save_screenshot("top.svg", path=str(IMAGES))
    await server.close()


if __name__ == "__main__":
    os.environ.pop("NO_COLOR", None)
    main()
