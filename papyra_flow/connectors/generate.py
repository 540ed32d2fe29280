"""`generate`: records made up, the same ones for the same seed; for trying, testing and measuring."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import ClassVar

from pydantic import Field, field_validator

from papyra_flow.connectors.base import BadRecord, ConnectorContext, OpenSource, Portion, SourceConfig, SourceItem
from papyra_flow.expressions.compiled import compile_expression, compile_fields, explain
from papyra_flow.expressions.fields import Expression
from papyra_flow.records.entries import Record, encode_json

_DEFAULT_FIELDS = {"n": "n", "value": "round(random * 100, 3)"}


class GenerateSource(SourceConfig):
    """Generate records: `count` of them, at `rate` a second, from expressions over `n` and `random`."""

    name: ClassVar[str] = "generate"
    main: ClassVar[str] = "count"
    because: ClassVar[str] = "the number of the next record moves in the same script as the records"

    count: int | None = Field(None, ge=0, description="Total number of records; without it the source never ends.")
    rate: float | None = Field(None, gt=0, description="Maximum records per second; without it, as fast as possible.")
    seed: int = Field(0, description="Seed of `random`, per record, so that a restart continues the same.")
    fields: dict[str, Expression] = Field(
        _DEFAULT_FIELDS, description="Fields, as expressions over `n` (from 0) and `random` (from 0 to 1)."
    )

    @field_validator("fields")
    @classmethod
    def _known_names(cls, fields: dict[str, str]) -> dict[str, str]:
        for name, text in fields.items():
            compiled = compile_expression(text)
            if compiled.needs_headers:
                raise ValueError(f"{name}: unknown name 'headers', only `n` and `random` are known here")
            try:
                compiled.one({"n": 0, "random": 0.5})
            except KeyError as exc:
                raise ValueError(f"{name}: unknown name {exc.args[0]!r}, only `n` and `random` are known here") from exc
            except Exception:  # noqa: BLE001, S112 - what fails for one record need not for the others
                continue
        return fields

    @property
    def bounded(self) -> bool:
        """Whether it has a count."""
        return self.count is not None

    def open(self, context: ConnectorContext) -> OpenSource:
        """The source."""
        return _Generator(self, compile_fields(self.fields, keep=False).one)


class _Generator:
    def __init__(self, config: GenerateSource, make: Callable[[Record], Record]) -> None:
        self._config = config
        self._make = make
        self._explain = explain(", ".join(f"{name}: {text}" for name, text in config.fields.items()))
        self._next = 0
        self._first = 0
        self._started = 0.0

    async def start(self, checkpoint: str) -> str:
        """Go on at the next record's number."""
        self._next = self._first = int(checkpoint or 0)
        self._started = asyncio.get_running_loop().time()
        return checkpoint

    async def read(self, count: int) -> Portion:
        """The next records, when the rate allows them."""
        config = self._config
        if config.count is not None:
            count = min(count, config.count - self._next)
        if config.rate is not None and count > 0:
            loop = asyncio.get_running_loop()
            due = self._started + (self._next - self._first + 1) / config.rate
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            allowed = int((loop.time() - self._started) * config.rate) - (self._next - self._first)
            count = min(count, max(1, allowed))
        items: list[SourceItem] = [self._record(number) for number in range(self._next, self._next + count)]
        self._next += len(items)
        done = config.count is not None and self._next >= config.count
        return Portion(items, str(self._next), done=done)

    def _record(self, number: int) -> SourceItem:
        chance = random.Random(f"{self._config.seed}/{number}").random()  # noqa: S311 - not for secrets
        try:
            return encode_json(self._make({"n": number, "random": chance}))
        except Exception as exc:  # noqa: BLE001 - an expression may raise anything; it is the record's failure
            raw = encode_json({"n": number, "random": chance})
            return BadRecord(raw, str(self._explain(exc)), self._config.describe(), str(number))

    async def close(self) -> None:
        """Nothing to give back."""
