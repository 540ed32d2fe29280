"""`lookup`: add what a table knows of a record's key: a CSV or JSON-lines file, or a Redis hash.

Files are loaded once, when the stage starts; a Redis hash is asked with one HMGET a batch
(https://redis.io/docs/latest/commands/hmget/) and so always answers what holds now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from papyra_flow.connectors.csv.column_types import ColumnType
from papyra_flow.connectors.csv.quotes import Delimiter
from papyra_flow.connectors.files.text_form import ENCODING, Encoding
from papyra_flow.errors import ConnectorError, MissingKeyError, ServerError, UndecodableError
from papyra_flow.expressions.compiled import compile_expression, explain
from papyra_flow.expressions.fields import Expression
from papyra_flow.records.entries import Record, Value
from papyra_flow.records.json_codec import read_json
from papyra_flow.spec.components import RedisKey, SetupContext
from papyra_flow.steps.base import Each, Step, StepConfig, Whole
from papyra_flow.steps.lookup_files import Duplicates, FileTable
from papyra_flow.streams.connection.retry_policy import RetryPolicy
from papyra_flow.streams.connection.server import Server


class Lookup(StepConfig):
    """Look up a record's key in a table, and add the row found."""

    name: ClassVar[str] = "lookup"

    csv: str | None = Field(None, description="A CSV file with a header (.gz too), as the table.")
    jsonl: str | None = Field(None, description="A file of JSON lines (.gz too), as the table.")
    hash: str | None = Field(None, description="The key of a Redis hash: fields are keys, values JSON or text.")
    redis: str | None = Field(None, description="The hash's server, if it is not the pipeline's.")
    key: str | None = Field(None, description="The table's column that holds the key (the name in `on`).")
    on: Expression = Field(description="The record's field, or an expression, that holds the key.")
    as_: str | None = Field(None, alias="as", description="The field for the row found; without it, the row's fields.")
    fields: list[str] | None = Field(None, description="Only these columns of the row.")
    types: dict[str, ColumnType] = Field({}, description="Types of a CSV's columns; empty text is null.")
    delimiter: Delimiter = Field(",", description="The CSV's column separator; `\\t` for tabs.")
    encoding: Encoding = Field("utf-8", description=ENCODING)
    duplicates: Duplicates = Field("error", description="Which row of a file counts if a key occurs twice.")
    missing: Literal["dead", "null", "drop"] = Field("dead", description="What to do when no row matches.")

    @model_validator(mode="after")
    def _one_table(self) -> Self:
        if sum(table is not None for table in (self.csv, self.jsonl, self.hash)) != 1:
            raise ValueError("a lookup needs one table: `csv`, `jsonl` or `hash`")
        if self.hash is None and self.key is None and not self.on.isidentifier():
            raise ValueError("`key` must name the table's column when `on` is an expression")
        if compile_expression(self.on).needs_headers:
            raise ValueError("`on` cannot read headers: `set` a field to the header first")
        if self.types and self.csv is None:
            raise ValueError("`types` are for the columns of a table in `csv`")
        return self

    def describe(self) -> str:
        """Table and key."""
        return f"lookup: {self.csv or self.jsonl or self.hash} on {self.on}"

    def files(self) -> tuple[str, ...]:
        """The table's file, if it is one."""
        return tuple(table for table in (self.csv, self.jsonl) if table is not None)

    def redis_keys(self, pipeline: str, stage: str) -> tuple[RedisKey, ...]:
        """The table's hash, if it is one."""
        return (RedisKey(self.hash, "hash", self.redis),) if self.hash is not None else ()

    def build(self, context: SetupContext) -> Step:
        """The step, with a file's table loaded."""
        return self._from_hash(context) if self.hash is not None else self._from_file(context)

    def _from_file(self, context: SetupContext) -> Step:
        table = FileTable(
            path=context.folder / (self.csv or self.jsonl or ""),
            kind="csv" if self.csv is not None else "jsonl",
            key=self.key or self.on,
            fields=self.fields,
            types=self.types,
            delimiter=self.delimiter,
            encoding=self.encoding,
            duplicates=self.duplicates,
        ).load()
        find = compile_expression(self.on).one
        return Each(lambda record: self._joined(record, table.get(find(record)), find), explain=explain(self.on))

    def _from_hash(self, context: SetupContext) -> Step:
        asked = _HashTable(self.redis or context.redis, self.hash or "")
        find = compile_expression(self.on).one
        told = explain(self.on)

        async def apply(records: Sequence[Record]) -> list[object]:
            keys: list[Value | Exception] = []
            for record in records:
                try:
                    keys.append(find(record))
                except Exception as exc:  # noqa: BLE001 - the record's own failure
                    keys.append(told(exc))
            found = await asked.rows(["" if isinstance(key, Exception) else str(key) for key in keys])
            results: list[object] = []
            for record, key, row in zip(records, keys, found, strict=True):
                try:
                    results.append(key if isinstance(key, Exception) else self._joined(record, row, find))
                except MissingKeyError as exc:
                    results.append(exc)
            return results

        return Whole(apply, start=asked.start, close=asked.close)

    def _joined(self, record: Record, row: Value, find: Callable[[Record], object]) -> Record | None:
        if row is None:
            if self.missing == "drop":
                return None
            if self.missing == "dead":
                key = find(record)
                table = self.csv or self.jsonl or self.hash
                raise MissingKeyError(f"lookup: {table} has no row for {self.on} = {key!r}")
        if self.as_ is not None:
            return {**record, self.as_: row}
        if isinstance(row, dict):
            return {**record, **row}
        return {**record, **dict.fromkeys(self.fields or [])}


class _HashTable:
    """A Redis hash as a table; its server's address is not looked at before the stage starts."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._retry_policy = RetryPolicy(f"looking up in {key}")
        self._server: Server | None = None

    async def start(self) -> None:
        self._server = Server(self._url, key=self._key)

    async def rows(self, keys: Sequence[str]) -> list[Value]:
        """The rows of keys; a server that goes away is waited for: records are not to blame."""
        if (server := self._server) is None:
            raise ConnectorError("lookup: the step was not started")
        try:
            reply = await self._retry_policy.keep_trying(lambda: server.client.call("HMGET", self._key, *keys))
        except ServerError as exc:
            raise type(exc)(f"cannot look up in the hash {self._key}: {exc}") from exc
        return [None if value is None else _hash_value(value) for value in reply] if isinstance(reply, list) else []

    async def close(self) -> None:
        if self._server is not None:
            await self._server.close()


def _hash_value(value: object) -> Value:
    try:
        decoded: Value = read_json(value)  # type: ignore[arg-type]
    except UndecodableError:
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return decoded
