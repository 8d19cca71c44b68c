"""A store with real files below an artifact root, and the housekeepers of servers that follow each other over it."""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from gradloom.jobs.housekeeping import Housekeeper
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.stores import Desk, name_of, outcome, sqlite_url

Job = job_pb2.Job


@dataclass
class House:
    """What the tests of the housekeeper stand on; `seconds` is its monotonic clock."""

    directory: Path
    seconds: float = 1000.0
    instruments: Instruments = field(default_factory=lambda: Instruments(60.0))

    def __post_init__(self) -> None:
        self.root = self.directory / "artifacts"
        self.root.mkdir()
        self.store = Store.open(sqlite_url(self.directory))
        self.desk = Desk(self.store, artifact_root=str(self.root))
        self.serve()

    def serve(self) -> None:
        """Begins another server over what the one before left."""
        self.keeper = Housekeeper(self.store, self.instruments, self.root, lambda: self.seconds)
        self.keeper.begin()

    def run(self, job_id: str, job: job_pb2.Job | None = None) -> AttemptRow:
        """Creates a job and claims it; its attempt's directory holds a log."""
        uid = (self.desk.submit(job_id, job) if job is not None else self.desk.create(job_id)).uid
        attempt = self.desk.claim(uid)
        (attempt.directory / "log").mkdir(parents=True)
        (attempt.directory / "log" / "attempt.log").write_text("a line\n")
        return attempt

    def save(self, attempt: AttemptRow, step: int, **fields: object) -> Path:
        """Puts a checkpoint on record, and a file in its place."""
        file = attempt.directory / "checkpoints" / f"{step}.ckpt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"weights")
        for superfluous in self.desk.save(attempt, step, **fields).dropped:
            superfluous.unlink()
        return file

    def fail(self, attempt: AttemptRow) -> None:
        """Ends the attempt and its job, as the scheduler does."""
        self.desk.end(attempt, outcome(Job.TRAINER_RAISED), Job.FAILED)
        self.store.mark_swept(attempt.uid)

    def rows_of(self, uid: str) -> dict[str, int]:
        """How many rows each table of the database holds of a job, without those that hold none."""
        with sqlite3.connect(self.directory / "gradloom.db") as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            counts = {}
            for table in tables:
                columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                for column in columns & {"job_uid", "uid"}:
                    (count,) = connection.execute(f"SELECT count(*) FROM {table} WHERE {column} = ?", (uid,)).fetchone()
                    counts[table] = count
        connection.close()
        return {table: count for table, count in counts.items() if count}

    def exists(self, job_id: str) -> bool:
        """Whether a reader finds the job."""
        return any(job.name == str(name_of(job_id)) for job in self.store.list_jobs("default")[0])
