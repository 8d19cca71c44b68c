"""The migrations make what `gradloom.jobs.schema` says, and an installed package finds them."""

import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

import gradloom
from gradloom.jobs import migrations, schema
from gradloom.jobs.store import Store
from gradloom.v1.job_pb2 import Attempt, Job
from tests.stores import STORES, Desk, name_of, sqlite_url


def test_the_migrations_make_the_tables_of_the_schema(tmp_path):
    Store.open(sqlite_url(tmp_path)).close()
    engine = sa.create_engine(sqlite_url(tmp_path))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sa.exc.SAWarning)  # Partial indexes cannot be reflected in full.
            warnings.filterwarnings("ignore", "Computed default on jobs")  # Nor what generates a column; see below.
            assert compare_metadata(context, schema.metadata) == []
        made = connection.scalar(sa.text("SELECT sql FROM sqlite_master WHERE name = 'jobs'"))
        for column in (schema.jobs.c.start_order, schema.jobs.c.end_order, schema.jobs.c.demand):
            assert f"{column.name} BIGINT GENERATED ALWAYS AS ({column.computed.sqltext})" in made
    engine.dispose()


def test_the_newest_revision_is_the_one_that_the_store_expects():
    assert ScriptDirectory.from_config(migrations.configuration()).get_heads() == [schema.HEAD]


def test_opening_again_changes_nothing_and_imports_no_alembic(tmp_path):
    store = STORES["sqlite"](tmp_path)
    Desk(store).create("one")
    store.close()
    code = (
        "import sys; from gradloom.jobs.store import Store; store = Store.open(sys.argv[1]);"
        "print(len(store.list_jobs('default')[0])); store.close(); sys.exit('alembic' in sys.modules)"
    )
    opened = subprocess.run(
        [sys.executable, "-c", code, sqlite_url(tmp_path)], capture_output=True, text=True, check=True
    )
    assert opened.stdout == "1\n"


def test_every_revision_can_be_undone(tmp_path):
    Store.open(sqlite_url(tmp_path)).close()
    engine = sa.create_engine(sqlite_url(tmp_path))
    with engine.begin() as connection:
        configuration = migrations.configuration()
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "base")
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]
    engine.dispose()
    store = Store.open(sqlite_url(tmp_path))
    Desk(store).create("one")
    assert store.get_job(name_of("one")).attempt_count == 0
    store.close()


def test_a_database_of_the_first_revision_is_taken_over_with_its_jobs(tmp_path):
    store = Store.open(sqlite_url(tmp_path))
    attempt = Desk(store).run("one")
    store.close()
    engine = sa.create_engine(sqlite_url(tmp_path))
    with engine.begin() as connection:
        configuration = migrations.configuration()
        configuration.attributes["connection"] = connection
        command.downgrade(configuration, "0001")
    engine.dispose()
    store = Store.open(sqlite_url(tmp_path))
    assert store.live_attempts() == [
        replace(attempt, state=Attempt.RUNNING, job_state=Job.RUNNING, beat=1, is_training=True)
    ]
    Desk(store).save(attempt, 30)
    assert store.get_job(name_of("one")).progress.checkpoint_step == 30
    store.close()


def test_an_installed_package_finds_its_migrations_wherever_it_lies(tmp_path):
    """In a directory with a space and a percent sign, away from the repository, read-only."""
    site = tmp_path / "site 100%"
    shutil.copytree(Path(gradloom.__file__).parent, site / "gradloom", ignore=shutil.ignore_patterns("__pycache__"))
    for path in site.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    code = (
        "import sys, gradloom; from gradloom.jobs.store import Store;"
        "Store.open(sys.argv[1]).close(); print(gradloom.__file__)"
    )
    opened = subprocess.run(
        [sys.executable, "-c", code, sqlite_url(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    for path in site.rglob("*"):
        path.chmod(0o755)
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout.startswith(str(site))


def test_the_schema_can_be_said_in_postgresql_too():
    dialect = postgresql.dialect()
    for table in schema.metadata.sorted_tables:
        CreateTable(table).compile(dialect=dialect)
        for index in table.indexes:
            CreateIndex(index).compile(dialect=dialect)
    live = next(index for index in schema.attempts.indexes if index.name == "attempts_live")
    assert str(CreateIndex(live).compile(dialect=dialect)).endswith("WHERE state <> 4")
