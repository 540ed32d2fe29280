"""Addresses, versions and error replies."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra_flow.errors import (
    CommandRefusedError,
    GroupGoneError,
    TryAgainError,
    UsageError,
    WrongKeyTypeError,
)
from papyra_flow.streams.connection.addresses import pool_of, redacted
from papyra_flow.streams.connection.server import Server, parse_capabilities
from papyra_flow.streams.connection.server_errors import refusal


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@h:1", "redis://:***@h:1"),
        ("rediss://me:hunter2@h:1/2", "rediss://me:***@h:1/2"),
        ("redis://h?password=hunter2&db=1", "redis://h?password=***&db=1"),
        ("rediss://h:1?ssl_password=hunter2", "rediss://h:1?ssl_password=***"),
        ("redis+sentinel://u:hunter2@a:1,b:2/m", "redis+sentinel://u:***@a:1,b:2/m"),
        ("redis+cluster://u:hunter2@a:1,b:2", "redis+cluster://u:***@a:1,b:2"),
        ("rediss+sentinel://a:1/m?sentinel_password=hunter2", "rediss+sentinel://a:1/m?sentinel_password=***"),
        ("unix:///tmp/s.sock?password=hunter2", "unix:///tmp/s.sock"),
    ],
)
def test_a_shown_address_has_no_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://x",
        "localhost:6379",
        "",
        "redis+sentinel://h",
        "redis://h/notadb?socket_timeout=x",
        "embeded",
        "redis+cluster://h:1/1",
        "redis+cluster://",
        "redis+cluster://h:port",
        "redis+cluster://h:1,,",
    ],
)
def test_what_is_no_address_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="is not a server address"):
        Server(url)


OF_PASSWORDS = "XYZé"
"""Letters that stand nowhere else in what is shown."""
PASSWORDS = st.text(OF_PASSWORDS + "@/#?:%[] ,", min_size=1, max_size=12).filter(lambda text: set(text) & set("XYZé"))


@given(PASSWORDS, st.sampled_from(["redis", "rediss", "redis+sentinel", "redis+cluster", "unix"]), st.booleans())
def test_no_piece_of_a_password_is_shown_whatever_is_in_it(password: str, scheme: str, user: bool) -> None:
    """Not encoded, it may end an address' login before its time; it is then refused with what to do."""
    place = "/tmp/socket" if scheme == "unix" else "host:6379/0"
    url = f"{scheme}://{'ada' if user else ''}:{password}@{place}"
    texts = [redacted(url)]
    try:
        Server(url)
    except UsageError as exc:
        texts.append(str(exc))
    assert [text for text in texts if set(text) & set(OF_PASSWORDS)] == []


@given(PASSWORDS)
def test_an_encoded_password_is_taken_whole(password: str) -> None:
    pool = pool_of(f"redis://ada:{quote(password, safe='')}@host:6379/0", "")
    assert pool.connection_kwargs["password"] == password


@pytest.mark.parametrize("mark", ["@", "/", "?", "#"])
def test_a_password_that_is_not_encoded_is_refused_with_what_to_do(mark: str) -> None:
    with pytest.raises(UsageError, match=r"percent-encode .*@ is %40"):
        Server(f"redis://:p{mark}ss@host:6379")


def test_versions_tell_redis_from_valkey() -> None:
    redis = parse_capabilities("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n")
    assert (redis.flavour, redis.version, redis.cluster, str(redis)) == ("redis", (7, 0, 15), False, "Redis 7.0.15")
    valkey = parse_capabilities("redis_version:7.2.4\nvalkey_version:9.1.0\nserver_mode:cluster\n")
    assert (valkey.flavour, valkey.version, valkey.cluster) == ("valkey", (9, 1, 0), True)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("NOGROUP No such key 'x' or consumer group 'g'", GroupGoneError),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", WrongKeyTypeError),
        ("OOM command not allowed when used memory > 'maxmemory'.", TryAgainError),
        ("LOADING Redis is loading the dataset in memory", TryAgainError),
        ("BUSY Redis is busy running a script.", TryAgainError),
        ("MISCONF Redis is configured to save RDB snapshots", TryAgainError),
        ("READONLY You can't write against a read only replica.", TryAgainError),
        ("NOREPLICAS Not enough good replicas to write.", TryAgainError),
        ("MOVED 866 127.0.0.1:7001", TryAgainError),
        ("ASK 866 127.0.0.1:7001", TryAgainError),
        ("CLUSTERDOWN The cluster is down", TryAgainError),
        ("MASTERDOWN Link with MASTER is down", TryAgainError),
        ("NOAUTH Authentication required.", CommandRefusedError),
        ("NOPERM this user has no permissions to run the 'xadd' command", CommandRefusedError),
        ("ERR unknown command", CommandRefusedError),
    ],
)
def test_error_replies_say_whether_waiting_helps(message: str, kind: type[Exception]) -> None:
    assert type(refusal(message)) is kind
