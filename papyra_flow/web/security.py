"""Who may see the page, and who may do something on it.

On a loopback address, everyone who reaches it may look; a page of another site cannot make the browser read or do
anything here: only known host names are answered (DNS rebinding), and an action needs a header that no form can send,
from our own origin. On any other address a token is needed, as a bearer or, once given in the address, in a cookie.
The routes are in `app`.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""The types of ASGI (https://asgi.readthedocs.io/en/latest/specs/main.html), whose messages hold anything."""

COOKIE = "papyra_flow_token"
ACTION_HEADER = "x-papyra-flow"
OPEN = frozenset({"/healthz", "/readyz"})
"""What a load balancer may ask without a token: nothing of the pipeline is in the answers."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Stands before the application; `token` is None only on a loopback address."""

    def __init__(self, app: Application, *, token: str | None, host: str) -> None:
        self._app = app
        self._token = token
        self._hosts = {*LOOPBACK, host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what may not pass; give on what may, with headers on what comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in there]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._app(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:
        if self._token is None:
            if _name(request.headers.get("host", "")) not in self._hosts:
                return _told(421, "this page is not served under that name")
        elif request.url.path not in OPEN:
            given = request.query_params.get("token")
            if given is not None and request.method == "GET" and self._fits(given):
                answer = RedirectResponse(_own(request.url.path), 303)
                answer.set_cookie(COOKIE, given, httponly=True, samesite="strict")
                return answer
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not (self._fits(bearer) or self._fits(request.cookies.get(COOKIE, ""))):
                return _told(401, "a token is needed: ?token=... once, or `Authorization: Bearer ...`")
        if request.method not in {"GET", "HEAD"}:
            return self._refused_action(request)
        return None

    def _refused_action(self, request: Request) -> Response | None:
        """Refuse what another site may have sent through a user's browser."""
        origin = request.headers.get("origin")
        if request.headers.get(ACTION_HEADER) != "1":
            return _told(403, f"an action needs the header {ACTION_HEADER}: 1")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            return _told(403, "an action has to come from this page")
        return None

    def _fits(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(
            given.encode(errors="surrogatepass"), self._token.encode()
        )


def _name(host: str) -> str:
    """A Host header without its port; empty for anything else."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _own(path: str) -> str:
    """A path that a browser takes for one here: `//name` and `/\\name` would be another host's."""
    return "/" + path.lstrip("/\\")


def _told(status: int, words: str) -> Response:
    return JSONResponse({"error": words}, status, headers=HEADERS)
