"""A packed file whose open quote has the lines far behind it read ahead is the same file at the next start."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import pytest

from papyra_flow.connectors.base import ConnectorContext
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
