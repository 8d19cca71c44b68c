"""Follows a job in front of a person: a moving bar on a terminal, one line an event in a pipe."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, Self

from gradloom.client import show, text
from gradloom.v1 import job_pb2, service_pb2

if TYPE_CHECKING:
    from rich.progress import TaskID


class View(Protocol):
    """Where a followed job is shown."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def event(self, line: str) -> None:
        """Shows a line that stays."""

    def progress(self, job: job_pb2.Job) -> None:
        """Shows where the job is; the next one replaces it."""


def follow(messages: Iterable[service_pb2.WatchJobResponse], view: View, *, announces: bool = True) -> job_pb2.Job:
    """Shows everything until the stream ends; returns the job as it was last.

    Announces what the job is before its next event, unless the events begin with its creation.
    """
    job = job_pb2.Job()
    announced = not announces
    with view:
        for message in messages:
            job = message.job
            if message.HasField("event"):
                view.event(event_line(message.event, job.progress.epochs))
            elif not announced:
                view.event(_stamped(text.local_time(show.moment(job.update_time)), _standing(job)))
            announced = True
            view.progress(job)
    return job


def event_line(event: job_pb2.Event, epochs: int) -> str:
    """Such as `14:03:05  epoch 1/3  loss 0.52  accuracy 0.81`; `epochs` is 0 while their number is not known."""
    if event.kind == job_pb2.Event.EPOCH_ENDED:
        of = f"/{epochs}" if epochs else ""
        said = f"epoch {event.epoch}{of}  {text.scalars(event.scalars)}"
    elif event.kind == job_pb2.Event.STATE_CHANGED:
        said = show.state_name(event.state)
        said += f" (attempt {event.attempt})" if event.attempt and event.state == job_pb2.Job.STARTING else ""
        said += f" {show.reason_name(event.reason)}" if event.reason else ""
        said += f": {text.one_line(event.message)}" if event.message else ""
    else:
        said = text.one_line(event.message) or ("created" if event.kind == job_pb2.Event.CREATED else "")
    return _stamped(text.local_time(show.moment(event.time)), said)


def _standing(job: job_pb2.Job) -> str:
    more = show.progress_line(job) if job.state == job_pb2.Job.RUNNING else text.one_line(job.state_message)
    return show.state_name(job.state) + (f": {more}" if more else "")


def _stamped(moment: str, said: str) -> str:
    return f"{moment}  {said}"


class PlainView:
    """One line an event, for pipes and files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def event(self, line: str) -> None:
        """Writes the line."""
        text.say(line)

    def progress(self, job: job_pb2.Job) -> None:
        """Shows nothing: a pipe has no line that is replaced."""


class SilentView(PlainView):
    """Nothing at all, for when only the end is wanted."""

    def event(self, line: str) -> None:
        """Shows nothing."""


class LiveView:
    """Lines that stay above a bar that moves, the newest scalars and what holds the job up, on a terminal."""

    def __init__(self, stream: Any):
        """Shows nothing yet; `stream` is the terminal."""
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        # No markup and no emoji codes: names and messages come from users.
        self._console = Console(file=stream, markup=False, emoji=False, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[counts]}", markup=False),
            TimeRemainingColumn(compact=True),
        )
        self._task: TaskID | None = None
        self._below: list[str] = []
        self._live = Live(
            get_renderable=self._shown,
            console=self._console,
            transient=True,
            refresh_per_second=5,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def event(self, line: str) -> None:
        """Writes the line above the bar."""
        self._console.print(line, soft_wrap=True)

    def progress(self, job: job_pb2.Job) -> None:
        """Moves the bar; without a known number of steps it pulses."""
        progress = job.progress
        epoch = f"epoch {progress.epoch}/{progress.epochs}" if progress.epoch else ""
        step = f"step {progress.global_step}/{progress.total_steps}" if progress.total_steps else ""
        speed = f"{progress.examples_per_second:,.0f} examples/s" if progress.examples_per_second else ""
        moved: dict[str, Any] = {
            "description": show.activity(job),
            "total": progress.total_steps or None,
            "completed": progress.global_step,
            "counts": "  ".join(part for part in (epoch, step, speed) if part),
        }
        if self._task is None:
            self._task = self._bar.add_task(**moved)
        else:
            self._bar.update(self._task, **moved)
        self._below = [line for line in (text.scalars(progress.scalars), text.one_line(progress.trouble)) if line]

    def _shown(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        lines = (Text(line, no_wrap=True, overflow="ellipsis") for line in self._below)
        return Group(self._bar.get_renderable(), *lines)


def view_for(stream: Any) -> View:
    """The view that fits where the output goes."""
    import os

    if text.is_terminal(stream) and os.environ.get("TERM") != "dumb":
        return LiveView(stream)
    return PlainView()
