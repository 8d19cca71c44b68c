"""The store: everything that must outlive the server, in one database.

All methods are synchronous, may be called from any thread, and never from the event loop (a write waits for the
disk). `now` is always an aware UTC datetime. After each commit that touched a job, the hub is told its uid.
Every method may raise ServerUnavailableError when the database cannot be used just now,
and LimitExceededError when the disk is full (to trainers that is ServerUnavailableError too); then nothing was stored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from gradloom.jobs.attempt_writes import AttemptWrites
from gradloom.jobs.checkpoints import Checkpoints
from gradloom.jobs.database import Database
from gradloom.jobs.deletion import Deletion
from gradloom.jobs.events import Hub
from gradloom.jobs.job_writes import JobWrites
from gradloom.jobs.limit_writes import LimitWrites
from gradloom.jobs.pause_writes import PauseWrites
from gradloom.jobs.reads import Reads
from gradloom.jobs.report_writes import ReportWrites
from gradloom.jobs.requests import Requests
from gradloom.jobs.reserve import Reserve
from gradloom.jobs.retention import Retention
from gradloom.jobs.retries import Retries
from gradloom.jobs.scalars import Scalars
from gradloom.jobs.situation import Situations


class Store(
    Reads,
    Situations,
    JobWrites,
    PauseWrites,
    AttemptWrites,
    LimitWrites,
    ReportWrites,
    Checkpoints,
    Retries,
    Scalars,
    Deletion,
    Retention,
    Requests,
):
    """Jobs and all that belongs to them, in a database; what each part offers stands in its own module."""

    def __init__(self, database: Database, hub: Hub):
        self._database = database
        self.hub = hub

    @classmethod
    def open(cls, url: str, hub: Hub | None = None, reserve: Reserve | None = None) -> Self:
        """Opens the database and upgrades its schema to the newest; creates it when there is none.

        With a reserve of the database's, what cannot wait is stored on a full disk, too.

        `url` is SQLAlchemy's, such as `sqlite:////var/lib/gradloom/gradloom.db`. Raises StoreUnusableError
        (gradloom.jobs.database) with the cause for a database that cannot be opened, is not Gradloom's or has a newer
        schema.
        """
        return cls(Database(url, reserve), hub or Hub())

    def close(self) -> None:
        """Closes the database; the store is of no use afterwards."""
        self._database.close()

    def full_disk(self) -> str:
        """Says that the database's disk is full, as a clause; empty when it is not. Then what can wait is refused."""
        return self._database.full_disk()

    def make_reserve_again(self) -> None:
        """Ends a full disk once there is room: to be called again and again."""
        self._database.make_reserve_again()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Makes what this thread changes within durable at once, at the end; nobody sees or is told of it before.

        A change that is refused leaves nothing behind, and the others stand. ServerUnavailableError and
        LimitExceededError must go through, and then nothing of all is stored.
        """
        with self.hub.held(), self._database.together():
            yield
