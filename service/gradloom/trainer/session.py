"""The frame of every program that serves an attempt: the calls, the heartbeat, and exactly one end that is told.

Imports nothing of TensorFlow, so that the heart beats while that is being imported.
"""

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import AttemptSupersededError, PermissionDeniedError
from gradloom.spec import with_defaults
from gradloom.trainer.control import ControlPlane
from gradloom.trainer.reports import Reporter
from gradloom.trainer.standby import Instruction
from gradloom.trainer.watchdog import Hang, Watchdog
from gradloom.v1 import job_pb2

COMPLETED: Final = 0
FAILED: Final = 1
STOPPED: Final = 3
"""Exit codes: the export is proven; the attempt failed and said why; it was told to stop, or is superseded."""
TELLING_SECONDS: Final = 60.0
"""How long an attempt that hangs tries to tell its end: the server may be away, and so may be what is to be told."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """What a program that serves an attempt has at hand."""

    instruction: Instruction
    assignment: attempt_pb2.Assignment
    control: ControlPlane
    reporter: Reporter
    watchdog: Watchdog

    @property
    def directory(self) -> Path:
        """The attempt's directory, the only one that is written to."""
        return Path(self.assignment.attempt_directory)

    @property
    def work(self) -> Path:
        """Below it, the files that do not outlive the attempt's processes."""
        return self.directory / "work"

    def stop(self, cause: str) -> NoReturn:
        """Ends the process now, from any thread, without an end that is told."""
        _end_at_once(cause, self.work)

    def fail_at_once(self, finish: attempt_pb2.FinishAttemptRequest) -> NoReturn:
        """Tells how the attempt ended and ends the process, from any thread, whatever hangs in the others."""

        def tell() -> None:
            # Nobody looks at what hangs.
            self.reporter.observe(lambda: None)
            _tell(self, finish)

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        teller.join(TELLING_SECONDS)
        shutil.rmtree(self.work, ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(FAILED)


def serve(instruction: Instruction, body: Callable[[Session], attempt_pb2.FinishAttemptRequest]) -> int:
    """Runs what an attempt is for and tells its end, whatever that is; returns the process's exit code.

    `body` returns how the attempt ended or raises; it says to the session's watchdog what it is at. When the attempt is
    stopped from outside, the process ends at once, in the middle of anything.
    """
    started = instruction.handover.get("started", time.monotonic())
    with ControlPlane(instruction.address, instruction.token) as control:
        try:
            assignment = control.get_assignment()
            logger.info("attempt %d of %s", assignment.attempt, assignment.job)
            work = Path(assignment.attempt_directory, "work")
            work.mkdir(parents=True, exist_ok=True)
            # TensorFlow leaves its temporary files behind when it is stopped: they go with the attempt's.
            os.environ["TMPDIR"] = tempfile.tempdir = str(work)
            # So do files that user code writes without saying where.
            os.chdir(work)
            with Reporter(
                control, assignment.attempt, lambda cause: _end_at_once(cause, work), started, instruction.handover
            ) as reporter:
                limits = with_defaults(assignment.spec, seed=0).training
                watchdog = Watchdog(
                    limits.step_timeout_seconds, limits.stage_timeout_seconds, lambda hang: _hung(attempt, hang)
                )
                attempt = Session(instruction, assignment, control, reporter, watchdog)
                with watchdog:
                    finish = _concluded(attempt, body)
                shutil.rmtree(work, ignore_errors=True)
                _tell(attempt, finish)
        except (AttemptSupersededError, PermissionDeniedError) as error:
            logger.warning("this attempt is over: %s", error)
            return STOPPED
    return COMPLETED if finish.reason == job_pb2.Job.COMPLETED else FAILED


def _concluded(
    session: Session, body: Callable[[Session], attempt_pb2.FinishAttemptRequest]
) -> attempt_pb2.FinishAttemptRequest:
    """The end that `body` gives, or the one that its exception means."""
    try:
        return body(session)
    except (AttemptSupersededError, PermissionDeniedError):
        raise
    except Exception as error:
        from gradloom.trainer import outcome

        finish = outcome.failure(error, before_first_step=session.reporter.progress().global_step == 0)
        # The faults of a spec say it all; for the rest the way to the place is wanted.
        explained = finish.error.field_faults or finish.reason in outcome.SAYS_IT_ALL
        logger.error("failed: %s", finish.message, exc_info=None if explained else error)
        for fault in finish.error.field_faults:
            logger.error("  %s: %s", fault.field, fault.description)
        return finish


def _hung(attempt: Session, found: Hang) -> NoReturn:
    from gradloom.trainer import hang

    hang.end(attempt, found)


def _tell(attempt: Session, finish: attempt_pb2.FinishAttemptRequest) -> None:
    attempt.reporter.flush()
    finish.progress.CopyFrom(attempt.reporter.progress())
    attempt.control.finish_attempt(finish)


def _end_at_once(cause: str, work: Path) -> NoReturn:
    """Ends this process from the heartbeat's thread, whatever TensorFlow is doing in the others."""
    logger.warning("stopped: %s", cause)
    shutil.rmtree(work, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(STOPPED)
