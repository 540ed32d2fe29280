"""Least privilege, TLS, and secrets that are never shown."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from papyra_flow.errors import CommandRefusedError, ServerError
from papyra_flow.streams.connection.server import Server
from papyra_flow.topology.acl import users
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import PipelineFolder
from tests.harness.ports import free_port
from tests.harness.servers import REDIS, LocalServer, eventually, plain_client, program_of

# -- ACL --------------------------------------------------------------------------------------------------------------

EVERYTHING = """\
    pipeline: p
    defaults: {retry: {attempts: 2, backoff: 1ms..1ms}, claim_after: 200ms}
    stages:
      file: {read: {jsonl: in.jsonl}, to: s}
      stream: {read: {stream: readable, follow: false}, to: s}
      work:
        from: [s, shared]
        process:
          - {lookup: {hash: prices, on: k, as: price, missing: "null"}}
          - filter: 1 / (n - 3) != 0
        to: [{stream: t, when: n > 4}, u]
      out: {from: t, write: {jsonl: out.jsonl}}
      away: {from: u, write: {stream: "far", redis: "%s"}}
      near: {from: u, write: {stream: near}}
    streams: {shared: {key: shared}}
    """


@pytest.fixture
def secured(folder: PipelineFolder, any_url: str) -> Callable[..., str]:
    """Makes the users that `acl` prints; returns the address with which the pipeline logs in."""
    folder.records("in.jsonl", [{"n": n, "k": "a"} for n in range(10)])

    def address(user: str) -> str:
        scheme, _, rest = any_url.partition("://")
        return (
            f"unix://{rest}?username={user}&password=PASSWORD"
            if scheme == "unix"
            else f"redis://{user}:PASSWORD@{rest}"
        )

    def make(without: str = "", **options: Any) -> str:
        folder.pipeline(EVERYTHING % address("away"))
        with plain_client(any_url) as admin:
            for key in ("readable", "shared"):
                for n in range(10, 13):
                    admin.xadd(key, {"data": json.dumps({"n": n, "k": "a"})})
            admin.hset("prices", "a", "1")
            topology = folder.topology("redis=redis://own")
            own, far = users(topology, **options)
            for found, name in ((own, "pipeline"), (far, "away")):
                rules = [rule for rule in found.rules if rule != without]
                admin.execute_command("ACL", "SETUSER", name, "reset", "on", ">PASSWORD", *rules)
        return address("pipeline")

    return make


async def test_the_printed_user_may_do_all_that_the_pipeline_needs(
    folder: PipelineFolder, secured: Callable[..., str], any_url: str
) -> None:
    result = await folder.run(secured(), drain=True)
    assert result.counters.stages["work"].dead == 1
    with plain_client(any_url) as admin:
        assert (admin.xlen("far"), admin.xlen("near")) == (4, 4)
        admin.xgroup_create("{p}:s", "x", "0", mkstream=True)
    assert len(folder.output("out.jsonl")) == 11


async def test_the_printed_user_may_do_nothing_else(secured: Callable[..., str], any_url: str) -> None:
    url = secured()
    with plain_client(any_url) as admin:
        admin.set("other", "secret")
    server = Server(url)
    for command in (
        ("GET", "other"), ("XADD", "other", "*", "a", "b"), ("XRANGE", "{q}:s", "-", "+"), ("FLUSHALL",),
        ("CONFIG", "GET", "*"), ("KEYS", "*"), ("ACL", "LIST"), ("CLIENT", "KILL", "TYPE", "normal"), ("DEL", "{p}:s"),
        ("XADD", "readable", "*", "a", "b"), ("HSET", "prices", "a", "2"), ("PUBLISH", "c", "x"), ("SHUTDOWN",),
        ("EVAL", "#!lua\nreturn redis.call('DEL', KEYS[1])", 1, "{p}:s"), ("XGROUP", "DESTROY", "{p}:s", "work"),
    ):  # fmt: skip
        with pytest.raises(ServerError, match=r"permission denied by the server|authentication failed"):
            await server.client.call(*command)
    await server.close()


@pytest.mark.parametrize(
    "rule", ["+xack", "+xadd", "+evalsha", "+xreadgroup", "+xautoclaim", "+xgroup|create", "~{p}:*", "+info"]
)
async def test_a_permission_that_is_missing_is_told_and_loses_nothing(
    folder: PipelineFolder, secured: Callable[..., str], any_url: str, rule: str
) -> None:
    url = secured(without=rule)
    with pytest.raises(CommandRefusedError, match=r"permission denied by the server|authentication failed"):
        await folder.run(url, drain=True)
    with plain_client(any_url) as admin:
        own, far = users(folder.topology("redis=redis://own"))
        for found, name in ((own, "pipeline"), (far, "away")):
            admin.execute_command("ACL", "SETUSER", name, "reset", "on", ">PASSWORD", *found.rules)
    await folder.run(url, drain=True)
    assert len(folder.output("out.jsonl")) == 11


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A CA, a server's and a client's certificate, and another CA that nobody should trust."""
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    stranger.cert_pem.write_to_path(str(tmp_path / "stranger.pem"))
    for name in ("server", "client"):
        issued = authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        issued.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.pem"))
    return tmp_path


@pytest.fixture
def tls_server(certificates: Path, local_server: Callable[..., LocalServer]) -> Callable[..., tuple[LocalServer, int]]:
    """Makes servers that speak nothing but TLS over the network and want to see a client's certificate, and ports."""

    def make(*arguments: str) -> tuple[LocalServer, int]:
        port = free_port()
        server = local_server(
            "--tls-port", str(port), "--tls-cert-file", str(certificates / "server.pem"),
            "--tls-key-file", str(certificates / "server.key"), "--tls-ca-cert-file", str(certificates / "ca.pem"),
            *arguments, flavour=REDIS,
        )  # fmt: skip
        return server, port

    return make


@pytest.fixture
def tls_url(tls_server: Callable[..., tuple[LocalServer, int]]) -> str:
    """A server's address."""
    return f"rediss://localhost:{tls_server()[1]}"


@pytest.fixture
def tls_cluster_url(tls_server: Callable[..., tuple[LocalServer, int]]) -> str:
    """The address of a cluster of one node, beside a node that is not there."""
    server, port = tls_server("--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", str(free_port()))
    with server.client as node:
        node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: b"cluster_state:ok" in node.execute_command("CLUSTER", "INFO"), "a cluster that is up")
    return f"rediss+cluster://localhost:{free_port()},localhost:{port}"


@pytest.fixture
def tls_sentinel_url(
    certificates: Path, tls_server: Callable[..., tuple[LocalServer, int]], tmp_path: Path
) -> Iterator[str]:
    """The address of a sentinel that watches a server, both with TLS and a password each."""
    _, master = tls_server("--tls-replication", "yes", "--requirepass", "of the server")
    port, file = free_port(), tmp_path / "sentinel.conf"
    file.write_text(
        f"""\
port 0
tls-port {port}
tls-cert-file {certificates / "server.pem"}
tls-key-file {certificates / "server.key"}
tls-ca-cert-file {certificates / "ca.pem"}
tls-replication yes
logfile {tmp_path / "sentinel.log"}
dir {tmp_path}
requirepass of-the-sentinel
sentinel monitor flow 127.0.0.1 {master} 1
sentinel auth-pass flow "of the server"
"""
    )
    process = subprocess.Popen([program_of(REDIS), str(file), "--sentinel"])
    eventually(lambda: listens(port), "a sentinel")
    yield f"rediss+sentinel://:of%20the%20server@localhost:{port}/flow?sentinel_password=of-the-sentinel"
    process.kill()
    process.wait()


def listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def with_tls(certificates: Path, url: str, ca: str = "ca.pem", *, identified: bool = True) -> str:
    query = f"ssl_ca_certs={certificates / ca}"
    if identified:
        query += f"&ssl_certfile={certificates / 'client.pem'}&ssl_keyfile={certificates / 'client.key'}"
    return f"{url}{'&' if '?' in url else '?'}{query}"


@pytest.mark.parametrize("kind", ["tls_url", "tls_cluster_url", "tls_sentinel_url"])
async def test_a_pipeline_runs_over_tls_with_both_certificates(
    folder: PipelineFolder, certificates: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    tls_url: str = request.getfixturevalue(kind)
    folder.records("in.jsonl", [{"n": n} for n in range(1000)])
    folder.pipeline(
        """\
        pipeline: p
        stages: {a: {read: {jsonl: in.jsonl}, to: s}, b: {from: s, write: {jsonl: out.jsonl}}}
        """
    )
    await folder.run(with_tls(certificates, tls_url))
    assert len(folder.output("out.jsonl")) == 1000


@pytest.mark.parametrize(("ca", "identified"), [("stranger.pem", True), ("ca.pem", False)])
async def test_a_stranger_is_not_talked_to(certificates: Path, tls_url: str, ca: str, identified: bool) -> None:
    server = Server(with_tls(certificates, tls_url, ca, identified=identified))
    with pytest.raises(ServerError):
        await server.client.call("PING")
    await server.close()


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(6 * HANGS_SECONDS)  # some fifty commands, each of which a busy machine takes seconds for
def test_secrets_are_in_nothing_that_is_shown(folder: PipelineFolder, local_server: Callable[..., LocalServer]) -> None:
    """Every verb, with everything that it can say, on a pipeline full of secrets; and in its dead letters."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    local_server("--requirepass", "hunter2-redis", port=port)
    folder.write("secret", "hunter2-file\n")
    folder.records("in.jsonl", [{"n": 1}])
    folder.pipeline(
        f"""\
        pipeline: p
        redis: redis://:${{REDIS_PASSWORD}}@127.0.0.1:{port}
        stages:
          a:
            description: knows ${{file:secret}}
            read: {{jsonl: in.jsonl}}
            process:
              - set: {{key: "'${{file:secret}}'"}}
              - filter: n / 0 > 0 or key == '${{API_TOKEN}}'
            to: [{{stream: s, when: "key != '${{file:secret}}'"}}, t]
        """
    )
    environment = {"REDIS_PASSWORD": "hunter2-redis", "API_TOKEN": "hunter2-env"}
    shown = ""
    for arguments in (
        ("validate",), ("plan",), ("plan", "--json"), ("apply",), ("run",), ("status",), ("status", "--json"),
        ("groups",),
        ("graph",), ("graph", "--format", "dot"), ("graph", "--format", "ascii"), ("graph", "--json"), ("acl",),
        ("dead list",), ("dead show",), ("dead show", "--json"), ("run", "--json"), ("consumers",), ("tap", "s"),
        ("run", "--set", "stages.a.retry.attempts=${API_TOKEN}"), ("run", "--redis", "redis://:hunter2-x@127.0.0.1:1"),
        ("run", "--redis", f"redis://:hunter2-wrong@127.0.0.1:{port}"), ("destroy", "--force"),
    ):  # fmt: skip
        verb, *rest = arguments
        for extra in ((), ("--debug", "-v")):
            finished = folder.cli(*verb.split(), "pipeline.yml", *rest, *extra, code=None, **environment)
            shown += finished.out + finished.err
    folder.pipeline(folder.file.read_text().replace("n / 0 > 0", "hunter3(n)"))
    shown += folder.cli("validate", "pipeline.yml", code=2, **environment).err
    folder.pipeline(folder.file.read_text().replace("to: [", "batch: {size: '${file:secret}'}\n    to: ["))
    shown += folder.cli("validate", "pipeline.yml", code=2, **environment).err
    assert "division by zero" in shown
    assert [line for line in shown.splitlines() if "hunter2" in line] == []
