"""One attempt of one job, from a spare with its imports done to an export that is proven."""

import logging
import threading
from types import TracebackType
from typing import Final, Self

import numpy as np

from gradloom.attempt.v1 import attempt_pb2
from gradloom.spec import with_defaults
from gradloom.trainer import (
    delivery,
    handover,
    hang,
    initial_weights,
    logits,
    narration,
    outcome,
    session,
    standby,
    user_code,
)
from gradloom.trainer.course import Course
from gradloom.trainer.groups import averages_in_place
from gradloom.trainer.loop import Training
from gradloom.trainer.predecessor import Predecessor
from gradloom.trainer.prepare import Given, Prepared, prepare
from gradloom.trainer.proof import PROOF_EXAMPLES, Prover
from gradloom.trainer.reference import packages_of_components
from gradloom.trainer.reports import Look
from gradloom.trainer.resolved import require_unchanged
from gradloom.trainer.session import Session
from gradloom.trainer.strategy import Threads
from gradloom.v1 import job_pb2, spec_pb2

# Loaded before the spare says that it is ready: what a failure needs is there when memory is short.
__all__ = ["hang", "main", "outcome"]

PROVER_START_SECONDS: Final = 10.0
"""How long before the expected end of the training the clean process is started: about what its imports take."""

logger = logging.getLogger(__name__)


def main() -> int:
    """Waits to be used, then serves one attempt; returns the exit code, 0 for a spare that was never used."""
    standby.announce_ready()
    instruction = standby.read_instruction()
    if instruction is None:
        return session.COMPLETED
    return session.serve(instruction, train)


def train(attempt: Session) -> attempt_pb2.FinishAttemptRequest:
    """Prepares, trains, exports and proves; on GPUs another program goes on after the training."""
    watchdog = attempt.watchdog
    predecessor = Predecessor(attempt.assignment.retry) if attempt.assignment.HasField("retry") else None
    with watchdog.stage("the preparation"):
        prepared = _prepared(attempt, predecessor)
    spec = prepared.resolved.spec
    training, course = prepared.training, Course(attempt, prepared, predecessor)
    wants_prover = not _on_gpus(prepared) and spec_pb2.ExportSpec.SAVED_MODEL in spec.export.formats
    with EarlyProver(wants_prover) as early, course.saver:
        with watchdog.stage("going on from a checkpoint"):
            course.resume()
        attempt.reporter.resume_at(_look(training, course, early=None))
        attempt.reporter.observe(lambda: _look(training, course, early))
        course.run()
        last = _look(training, course, early=None)
        attempt.reporter.observe(lambda: last)
        inputs = _proof_inputs(prepared)
        with averages_in_place(training.groups):
            if _on_gpus(prepared):
                course.saver.close()
                handover.hand_over(attempt, prepared.model, inputs, packages_of_components())
            attempt.reporter.release_devices()
            return delivery.deliver(attempt, spec, prepared.model, inputs, early.get)


def _prepared(attempt: Session, predecessor: Predecessor | None) -> Prepared:
    """What was prepared, once it is on record, or found to be what is on record."""
    assignment, stage = attempt.assignment, attempt.watchdog.stage
    given = Given(
        assignment.device_kind,
        assignment.replicas,
        assignment.data_roots,
        assignment.dataset_directories,
        assignment.initial_weights if assignment.HasField("initial_weights") else None,
    )
    if assignment.HasField("resolved_spec"):
        stored = assignment.resolved_spec
        threads = Threads(stored.intra_op_threads, stored.inter_op_threads)
        prepared = prepare(stored.spec, given, threads, stored.jit_compiled, stage=stage)
        require_unchanged(stored, prepared.resolved)
    else:
        # The server has drawn a seed when it took the job; one that is given stands.
        spec = with_defaults(assignment.spec, seed=0)
        if predecessor is None:
            prepared = prepare(spec, given, stage=stage)
        else:
            before = predecessor.threads(assignment.device_kind)
            prepared = prepare(spec, given, before, predecessor.jit_compiled(spec), stage=stage)
            for difference in predecessor.require_same(prepared.resolved):
                notice = f"{predecessor.checkpoint.job}, from which this goes on, was trained elsewhere: {difference}"
                attempt.reporter.add_event(job_pb2.Event(kind=job_pb2.Event.NOTICE, message=notice))
        with attempt.watchdog.paused():
            attempt.control.record_resolved_spec(attempt_pb2.RecordResolvedSpecRequest(resolved_spec=prepared.resolved))
    narration.tell_resolved(prepared.resolved)
    found = user_code.python_state(prepared.resolved.spec)
    narration.tell_python_state(found)
    if found and not assignment.HasField("resolved_spec"):
        notice = narration.python_state_notice(found)
        attempt.reporter.add_event(job_pb2.Event(kind=job_pb2.Event.NOTICE, message=notice))
    for notice in logits.contradictions(prepared.model, prepared.training.targets):
        logger.warning("%s", notice)
        if not assignment.HasField("resolved_spec"):
            attempt.reporter.add_event(job_pb2.Event(kind=job_pb2.Event.NOTICE, message=notice))
    if prepared.resolved.HasField("initial_weights") and not assignment.checkpoints:
        notice = initial_weights.summary(prepared.resolved.initial_weights)
        attempt.reporter.add_event(job_pb2.Event(kind=job_pb2.Event.NOTICE, message=notice))
    return prepared


def _look(training: Training, course: Course, early: "EarlyProver | None") -> Look:
    """What can be seen of the training now; called from the heartbeat's thread while it runs."""
    seen = training.snapshot()
    made = seen.global_step - course.first_step
    if early is not None and made:
        early.consider((course.total_steps - seen.global_step) * seen.training_seconds / made)
    groups = {
        name: job_pb2.GroupProgress(
            learning_rate=group.learning_rate, gradient_norm=group.gradient_norm, update_ratio=group.update_ratio
        )
        for name, group in seen.groups.items()
    }
    return Look(
        phase=None if early is None else job_pb2.Progress.EVALUATING if seen.evaluating else job_pb2.Progress.TRAINING,
        epoch=seen.epoch,
        global_step=seen.global_step,
        examples=seen.examples,
        step_seconds=seen.training_seconds,
        first_step_time=seen.first_step_time,
        scalars=seen.scalars,
        groups=groups,
    )


def _proof_inputs(prepared: Prepared) -> np.ndarray:
    """The first examples of the validation data, else of the training data, as the model takes them."""
    arrays = prepared.sources.get("validation", prepared.sources["train"])
    return arrays.features[:PROOF_EXAMPLES].astype(prepared.model.inputs[0].dtype)


def _on_gpus(prepared: Prepared) -> bool:
    return prepared.resolved.device_kind == spec_pb2.ResolvedSpec.GPU


class EarlyProver:
    """Starts the clean process of the proof when the training nears its end, so that its imports overlap with that."""

    def __init__(self, wanted: bool):
        self._wanted = wanted
        self._lock = threading.Lock()
        self._prover: Prover | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._wanted = False
            if self._prover is not None:
                self._prover.close()

    def consider(self, remaining_seconds: float) -> None:
        """Starts it when so little of the training remains."""
        if remaining_seconds < PROVER_START_SECONDS:
            with self._lock:
                if self._wanted and self._prover is None:
                    self._prover = Prover(packages_of_components())

    def get(self) -> Prover:
        """The clean process, started now if need be."""
        self.consider(remaining_seconds=0.0)
        assert self._prover is not None
        return self._prover
