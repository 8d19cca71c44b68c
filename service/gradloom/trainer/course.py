"""The course of a training: from its beginning, or the newest whole checkpoint, to weights that can be exported."""

import logging
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gradloom.attempt.v1 import attempt_pb2
from gradloom.trainer import checkpoints, narration
from gradloom.trainer.checkpoints import DamagedCheckpoint, Header, Saved, UnusableCheckpoint
from gradloom.trainer.initial_weights import AVERAGED
from gradloom.trainer.loop import TEST_PREFIX
from gradloom.trainer.predecessor import Predecessor
from gradloom.trainer.prepare import Prepared
from gradloom.trainer.resolved import spec_digest
from gradloom.trainer.saved_state import Place, State
from gradloom.trainer.saver import Saver
from gradloom.trainer.session import Session
from gradloom.v1 import job_pb2

logger = logging.getLogger(__name__)


class Course:
    """One job's training in one attempt.

    Attributes:
        saver: Of its checkpoints; open from before `run` until after the export.
        first_step: Updates that earlier attempts had made.
        total_steps: Updates in the whole job; fewer than the spec says when the training stopped early.
    """

    def __init__(self, attempt: Session, prepared: Prepared, predecessor: Predecessor | None = None):
        self._attempt = attempt
        self._predecessor = predecessor
        self._training, self._ends, self._sources = prepared.training, prepared.ends, prepared.sources
        self._spec = prepared.resolved.spec
        self._options = self._spec.training
        self._spec_sha256 = spec_digest(prepared.resolved)
        self._best: Path | None = None
        self._finished = False
        self.saver = Saver(attempt, self._training, self._options.checkpoint, self._describe)
        self.first_step = 0
        self.total_steps = self._options.epochs * self._training.steps_per_epoch

    def resume(self) -> None:
        """Goes on from the newest checkpoint that is whole, else where a predecessor was left, and says so.

        Raises:
            InvalidRequestError: The predecessor's checkpoint does not fit the spec.
            DataUnavailable: It is missing or damaged.
        """
        if not self._resume_own() and self._predecessor is not None:
            self._follow(self._predecessor)
        self.first_step = self._training.global_step
        if self._ends.stopped:
            self.total_steps = self._training.global_step
        seen = self._training.snapshot()
        self._attempt.reporter.update(
            epoch=seen.epoch,
            epochs=self._options.epochs,
            global_step=seen.global_step,
            total_steps=self.total_steps,
            scalars=dict(seen.scalars),
        )

    def _resume_own(self) -> bool:
        for checkpoint in self._attempt.assignment.checkpoints:
            if self._predecessor is not None and checkpoint.global_step < self._predecessor.checkpoint.global_step:
                # The predecessor's best one, not a place to go on from.
                continue
            try:
                saved = self._read(checkpoint)
                best = self._best_of(saved)
                state = saved.header.state
                self._training.restore(saved.arrays, Place(**state["place"]), state["scalars"])
            except UnusableCheckpoint as error:
                notice = f"the checkpoint of {_named(checkpoint)} is skipped: {checkpoint.path} {error}"
                self._notice(notice, logging.WARNING)
                continue
            self._ends.restore(state["ends"])
            self._best, self._finished = best, state["finished"]
            self._went_on_from(checkpoint, f"resumed from {_named(checkpoint)}")
            return True
        return False

    def _follow(self, predecessor: Predecessor) -> None:
        """Goes on where another job was left; what it needs of that one in the end is a checkpoint of its own then."""
        left = predecessor.left(self._spec)
        predecessor.restore(self._training, self._spec, left)
        best_epoch = left.ends["best"]["best_epoch"]
        if best_epoch and self._ends.wants_best and not left.finished:
            best = predecessor.best(self._spec)
            predecessor.restore(self._training, self._spec, best)
            self._ends.restore(best.ends)
            self._best = self.saver.save_best()
            predecessor.restore(self._training, self._spec, left)
        self._ends.restore(left.ends)
        self._finished = left.finished
        checkpoint = predecessor.checkpoint
        self._went_on_from(checkpoint, f"goes on from {_named(checkpoint)} of {checkpoint.job}")

    def _went_on_from(self, checkpoint: attempt_pb2.Checkpoint, notice: str) -> None:
        self._attempt.reporter.went_on_from(checkpoint.name)
        self._notice(notice)

    def run(self) -> None:
        """Trains what is left, gives the model the weights of the best epoch if it is to have them, and tests."""
        if self._finished:
            self.saver.end()
            return
        watchdog = self._attempt.watchdog
        self._training.watch_with(partial(watchdog.batches, self._training.batches))
        self._training.record_with(self._point)
        self._train()
        with watchdog.stage("putting the best epoch's weights back"):
            self._restore_best()
        with watchdog.stage("the test, outside of its batches,"):
            self._test()
        self._finished = True
        self.saver.save_final()

    def _train(self) -> None:
        epochs = self._options.epochs
        while (epoch := self._training.place.epoch) <= epochs and not self._ends.stopped:
            with self._attempt.watchdog.stage(f"epoch {epoch}, outside of its steps,"):
                self._train_epoch(epoch, epochs)
        if self._ends.stopped:
            self.total_steps = self._training.global_step
            self._attempt.reporter.update(total_steps=self.total_steps)

    def _train_epoch(self, epoch: int, epochs: int) -> None:
        started = time.monotonic()
        scalars = self._training.run_epoch(epoch)
        narration.tell_epoch(epoch, epochs, scalars, time.monotonic() - started)
        self._attempt.reporter.update(epoch=epoch, scalars=scalars)
        self._event(kind=job_pb2.Event.EPOCH_ENDED, epoch=epoch, scalars=scalars)
        self._point(self._training.global_step, epoch, scalars, epoch_end=True)
        verdict = self._ends.after(epoch, scalars)
        for notice in verdict.notices:
            self._notice(notice)
        if verdict.is_best:
            self._best = self.saver.save_best()

    def _restore_best(self) -> None:
        best = self._ends.best.best_epoch
        last = self._training.place.epoch - 1
        # In the middle of the test, they are there already.
        if not self._ends.wants_best or best in (0, last) or self._training.place.evaluation:
            return
        self.saver.wait_until_written()
        assert self._best is not None
        self._training.restore_weights(checkpoints.read(self._best).arrays)
        self._notice(f"the weights of epoch {best} are tested and exported")

    def _test(self) -> None:
        if "test" in self._sources:
            scalars = self._training.evaluate(self._sources["test"], prefix=TEST_PREFIX)
            narration.tell_test(scalars)
            self._attempt.reporter.update(scalars=scalars)

    def _describe(self, state: State) -> Header:
        return Header(
            job_uid=self._attempt.assignment.job_uid,
            spec_sha256=self._spec_sha256,
            attempt=self._attempt.assignment.attempt,
            global_step=state.global_step,
            epoch=min(state.place.epoch, self._options.epochs),
            state={
                "place": vars(state.place),
                "scalars": state.scalars,
                "ends": self._ends.saved(),
                "finished": self._finished,
                AVERAGED: state.averaged,
            },
        )

    def _read(self, checkpoint: attempt_pb2.Checkpoint) -> Saved:
        saved = checkpoints.read(Path(checkpoint.path))
        if saved.sha256 != checkpoint.sha256:
            raise DamagedCheckpoint("is not the file that was put on record")
        saved.require_own(self._attempt.assignment.job_uid, self._spec_sha256)
        return saved

    def _best_of(self, saved: Saved) -> Path | None:
        """Where the best checkpoint lies that will be needed after this one."""
        state = saved.header.state
        best_epoch = state["ends"]["best"]["best_epoch"]
        if not (best_epoch and self._ends.wants_best) or state["finished"]:
            return None
        step = best_epoch * self._training.steps_per_epoch
        for checkpoint in self._attempt.assignment.checkpoints:
            if checkpoint.best and checkpoint.global_step == step:
                try:
                    self._read(checkpoint)
                except UnusableCheckpoint as error:
                    raise type(error)(f"needs the best one, {checkpoint.path}, which {error}") from error
                return Path(checkpoint.path)
        raise DamagedCheckpoint(f"needs the best one, of epoch {best_epoch}, which is not on record")

    def _notice(self, message: str, level: int = logging.INFO) -> None:
        logger.log(level, "%s", message)
        self._event(kind=job_pb2.Event.NOTICE, message=message)

    def _point(self, step: int, epoch: int, scalars: Mapping[str, float], epoch_end: bool = False) -> None:
        point = job_pb2.ScalarsPoint(global_step=step, epoch=epoch, epoch_end=epoch_end, scalars=scalars)
        with self._attempt.watchdog.paused():
            self._attempt.reporter.add_point(point)

    def _event(self, **fields: Any) -> None:
        self._attempt.reporter.add_event(job_pb2.Event(**fields))


def _named(checkpoint: attempt_pb2.Checkpoint) -> str:
    return f"step {checkpoint.global_step} (epoch {checkpoint.epoch}) of attempt {checkpoint.attempt}"
