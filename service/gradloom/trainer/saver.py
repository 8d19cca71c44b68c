"""Checkpoints while a training goes on: when they are due, the one copy in memory, and the threads that store it.

    with Saver(attempt, training, options, describe) as saver:
        training.run_epoch(1)              # saves as the options say
        saver.save_best()                  # between two epochs
        saver.save_final()                 # after the last one; the export may begin

The loop's thread takes the copy and goes on. One thread writes the file; another has it recorded, after every event
that came before it, however long the server is away. A copy that cannot be written is kept and tried again, so that a
full disk costs nothing but what would be lost with the process; when that has gone on for too long, the training ends.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import AttemptSupersededError, GradloomError, PermissionDeniedError
from gradloom.trainer import checkpoints
from gradloom.trainer.checkpoints import Header, Written
from gradloom.trainer.loop import Training
from gradloom.trainer.saved_state import State
from gradloom.trainer.session import Session
from gradloom.v1 import job_pb2, spec_pb2

RETRY_SECONDS: Final = 5.0
GIVE_UP_SECONDS: Final = 600.0
"""After so long without a checkpoint that could be stored, the attempt fails."""
STOP_SECONDS: Final = 30.0
"""For so long whoever is told to stop tries to save first; the server gives it a minute."""
STOP_RETRY_SECONDS: Final = 1.0
NOTICE_SECONDS: Final = 60.0
"""A disk that is nearly full takes one checkpoint and refuses the next: the events tell of it no more often."""
LOOK_SECONDS: Final = 0.05

logger = logging.getLogger(__name__)


class CheckpointsFailedError(Exception):
    """No checkpoint could be written for too long; the cause is what the last try raised."""


@dataclass
class Snapshot:
    """A copy of the state on its way to the record."""

    header: Header
    arrays: Mapping[str, np.ndarray]
    path: str
    """Below the attempt's directory."""
    best: bool
    final: bool
    begun: float
    written: Written | None = None
    save_seconds: float = 0.0
    """From the beginning of the copy to the rename."""


class Saver:
    """Saves one training; what begins with `save`, `wait_until_written` and `close` belong to the loop's thread."""

    def __init__(
        self,
        attempt: Session,
        training: Training,
        options: spec_pb2.CheckpointSpec,
        describe: Callable[[State], Header],
        retry_seconds: float = RETRY_SECONDS,
        give_up_seconds: float = GIVE_UP_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ):
        self._attempt = attempt
        self._training = training
        self._describe = describe
        self._every_steps = options.every_steps if options.HasField("every_steps") else None
        self._every_seconds = options.every_seconds if options.HasField("every_seconds") else None
        self._retry_seconds = retry_seconds
        self._give_up_seconds = give_up_seconds
        self._stop_seconds = stop_seconds
        self._stop_at: float | None = None
        """When it gives up to save before it stops; None until it is told to stop."""
        self._changed = threading.Condition()
        self._count = 0
        self._pending: Snapshot | None = None
        self._unrecorded: deque[Snapshot] = deque()
        self._writing = self._put_off = self._ended = self._closing = False
        self._due: float | None = None
        self._retry_at = 0.0
        self._failing_since: float | None = None
        self._failure: OSError | None = None
        self._failure_is_told = False
        self._next_notice = 0.0
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("checkpoint writer", self._write_all), ("checkpoint recorder", self._record_all))
        ]

    def __enter__(self) -> Self:
        self._due = self._next_due(time.monotonic())
        self._training.save_with(self.save, self._every_steps)
        self._attempt.reporter.save_before_stop(self.stop_after_saving)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Returns once everything that could be written is on record; what fails now is not tried again."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        with self._attempt.watchdog.paused():
            for thread in self._threads:
                thread.join()
        self._attempt.reporter.save_before_stop(None)

    def save(self) -> None:
        """Saves what is due; puts it off while another one is on its way."""
        with self._changed:
            self._raise_failure()
            if (self._pending is not None or self._unrecorded) and self._stop_at is None:
                self._put_off = True
                return
        if self._training.global_step:
            self._take(best=False, final=False)
        if self._stop_at is not None:
            self.end()
            with self._attempt.watchdog.paused():
                # The recorder ends the process.
                threading.Event().wait()

    def save_best(self) -> Path:
        """Saves the state after the best epoch so far; returns where it will be."""
        return self._take(best=True, final=False)

    def save_final(self) -> None:
        """Saves the state after all training."""
        self._take(best=False, final=True)
        self.end()

    def end(self) -> None:
        """Says that there is nothing more to save."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_until_written(self) -> None:
        """Returns once everything that was saved is in its file."""
        with self._attempt.watchdog.paused(), self._changed:
            self._changed.wait_for(lambda: self._pending is None or self._failure is not None)
            self._raise_failure()

    def stop_after_saving(self) -> None:
        """Has the newest state saved and recorded, and then ends the process; from any thread, any number of times."""
        with self._changed:
            if self._stop_at is not None:
                return
            self._stop_at = time.monotonic() + self._stop_seconds
            self._changed.notify_all()
        self._training.request_checkpoint()

    def _take(self, best: bool, final: bool) -> Path:
        """Copies the state, once there is no other copy, and has it stored."""
        with self._attempt.watchdog.paused(), self._changed:
            # The best one may be all that is left of the best weights: it is written before anything takes its place.
            self._changed.wait_for(
                lambda: (
                    self._failure is not None
                    or self._pending is None
                    or not (self._writing or (self._pending.best and not best))
                )
            )
            self._raise_failure()
            self._pending = None
            self._count += 1
        begun = time.monotonic()
        state = self._training.state()
        path = f"{checkpoints.DIRECTORY}/{self._count:06d}-step-{state.global_step}.ckpt"
        with self._changed:
            self._pending = Snapshot(self._describe(state), state.arrays, path, best, final, begun)
            self._retry_at, self._put_off = 0.0, False
            self._due = self._next_due(begun)
            self._changed.notify_all()
        return self._attempt.directory / path

    def _raise_failure(self) -> None:
        if self._failure is not None:
            told = f"no checkpoint could be written for {self._give_up_seconds:g} s: {self._failure}"
            raise CheckpointsFailedError(told) from self._failure

    def _next_due(self, now: float) -> float | None:
        return None if self._every_seconds is None else now + self._every_seconds

    def _write_all(self) -> None:
        while (snapshot := self._next_to_write()) is not None:
            path, aside = self._attempt.directory / snapshot.path, self._attempt.work / "checkpoint"
            try:
                snapshot.written = checkpoints.write(path, aside, snapshot.header, snapshot.arrays)
            except OSError as error:
                self._note_failure(snapshot, error)
            else:
                self._note_written(snapshot)

    def _next_to_write(self) -> Snapshot | None:
        """Waits for something to write, and asks for it when it is time; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                if self._pending is not None and now >= self._retry_at:
                    self._writing = True
                    return self._pending
                if self._closing:
                    return None
                if self._pending is None and self._due is not None and now >= self._due:
                    self._due = None
                    self._training.request_checkpoint()
                wake = self._due if self._pending is None else self._retry_at
                self._changed.wait(None if wake is None else wake - now)

    def _note_written(self, snapshot: Snapshot) -> None:
        assert snapshot.written is not None
        snapshot.save_seconds = time.monotonic() - snapshot.begun
        snapshot.arrays = {}
        size = snapshot.written.size_bytes / 2**20
        logger.info(
            "checkpoint of step %d: %.3g MiB in %.2f s", snapshot.header.global_step, size, snapshot.save_seconds
        )
        if self._failing_since is not None:
            self._attempt.reporter.update(trouble="")
            if self._failure_is_told:
                self._notice(f"a checkpoint could be written again, that of step {snapshot.header.global_step}")
                self._failure_is_told = False
        with self._changed:
            if snapshot.best:
                self._drop_superseded()
            self._unrecorded.append(snapshot)
            self._writing, self._pending, self._failing_since = False, None, None
            self._changed.notify_all()

    def _drop_superseded(self) -> None:
        """Forgets best checkpoints that wait for their record and have been bettered before anything else was saved.

        Epochs may be shorter than the way to the record, and whoever is killed goes on from what is on it. The first
        in line may be on its way.
        """
        while len(self._unrecorded) > 1 and self._unrecorded[-1].best:
            # A file that stays costs room, but nobody refers to it.
            with contextlib.suppress(OSError):
                (self._attempt.directory / self._unrecorded.pop().path).unlink()

    def _note_failure(self, snapshot: Snapshot, error: OSError) -> None:
        step, now = snapshot.header.global_step, time.monotonic()
        trouble = f"the checkpoint of step {step} could not be written: {error}"
        logger.warning("%s", trouble)
        if self._failing_since is None:
            self._failing_since = now
            self._attempt.reporter.update(trouble=trouble)
            if now >= self._next_notice:
                self._notice(f"{trouble}; it is tried again")
                self._failure_is_told, self._next_notice = True, now + NOTICE_SECONDS
        if self._stop_at is not None and now >= self._stop_at:
            # The server tells what is lost, also of those who do not live to say it: from the newest report.
            self._attempt.reporter.update(trouble=trouble)
            self._attempt.reporter.flush()
            self._attempt.stop(f"told to stop, but step {step} could not be saved: {error}")
        with self._changed:
            is_pressed = self._stop_at is not None
            pause = min(STOP_RETRY_SECONDS, self._retry_seconds) if is_pressed else self._retry_seconds
            self._writing, self._retry_at = False, now + pause
            if now - self._failing_since >= self._give_up_seconds:
                self._failure = error
                self._training.request_checkpoint()
            self._changed.notify_all()

    def _notice(self, message: str) -> None:
        self._attempt.reporter.add_event(job_pb2.Event(kind=job_pb2.Event.NOTICE, message=message))

    def _record_all(self) -> None:
        while (snapshot := self._next_to_record()) is not None:
            try:
                # Whoever goes on from it does not tell again what came before.
                self._attempt.reporter.flush()
                self._attempt.control.record_checkpoint(_request(snapshot, self._attempt.assignment.attempt))
            except (AttemptSupersededError, PermissionDeniedError) as error:
                self._attempt.stop(str(error))
            except GradloomError as error:
                logger.warning("the server could not record %s: %s", snapshot.path, error)
                with self._changed:
                    if self._closing:
                        return
                    self._changed.wait(self._retry_seconds)
            else:
                self._note_recorded()

    def _next_to_record(self) -> Snapshot | None:
        """Waits for a file to record; None at the end, where the process is not to end itself."""
        with self._changed:
            while not self._unrecorded:
                if self._pending is None and self._stop_at is not None and self._ended:
                    self._attempt.stop("the server said stop, and what was trained is on record")
                if self._closing and not self._threads[0].is_alive():
                    return None
                self._changed.wait(LOOK_SECONDS if self._closing else None)
            return self._unrecorded[0]

    def _note_recorded(self) -> None:
        with self._changed:
            self._unrecorded.popleft()
            if self._put_off and not self._unrecorded:
                self._put_off = False
                self._training.request_checkpoint()
            self._changed.notify_all()


def _request(snapshot: Snapshot, attempt: int) -> attempt_pb2.RecordCheckpointRequest:
    assert snapshot.written is not None
    checkpoint = attempt_pb2.Checkpoint(
        path=snapshot.path,
        attempt=attempt,
        global_step=snapshot.header.global_step,
        epoch=snapshot.header.epoch,
        size_bytes=snapshot.written.size_bytes,
        sha256=snapshot.written.sha256,
        best=snapshot.best,
        final=snapshot.final,
    )
    return attempt_pb2.RecordCheckpointRequest(checkpoint=checkpoint, save_seconds=snapshot.save_seconds)
