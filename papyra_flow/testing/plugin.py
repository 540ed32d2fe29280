"""The pytest plugin: a pipeline's driver, and a real server, as fixtures.

Nothing of papyra-flow is imported before a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from papyra_flow.spec.pipeline import HasSpec
    from papyra_flow.testing.driver import Driver


@pytest.fixture
def flow_driver() -> Iterator[Callable[..., Driver]]:
    """Drives pipelines: `flow_driver("pipeline.yml")`, with `path=value` over the file; closed after the test.

    `flow_driver(pipeline)` drives one that is made in Python.
    """
    from papyra_flow.testing.driver import drive

    made: list[Driver] = []

    def make(source: Path | str | HasSpec, *overrides: str) -> Driver:
        made.append(drive(source, *overrides))
        return made[-1]

    yield make
    for driver in made:
        driver.close()


@pytest.fixture(scope="session")
def _flow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from papyra_flow.errors import EmbeddedServerError
    from papyra_flow.streams.embedded.server import EmbeddedServer

    embedded = EmbeddedServer(tmp_path_factory.mktemp("flow"), "test")
    try:
        embedded.start()
    except EmbeddedServerError as exc:
        yield from _in_container(str(exc))
        return
    yield embedded.url
    embedded.leave()


def _in_container(why: str) -> Iterator[str]:
    """A server in a container, where the embedded one is not installed."""
    redis = pytest.importorskip("testcontainers.redis", reason=f"{why}; and testcontainers is not installed")
    with redis.RedisContainer("redis:8") as container:
        yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"


@pytest.fixture
def flow_server(_flow_server: str) -> str:
    """The address of a real and empty server: the embedded one, else Redis in a container."""
    import redis

    with redis.Redis.from_url(_flow_server) as server:
        server.flushall()
    return _flow_server
