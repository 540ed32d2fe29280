"""`sql`: a query over the table, by DuckDB (https://duckdb.org/docs/stable/sql/introduction)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from papyra_flow.errors import RecordError
from papyra_flow.spec.components import SetupContext
from papyra_flow.steps.base import Merge, OfTable, Step, StepConfig

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

TABLE = "batch"
"""The name that a query has for the table."""


class Sql(StepConfig):
    """Run a query over each table, and continue with its result: `SELECT ... FROM batch`, in DuckDB's SQL.

    The query runs once per table, so aggregates cover the rows of one entry. Records that were read together first
    become a table, as with `batch`. A query can use nothing but its table: no files, no
    network, no extensions. Times without a zone are UTC, and sums of integers are integers.
    """

    name: ClassVar[str] = "sql"
    main: ClassVar[str] = "query"

    query: str = Field(min_length=1, description="One SELECT over the table `batch`.")

    def merge(self) -> Merge:
        """A query is over a table."""
        return Merge()

    def build(self, context: SetupContext) -> Step:
        """Refused: no record comes here."""
        raise ValueError("`sql` works on tables")

    def build_table(self, context: SetupContext) -> OfTable:
        """The query, on a database of its own that holds nothing."""
        import duckdb
        import pyarrow as pa

        from papyra_flow.steps.sql_values import exactly, plain_columns, readable

        try:
            statements = duckdb.extract_statements(self.query)
        except duckdb.Error as exc:
            raise ValueError(_sentence(exc)) from exc
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ValueError("`sql` takes one SELECT statement")
        connection = _connected()

        def apply(table: pa.Table) -> pa.Table:
            try:
                connection.register(TABLE, readable(table))
                with warnings.catch_warnings():
                    return plain_columns(exactly(connection.sql(self.query)).to_arrow_table())
            except duckdb.Error as exc:
                raise RecordError(f"{_sentence(exc)} (in `sql`)") from exc
            except pa.ArrowException as exc:
                raise RecordError(f"{_sentence(exc)} (in `sql`)") from exc
            finally:
                connection.unregister(TABLE)

        return OfTable(apply)


def _connected() -> duckdb.DuckDBPyConnection:
    """A database that holds nothing and reaches nothing, and whose times without a zone are UTC."""
    import duckdb

    connection = duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


def _sentence(exc: Exception) -> str:
    """DuckDB's message without the picture of the place."""
    return str(exc).partition("\n")[0].strip()
