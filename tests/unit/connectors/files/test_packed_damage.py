"""A packed file is read as far as it goes, once; damage is said behind that."""

from __future__ import annotations

import gzip
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.connectors.base import ConnectorContext
from papyra_flow.connectors.files.packed import Unpacked
from papyra_flow.errors import ConnectorError
from papyra_flow.spec.components import SOURCES, components


def opened(folder: Path) -> Any:
    config: Any = components(SOURCES)["csv"].model_validate({"path": "t.csv.gz"})
    return config.open(ConnectorContext(folder, "p", "s", "embedded"))


@pytest.mark.parametrize("portions", [3, 11, 30])
async def test_rows_behind_an_open_quote_come_once_over_a_restart(tmp_path: Path, portions: int) -> None:
    noise = random.Random(0)
    rows = [f"{n},{noise.randbytes(40).hex()}" for n in range(20_000)]
    rows[5000] = '5000,"open'
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(("n,v\n" + "\n".join(rows) + "\n").encode()))
    parts: dict[str, str] = {}
    found, dead, checkpoint, runs = [], 0, "", 0
    while runs < 2:
        source = opened(tmp_path)
        source.restore(parts)
        await source.start(checkpoint)
        left = portions if runs == 0 else 10**6
        while left:
            portion = await source.read(500)
            parts |= {name: state for name, state in portion.parts.items() if state}
            checkpoint, left = portion.checkpoint, 0 if portion.done else left - 1
            found += [item.split(b'"', 4)[3] for item in portion.items if isinstance(item, bytes)]
            dead += sum(not isinstance(item, bytes) for item in portion.items)
        await source.close()
        runs += 1
    assert [int(n) for n in found] == [n for n in range(20_000) if n != 5000]
    assert dead == 1


TEXT = b"".join(b"%d,%s\n" % (n, random.Random(n).randbytes(20).hex().encode()) for n in range(300))
WHOLE = gzip.compress(b"n,v\n" + TEXT)


DAMAGE = {
    "cut off": WHOLE[: len(WHOLE) // 2],
    "cut off, and a member before": gzip.compress(b"n,v\n") + gzip.compress(TEXT)[:5000],
    "cut off in its trailer": WHOLE[:-4],
    "followed by something else": WHOLE + b"something else",
    "cut off in a later member": WHOLE + gzip.compress(TEXT)[:1000],
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE)
async def test_what_stands_before_damage_arrives_once_and_then_the_damage_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t.csv.gz").write_bytes(data)
    parts: dict[str, str] = {}
    found: list[bytes] = []
    for _ in range(3):
        source = opened(tmp_path)
        source.restore(parts)
        await source.start("")
        with pytest.raises(ConnectorError, match=r"t\.csv\.gz is cut off or damaged"):
            await all_of(source, parts, found)
        await source.close()
    lines = (TEXT * 2).splitlines()
    assert [b"%d,%s" % (n, v.encode()) for n, v in map(cells, found)] == lines[: len(found)]
    assert len(found) > 100


async def all_of(source: Any, parts: dict[str, str], found: list[bytes]) -> None:
    while True:
        portion = await source.read(50)
        parts |= portion.parts
        found += portion.items


@pytest.mark.parametrize("place", [2000, -8], ids=["its text", "its check sum"])
async def test_of_a_piece_that_was_overwritten_nothing_arrives(tmp_path: Path, place: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= 0xFF
    (tmp_path / "t.csv.gz").write_bytes(data)
    source, found = opened(tmp_path), list[bytes]()
    await source.start("")
    with pytest.raises(ConnectorError, match=r"t\.csv\.gz is cut off or damaged"):
        await all_of(source, {}, found)
    assert found == []


def cells(item: bytes) -> tuple[int, str]:
    record = json.loads(item)
    return int(record["n"]), record["v"]


@settings(max_examples=200)
@given(
    texts=st.lists(st.binary(max_size=200_000), min_size=1, max_size=4),
    zeros=st.integers(0, 40_000),
    places=st.lists(st.integers(0, 10**6)),
)
def test_members_are_one_text_wherever_it_is_read(texts: list[bytes], zeros: int, places: list[int]) -> None:
    whole = b"".join(texts)
    unpacked = Unpacked(io.BytesIO(bytes(zeros).join(map(gzip.compress, texts)) + bytes(zeros)))
    reader = io.BufferedReader(unpacked, 1000)
    assert reader.read() == whole
    for place in places:
        assert reader.seek(min(place, len(whole))) == min(place, len(whole))
        assert reader.read(5000) == whole[place : place + 5000]
