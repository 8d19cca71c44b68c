"""Why a job is where it is, as lines for a tired person: the answer first, what to do next, and then the evidence."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from gradloom.client import show, text
from gradloom.client.names import shortest_reference, typed
from gradloom.v1 import job_pb2, service_pb2

_ASKED_FOR: Final = frozenset(
    {
        job_pb2.Job.COMPLETED,
        job_pb2.Job.SERVER_STOPPED,
        job_pb2.Job.CANCELLED_BY_USER,
        job_pb2.Job.PREEMPTED,
        job_pb2.Job.PAUSED_BY_USER,
    }
)
"""Ends in which nothing went wrong."""


def explanation_lines(explained: service_pb2.ExplainJobResponse, server: str | None) -> Iterator[str]:
    """The whole answer; `server` is the one that the reader has named."""
    job = explained.job
    told = f"{show.state_name(job.state)}  {shortest_reference(job.name)}"
    yield text.one_line(f"{told}  {job.display_name}" if job.display_name else told)
    yield from _paragraph("", explained.summary)
    yield from _paragraph("what to do: ", explained.hint)
    if explained.HasField("waiting"):
        yield from _waiting_lines(explained)
    if explained.HasField("running"):
        yield from _running_lines(explained.running)
    for attempt in explained.attempts:
        yield ""
        yield from _attempt_lines(attempt, explained)
        if attempt.log_cursor:
            command = f"gradloom logs {typed(job.name, server)} --cursor {attempt.log_cursor}"
            yield text.one_line(f"  the log from there: {command}")


def _waiting_lines(explained: service_pb2.ExplainJobResponse) -> Iterator[str]:
    yield ""
    waiting = explained.waiting
    told = waiting.missing.rstrip(".").lower() in explained.summary.lower()
    facts = {
        "waits for": waiting.demand,
        "since": _span(waiting.waited_duration) if waiting.HasField("waited_duration") else "",
        "position": str(waiting.position) if waiting.HasField("position") else "",
        "backoff": _span(waiting.backoff_duration) if waiting.HasField("backoff_duration") else "",
        "missing": "" if told else waiting.missing,
    }
    for name, value in facts.items():
        if value:
            yield f"{name:<9} {text.one_line(value)}"
    yield from _other_jobs("ahead in the queue", waiting.ahead)
    yield from _other_jobs("holding the devices", waiting.holders)


def _other_jobs(title: str, jobs: Iterable[Any]) -> Iterator[str]:
    rows = [
        (
            shortest_reference(job.name),
            show.state_name(job.state),
            str(job.priority),
            job.devices or "-",
            job.progress or "-",
            job.display_name,
        )
        for job in jobs
    ]
    if rows:
        yield ""
        yield f"{title}:"
        for line in text.columns(("JOB", "STATE", "PRIORITY", "DEVICES", "PROGRESS", "NAME"), rows):
            yield f"  {line}"


def _running_lines(running: Any) -> Iterator[str]:
    yield ""
    since = f" for {_span(running.running_duration)}" if running.HasField("running_duration") else ""
    on = f" on {', '.join(running.devices)}" if running.devices else ""
    yield text.one_line(f"attempt   {running.attempt}{on}{since}")
    if running.HasField("silent_duration"):
        yield f"report    {_span(running.silent_duration)} ago"
    else:
        yield "report    none yet: the trainer has not told how far it is"
    if running.stopping_reason:
        yield f"ending    {show.reason_name(running.stopping_reason)}"


def _attempt_lines(attempt: Any, explained: service_pb2.ExplainJobResponse) -> Iterator[str]:
    """One ended attempt, without what the answer has said already; an end that was asked for needs no evidence."""
    yield f"attempt {attempt.attempt} ended {show.reason_name(attempt.reason)}"
    if attempt.message not in explained.summary:
        yield from _paragraph("  ", attempt.message)
    if attempt.exception_type and attempt.exception_type not in attempt.message:
        yield f"  raised {text.one_line(attempt.exception_type)}"
    if attempt.reason not in _ASKED_FOR:
        for line in attempt.log_lines:
            yield f"  | {text.printable(line, keep=chr(9))}"
        if attempt.hint != explained.hint:
            yield from _paragraph("  what to do: ", attempt.hint)
    yield from _paragraph("  then: ", attempt.consequence)


def _paragraph(label: str, said: str) -> Iterator[str]:
    """A text of any number of lines, the following ones under the first; nothing for none."""
    for number, line in enumerate(said.strip().splitlines()):
        yield f"{' ' * len(label) if number else label}{text.printable(line)}"


def _span(duration: Any) -> str:
    return text.span(duration.ToTimedelta().total_seconds())
