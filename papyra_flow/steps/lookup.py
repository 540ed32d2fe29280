"""`lookup`: add what a table knows of a record's key: a file, a Redis hash, or a table that a stage keeps.

Files are loaded once, when the stage starts; hashes and tables of stages are asked for each batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from papyra_flow.connectors.csv.column_types import ColumnType
from papyra_flow.connectors.csv.quotes import Delimiter
from papyra_flow.connectors.files.text_form import ENCODING, Encoding
from papyra_flow.errors import MissingKeyError, RecordError
from papyra_flow.expressions.compiled import compile_expression, explain
from papyra_flow.expressions.fields import Expression
from papyra_flow.records.entries import Record, Value
from papyra_flow.spec.components import RedisKey, SetupContext
from papyra_flow.spec.names import Name
from papyra_flow.state.key_column import ValueColumn
from papyra_flow.steps.base import Each, Step, StepConfig, Whole
from papyra_flow.steps.lookup_files import Duplicates, FileTable
from papyra_flow.steps.lookup_hashes import HashTable, StageTable
from papyra_flow.streams.keys import Keyspace

TIME = "time"
"""What `as_of` calls the record's event time."""


class Lookup(StepConfig):
    """Look up a record's key in a table, and add the row found."""

    name: ClassVar[str] = "lookup"

    csv: str | None = Field(None, description="A CSV file with a header (.gz too), as the table.")
    jsonl: str | None = Field(None, description="A file of JSON lines (.gz too), as the table.")
    hash: str | None = Field(None, description="The key of a Redis hash: fields are keys, values JSON or text.")
    redis: str | None = Field(None, description="The hash's server, if it is not the pipeline's.")
    table: Name | None = Field(None, description="A stage with the step `table`: what it has committed by now.")
    as_of: Expression | None = Field(
        None,
        description="The time at which a row of a stage's table has to hold, as far back as its `history` reaches: "
        "`time` for the record's event time, or an expression. Without it: now.",
    )
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
        if sum(table is not None for table in (self.csv, self.jsonl, self.hash, self.table)) != 1:
            raise ValueError("a lookup needs one table: `csv`, `jsonl`, `hash` or `table`")
        if self.files() and self.key is None and not self.on.isidentifier():
            raise ValueError("`key` must name the table's column when `on` is an expression")
        if self.table is None and self.as_of is not None:
            raise ValueError("`as_of` is for the `table` of a stage")
        ValueColumn("as_of", self.as_of or TIME)
        ValueColumn("on", self.on)
        if self.types and self.csv is None:
            raise ValueError("`types` are for the columns of a table in `csv`")
        return self

    def describe(self) -> str:
        """Table and key."""
        return f"lookup: {self._named} on {self.on}{f' as of {self.as_of}' if self.as_of else ''}"

    @property
    def _named(self) -> str:
        """The table, for messages."""
        return self.csv or self.jsonl or self.hash or self.table or ""

    def files(self) -> tuple[str, ...]:
        """The table's file, if it is one."""
        return tuple(table for table in (self.csv, self.jsonl) if table is not None)

    def redis_keys(self, pipeline: str, stage: str) -> tuple[RedisKey, ...]:
        """The table's hash, or the first that a stage's table is in."""
        if self.table is not None:
            return (RedisKey(Keyspace(pipeline).state(self.table), "hash"),)
        return (RedisKey(self.hash, "hash", self.redis),) if self.hash is not None else ()

    def build(self, context: SetupContext) -> Step:
        """The step, with a file's table loaded."""
        if self.table is not None:
            return self._from_table(context, self.table)
        return self._from_hash(context, self.hash) if self.hash is not None else self._from_file(context)

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

        def apply(record: Record) -> Record | None:
            key = find(record)
            return self._joined(record, table.get(key), key)

        return Each(apply, explain=explain(self.on))

    def _from_hash(self, context: SetupContext, key: str) -> Step:
        asked, on = HashTable(self.redis or context.redis, key), ValueColumn("on", self.on)

        async def apply(records: Sequence[Record]) -> list[object]:
            keys = on.over(records)
            return self._all_joined(records, await asked.rows(keys), keys)

        return Whole(apply, start=asked.start, close=asked.close)

    def _from_table(self, context: SetupContext, stage: str) -> Step:
        table = context.table(stage, dated=self.as_of is not None)
        asked = StageTable(context.redis, stage, table, context.read_state)
        on, at = ValueColumn("on", self.on), ValueColumn("as_of", self.as_of or TIME)
        of_event = self.as_of == TIME

        async def apply(given: Sequence[Any]) -> list[object]:
            records: Sequence[Record] = [record for record, _ in given] if of_event else given
            keys = on.over(records)
            if self.as_of is None:
                rows = await asked.rows(keys)
            else:
                rows = await asked.rows(keys, [one.time for _, one in given] if of_event else at.over(records))
            return self._all_joined(records, list(map(self._cut, rows)), keys)

        return Whole(apply, context=context if of_event else None, start=asked.start, close=asked.close)

    def _cut(self, row: Record | RecordError | None) -> Record | RecordError | None:
        if self.fields is None or not isinstance(row, dict):
            return row
        return {name: row.get(name) for name in self.fields}

    def _all_joined(
        self, records: Sequence[Record], rows: Sequence[Value | RecordError], keys: Sequence[object]
    ) -> list[object]:
        results: list[object] = []
        for record, row, key in zip(records, rows, keys, strict=True):
            try:
                results.append(row if isinstance(row, RecordError) else self._joined(record, row, key))
            except MissingKeyError as exc:
                results.append(exc)
        return results

    def _joined(self, record: Record, row: Value, key: object) -> Record | None:
        if row is None:
            if self.missing == "drop":
                return None
            if self.missing == "dead":
                raise MissingKeyError(f"lookup: {self._named} has no row for {self.on} = {key!r}")
        if self.as_ is not None:
            return {**record, self.as_: row}
        if isinstance(row, dict):
            return {**record, **row}
        return {**record, **dict.fromkeys(self.fields or [])}
