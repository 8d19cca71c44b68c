"""The cheap way to insert a row, for what is written with every new job."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

_DIALECT: Final = sqlite.dialect()

_Processor = Callable[[Any], Any]


def insert(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> None:
    """Inserts one row; columns that `values` lacks get their default.

    As `connection.execute(table.insert(), values)`, which takes several times as long as SQLite itself. Errors are the
    driver's own, such as sqlite3.IntegrityError.
    """
    sql, processors = _compiled(table, tuple(values))
    driver: Any = connection.connection.dbapi_connection
    driver.execute(
        sql,
        [
            value if processor is None else processor(value)
            for value, processor in zip(values.values(), processors, strict=True)
        ],
    )


@cache
def _compiled(table: sa.Table, columns: tuple[str, ...]) -> tuple[str, list[_Processor | None]]:
    """The statement, with a place for each column in this order, and what makes each value one of the driver's."""
    sql = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    types = (table.c[name].type.dialect_impl(_DIALECT) for name in columns)
    return sql, [type_.bind_processor(_DIALECT) for type_ in types]
