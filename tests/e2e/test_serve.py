"""`papyra-flow serve` as a process, and its page in a real browser."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from playwright.sync_api import expect
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import HANGS_SECONDS
from tests.harness.browser import open_page
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import eventually

DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


@pytest.fixture
def shop(folder: PipelineFolder, url: str) -> PipelineFolder:
    """A pipeline that has run, with dead letters and hostile contents."""
    folder.records("in.jsonl", [{"n": n, "text": HOSTILE} for n in range(20)])
    folder.pipeline(
        """\
        pipeline: p
        stages:
          a: {read: {jsonl: in.jsonl}, to: s}
          b: {from: s, process: [{set: {m: 10 // (n % 5)}}], to: t}
        """
    )
    folder.cli("run", "pipeline.yml", "--redis", url, code=3)
    return folder


@contextmanager
def served(folder: PipelineFolder, url: str, *options: str) -> Iterator[str]:
    """The page's address, as the command says it."""
    process = folder.start("serve", "pipeline.yml", "--redis", url, "--port", "0", *options)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, process.communicate()
        yield found[0]
    finally:
        process.terminate()
        _, err = process.communicate(timeout=HANGS_SECONDS)
        assert "Traceback" not in err, err


def ask(address: str, *, method: str = "GET", body: object = None, **headers: str) -> tuple[int, str]:
    """An answer's status and text."""
    data = json.dumps(body).encode() if body is not None else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(address, data, named, method=method)
    try:
        with DIRECTLY.open(request, timeout=HANGS_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()


def test_monitoring_gets_metrics_and_health(shop: PipelineFolder, url: str) -> None:
    with served(shop, url) as address:
        assert ask(address + "healthz")[0] == 200
        assert ask(address + "readyz")[0] == 200
        status, text = ask(address + "metrics")
        assert status == 200
        families = {family.name: family for family in text_string_to_metric_families(text)}
        letters = {s.labels["stage"]: s.value for s in families["papyra_flow_dead_letters"].samples}
        assert letters == {"a": 0, "b": 4}
        assert {s.labels["stream"] for s in families["redis_stream_length"].samples} == {"{p}:s", "{p}:t"}


def test_the_page_shows_what_goes_on_and_hostile_records_do_nothing(
    shop: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    with served(shop, url) as address, open_page() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.wait_for_selector("#stages tr[data-name=b]")
        assert page.locator("#stages tr[data-name=b] td").nth(10).inner_text() == "4"
        expect(page.locator('.node[data-id="dead:b"] .badge')).to_have_text("✗ dead 4")
        page.locator("#streams tr[data-name=t] button").click()
        page.wait_for_selector(".entry")
        assert HOSTILE in page.locator(".entry").first.inner_text()
        page.locator("#stages tr[data-name=b] button").first.click()
        page.wait_for_selector(".entry .error")
        assert "division" in page.locator(".entry .error").first.inner_text()
        assert HOSTILE in page.locator(".entry").first.inner_text()
        assert page.evaluate("window.hacked") is None
        assert page.locator("#browser script, #browser img").count() == 0
        assert page.get_by_role("button", name="replay").count() == 0, "it is read-only"
        page.locator('[data-id="stage:b"] .label').click()
        assert "from: s" in page.locator("#details pre").inner_text()
        redis_client.xadd("{p}:s", {"data": '{"n": 1}'})
        expect(page.locator("#stages tr[data-name=b] td").nth(2)).to_have_text("1")
        assert all(request.startswith((address, "data:")) for request in asked), asked


def test_dead_letters_are_replayed_and_stages_paused_where_that_is_allowed(
    shop: PipelineFolder, url: str, redis_client: redis.Redis
) -> None:
    with served(shop, url, "--allow-actions") as address, open_page() as page:
        page.goto(address)
        page.wait_for_selector("#stages tr[data-name=b]")
        page.locator("#stages tr[data-name=b] button").first.click()
        page.get_by_role("button", name="replay", exact=True).first.click()
        expect(page.locator(".entry")).to_have_count(3)
        assert redis_client.xlen("{p}:b@replay") == 1
        page.get_by_role("button", name="replay all of these").click()
        expect(page.locator(".entry")).to_have_count(0)
        assert redis_client.xlen("{p}:b@replay") == 4
        page.locator("#stages tr[data-name=b]").get_by_role("button", name="pause").click()
        page.wait_for_selector("#stages tr.paused")
        assert redis_client.hkeys("{p}:@paused") == [b"b"]
        page.locator("#stages tr[data-name=b]").get_by_role("button", name="resume").click()
        page.wait_for_selector("#stages tr:not(.paused)[data-name=b]")


def test_another_site_can_do_nothing_here(shop: PipelineFolder, url: str, redis_client: redis.Redis) -> None:
    with served(shop, url, "--allow-actions") as address:
        target = address + "api/dead/b/replay"
        letters: Any = redis_client.xrange("{p}:@dead:b")
        body = {"ids": [id_.decode() for id_, _ in letters]}
        host = address.removeprefix("http://").rstrip("/")
        assert ask(target, method="POST", body=body)[0] == 403, "without the header that no form can send"
        assert ask(target, method="POST", body=body, x_papyra_flow="1", origin="http://evil.example")[0] == 403
        assert ask(address + "api/figures", host="evil.example")[0] == 421, "a name that was bound to this address"
        assert redis_client.xlen("{p}:@dead:b") == 4
        status, text = ask(target, method="POST", body=body, x_papyra_flow="1", origin=f"http://{host}")
        assert (status, json.loads(text)) == (200, {"replayed": 4})


def test_a_read_only_page_refuses_to_act(shop: PipelineFolder, url: str, redis_client: redis.Redis) -> None:
    with served(shop, url) as address:
        for path in ("api/dead/b/replay", "api/stages/b/pause"):
            status, text = ask(address + path, method="POST", body={"ids": []}, x_papyra_flow="1")
            assert (status, "read-only" in text) == (403, True)
        assert not redis_client.exists("{p}:@paused")


def test_elsewhere_than_on_loopback_a_token_is_needed(shop: PipelineFolder, url: str) -> None:
    with served(shop, url, "--host", "0.0.0.0") as address:
        base, _, token = address.replace("0.0.0.0", "127.0.0.1").partition("?token=")
        assert len(token) > 20, "one is made up where none is given"
        assert ask(base)[0] == 401
        assert ask(base + "metrics")[0] == 401
        assert ask(base + "metrics", authorization="Bearer wrong")[0] == 401
        assert ask(base + "metrics", authorization=f"Bearer {token}")[0] == 200
        assert ask(base + "healthz")[0] == 200
        with open_page() as page:
            page.goto(f"{base}?token={token}")
            page.wait_for_selector("#stages tr[data-name=b]")
            assert "token" not in page.url, "it is in a cookie from now on"


def test_a_server_that_goes_away_is_said_on_the_page(folder: PipelineFolder, local_server: Callable[..., Any]) -> None:
    server = local_server()
    folder.pipeline("pipeline: p\nstages: {a: {from: s, to: t}}\nstreams: {s: {}}\n")
    with served(folder, server.url) as address, open_page() as page:
        page.goto(address)
        page.wait_for_selector("#stages tr[data-name=a]")
        server.kill()
        expect(page.locator("#trouble")).not_to_be_empty()
        eventually(lambda: ask(address + "readyz")[0] == 503, "not ready")
        assert ask(address + "healthz")[0] == 200


def test_a_port_that_is_taken_is_one_sentence(shop: PipelineFolder, url: str) -> None:
    with served(shop, url) as address:
        port = address.rstrip("/").rsplit(":", 1)[1]
        err = shop.cli("serve", "pipeline.yml", "--redis", url, "--port", port, code=2).err
        assert "cannot listen on 127.0.0.1" in err
