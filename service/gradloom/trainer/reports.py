"""The heartbeat: a thread that tells the control plane twice a second how far the attempt is, and hears its directive.

It runs while TensorFlow imports, traces, trains and exports alike. An event is kept until the server has
acknowledged it: a report that fails is followed by one that holds the same events and a newer look, and
`event_offset` lets the server store none of them twice. Scalars by step are kept in the same way, but are told with
the next beat, and whoever records them waits when too many of them are kept.
"""

import base64
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import AttemptSupersededError, GradloomError, PermissionDeniedError
from gradloom.trainer.control import ControlPlane
from gradloom.trainer.points import Points
from gradloom.trainer.speed import Speed
from gradloom.v1 import job_pb2

INTERVAL_SECONDS: Final = 0.5
REPORT_TIMEOUT_SECONDS: Final = 5.0
MOST_EVENTS_PER_REPORT: Final = 500
MOST_FAULTS: Final = 10
"""After so many answers in a row that the server failed, nothing waits any more for what is to be told."""
STOPS: Final = frozenset({attempt_pb2.ReportResponse.STOP, attempt_pb2.ReportResponse.CHECKPOINT_AND_STOP})

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """How far training is at one moment; counts are over the whole job."""

    phase: int | None = None
    """The phase that it is in; None leaves it to `Reporter.update`."""
    epoch: int = 0
    global_step: int = 0
    examples: int = 0
    step_seconds: float = 0.0
    """Time spent in training steps so far, in this attempt."""
    first_step_time: float | None = None
    """`time.monotonic()` when the first step had ended."""
    scalars: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, job_pb2.GroupProgress] = field(default_factory=dict)


class Reporter:
    """Owns the attempt's progress, its events and its scalars by step, and the thread that sends them.

    `on_stop` is called in that thread with the cause, once, when the attempt must end now: it was told to, or
    it is no longer the job's live one. It ends the process. `started` is the `time.monotonic()` at which the attempt
    started; `handover` is what the reporter of the program before left.
    """

    def __init__(
        self,
        control: ControlPlane,
        attempt: int,
        on_stop: Callable[[str], None],
        started: float,
        handover: Mapping[str, Any] | None = None,
    ):
        self._control = control
        self._on_stop = on_stop
        self._started = started
        self._progress = job_pb2.Progress(phase=job_pb2.Progress.PREPARING, attempt=attempt)
        self._events: list[job_pb2.Event] = []
        self._event_offset = 0
        self._points = Points()
        self._speed = Speed()
        self._dropping = False
        self._beat = self._beat_acknowledged = 0
        self._faults = 0
        self._devices_released = False
        self._checkpoint_in = ""
        self._observe: Callable[[], Look | None] = lambda: None
        self._save_first: Callable[[], None] | None = None
        self._newest = self._acknowledged = Look()
        self._changed = threading.Condition()
        self._news = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        if handover:
            self._take_over(handover)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread; what is unacknowledged then is lost, so `flush` comes first where it matters."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def observe(self, look: Callable[[], Look | None]) -> None:
        """From now on, asks `look` how far training is, None for no news; it is called from the heartbeat's thread."""
        with self._changed:
            self._observe = look

    def resume_at(self, look: Look) -> None:
        """Says where the training begins: what came before is not reported as this attempt's."""
        with self._changed:
            self._newest = self._acknowledged = look

    def went_on_from(self, checkpoint: str) -> None:
        """Says from now on which checkpoint, by its resource name, the attempt went on from."""
        with self._changed:
            self._checkpoint_in = checkpoint
            self._tell()

    def save_before_stop(self, save: Callable[[], None] | None) -> None:
        """Has `save` called, in the heartbeat's thread, when the attempt is to stop once its state is saved.

        It may be called again and again. None: there is nothing to save, and the attempt stops at once.
        """
        with self._changed:
            self._save_first = save

    def update(self, **changes: Any) -> None:
        """Sets fields of Progress, such as `phase` or `epoch`, and adds to its `scalars`; told at once."""
        with self._changed:
            self._progress.scalars.update(changes.pop("scalars", {}))
            for name, value in changes.items():
                setattr(self._progress, name, value)
            self._tell()

    def add_event(self, event: job_pb2.Event) -> None:
        """Tells an event; it reaches the store exactly once."""
        with self._changed:
            self._events.append(event)
            self._tell()

    def add_point(self, point: job_pb2.ScalarsPoint) -> None:
        """Tells scalars of a step with the next beat; they reach the store exactly once.

        Waits while the server is away and too many wait already. With a server that fails every time it drops them.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._points.is_full or self._faults >= MOST_FAULTS or self._closing)
            dropping = self._points.is_full
            if dropping and not self._dropping:
                logger.warning("scalars from step %d on are not recorded: the server fails", point.global_step)
            self._dropping = dropping
            if not dropping:
                self._points.add(point)
            if self._points.fill_a_report:
                self._tell()

    def release_devices(self) -> None:
        """Says from now on that the devices are free for another job."""
        with self._changed:
            self._devices_released = True
            self._tell()

    def progress(self) -> job_pb2.Progress:
        """The newest progress, a copy."""
        with self._changed:
            self._absorb(self._seen())
            newest = job_pb2.Progress()
            newest.CopyFrom(self._progress)
            return newest

    def flush(self) -> None:
        """Returns once every event and point so far, and the newest look, are acknowledged.

        That may take as long as the server is away. A server that is there but fails every time is given up on: the
        attempt would never end.
        """
        with self._changed:
            beat, self._faults = self._beat + 1, 0
            events, points = self._event_offset + len(self._events), self._points.offset + len(self._points)
            self._tell()
            self._changed.wait_for(
                lambda: (
                    (self._event_offset >= events and self._points.offset >= points and self._beat_acknowledged >= beat)
                    or self._faults >= MOST_FAULTS
                    or self._closing
                )
            )

    def handover(self) -> dict[str, Any]:
        """What a reporter in the program that follows needs to go on where this one ended; after `flush`."""
        return {
            "beat": self._beat,
            "event_offset": self._event_offset,
            "points_offset": self._points.offset,
            "started": self._started,
            "progress": base64.b64encode(self.progress().SerializeToString()).decode(),
        }

    def _take_over(self, handover: Mapping[str, Any]) -> None:
        self._beat = self._beat_acknowledged = handover["beat"]
        self._event_offset = handover["event_offset"]
        self._points = Points(handover["points_offset"])
        self._progress.ParseFromString(base64.b64decode(handover["progress"]))

    def _tell(self) -> None:
        self._news = True
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            while not self._closing:
                answered = self._report()
                self._wait(news_matters=answered)
        except (AttemptSupersededError, PermissionDeniedError) as error:
            self._on_stop(str(error))
        except StopDirective:
            self._on_stop("the server said stop")
        except Exception:
            # Without its heart the attempt would look hung while it trains on.
            logger.exception("the heartbeat failed")
            self._on_stop("the heartbeat failed")

    def _wait(self, news_matters: bool) -> None:
        """Waits for the next beat, or for news; when the server is away, news do not shorten the wait."""
        deadline = time.monotonic() + INTERVAL_SECONDS
        with self._changed:
            while not self._closing and not (self._news and news_matters):
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def _seen(self) -> Look:
        """The newest look, or the one before when there is none or it fails, which must not cost anybody a training."""
        try:
            self._newest = self._observe() or self._newest
        except Exception:
            logger.exception("could not look at the training")
        return self._newest

    def _absorb(self, look: Look) -> None:
        """Puts a look into the progress; the lock is held."""
        progress = self._progress
        if look.global_step == 0:
            return
        if look.first_step_time is not None:
            progress.first_step_duration.FromMilliseconds(int(1000 * (look.first_step_time - self._started)))
            speed = self._speed.per_second(look.step_seconds, look.examples)
            if speed is not None:
                progress.examples_per_second = speed
        if look.phase is not None:
            progress.phase = look.phase  # type: ignore[assignment]
        progress.epoch = look.epoch
        progress.global_step = look.global_step
        progress.scalars.update(look.scalars)
        for name, group in look.groups.items():
            progress.groups[name].CopyFrom(group)

    def _report(self) -> bool:
        """Sends one report; whether the server answered."""
        request, look = self._next_report()
        try:
            response = self._control.report(request, REPORT_TIMEOUT_SECONDS)
        except (AttemptSupersededError, PermissionDeniedError):
            raise
        except GradloomError as error:
            # A fault of the server's own: the attempt outlives it, and the next beat tells everything again.
            logger.warning("the server could not store a report: %s", error)
            with self._changed:
                self._faults += 1
                self._changed.notify_all()
            return False
        if response is None:
            return False
        with self._changed:
            del self._events[: len(request.events)]
            self._event_offset += len(request.events)
            self._points.acknowledge(len(request.points))
            # A report that was under way when the training was resumed tells of a time before.
            if look.global_step >= self._acknowledged.global_step:
                self._acknowledged = look
            self._beat_acknowledged = request.beat
            self._faults = 0
            self._changed.notify_all()
            save = self._save_first
        if response.directive == attempt_pb2.ReportResponse.CHECKPOINT_AND_STOP and save is not None:
            save()
        elif response.directive in STOPS:
            raise StopDirective
        return True

    def _next_report(self) -> tuple[attempt_pb2.ReportRequest, Look]:
        with self._changed:
            look = self._seen()
            self._absorb(look)
            self._beat += 1
            before = self._acknowledged
            steps, examples = look.global_step - before.global_step, look.examples - before.examples
            request = attempt_pb2.ReportRequest(
                beat=self._beat,
                progress=self._progress,
                events=self._events[:MOST_EVENTS_PER_REPORT],
                event_offset=self._event_offset,
                points=self._points.next_ones(),
                points_offset=self._points.offset,
                steps=steps,
                mean_step_seconds=(look.step_seconds - before.step_seconds) / steps if steps > 0 else 0.0,
                examples=examples,
                devices_released=self._devices_released,
                checkpoint_in=self._checkpoint_in,
            )
            # What found no room is told at once.
            self._news = len(request.events) < len(self._events) or len(request.points) < len(self._points)
            return request, look


class StopDirective(Exception):
    """The control plane's answer to a report was to stop."""
