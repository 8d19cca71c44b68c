"""The cheap insert stores what SQLAlchemy's own stores."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from gradloom.errors import ServerUnavailableError
from gradloom.jobs.database import Database
from gradloom.jobs.inserts import insert
from gradloom.jobs.schema import UtcTime
from tests.stores import NOON, sqlite_url

rows = sa.Table(
    "rows",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("time", UtcTime),
    sa.Column("is_set", sa.Boolean),
    sa.Column("blob", sa.LargeBinary),
    sa.Column("text", sa.Text, server_default="left out"),
    sa.Column("ratio", sa.Double),
)
VALUES = {"time": NOON, "is_set": True, "blob": b"\0\xff", "ratio": 0.1}


def test_both_ways_to_insert_store_the_same(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path))
    with database.write() as connection:
        rows.create(connection)
        insert(connection, rows, {"number": 1, **VALUES})
        connection.execute(rows.insert(), {"number": 2, **VALUES})
        # The keys may come in another order.
        insert(connection, rows, {**VALUES, "number": 3})
    with database.read() as connection:
        stored = connection.execute(sa.select(rows).order_by(rows.c.number)).all()
    database.close()
    assert [tuple(row[1:]) for row in stored] == [(NOON, True, b"\0\xff", "left out", 0.1)] * 3


def test_what_the_driver_cannot_do_is_told_as_everywhere(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path))
    with pytest.raises(ServerUnavailableError, match="nothing was stored"), database.write() as connection:
        insert(connection, rows, {"number": 1})
    database.close()
