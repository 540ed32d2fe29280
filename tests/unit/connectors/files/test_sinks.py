"""File sinks and the files that they find: refused in one sentence, or gone on with so that both stay whole."""

from __future__ import annotations

import csv
import fcntl
import gzip
import logging
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.connectors.base import ConnectorContext, OpenSink
from papyra_flow.connectors.files import lock as sink_lock
from papyra_flow.errors import ConnectorError, RecordError
from papyra_flow.spec.components import SINKS, components


class Lost:
    """What a sink says is gone."""

    def __init__(self) -> None:
        self.records = 0

    def __call__(self, records: int) -> None:
        self.records += records


@contextmanager
def when_told(do: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as the sink says anything."""
    handler = logging.Handler()
    handler.emit = lambda record: do() and None  # type: ignore[method-assign,assignment]
    logging.getLogger("papyra_flow.sink").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("papyra_flow.sink").removeHandler(handler)


def sink(folder: Path, kind: str, path: str, lost: Lost | None = None, **fields: Any) -> OpenSink:
    config: Any = components(SINKS)[kind].model_validate({"path": path, **fields})
    opened: OpenSink = config.open(ConnectorContext(folder, "p", "s", "embedded", lost=lost or Lost()))
    return opened


async def begun(opened: OpenSink, checkpoint: str = "") -> str:
    await opened.lock()
    return await opened.start(checkpoint)


async def wrote(opened: OpenSink, *records: dict[str, Any], commit: bool = True) -> str:
    checkpoint = await opened.write([(b"1", opened.encode(record, None)) for record in records])
    if commit:
        opened.committed()
    return checkpoint


async def run(opened: OpenSink, checkpoint: str, *records: dict[str, Any]) -> str:
    """A whole run of one batch."""
    await begun(opened, checkpoint)
    checkpoint = await wrote(opened, *records)
    await opened.close()
    return checkpoint


# -- what is in the way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(("what", "word"), [("folder", "a directory"), ("pipe", "a named pipe"), ("null", "a device")])
async def test_what_is_not_a_regular_file_is_refused(tmp_path: Path, kind: str, what: str, word: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    with pytest.raises(ConnectorError, match=f"{what} is {word}, and a sink needs a regular file"):
        await begun(sink(tmp_path, kind, what))


async def test_a_plain_file_is_not_gone_on_with_as_a_compressed_one(tmp_path: Path) -> None:
    (tmp_path / "o.jsonl.gz").write_text("plain\n")
    with pytest.raises(ConnectorError, match=r"o\.jsonl\.gz is not a gzip file"):
        await begun(sink(tmp_path, "jsonl", "o.jsonl.gz"))
    assert (tmp_path / "o.jsonl.gz").read_text() == "plain\n"


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may be longer than 10,000 bytes, as on a disk that is full."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
async def test_a_batch_that_does_not_fit_the_disk_leaves_nothing_of_it(tmp_path: Path) -> None:
    opened = sink(tmp_path, "jsonl", "o.jsonl")
    await begun(opened)
    checkpoint = await wrote(opened, {"n": 1})
    with pytest.raises(ConnectorError, match=r"cannot write .*o\.jsonl: File too large"):
        await wrote(opened, {"pad": "x" * 20_000})
    await opened.close()
    assert (tmp_path / "o.jsonl").read_text() == '{"n":1}\n'
    await run(sink(tmp_path, "jsonl", "o.jsonl"), checkpoint, {"n": 2})
    assert (tmp_path / "o.jsonl").read_text() == '{"n":1}\n{"n":2}\n'


async def test_waiting_for_another_writer_is_told_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sink_lock, "TELL_AFTER_SECONDS", 0.0)
    with (tmp_path / "o.jsonl").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with when_told(lambda: fcntl.flock(other, fcntl.LOCK_UN)):
            await run(sink(tmp_path, "jsonl", "o.jsonl"), "", {"n": 1})
    assert f"waiting for the lock on {tmp_path / 'o.jsonl'}: another process is writing it" in caplog.messages


async def test_a_file_that_was_renamed_while_its_lock_was_waited_for_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_lock, "TELL_AFTER_SECONDS", 0.0)
    with (tmp_path / "o.jsonl").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        def rotate() -> None:
            (tmp_path / "o.jsonl").rename(tmp_path / "o.jsonl.1")
            fcntl.flock(other, fcntl.LOCK_UN)

        with when_told(rotate):
            await run(sink(tmp_path, "jsonl", "o.jsonl"), "", {"n": 1})
    assert (tmp_path / "o.jsonl").read_text() == '{"n":1}\n'
    assert not (tmp_path / "o.jsonl.1").read_text()


# -- checkpoints of before --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "checkpoint", "kept"),
    [
        ('{"n":1}\n', "8", '{"n":1}\n'),
        ('{"n":1}\n{"n":2}\n', "8", '{"n":1}\n{"n":2}\n'),
        ('{"n":1}\n', "80", '{"n":1}\n'),
        ('{"another": "file"}\n', "8", '{"another": "file"}\n'),
        ("no line end", "4", "no line end\n"),
        ('{"n":1}\n', "not a checkpoint", '{"n":1}\n'),
    ],
)
async def test_a_checkpoint_that_is_a_length_cuts_nothing_that_may_be_of_others(
    tmp_path: Path, there: str, checkpoint: str, kept: str
) -> None:
    (tmp_path / "o.jsonl").write_text(there)
    await run(sink(tmp_path, "jsonl", "o.jsonl"), checkpoint, {"n": 3})
    assert (tmp_path / "o.jsonl").read_text() == kept + '{"n":3}\n'


# -- under a run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("how", ["delete", "empty", "folder"])
async def test_records_that_are_taken_away_under_a_run_are_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, how: str
) -> None:
    lost = Lost()
    opened = sink(tmp_path, kind, "d/o", lost)
    path = tmp_path / "d" / "o"
    await begun(opened)
    await wrote(opened, {"n": 1}, {"n": 2})
    size = path.stat().st_size
    if how == "empty":
        os.truncate(path, 0)
    else:
        path.unlink()
    if how == "folder":
        path.parent.rmdir()
    await wrote(opened, {"n": 3})
    await opened.close()
    assert lost.records == 2
    assert path.read_text() == {"csv": "n\n3\n", "jsonl": '{"n":3}\n'}[kind]
    (message,) = caplog.messages
    assert f"{size} bytes that were committed are gone, up to 2 records of this run among them" in message


async def test_records_that_are_taken_away_behind_the_last_batch_are_told_at_the_end(tmp_path: Path) -> None:
    lost = Lost()
    opened = sink(tmp_path, "jsonl", "o.jsonl", lost)
    await begun(opened)
    await wrote(opened, {"n": 1})
    (tmp_path / "o.jsonl").unlink()
    await opened.close()
    assert lost.records == 1


async def test_a_renamed_file_keeps_what_was_committed_and_a_new_one_begins_with_its_header(tmp_path: Path) -> None:
    lost = Lost()
    opened = sink(tmp_path, "csv", "o.csv", lost)
    await begun(opened)
    await wrote(opened, {"n": 1})
    await wrote(opened, {"n": 2}, commit=False)
    (tmp_path / "o.csv").rename(tmp_path / "o.csv.1")
    await wrote(opened, {"n": 2})
    await opened.close()
    assert (tmp_path / "o.csv.1").read_text() == "n\n1\n"
    assert (tmp_path / "o.csv").read_text() == "n\n2\n"
    assert not lost.records


async def test_a_file_with_another_header_that_is_put_in_place_under_a_run_is_refused(tmp_path: Path) -> None:
    opened = sink(tmp_path, "csv", "o.csv")
    await begun(opened)
    await wrote(opened, {"n": 1})
    (tmp_path / "o.csv").rename(tmp_path / "o.csv.1")
    (tmp_path / "o.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ConnectorError, match=r"o\.csv has the columns x, y, not n"):
        await wrote(opened, {"n": 2})
    await opened.close()
    assert (tmp_path / "o.csv").read_text() == "x,y\n1,2\n"


# -- csv --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rerun", [1, 2])
@pytest.mark.parametrize("columns", [None, ["a"]])
async def test_a_csv_file_of_others_with_another_header_is_left_as_it_was(
    tmp_path: Path, rerun: int, columns: list[str] | None
) -> None:
    there = "customer,email\n1,x@example.org\n"
    (tmp_path / "c.csv").write_text(there)
    checkpoint = await run(sink(tmp_path, "csv", "o.csv", columns=columns), "", {"a": 1})
    for _ in range(rerun):
        opened = sink(tmp_path, "csv", "c.csv", columns=columns)
        message = r"c\.csv has the columns customer, email"
        if columns:
            with pytest.raises(ConnectorError, match=message):
                await begun(opened, checkpoint)
        else:
            checkpoint = await begun(opened, checkpoint)
            with pytest.raises(ConnectorError, match=message):
                opened.encode({"a": 2}, None)
        await opened.close()
    assert (tmp_path / "c.csv").read_text() == there


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("b,a\n1,2", "b,a\n1,2\n4,3\n"),
        ("\ufeffa,b\n1,2\n", "\ufeffa,b\n1,2\n3,4\n"),
        ('"a",b\r\n1,2\r\n', '"a",b\r\n1,2\r\n3,4\n'),
    ],
)
async def test_a_csv_file_of_others_with_the_same_columns_is_gone_on_with(
    tmp_path: Path, there: str, expected: str
) -> None:
    (tmp_path / "o.csv").write_bytes(there.encode())
    await run(sink(tmp_path, "csv", "o.csv"), "", {"a": 3, "b": 4})
    assert (tmp_path / "o.csv").read_bytes() == expected.encode()


@pytest.mark.parametrize("there", [b"\n1,2\n", b"\xff\xfea\x00,\x00b\x00\n\x00", b"\xe9,b\n"])
async def test_a_csv_file_without_a_readable_header_is_refused(tmp_path: Path, there: bytes) -> None:
    (tmp_path / "o.csv").write_bytes(there)
    with pytest.raises(ConnectorError, match=r"o\.csv (does not begin with a header|cannot be read)|the header of"):
        await begun(sink(tmp_path, "csv", "o.csv"))
    assert (tmp_path / "o.csv").read_bytes() == there


@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.text()}), min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
async def test_any_text_is_read_back_from_csv_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    await run(sink(folder, "csv", "o.csv", fsync=False), "", *rows)
    with (folder / "o.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == rows


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.floats() | st.none() | st.binary(), max_size=3))
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_a_record_is_encoded_or_dead_alone(
    tmp_path_factory: pytest.TempPathFactory, kind: str, record: dict[str, Any]
) -> None:
    opened = sink(tmp_path_factory.mktemp("one"), kind, "o", fsync=False)
    records: list[Any] = [record, {"a": "\ud800"}, {"\udfff": 1}]
    for first in records:
        try:
            opened.encode(first, None)
        except RecordError:
            continue
    if not record:
        assert opened.encode({"a": 1}, None)


async def test_compressed_members_that_were_not_committed_are_taken_back_whole(tmp_path: Path) -> None:
    opened = sink(tmp_path, "csv", "o.csv.gz")
    await begun(opened)
    checkpoint = await wrote(opened, {"n": 1})
    await wrote(opened, {"n": 2}, commit=False)
    await opened.close()
    await run(sink(tmp_path, "csv", "o.csv.gz"), checkpoint, {"n": 3})
    assert gzip.decompress((tmp_path / "o.csv.gz").read_bytes()) == b"n\n1\n3\n"


async def test_a_checkpoint_names_the_file_and_how_far_it_was_written(tmp_path: Path) -> None:
    facts = orjson.loads(await run(sink(tmp_path, "jsonl", "o.jsonl"), "", {"n": 1}))
    status = (tmp_path / "o.jsonl").stat()
    assert (facts["path"], facts["file"], facts["at"]) == ("o.jsonl", [status.st_dev, status.st_ino], status.st_size)
