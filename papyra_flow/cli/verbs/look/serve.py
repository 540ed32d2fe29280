"""`serve`: the pipeline as a web page, and what monitoring asks for."""

from __future__ import annotations

import secrets
import socket
from typing import Annotated

import typer

from papyra_flow.cli.options import File, Redis, Set
from papyra_flow.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(serve)


def serve(
    file: File,
    redis: Redis = None,
    set_: Set = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="The port; 0 for any.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            "--token", envvar="PAPYRA_FLOW_TOKEN", show_default=False,
            help="Token that visitors need; generated if the page is reachable from other machines.",
        ),
    ] = None,
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="Let visitors pause stages and replay dead letters.")
    ] = False,
) -> None:  # fmt: skip
    """Show the live topology, figures, streams and dead letters as a web page, with /metrics, /healthz and /readyz."""
    import uvicorn

    from papyra_flow.cli.session import session
    from papyra_flow.cli.stopping import until_stopped
    from papyra_flow.observe.telemetry import configured, open_telemetry
    from papyra_flow.runtime.process.event_loop import run_async
    from papyra_flow.streams.connection.server import Server
    from papyra_flow.web.app import build_app
    from papyra_flow.web.security import is_loopback

    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    listening = _listen(host, port)
    with until_stopped(), session(file, redis, set_) as found:
        found.ask(lambda server: server.check())
        app = build_app(
            Server(found.url, key=found.topology.keys.applied),
            found.topology,
            found.spec.positions,
            host=host,
            token=token,
            actions=allow_actions,
            telemetry=open_telemetry() if configured() else None,
        )
        config = uvicorn.Config(
            app, log_level="critical", access_log=False, server_header=False, timeout_graceful_shutdown=1
        )
        place = f"[{host}]" if ":" in host else host
        query = f"?token={token}" if token else ""
        address = f"http://{place}:{listening.getsockname()[1]}/{query}"

        async def served() -> None:
            print(f"serving {found.topology.pipeline} on {address}", flush=True)
            await uvicorn.Server(config).serve(sockets=[listening])

        run_async(served())


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; raises UsageError if it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as exc:
        raise UsageError(f"cannot listen on {host}:{port}: {str(exc.strerror).partition(' (while ')[0]}") from exc
