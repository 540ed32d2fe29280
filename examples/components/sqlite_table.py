"""A sink: a table of a SQLite database, with a row a record."""

import json
import sqlite3
from collections.abc import Sequence

from pydantic import Field

from papyra_flow import ConfigurationError, Record, RecordsError, SetupContext, Sink, TransientError


class SqliteTable(Sink):
    """Write records as rows of a table in a SQLite database."""

    main = "path"
    because = "a row has its record's idempotency key, so that writing it again changes nothing"

    path: str = Field(description="The database's file.")
    table: str = Field("records", pattern=r"^\w+$", description="The table; it is made if it is not there.")
    columns: list[str] = Field([], description="Fields that become columns; all of the record is in `record`.")

    _database: sqlite3.Connection

    def setup(self, context: SetupContext) -> None:
        self._database = sqlite3.connect(context.folder / self.path, timeout=1)
        try:
            columns = "".join(f', "{column}" NOT NULL' for column in self.columns)
            self._database.execute(f'CREATE TABLE IF NOT EXISTS "{self.table}" (key PRIMARY KEY, record{columns})')
        except sqlite3.DatabaseError as exc:
            raise ConfigurationError(f"{self.path} cannot be used: {exc}") from exc

    def write(self, records: Sequence[Record], keys: Sequence[str]) -> None:
        marks = ", ".join("?" * (2 + len(self.columns)))
        statement = f'INSERT INTO "{self.table}" VALUES ({marks}) ON CONFLICT (key) DO NOTHING'
        refused: dict[int, str] = {}
        try:
            with self._database:
                for number, (record, key) in enumerate(zip(records, keys, strict=True)):
                    row = [key, json.dumps(record), *(record.get(column) for column in self.columns)]
                    try:
                        self._database.execute(statement, row)
                    except sqlite3.IntegrityError as exc:
                        refused[number] = str(exc)
        except sqlite3.OperationalError as exc:  # another program has locked it, or the disk is full
            raise TransientError(f"{self.path}: {exc}") from exc
        if refused:
            raise RecordsError(refused)

    def teardown(self) -> None:
        self._database.close()
