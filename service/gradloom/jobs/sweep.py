"""Removes files of a job's ended attempts that look like checkpoints and are not on record."""

from gradloom.jobs.leavings import sweep_checkpoints
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2


def sweep_job(store: Store, uid: str) -> None:
    """Sweeps the attempts that have ended: only then can none of these files still be put on record.

    What a server leaves that dies first, the next one sweeps.
    """
    recorded = {stored.file for stored in store.checkpoints_of(uid)}
    for attempt in store.attempts_of(uid):
        if attempt.state == job_pb2.Attempt.ENDED:
            sweep_checkpoints(attempt.directory, recorded)
    store.mark_swept(uid)
