"""The history of the schema, as Alembic revisions.

Run from here, without an alembic.ini, so that an installed package finds them.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


class UnknownRevisionError(Exception):
    """The database is at a revision that is not among ours."""

    def __init__(self, revision: str):
        self.revision = revision
        super().__init__(revision)


def configuration() -> Config:
    """Alembic's configuration with this package as its scripts."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def upgrade(connection: sa.Connection) -> None:
    """Brings the schema to the newest revision, in the connection's transaction.

    Raises UnknownRevisionError for a database that is ahead of this code.
    """
    config = configuration()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if sa.inspect(connection).has_table("alembic_version"):
        for revision in connection.scalars(sa.text("SELECT version_num FROM alembic_version")):
            if revision not in known:
                raise UnknownRevisionError(revision)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
