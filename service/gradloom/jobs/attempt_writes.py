"""What the scheduler changes: attempts are claimed, stopped and ended, and their leases renewed."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import AttemptSupersededError, WrongStateError
from gradloom.job import REASON_RULES, JobName, state_name
from gradloom.jobs.database import Database
from gradloom.jobs.events import Hub
from gradloom.jobs.manifest import artifact_rows
from gradloom.jobs.messages import attempt_row, job_message
from gradloom.jobs.places import place_after
from gradloom.jobs.queries import ATTEMPT_IS_LIVE, ATTEMPTS, JOBS, attempt_is
from gradloom.jobs.records import AttemptOutcome, AttemptRow
from gradloom.jobs.schema import artifacts, attempts, jobs
from gradloom.jobs.transitions import add_events, move_job
from gradloom.v1 import job_pb2


class AttemptWrites:
    """The scheduler's half of the store's writes."""

    _database: Database
    hub: Hub

    def claim(
        self,
        uid: str,
        devices: Sequence[str],
        token_digest: str,
        lease_owner: str,
        now: datetime,
        *,
        artifact_root: str,
    ) -> AttemptRow | None:
        """Takes a QUEUED job to STARTING and begins its next attempt; None when it no longer waits.

        `token_digest` is any text that only this attempt's token gives, such as its sha256 in hex.
        """
        with self._database.write() as connection:
            self._database.need_room()
            number = move_job(
                connection,
                uid,
                job_pb2.Job.STARTING,
                now,
                attempt_count=jobs.c.attempt_count + 1,
                start_time=now,
            )
            if number is None:
                return None
            connection.execute(
                attempts.insert().values(
                    job_uid=uid,
                    number=number,
                    state=job_pb2.Attempt.STARTING,
                    reason=job_pb2.Job.REASON_UNSPECIFIED,
                    message="",
                    devices=json.dumps(list(devices)),
                    devices_released=False,
                    artifact_root=artifact_root,
                    token_digest=token_digest,
                    lease_owner=lease_owner,
                    lease_beat=0,
                    beat=0,
                    reported_events=0,
                    queued_time=sa.select(jobs.c.queued_time).where(jobs.c.uid == uid).scalar_subquery(),
                    start_time=now,
                )
            )
            claimed = attempt_row(connection.execute(ATTEMPTS.where(attempt_is(uid, number))).one())
        self.hub.publish(uid)
        return claimed

    def note_waiting(self, uid: str, message: str, now: datetime) -> None:
        """Adds a notice to the events of a job, as long as it waits."""
        with self._database.write() as connection:
            waits = (jobs.c.uid == uid) & (jobs.c.state == job_pb2.Job.QUEUED)
            if connection.scalar(sa.select(jobs.c.uid).where(waits)) is None:
                return
            add_events(connection, uid, 0, [job_pb2.Event(kind=job_pb2.Event.NOTICE, message=message)], now)
        self.hub.publish(uid)

    def mark_stopping(self, uid: str, number: int, reason: int, message: str) -> bool:
        """Notes that a live attempt is being ended, and why; its reports are answered accordingly from now on.

        The first reason stands. False when the attempt has ended or is being ended already.
        """
        with self._database.write() as connection:
            marked = stop_attempt(connection, uid, number, reason, message)
        self.hub.publish(uid)
        return marked

    def end_attempt(
        self, uid: str, number: int, outcome: AttemptOutcome, next_state: int, now: datetime
    ) -> job_pb2.Job:
        """Ends a live attempt and takes its job to `next_state`, in one transaction.

        That is QUEUED, with the outcome's backoff, PAUSED or a terminal one.

        SUCCEEDED needs the attempt's finish with COMPLETED, and puts its export and manifest on record. Raises
        AttemptSupersededError when the attempt is no longer live, WrongStateError when the job cannot go there any
        more (a cancel came first): then nothing changed, and the caller reads again and decides again. Returns the
        job without its spec.
        """
        with self._database.write() as connection:
            ended = _end(connection, uid, number, outcome, now)
            finish = attempt_pb2.FinishAttemptRequest.FromString(ended.finish or b"")
            manifest = list(outcome.artifacts)
            export = None
            if next_state == job_pb2.Job.SUCCEEDED:
                if finish.reason != job_pb2.Job.COMPLETED:
                    raise WrongStateError(f"attempt {number} of {uid}", "an attempt that never finished cannot succeed")
                manifest += finish.artifacts
                export = finish.export.SerializeToString()
            rule = REASON_RULES[outcome.reason]
            waits = next_state in (job_pb2.Job.QUEUED, job_pb2.Job.PAUSED)
            place: dict[str, Any] = {"place": place_after(connection, uid, ended.progress)} if waits else {}
            error = outcome.error if next_state == job_pb2.Job.FAILED else None
            moved = move_job(
                connection,
                uid,
                next_state,
                now,
                reason=outcome.reason,
                message=outcome.message,
                error=_serialized(error),
                export=export,
                backoff_seconds=outcome.backoff_seconds if next_state == job_pb2.Job.QUEUED else None,
                counted_attempts=jobs.c.counted_attempts + int(rule.counted),
                uncounted_attempts=0 if ended.advanced else jobs.c.uncounted_attempts + int(rule.lost),
                **place,
            )
            row = connection.execute(JOBS.where(jobs.c.uid == uid)).one()
            if moved is None:
                name = JobName(row.project, row.job_id)
                raise WrongStateError(
                    str(name), f"{name} is {state_name(row.state)}, which {state_name(next_state)} does not follow"
                )
            if manifest:
                connection.execute(artifacts.insert(), artifact_rows(uid, number, manifest))
        self.hub.publish(uid)
        return job_message(row)

    def renew_leases(self, owner: str, beat: int) -> None:
        """Moves the counter of every live attempt of the owner."""
        with self._database.write(durable=False) as connection:
            connection.execute(
                attempts.update().where(attempts.c.lease_owner == owner, ATTEMPT_IS_LIVE).values(lease_beat=beat)
            )

    def take_over(self, owner: str) -> Sequence[AttemptRow]:
        """Gives every live attempt to the owner and returns them: for a server that just locked its directory."""
        with self._database.write() as connection:
            connection.execute(attempts.update().where(ATTEMPT_IS_LIVE).values(lease_owner=owner, lease_beat=0))
            return [attempt_row(row) for row in connection.execute(ATTEMPTS.where(ATTEMPT_IS_LIVE))]


def stop_attempt(connection: sa.Connection, uid: str, number: int, reason: int, message: str) -> bool:
    """Marks a live attempt that is not being ended yet; see `AttemptWrites.mark_stopping`."""
    marked = connection.execute(
        attempts.update()
        .where(attempt_is(uid, number), ATTEMPT_IS_LIVE, attempts.c.state != job_pb2.Attempt.STOPPING)
        .values(state=job_pb2.Attempt.STOPPING, reason=reason, message=message)
    )
    return marked.rowcount == 1


def _serialized(error: job_pb2.JobError | None) -> bytes | None:
    return None if error is None else error.SerializeToString()


def _end(connection: sa.Connection, uid: str, number: int, outcome: AttemptOutcome, now: datetime) -> sa.Row[Any]:
    """Ends the attempt; returns its `finish` (None: its trainer never said how), `progress` and `advanced`."""
    row = connection.execute(
        attempts.update()
        .where(attempt_is(uid, number), ATTEMPT_IS_LIVE)
        .values(
            state=job_pb2.Attempt.ENDED,
            reason=outcome.reason,
            message=outcome.message,
            error=_serialized(outcome.error),
            counted=REASON_RULES[outcome.reason].counted,
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            peak_memory_bytes=outcome.peak_memory_bytes,
            cpu_seconds=outcome.cpu_seconds,
            log_size_bytes=outcome.log_size_bytes,
            log_dropped_bytes=outcome.log_dropped_bytes,
            end_time=now,
        )
        .returning(attempts.c.finish, attempts.c.progress, attempts.c.advanced)
    ).one_or_none()
    if row is None:
        raise AttemptSupersededError(f"attempt {number} of job {uid} is not live: it ended before, or never was")
    return row
