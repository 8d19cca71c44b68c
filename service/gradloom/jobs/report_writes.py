"""What trainers report: each call belongs to one live attempt and changes nothing once that is superseded."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import (
    AttemptSupersededError,
    FieldFault,
    InvalidRequestError,
    LimitExceededError,
    PermissionDeniedError,
    ServerUnavailableError,
    WrongStateError,
)
from gradloom.job import REASON_RULES, SAVING_REASONS, JobName
from gradloom.jobs.database import Database
from gradloom.jobs.events import Hub
from gradloom.jobs.manifest import manifest_faults
from gradloom.jobs.messages import attempt_row
from gradloom.jobs.queries import ATTEMPTS, attempt_is
from gradloom.jobs.records import AttemptRow, ReportOutcome
from gradloom.jobs.scalars import add_points, point_faults
from gradloom.jobs.schema import attempts, specs
from gradloom.jobs.transitions import add_events, move_job
from gradloom.v1 import job_pb2, spec_pb2

_PREPARING: Final = (job_pb2.Progress.PHASE_UNSPECIFIED, job_pb2.Progress.PREPARING)
_REPORTED_KINDS: Final = (job_pb2.Event.EPOCH_ENDED, job_pb2.Event.NOTICE)


class ReportWrites:
    """The trainers' half of the store's writes; each raises AttemptSupersededError for an attempt that has ended."""

    _database: Database
    hub: Hub

    def attempt_by_token(self, token_digest: str) -> AttemptRow:
        """The live attempt that holds the token.

        Raises PermissionDeniedError for a token that was never given, AttemptSupersededError when its attempt has
        ended.
        """
        with asked_again(), self._database.read() as connection:
            row = connection.execute(ATTEMPTS.where(attempts.c.token_digest == token_digest)).one_or_none()
        if row is None:
            raise PermissionDeniedError("this token is no attempt's")
        _refuse_ended(row)
        return attempt_row(row)

    def record_resolved_spec(self, uid: str, number: int, resolved_spec: spec_pb2.ResolvedSpec, now: datetime) -> None:
        """Stores what runs; a repeat with the same content is fine, with another WrongStateError.

        A job that is being cancelled keeps what it has.
        """
        with asked_again(), self._database.write() as connection:
            row = live(connection, uid, number)
            self._database.need_room()
            stored = connection.execute(sa.select(specs.c.resolved_spec).where(specs.c.job_uid == uid)).scalar_one()
            if stored is not None:
                if spec_pb2.ResolvedSpec.FromString(stored) == resolved_spec:
                    return
                name = JobName(row.project, row.job_id)
                raise WrongStateError(str(name), f"{name} was resolved by an earlier attempt, and differently")
            if row.job_state == job_pb2.Job.CANCELLING:
                return
            connection.execute(
                specs.update().where(specs.c.job_uid == uid).values(resolved_spec=resolved_spec.SerializeToString())
            )
            add_events(connection, uid, number, _resolved_notices(resolved_spec), now)
        self.hub.publish(uid)

    def record_report(self, uid: str, number: int, report: attempt_pb2.ReportRequest, now: datetime) -> ReportOutcome:
        """Stores a look: progress, new events and points, released devices; one beyond PREPARING makes the job RUNNING.

        Progress and points do not wait for the disk where they are all: the power may take them, and with them every
        checkpoint that was put on record later. InvalidRequestError on `event_offset` and `points_offset` when what
        comes before is missing, on `events[i].kind` for one that only the store may write, on `points[i]` for one that
        is of no step.
        """
        _check(report)
        with asked_again(), self._database.read() as connection:
            durable = _must_last(live(connection, uid, number), report)
        with asked_again(), self._database.write(durable=durable) as connection:
            row = live(connection, uid, number)
            if not is_stopping(row):
                self._database.need_room()
            _check_offsets(row, report)
            new_events = report.events[row.reported_events - report.event_offset :]
            new_points = report.points[row.reported_points - report.points_offset :]
            started = _starts_running(row, report) and (
                move_job(connection, uid, job_pb2.Job.RUNNING, now, came_from=[job_pb2.Job.STARTING]) is not None
            )
            if new_events:
                add_events(connection, uid, number, list(new_events), now)
            if new_points:
                add_points(connection, uid, number, new_points, now)
            changes: dict[str, Any] = {
                "beat": report.beat,
                "reported_events": row.reported_events + len(new_events),
                "reported_points": row.reported_points + len(new_points),
                "devices_released": row.devices_released or report.devices_released,
            }
            if report.HasField("progress"):
                changes["progress"] = _progress(report.progress, number)
            if report.checkpoint_in and row.checkpoint_in is None:
                changes["checkpoint_in"] = report.checkpoint_in
            if started and row.state == job_pb2.Attempt.STARTING:
                changes["state"] = job_pb2.Attempt.RUNNING
            connection.execute(attempts.update().where(attempt_is(uid, number)).values(**changes))
        self.hub.publish(uid)
        return ReportOutcome(
            directive=_directive(row),
            repeated=report.beat == row.beat,
            started_running=started,
        )

    def finish_attempt(self, uid: str, number: int, finish: attempt_pb2.FinishAttemptRequest, now: datetime) -> None:
        """Keeps how the trainer ended, with its manifest; the first one stands. The job ends when end_attempt says so.

        Raises InvalidRequestError for a reason that is none, and for paths in the manifest that are not clean and
        relative, or repeat.
        """
        faults = manifest_faults(finish.artifacts)
        if finish.reason not in REASON_RULES:
            faults.append(FieldFault("reason", f"must say why the attempt ended; got {finish.reason}"))
        if faults:
            raise InvalidRequestError(faults)
        with asked_again(), self._database.write() as connection:
            row = live(connection, uid, number)
            if row.finish is not None:
                return
            changes: dict[str, Any] = {"finish": finish.SerializeToString()}
            if finish.HasField("progress"):
                changes["progress"] = _progress(finish.progress, number)
            connection.execute(attempts.update().where(attempt_is(uid, number)).values(**changes))
        self.hub.publish(uid)


@contextmanager
def asked_again() -> Iterator[None]:
    """Turns a limit that is reached for now, such as a full disk, into a server that is away.

    A trainer waits for that and asks again; hours of training must not end for want of room for a line about them.
    """
    try:
        yield
    except LimitExceededError as error:
        raise ServerUnavailableError(str(error)) from error


def live(connection: sa.Connection, uid: str, number: int) -> sa.Row[Any]:
    """The attempt with its job's state; AttemptSupersededError unless it is live. A write transaction keeps it so."""
    row = connection.execute(ATTEMPTS.where(attempt_is(uid, number))).one_or_none()
    if row is None:
        raise AttemptSupersededError(f"job {uid} has no attempt {number}")
    _refuse_ended(row)
    return row


def is_stopping(attempt: sa.Row[Any]) -> bool:
    """Whether somebody waits for the attempt to end, to which an answer to its trainer belongs."""
    return bool(attempt.state == job_pb2.Attempt.STOPPING or attempt.job_state == job_pb2.Job.CANCELLING)


def _refuse_ended(row: sa.Row[Any]) -> None:
    if row.state == job_pb2.Attempt.ENDED:
        raise AttemptSupersededError(f"{JobName(row.project, row.job_id).attempt(row.number)} has ended")


def _starts_running(row: sa.Row[Any], report: attempt_pb2.ReportRequest) -> bool:
    return row.job_state == job_pb2.Job.STARTING and report.progress.phase not in _PREPARING


def _directive(row: sa.Row[Any]) -> attempt_pb2.ReportResponse.Directive:
    """What the trainer is told. A cancelled job goes on from nowhere; one that is paused, for instance, does."""
    if row.job_state == job_pb2.Job.CANCELLING:
        return attempt_pb2.ReportResponse.STOP
    if row.state != job_pb2.Attempt.STOPPING:
        return attempt_pb2.ReportResponse.CONTINUE
    if row.reason in SAVING_REASONS:
        return attempt_pb2.ReportResponse.CHECKPOINT_AND_STOP
    return attempt_pb2.ReportResponse.STOP


def _must_last(row: sa.Row[Any], report: attempt_pb2.ReportRequest) -> bool:
    """Whether the report holds more than progress and points, which alone may be lost with the power."""
    return (
        len(report.events) + report.event_offset > row.reported_events
        or (report.devices_released and not row.devices_released)
        or (bool(report.checkpoint_in) and row.checkpoint_in is None)
        or _starts_running(row, report)
    )


def _progress(progress: job_pb2.Progress, number: int) -> bytes:
    kept = job_pb2.Progress()
    kept.CopyFrom(progress)
    kept.attempt = number
    # Told by the checkpoints on record.
    kept.ClearField("checkpoint_step")
    return kept.SerializeToString()


def _check_offsets(row: sa.Row[Any], report: attempt_pb2.ReportRequest) -> None:
    faults = [
        FieldFault(field, f"must be at most {stored}, the {what} that are stored; got {given}")
        for field, what, given, stored in (
            ("event_offset", "events", report.event_offset, row.reported_events),
            ("points_offset", "points", report.points_offset, row.reported_points),
        )
        if given > stored
    ]
    if faults:
        raise InvalidRequestError(faults)


def _check(report: attempt_pb2.ReportRequest) -> None:
    faults = [
        FieldFault(f"events[{index}].kind", f"must be EPOCH_ENDED or NOTICE; got {event.kind}")
        for index, event in enumerate(report.events)
        if event.kind not in _REPORTED_KINDS
    ]
    for field in ("event_offset", "points_offset"):
        if getattr(report, field) < 0:
            faults.append(FieldFault(field, f"must not be negative; got {getattr(report, field)}"))
    faults += point_faults(report.points)
    if faults:
        raise InvalidRequestError(faults)


def _resolved_notices(resolved: spec_pb2.ResolvedSpec) -> list[job_pb2.Event]:
    trained = sum(variable.trained for variable in resolved.variables)
    groups = len(resolved.spec.variable_groups)
    told = [f"resolved the spec: {len(resolved.variables)} variables, {trained} of them trained, in {groups} groups"]
    if resolved.synchronized_layers:
        told.append(f"made synchronized over the replicas: {', '.join(resolved.synchronized_layers)}")
    if resolved.replica_dependent_layers:
        layers = ", ".join(resolved.replica_dependent_layers)
        told.append(f"random numbers that depend on the number of replicas, and with them the result: {layers}")
    return [job_pb2.Event(kind=job_pb2.Event.NOTICE, message=message) for message in told]
