"""What a training does while its checkpoints cannot be written."""

import errno
import threading
import time
from pathlib import Path

import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.trainer import checkpoints, outcome
from gradloom.trainer.checkpoints import Header
from gradloom.trainer.control import ControlPlane
from gradloom.trainer.reports import Reporter
from gradloom.trainer.saver import CheckpointsFailedError, Saver
from gradloom.trainer.session import Session
from gradloom.trainer.standby import Instruction
from gradloom.trainer.watchdog import Watchdog
from gradloom.v1 import job_pb2, spec_pb2
from tests.attempt_service import TOKEN, AttemptServer
from tests.supervised import until
from tests.test_loop import build, examples


@pytest.fixture
def attempt(tmp_path):
    """A session of this process with a server of its own."""
    directory = tmp_path / "attempt"
    (directory / "work").mkdir(parents=True)
    assignment = attempt_pb2.Assignment(attempt=1, attempt_directory=str(directory))
    with (
        AttemptServer(tmp_path / "trainer.sock", assignment) as server,
        ControlPlane(server.address, TOKEN) as control,
        Reporter(control, 1, pytest.fail, time.monotonic()) as reporter,
        Watchdog(step_seconds=600, stage_seconds=600, on_hang=pytest.fail) as watchdog,
    ):
        instruction = Instruction(str(directory), server.address, TOKEN)
        yield Session(instruction, assignment, control, reporter, watchdog), server


def saver(attempt, training, **options) -> Saver:
    def describe(state):
        return Header("uid", "spec", 1, state.global_step, 1)

    return Saver(
        attempt,
        training,
        spec_pb2.CheckpointSpec(**options),
        describe,
        retry_seconds=0.05,
        give_up_seconds=0.4,
        stop_seconds=0.5,
    )


def test_training_ends_with_the_disks_own_error_once_no_checkpoint_could_be_written_for_too_long(attempt):
    session, server = attempt
    # A disk that is full for good: what is written aside goes there.
    (session.work / "checkpoint").symlink_to("/dev/full")
    training = build(examples(800_000))
    keep_full = threading.Event()

    def fill() -> None:
        aside = session.work / "checkpoint"
        while not keep_full.wait(0.002):
            if not aside.is_symlink():
                aside.symlink_to("/dev/full")

    filler = threading.Thread(target=fill)
    filler.start()
    try:
        full = pytest.raises(CheckpointsFailedError, match="No space left on device")
        with full as failed, saver(session, training, every_steps=10):
            training.run_epoch(1)
    finally:
        keep_full.set()
        filler.join()
    assert outcome.failure(failed.value, before_first_step=False).reason == job_pb2.Job.DISK_FULL
    assert training.global_step > 10
    session.reporter.flush()
    (notice,) = [event.message for event in server.events]
    assert notice.startswith("the checkpoint of step 10 could not be written: ")
    assert notice.endswith("; it is tried again")
    assert list(Path(session.directory).glob("checkpoints/*")) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_whoever_is_told_to_stop_tries_to_save_for_a_while_and_tells_what_is_lost(attempt, monkeypatch):
    given, server = attempt
    stopped: list[str] = []

    class Stopping(Session):
        def stop(self, cause):
            stopped.append(cause)
            raise SystemExit

    session = Stopping(**vars(given))
    tries: list[float] = []

    def write(*_):
        tries.append(time.monotonic())
        raise OSError(errno.ENOSPC, "No space left on device")

    training = build(examples(800_000))
    monkeypatch.setattr(checkpoints, "write", write)
    with saver(session, training) as saving:
        threading.Thread(target=training.run_epoch, args=(1,), daemon=True).start()
        until(lambda: training.global_step)
        saving.stop_after_saving()
        until(lambda: stopped)
    assert len(tries) > 2
    (cause,) = stopped
    assert "could not be saved: [Errno 28] No space left on device" in cause
    told = server.reports[-1].progress.trouble
    assert (
        told
        == f"the checkpoint of step {training.global_step} could not be written: [Errno 28] No space left on device"
    )


def test_a_due_checkpoint_waits_for_the_one_before_and_the_best_one_is_never_left_out(attempt):
    session, server = attempt
    training = build(examples(40))
    with saver(session, training, every_steps=1) as saving:
        server.stop()
        training.run_epoch(1)
        path = saving.save_best()
        saving.wait_until_written()
        assert path.exists()
        server.start()
    # The first one was on its way while the server was away; steps 2 to 5 found it there.
    assert [(c.global_step, c.best) for c in reversed(server.checkpoints)] == [(1, False), (5, True)]


def test_best_checkpoints_that_were_bettered_before_they_were_on_record_are_left_out(attempt):
    session, server = attempt
    training = build(examples(40))
    with saver(session, training) as saving:
        server.stop()
        for epoch in (1, 2, 3, 4):
            training.run_epoch(epoch)
            path = saving.save_best()
            saving.wait_until_written()
        server.start()
    # The first one was on its way while the server was away.
    assert [(c.global_step, c.best) for c in reversed(server.checkpoints)] == [(5, True), (20, True)]
    assert len(list(path.parent.iterdir())) == 2


def test_a_disk_that_refuses_every_other_checkpoint_is_told_of_once(attempt):
    session, server = attempt
    training = build(examples(40))
    with saver(session, training) as saving:
        training.run_epoch(1)
        for _ in range(3):
            # The first try fails, and takes the link away.
            (session.work / "checkpoint").symlink_to("/dev/full")
            saving.save_best()
            saving.wait_until_written()
    session.reporter.flush()
    assert [event.message.partition(":")[0] for event in server.events] == [
        "the checkpoint of step 5 could not be written",
        "a checkpoint could be written again, that of step 5",
    ]
    assert server.reports[-1].progress.trouble == ""
