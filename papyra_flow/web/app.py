"""The routes of `serve`: the page, what it asks for, what may be done, and what monitoring asks for.

All that comes from records or the file leaves as JSON, and the page writes it as text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from importlib.resources import files

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from papyra_flow.drawing.render import parts
from papyra_flow.errors import PapyraFlowError, RefusedError, ServerError, UsageError
from papyra_flow.observe.catalogue import samples
from papyra_flow.observe.prometheus import CONTENT_TYPE, exposition
from papyra_flow.observe.telemetry import Telemetry
from papyra_flow.operate import stages
from papyra_flow.spec.positions import Positions
from papyra_flow.streams.admin.dead_letters import find_dead
from papyra_flow.streams.admin.display import rows_in, shown_json, text_of
from papyra_flow.streams.admin.merged import newest
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.web import inputs
from papyra_flow.web.live import EVERY_SECONDS, Live
from papyra_flow.web.security import Guard

PAGE = 50
"""Entries, or dead letters, that are shown at once."""

ASSETS = {
    "page.js": ("papyra_flow.web", "assets", "text/javascript"),
    "page.css": ("papyra_flow.web", "assets", "text/css"),
    "drawing.js": ("papyra_flow.drawing", "templates", "text/javascript"),
    "drawing.css": ("papyra_flow.drawing", "templates", "text/css"),
}
"""Scripts and style sheets by name: the package and folder that each is in, and its type."""


def build_app(
    server: Server,
    topology: Topology,
    positions: Positions,
    *,
    host: str,
    token: str | None,
    actions: bool,
    telemetry: Telemetry | None = None,
) -> Starlette:
    """The application for one pipeline; `actions` lets it be changed, a `token` is needed where there is one."""
    site = _Site(server, topology, positions, actions=actions)
    routes = [
        Route("/", site.page),
        Route("/assets/{name}", site.asset),
        Route("/api/figures", site.figures),
        Route("/api/events", site.events),
        Route("/api/streams/{name}", site.stream),
        Route("/api/dead/{stage}", site.dead),
        Route("/api/dead/{stage}/replay", site.replay, methods=["POST"]),
        Route("/api/stages/{stage}/{action}", site.act, methods=["POST"]),
        Route("/metrics", site.metrics),
        Route("/healthz", site.healthy),
        Route("/readyz", site.ready),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(site.live.follow()) if telemetry is not None else None
        if telemetry is not None:
            telemetry.export_looks(topology, site.live.latest)
        yield
        if following is not None and telemetry is not None:
            following.cancel()
            await asyncio.to_thread(telemetry.close)
        with suppress(ServerError):
            await server.close()

    guard = Middleware(Guard, token=token, host=host)
    errors: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        PapyraFlowError: _failed, HTTPException: _refused
    }  # fmt: skip
    return Starlette(routes=routes, middleware=[guard], lifespan=lifespan, exception_handlers=errors)


async def _failed(_: Request, exc: Exception) -> Response:
    statuses = {ServerError: 503, UsageError: 404, RefusedError: 403}
    status = next((code for kind, code in statuses.items() if isinstance(exc, kind)), 500)
    return _json({"error": str(exc)}, status)


async def _refused(_: Request, exc: Exception) -> Response:
    if not isinstance(exc, HTTPException):
        raise exc
    return _json({"error": exc.detail}, exc.status_code)


def _json(document: object, status: int = 200) -> Response:
    return Response(shown_json(document), status, media_type="application/json")


class _Site:
    """The pipeline that is shown."""

    def __init__(self, server: Server, topology: Topology, positions: Positions, *, actions: bool) -> None:
        self._server = server
        self._topology = topology
        self._positions = positions
        self._actions = actions
        self.live = Live(server, topology)
        self._environment = Environment(
            loader=PackageLoader("papyra_flow.web", "assets"), undefined=StrictUndefined, autoescape=True,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip

    async def page(self, _: Request) -> Response:
        """The page itself."""
        drawn = parts(await self.live.drawing(self._positions))
        streams = [name for name, stream in self._topology.named.items() if not stream.spec.hidden]
        text = self._environment.get_template("page.html.j2").render(
            **drawn, streams=streams, stages=list(self._topology.stages), actions=self._actions
        )
        return Response(text, media_type="text/html")

    async def asset(self, request: Request) -> Response:
        """A script or a style sheet."""
        name = request.path_params["name"]
        if name not in ASSETS:
            return _json({"error": "file not found"}, 404)
        package, folder, kind = ASSETS[name]
        return Response((files(package) / folder / name).read_bytes(), media_type=kind)

    async def figures(self, _: Request) -> Response:
        """The figures now."""
        return _json(await self.live.document())

    async def events(self, request: Request) -> Response:
        """The figures again and again, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

        async def told() -> AsyncIterator[bytes]:
            while not await request.is_disconnected():
                try:
                    yield b"event: figures\ndata: " + orjson.dumps(await self.live.document(), default=str) + b"\n\n"
                except ServerError as exc:
                    yield b"event: trouble\ndata: " + orjson.dumps({"error": str(exc)}) + b"\n\n"
                await asyncio.sleep(EVERY_SECONDS)

        return StreamingResponse(told(), media_type="text/event-stream")

    async def stream(self, request: Request) -> Response:
        """A page of a stream's entries, the newest first; `before` an id."""
        stream = self._topology.named.get(request.path_params["name"])
        if stream is None or stream.spec.hidden:
            raise UsageError("stream not found")
        before = request.query_params.get("before")
        end = f"({inputs.entry_id(before)}" if before else "+"
        entries = []
        for entry in await newest(self._server.client, stream.keys, PAGE, end=end):
            fields = {
                entry.fields[i].decode(errors="replace"): text_of(entry.fields[i + 1])
                for i in range(0, len(entry.fields), 2)
            }
            rows = rows_in(entry.data)
            shown = {"id": entry.id.decode(), "fields": fields, "rows": None if rows is None else len(rows)}
            entries.append(shown if stream.partitions is None else {**shown, "partition": stream.keys.index(entry.key)})
        return _json({"stream": stream.name, "key": stream.key, "entries": entries})

    async def dead(self, request: Request) -> Response:
        """A stage's dead letters."""
        stage = self._stage(request)
        letters = await find_dead(self._server.client, stage.dead_key, limit=PAGE)
        shown = [{**asdict(letter), "error": self._topology.public(letter.error)} for letter in letters]
        return _json({"stage": stage.name, "letters": shown})

    async def replay(self, request: Request) -> Response:
        """Put dead letters back: those with the ids that are named, each once."""
        self._allowed()
        stage = self._stage(request)
        ids = await inputs.ids(request)
        return _json({"replayed": await stages.replay_dead(self._server, self._topology, stage, ids)})

    async def act(self, request: Request) -> Response:
        """Pause or resume a stage."""
        self._allowed()
        stage, action = self._stage(request), request.path_params["action"]
        actions = {"pause": stages.pause, "resume": stages.resume}
        if action not in actions:
            raise UsageError(f"unknown action {action!r}")
        await actions[action](self._server, self._topology, stage)
        return _json({"stage": stage.name, "action": action})

    async def metrics(self, _: Request) -> Response:
        """Everything, for Prometheus."""
        text = exposition(samples(self._topology, await self.live.snapshot()))
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def healthy(self, _: Request) -> Response:
        """Whether this process is well: it answers."""
        return _json({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Whether the server can be reached."""
        try:
            await self._server.client.call("PING")
        except ServerError:
            return _json({"status": "the server cannot be reached"}, 503)
        return _json({"status": "ok"})

    def _stage(self, request: Request) -> StageSpec:
        stage = self._topology.stages.get(request.path_params["stage"])
        if stage is None:
            raise UsageError("stage not found")
        return stage

    def _allowed(self) -> None:
        if not self._actions:
            raise RefusedError("this page is read-only: restart it with `serve --allow-actions` to allow actions")
