"""A real browser for tests: Debian's chromium, driven by Playwright; whatever asks the network is noted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.harness import HANGS_SECONDS

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
expect.set_options(timeout=1000 * HANGS_SECONDS)


def program() -> str:
    """The browser on this machine; skips the test, with the reason, where there is none."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium)")
    return found


@contextmanager
def open_page(width: int = 1500, height: int = 800) -> Iterator[Page]:
    """An empty page; an error in its scripts fails the test."""
    path = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=1000 * HANGS_SECONDS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(1000 * HANGS_SECONDS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield page
        finally:
            browser.close()
        assert errors == []
