"""Jobs, attempts and files as lines for people."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from gradloom.client import text
from gradloom.client.names import enum_name, shortest_reference
from gradloom.client.resolved import resolved_lines
from gradloom.v1 import job_pb2

_INDENT: Final = "  "


def state_name(state: int) -> str:
    """`RUNNING` for 3; a state that this client is too old to know by its number."""
    return enum_name(job_pb2.Job.State, state)


def reason_name(reason: int) -> str:
    """`COMPLETED` for 1."""
    return enum_name(job_pb2.Job.Reason, reason)


def moment(timestamp: Any) -> datetime:
    """A Timestamp as an aware datetime."""
    return timestamp.ToDatetime(tzinfo=UTC)  # type: ignore[no-any-return]


def job_table(jobs: Iterable[job_pb2.Job]) -> list[str]:
    """One line a job."""
    rows = (
        (
            shortest_reference(job.name),
            state_name(job.state),
            reason_name(job.state_reason) if job.state_reason else "-",
            str(job.priority),
            f"{job.progress.epoch}/{job.progress.epochs}" if job.progress.epochs else "-",
            text.age(moment(job.create_time)),
            job.display_name,
        )
        for job in jobs
    )
    return text.columns(("JOB", "STATE", "REASON", "PRIORITY", "EPOCH", "AGE", "NAME"), rows)


def job_lines(job: job_pb2.Job) -> Iterator[str]:
    """Everything that a person asks of one job, one fact a line."""
    facts = {
        "job": job.name,
        "uid": job.uid,
        "name": job.display_name,
        "labels": labels(job),
        "priority": str(job.priority) if job.priority else "",
        "retry of": shortest_reference(job.retry_of),
        "goes on": f"from {job.retry_checkpoint}" if job.retry_checkpoint else "",
        "state": state_name(job.state),
        "reason": reason_name(job.state_reason) if job.state_reason else "",
        "created": text.local_time(moment(job.create_time)) if job.HasField("create_time") else "",
        "started": text.local_time(moment(job.start_time)) if job.HasField("start_time") else "",
        "ended": text.local_time(moment(job.end_time)) if job.HasField("end_time") else "",
        "attempts": str(job.attempt_count) if job.attempt_count else "",
        "progress": progress_line(job),
        "trouble": job.progress.trouble,
    }
    for name, value in facts.items():
        if value:
            yield f"{name:<9} {text.one_line(value)}"
    yield from resolved_lines(job.resolved_spec)
    yield from outcome_details(job)


def labels(job: job_pb2.Job) -> str:
    """Such as `stage=trial, team=vision`; empty for none."""
    return ", ".join(f"{key}={value}" for key, value in sorted(job.labels.items()))


def activity(job: job_pb2.Job) -> str:
    """What the job does now, in a word: the phase of a running one, else its state."""
    if job.state == job_pb2.Job.RUNNING and job.progress.phase:
        return enum_name(job_pb2.Progress.Phase, job.progress.phase).lower()
    return state_name(job.state).lower()


def progress_line(job: job_pb2.Job) -> str:
    """Such as `training, epoch 2 of 3, step 1900 of 5157, checkpoint at step 1719, loss 0.41`; empty at first.

    Of a job that waits for another attempt, where that goes on: `will go on from epoch 2 of 3, step 1719 of 5157`.
    """
    progress = job.progress
    if job.state in (job_pb2.Job.QUEUED, job_pb2.Job.PAUSED) and progress.HasField("global_step"):
        return f"will go on from {', '.join(_position(progress))}" if progress.global_step else "will begin anew"
    parts = [activity(job) if job.state == job_pb2.Job.RUNNING and job.HasField("progress") else ""]
    parts += _position(progress)
    if progress.examples_per_second:
        parts.append(f"{progress.examples_per_second:,.0f} examples/s in training")
    if progress.HasField("checkpoint_step") and job.state != job_pb2.Job.SUCCEEDED:
        parts.append(f"checkpoint at step {progress.checkpoint_step}")
    if progress.scalars:
        parts.append(text.scalars(progress.scalars))
    return ", ".join(part for part in parts if part)


def _position(progress: job_pb2.Progress) -> Iterator[str]:
    if progress.epoch:
        yield f"epoch {progress.epoch}" + (f" of {progress.epochs}" if progress.epochs else "")
    if progress.total_steps:
        yield f"step {progress.global_step} of {progress.total_steps}"
    elif progress.global_step:
        yield f"step {progress.global_step}"


def outcome_line(job: job_pb2.Job) -> str:
    """The end in one line: `SUCCEEDED digits after 12 s`, `FAILED digits: OUT_OF_HOST_MEMORY`."""
    line = f"{state_name(job.state)} {shortest_reference(job.name)}"
    if job.state == job_pb2.Job.FAILED:
        return f"{line}: {reason_name(job.state_reason)}"
    if job.HasField("end_time"):
        line += f" after {text.span((moment(job.end_time) - moment(job.create_time)).total_seconds())}"
    return line


def outcome_details(job: job_pb2.Job) -> Iterator[str]:
    """Why a job is where it is: its export, or the message, the faults and the last lines of the log."""
    if job.HasField("export"):
        export = job.export
        yield f"export    {text.one_line(export.path)}"
        yield (
            f"proof     {export.proof_examples} examples in a clean process, largest difference "
            f"{export.largest_difference:.2g} (allowed {export.absolute_tolerance:g} + "
            f"{export.relative_tolerance:g} of each output)"
        )
    # The message of a success says what the export and its proof say.
    if job.state_message and not job.HasField("export"):
        yield f"message   {_block(job.state_message)}"
    error = job.error
    # Below its first line a refusal has the faults, which follow.
    raised = error.message.partition("\n")[0] if error.field_faults else error.message
    if raised and raised not in job.state_message:
        yield f"raised    {text.one_line(error.exception_type)}: {_block(raised)}"
    elif error.exception_type:
        yield f"raised    {text.one_line(error.exception_type)}"
    for fault in error.field_faults:
        yield f"{_INDENT}{text.one_line(fault.field)}: {text.one_line(fault.description)}"
    if error.hint:
        yield f"hint      {_block(error.hint)}"
    if error.log_lines:
        yield "last lines of the log:"
        for line in error.log_lines:
            yield f"{_INDENT}| {text.printable(line, keep=chr(9))}"


def _block(message: str) -> str:
    """A message of several lines, the following ones under the first."""
    return text.printable(message.strip().replace("\n", "\n" + " " * 10), keep="\n")


def attempt_table(attempts: Iterable[job_pb2.Attempt]) -> list[str]:
    """One line an attempt."""

    def row(attempt: job_pb2.Attempt) -> tuple[str, ...]:
        end = f"exit {attempt.exit_code}" if attempt.HasField("exit_code") else "-"
        if attempt.HasField("signal"):
            end = f"signal {attempt.signal}"
        until = moment(attempt.end_time) if attempt.HasField("end_time") else datetime.now(UTC)
        return (
            str(attempt.number),
            enum_name(job_pb2.Attempt.State, attempt.state),
            reason_name(attempt.reason) if attempt.reason else "-",
            ",".join(attempt.devices) or "-",
            text.local_time(moment(attempt.start_time)) if attempt.HasField("start_time") else "-",
            text.span((until - moment(attempt.start_time)).total_seconds()) if attempt.HasField("start_time") else "-",
            end,
            text.size(attempt.peak_memory_bytes) if attempt.peak_memory_bytes else "-",
            _checkpoint_id(attempt.checkpoint_in) or "-",
            _checkpoint_id(attempt.checkpoint_out) or "-",
            _log_size(attempt) or "-",
            attempt.message,
        )

    described = ("ATTEMPT", "STATE", "REASON", "DEVICES", "STARTED", "LASTED", "END", "PEAK MEMORY")
    return text.columns((*described, "WENT ON FROM", "SAVED", "LOG", "MESSAGE"), map(row, attempts))


def _checkpoint_id(name: str) -> str:
    return name.rpartition("/")[2]


def _log_size(attempt: job_pb2.Attempt) -> str:
    """Such as `1.4 MiB`, or `2.1 GiB, 1.1 GiB of it dropped` for a log that grew beyond its limit."""
    dropped = f", {text.size(attempt.log_dropped_bytes)} of it dropped" if attempt.log_dropped_bytes else ""
    return f"{text.size(attempt.log_size_bytes)}{dropped}" if attempt.HasField("log_size_bytes") else ""


def artifact_table(artifacts: Iterable[job_pb2.Artifact]) -> list[str]:
    """One line a file."""
    rows = (
        (
            artifact.path,
            enum_name(job_pb2.Artifact.Kind, artifact.kind),
            str(artifact.attempt),
            text.size(artifact.size_bytes),
            artifact.sha256,
        )
        for artifact in artifacts
    )
    return text.columns(("PATH", "KIND", "ATTEMPT", "SIZE", "SHA256"), rows)


def checkpoint_table(checkpoints: Iterable[job_pb2.Checkpoint]) -> list[str]:
    """One line a checkpoint, by the id that a retry goes on from."""
    rows = (
        (
            _checkpoint_id(checkpoint.name),
            str(checkpoint.attempt),
            str(checkpoint.epoch),
            str(checkpoint.global_step),
            text.size(checkpoint.size_bytes),
            text.age(moment(checkpoint.create_time)),
            ", ".join(word for word, holds in (("best", checkpoint.best), ("final", checkpoint.final)) if holds) or "-",
        )
        for checkpoint in checkpoints
    )
    return text.columns(("CHECKPOINT", "ATTEMPT", "EPOCH", "STEP", "SIZE", "AGE", "WHICH"), rows)


def point_line(point: job_pb2.ScalarsPoint) -> str:
    """Such as `epoch 1  step 400  loss 0.52  accuracy 0.81`, and `end of epoch 1  step 600  ...`."""
    end = "end of " if point.epoch_end else ""
    return f"{end}epoch {point.epoch}  step {point.global_step}  {text.scalars(point.scalars)}"
