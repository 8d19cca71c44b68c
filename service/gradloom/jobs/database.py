"""Opens the database, brings its schema up to date, and runs transactions: many readers, one writer.

SQLite in WAL mode: readers never wait for the writer. Writers take turns at a lock here and then begin with BEGIN
IMMEDIATE, so that no write finds out half-way that another process was faster. A commit waits for the disk
(synchronous=FULL) unless it says that it may be lost with the power; it is never lost with the process.
"""

import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.pool import QueuePool

from gradloom.errors import LimitExceededError, ServerUnavailableError
from gradloom.jobs import schema
from gradloom.jobs.reserve import Reserve

BUSY_TIMEOUT_SECONDS: Final = 10.0
"""How long a writer waits for a foreign process that holds the database, such as a backup."""
READERS: Final = 8
READ_TIMEOUT_SECONDS: Final = 30.0
_PAGE_CACHE_KIB: Final = 1024
"""Of each connection: these fill over the first thousand jobs, and nothing else grows with the number of jobs."""
_WAL_LIMIT_BYTES: Final = 16 << 20


class StoreUnusableError(RuntimeError):
    """The database cannot be used at all; the message says which and why. The server does not start with it."""


class Database:
    """One open database with its schema at the newest revision."""

    def __init__(self, url: str, reserve: Reserve | None = None):
        """Without a reserve there is no room for anything on a full disk."""
        self._url = _checked(url)
        self._reserve = reserve or Reserve(path_of(self._url), size_bytes=0)
        self._write_lock = threading.Lock()
        self._is_durable = True
        self._shared = threading.local()
        self._writer = self._engine(read_only=False, connections=1)
        self._readers = self._engine(read_only=True, connections=READERS)
        # Connections stay open and in hand: to take one from a pool and give it back costs as much as a query.
        self._idle_readers: queue.LifoQueue[sa.Connection | None] = queue.LifoQueue()
        for _ in range(READERS):
            self._idle_readers.put(None)
        self._reserve.begin()
        try:
            self._writing = self._writer.connect()
            with self._writing.begin():
                _upgrade(self._writing, self._url)
            self._reserve.settle()
        except (exc.DBAPIError, sqlite3.DatabaseError) as error:
            full, cause = self._reserve.full(), _cause(error)
            self.close()
            told = f"{full}; make room there, and start the server again" if full else str(cause)
            raise StoreUnusableError(f"cannot use the database {_shown(self._url)}: {told}") from error
        except (StoreUnusableError, OSError):
            self.close()
            raise

    def close(self) -> None:
        """Closes every connection; the last one folds the WAL into the database."""
        while not self._idle_readers.empty():
            if (reader := self._idle_readers.get_nowait()) is not None:
                reader.close()
        self._readers.dispose()
        if hasattr(self, "_writing"):
            self._writing.close()
        self._writer.dispose()
        self._reserve.end()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one moment of the database and changes nothing."""
        with self._translated_failures():
            reader = self._idle_readers.get(timeout=READ_TIMEOUT_SECONDS)
            try:
                reader = reader or self._readers.connect()
                with reader.begin():
                    yield reader
            finally:
                self._idle_readers.put(reader)

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sa.Connection]:
        """A transaction that is committed at the end, or leaves nothing behind when something is raised.

        With durable=False the commit does not wait for the disk: it outlives the process, but a power cut may take it.
        Within `together` it is part of that transaction. On a full disk it is stored in the reserve, unless it says
        that it needs room.
        """
        connection: sa.Connection | None = getattr(self._shared, "connection", None)
        if connection is not None:
            with self._translated_failures(), _savepoint(connection):
                yield connection
            return
        with self._translated_failures(), self._write_lock:
            if self._reserve.is_needed():
                self._reserve.give_up(self._fold_log)
            self._is_durable = durable
            try:
                with self._writing.begin():
                    yield self._writing
            except (exc.OperationalError, sqlite3.OperationalError, LimitExceededError) as error:
                if not (_is_full(error) and self._reserve.is_held):
                    raise
                self._reserve.give_up(self._fold_log)
                raise ServerUnavailableError("the server's disk is full; nothing was stored; ask again") from error

    def need_room(self) -> None:
        """Refuses, with LimitExceededError, what can wait while the disk is full; within a write."""
        if full := self._reserve.full():
            raise _refusal(full)

    def full_disk(self) -> str:
        """Says that the disk is full, as a clause; empty when it is not."""
        return self._reserve.full()

    def make_reserve_again(self) -> None:
        """Ends a full disk once there is room: to be called again and again."""
        if not self._reserve.is_held:
            with self._translated_failures(), self._write_lock:
                self._reserve.make_again(lambda: self._fold_log("TRUNCATE"))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Makes one durable transaction of this thread's writes within: they wait for the disk once.

        A write that raises leaves nothing behind, and the others stand. When the database itself fails, nothing of any
        of them may be kept: what it raised must go through here.
        """
        with self.write() as connection:
            self._shared.connection = connection
            try:
                yield
            finally:
                self._shared.connection = None

    def _fold_log(self, how: str = "PASSIVE") -> bool:
        """Moves what the WAL holds into the database, as far as that has room and readers let it; tells whether all."""
        driver: Any = self._writing.connection.dbapi_connection
        # Whoever reads for long, such as a backup, is not waited for: it is tried again.
        driver.execute("PRAGMA busy_timeout=0")
        try:
            is_busy, in_log, folded = driver.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
        except sqlite3.OperationalError:
            return False
        finally:
            driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000:.0f}")
        return not is_busy and in_log == folded

    @contextmanager
    def _translated_failures(self) -> Iterator[None]:
        """What the database cannot do just now becomes an error that callers may see; its text names no file."""
        try:
            yield
        except (exc.OperationalError, sqlite3.OperationalError) as error:
            if _is_full(error):
                raise _refusal(self._reserve.full() or "the server's disk is full") from error
            cause = "its disk is read-only" if self._reserve.is_read_only() else _cause(error)
            raise ServerUnavailableError(
                f"the server's database cannot be used now ({cause}); nothing was stored"
            ) from error
        except queue.Empty as error:
            raise LimitExceededError("too many reads of the server's database at once", subject="database") from error

    def _engine(self, *, read_only: bool, connections: int) -> sa.Engine:
        engine = sa.create_engine(
            self._url,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=READ_TIMEOUT_SECONDS,
            connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )

        engine.dialect.statement_compiler = _HintedCompiler

        @sa.event.listens_for(engine, "connect")
        def configure(connection: sqlite3.Connection, _record: object) -> None:
            connection.isolation_level = None  # Transactions begin below, not where the driver guesses.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute(f"PRAGMA cache_size=-{_PAGE_CACHE_KIB}")
            connection.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}")
            if read_only:
                connection.execute("PRAGMA query_only=ON")

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            # Straight to the driver: through SQLAlchemy each of these costs as much as a query.
            driver: Any = connection.connection.dbapi_connection
            if read_only:
                driver.execute("BEGIN")
                return
            if connection.info.get("is_durable") is not self._is_durable:
                driver.execute(f"PRAGMA synchronous={'FULL' if self._is_durable else 'NORMAL'}")
                connection.info["is_durable"] = self._is_durable
            driver.execute("BEGIN IMMEDIATE")

        return engine


class _HintedCompiler(SQLiteCompiler):
    """Writes hints, such as INDEXED BY, behind their tables; SQLAlchemy's own compiler leaves them out."""

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:
        return text


@contextmanager
def _savepoint(connection: sa.Connection) -> Iterator[None]:
    """Undoes what is done within when it raises, unless the database undid the whole transaction itself."""
    driver: Any = connection.connection.dbapi_connection
    driver.execute("SAVEPOINT write")
    try:
        yield
    except BaseException:
        if driver.in_transaction:
            driver.execute("ROLLBACK TO write")
            driver.execute("RELEASE write")
        raise
    driver.execute("RELEASE write")


def _checked(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except exc.ArgumentError as error:
        raise StoreUnusableError(f"cannot read the database URL {text!r}") from error
    if url.get_backend_name() != "sqlite" or url.get_driver_name() != "pysqlite":
        raise StoreUnusableError(f"the database URL must begin with sqlite:///, got {_shown(url)}")
    if url.database in (None, "", ":memory:"):
        raise StoreUnusableError("the database must be a file: jobs have to outlive the server")
    return url


def _shown(url: sa.URL) -> str:
    return url.render_as_string(hide_password=True)


def _upgrade(connection: sa.Connection, url: sa.URL) -> None:
    """Runs the missing migrations in the open transaction: all of them or none."""
    tables = set(sa.inspect(connection).get_table_names())
    if "alembic_version" in tables:
        revision = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        if revision == schema.HEAD:
            # Changes nothing; tells now, and not at the first job, that the database cannot be written.
            connection.execute(sa.text("UPDATE alembic_version SET version_num = version_num"))
            return
    elif tables:
        raise StoreUnusableError(f"the database {_shown(url)} is not Gradloom's: it holds {', '.join(sorted(tables))}")
    # Imported only when there is something to do: it costs 10 MiB that a running server does not need.
    from gradloom.jobs import migrations

    try:
        migrations.upgrade(connection)
    except migrations.UnknownRevisionError as error:
        raise StoreUnusableError(
            f"the database {_shown(url)} was written by a newer Gradloom: its schema is at {error.revision!r}, "
            f"this one knows up to {schema.HEAD!r}; use the newer Gradloom, or a copy of the data directory from before"
        ) from error


def path_of(url: sa.URL) -> Path:
    """The database's file."""
    return Path(str(url.database).removeprefix("file:"))


def _cause(error: Exception) -> Any:
    return error.orig if isinstance(error, exc.DBAPIError) else error


def _is_full(error: BaseException) -> bool:
    """Whether SQLite found no room, also where that was translated already."""
    return any(
        getattr(_cause(seen), "sqlite_errorname", "") == "SQLITE_FULL"
        for seen in (error, error.__cause__)
        if isinstance(seen, Exception)
    )


def _refusal(full: str) -> LimitExceededError:
    """Waiting does not help, so it says nothing of when to try again."""
    told = f"{full}, so nothing was stored: `gradloom delete JOB` removes what a job has; or make room by other means"
    return LimitExceededError(told, subject="disk", retry_after_seconds=None)
