"""Fixtures for all tests: servers of every flavour, pipelines in a folder of their own."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings

from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.server import Server
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import CONTAINER, FLAVOURS, VALKEY, LocalServer, docker_refusal, plain_client, program_of

ROOT = Path(__file__).parent.parent

# A shell's background ignores Ctrl-C, and all that is started there would: the commands of tests run as if in front.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline is a timed assertion: a busy machine would break promises that hold.
settings.register_profile("papyra-flow", deadline=None)
settings.load_profile("papyra-flow")


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The address of one server for each flavour, started when the first test asks for it."""
    urls: dict[str, str] = {}
    enders: list[Callable[[], None]] = []

    def url_of(flavour: str) -> str:
        if flavour not in urls:
            if flavour == CONTAINER:
                if reason := docker_refusal():
                    pytest.skip(reason)
                from testcontainers.redis import RedisContainer

                container = RedisContainer("redis:8").start()
                enders.append(container.stop)
                urls[flavour] = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"
            else:
                # Told to keep something, so that runs have no reason to warn; a day is longer than the tests take.
                kept = ("--save", "86400 1")
                server = LocalServer(program_of(flavour), tmp_path_factory.mktemp(flavour), kept).start()
                enders.append(server.stop)
                urls[flavour] = server.url
        return urls[flavour]

    yield url_of
    for end in enders:
        end()


def _emptied(url: str) -> str:
    with plain_client(url) as found:
        found.flushall()
        found.script_flush()
        found.config_set("maxmemory", 0)
    return url


@pytest.fixture
def url(shared_servers: Callable[[str], str]) -> str:
    """An empty Valkey, the embedded server's kind."""
    return _emptied(shared_servers(VALKEY))


@pytest.fixture(params=FLAVOURS)
def any_url(request: pytest.FixtureRequest, shared_servers: Callable[[str], str]) -> str:
    """An empty server, of every flavour in turn."""
    return _emptied(shared_servers(request.param))


@pytest.fixture
def redis_client(url: str) -> Iterator[redis.Redis]:
    """A plain client of the same server as `url`."""
    with plain_client(url) as found:
        yield found


@pytest.fixture
async def client(any_url: str) -> AsyncIterator[Client]:
    """Our own connection to an empty server, of every flavour in turn."""
    server = Server(any_url)
    yield server.client
    await server.close()


@pytest.fixture
def local_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LocalServer]]:
    """Makes servers that a test may do anything to; they are ended after it."""
    servers: list[LocalServer] = []

    def make(
        *arguments: str, flavour: str = VALKEY, port: int | None = None, folder: Path | None = None
    ) -> LocalServer:
        place = folder or tmp_path_factory.mktemp("server")
        servers.append(LocalServer(program_of(flavour), place, arguments, port))
        return servers[-1].start()

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[PipelineFolder]:
    """A folder to write a pipeline and its files into, and to run it in."""
    made = PipelineFolder(tmp_path)
    yield made
    made.end()
