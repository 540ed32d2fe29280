"""`papyra-flow serve` as a process, and its page in a real browser."""

from __future__ import annotations

import json
import re
import socket
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
from tests.harness.pipelines import PipelineFolder, line_of
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
        found = re.search(r"http://\S+", line_of(process, "http://", process.stdout))
        assert found is not None
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
        expect(page.locator("#stages tr[data-name=b] td").nth(10)).to_have_text("4")
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


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("api/streams/s?before=xyz", "GET", None, 400),
        ("api/streams/s?before=1-0-0", "GET", None, 400),
        ("api/streams/s?before=%ff%00", "GET", None, 400),
        ("api/dead/b/replay", "POST", b"{bad", 400),
        ("api/dead/b/replay", "POST", b"[]", 400),
        ("api/dead/b/replay", "POST", b"{}", 400),
        ("api/dead/b/replay", "POST", b'{"ids": "1-0"}', 400),
        ("api/dead/b/replay", "POST", b'{"ids": [1]}', 400),
        ("api/dead/b/replay", "POST", b'{"ids": ["+"]}', 400),
        ("api/dead/b/replay", "POST", b"\xff\xfe", 400),
        ("api/dead/b/replay", "POST", b"x" * 2_000_000, 413),
        ("api/dead/b/replay", "DELETE", b"{}", 405),
        ("api/dead/%ff/replay", "POST", b"{}", 404),
        ("api/stages/b/explode", "POST", b"", 404),
        ("nowhere", "GET", None, 404),
    ],
)
def test_no_bad_input_is_a_failure_of_the_page(
    shop: PipelineFolder, url: str, redis_client: redis.Redis, path: str, method: str, body: bytes | None, status: int
) -> None:
    with served(shop, url, "--allow-actions") as address:
        request = urllib.request.Request(address + path, body, {"x-papyra-flow": "1"}, method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            DIRECTLY.open(request, timeout=HANGS_SECONDS)
        assert refused.value.code == status
        assert json.loads(refused.value.read())["error"]
    assert redis_client.xlen("{p}:@dead:b") == 4


def test_a_body_that_is_too_long_is_answered_though_it_comes_late(shop: PipelineFolder, url: str) -> None:
    with served(shop, url, "--allow-actions") as address:
        host, port = address.removeprefix("http://").rstrip("/").rsplit(":", 1)
        head = f"POST /api/dead/b/replay HTTP/1.1\r\nHost: {host}\r\nX-Papyra-Flow: 1\r\nConnection: close\r\n"
        with socket.create_connection((host, int(port)), timeout=HANGS_SECONDS) as asked:
            asked.sendall(f"{head}Content-Length: 2000000\r\n\r\n".encode())
            assert ask(address + "healthz")[0] == 200  # by then the page has seen how long it is to be
            asked.sendall(b"x" * 2_000_000)
            assert b" 413 " in asked.makefile("rb").readline()


def test_an_empty_list_of_ids_replays_nothing(shop: PipelineFolder, url: str, redis_client: redis.Redis) -> None:
    with served(shop, url, "--allow-actions") as address:
        status, text = ask(address + "api/dead/b/replay", method="POST", body={"ids": []}, x_papyra_flow="1")
    assert (status, json.loads(text)) == (200, {"replayed": 0})
    assert redis_client.xlen("{p}:@dead:b") == 4


@pytest.mark.parametrize("host", ["[", "[::1", "a]b", "", "127.0.0.1:port", "\xff"])
def test_a_host_that_is_none_is_refused(shop: PipelineFolder, url: str, host: str) -> None:
    with served(shop, url) as address:
        place = address.removeprefix("http://").rstrip("/").rsplit(":", 1)
        with socket.create_connection((place[0], int(place[1])), timeout=HANGS_SECONDS) as asked:
            asked.sendall(f"GET /api/figures HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
            answer = asked.makefile("rb").read()
    status = int(answer.split(b" ", 2)[1])
    assert status in ({200} if host == "127.0.0.1:port" else {400, 421})


@pytest.mark.parametrize("path", ["//elsewhere.example/", "/\\elsewhere.example/", "///elsewhere.example"])
def test_a_token_in_an_address_leads_nowhere_else(shop: PipelineFolder, url: str, path: str) -> None:
    with served(shop, url, "--token", "secret") as address:
        host, port = address.partition("?")[0].removeprefix("http://").rstrip("/").rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=HANGS_SECONDS) as asked:
            asked.sendall(f"GET {path}?token=secret HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = asked.makefile("rb").read().decode("latin-1").lower()
    location = answer.partition("location: ")[2].partition("\r\n")[0]
    assert location.startswith("/")
    assert location[1] not in "/\\"
