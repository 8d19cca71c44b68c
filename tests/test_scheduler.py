"""From the queue to the end, over the real store and real processes, with servers that die at the worst moments."""

import asyncio
import errno
import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gradloom.api.scheduling import SchedulerThread
from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import LimitExceededError
from gradloom.jobs.devices import Devices
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.launcher import Alive, AttemptStart
from gradloom.jobs.local_launcher import LocalLauncher
from gradloom.jobs.records import AttemptOutcome, AttemptRow
from gradloom.jobs.scheduler import Scheduler, token_digest
from gradloom.jobs.server_beat import ServerBeat
from gradloom.jobs.store import Store
from gradloom.jobs.timing import Timing
from gradloom.jobs.trouble import TroubleLog
from gradloom.supervisor import processes
from gradloom.supervisor.attempt_directory import AttemptDirectory
from gradloom.v1 import job_pb2
from tests.stores import Desk, completed, name_of, report, sqlite_url
from tests.supervised import TRAINER, is_gone, kill, log_of, until

Job = job_pb2.Job
TIMING = Timing(
    stop_grace_seconds=2.0,
    save_seconds=0.3,
    finish_grace_seconds=0.3,
    launch_pause_seconds=0.1,
    spare_pause_seconds=0.0,
)


class CrashError(BaseException):
    """The server dies here; nothing in it may catch this."""


@dataclass
class Crash:
    """The moment at which the server dies, once."""

    moment: str = ""

    def at(self, moment: str) -> None:
        if moment == self.moment:
            self.moment = ""
            raise CrashError(moment)


class MortalLauncher(LocalLauncher):
    crash = Crash()

    def start(self, start: AttemptStart) -> None:
        self.crash.at("claimed, not launched")
        super().start(start)
        self.crash.at("launched")

    def stop(self, directory: Path, grace_seconds: float) -> None:
        self.crash.at("about to stop")
        super().stop(directory, grace_seconds)
        self.crash.at("stopped")


class MortalStore(Store):
    crash = Crash()

    def end_attempt(self, uid: str, number: int, outcome: AttemptOutcome, next_state: int, now: object) -> job_pb2.Job:
        self.crash.at("ended, not on record")
        job = super().end_attempt(uid, number, outcome, next_state, now)  # type: ignore[arg-type]
        self.crash.at("ended, on record")
        return job


@dataclass
class World:
    """A data directory, and the servers that follow each other over it."""

    root: Path
    devices: Devices = field(default_factory=lambda: Devices((), 1))
    crash: Crash = field(default_factory=Crash)
    launchers: list[MortalLauncher] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MortalStore.open(sqlite_url(self.root))
        self.store.crash = self.crash
        self.desk = Desk(self.store)
        self.beat = ServerBeat(self.root / "server.beat")
        self.script = self.root / "script.py"
        self.do("time.sleep(600)")
        self.serve()

    def do(self, script: str) -> None:
        """What trainers do that take their assignment from now on."""
        aside = self.root / "script.aside"
        aside.write_text(script)
        aside.rename(self.script)

    def serve(self) -> None:
        """Starts a server over what the one before left."""
        if self.launchers:
            self.launchers[-1].close()  # As the kernel does when a server dies.
        trainer = TRAINER + f"\nexec(open({str(self.script)!r}).read())"
        launcher = MortalLauncher(self.beat.path, 60.0, trainer_command=(sys.executable, "-S", "-c", trainer))
        launcher.crash = self.crash
        self.launchers.append(launcher)
        self.instruments = Instruments(60.0)
        self.scheduler = Scheduler(
            self.store,
            launcher,
            self.devices,
            self.instruments,
            artifact_root=self.root / "artifacts",
            trainer_address="unix:/nowhere.sock",
            timing=TIMING,
        )
        self.scheduler.adopt()

    def tick(self) -> None:
        self.scheduler.tick(self.desk.now())

    def tick_until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        until(lambda: (self.tick(), condition())[1], what)

    def job(self, job_id: str) -> job_pb2.Job:
        return self.store.get_job(name_of(job_id))

    def state(self, job_id: str) -> str:
        return Job.State.Name(self.job(job_id).state)

    def reasons(self, job_id: str) -> list[str]:
        """Why each attempt of a job ended."""
        attempts, _ = self.store.list_attempts(name_of(job_id))
        return [Job.Reason.Name(attempt.reason) for attempt in attempts]

    def directory(self, job_id: str, number: int = 1) -> AttemptDirectory:
        return AttemptDirectory(self.root / "artifacts" / self.job(job_id).uid / str(number))

    def living(self) -> list[Path]:
        """The attempts whose supervisor lives."""
        found = [path.parent.parent for path in self.root.glob("artifacts/*/*/supervisor/lock")]
        return [path for path in found if isinstance(self.launchers[-1].observe(path), Alive)]

    def trainer_pid(self, job_id: str, number: int = 1) -> int:
        record = self.directory(job_id, number).read_record()
        assert record is not None
        return record.trainer_pid

    def close(self) -> None:
        self.scheduler.drain(0.0)
        for launcher in self.launchers:
            launcher.close()
        assert self.living() == []
        self.beat.close()
        self.store.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


# From the queue to the end


def test_a_job_whose_export_is_proven_succeeds_and_frees_its_device(world: World) -> None:
    world.desk.create("a")
    world.tick()
    assert world.state("a") == "STARTING"
    assert world.scheduler.device_counts() == {"free": 0, "claimed": 1}
    uid = world.job("a").uid
    world.store.record_report(uid, 1, report(1), world.desk.now())
    world.store.finish_attempt(uid, 1, completed(1), world.desk.now())
    os.kill(world.trainer_pid("a"), 15)
    world.tick_until(lambda: world.state("a") == "SUCCEEDED")
    assert world.scheduler.device_counts() == {"free": 1, "claimed": 0}
    artifacts, _ = world.store.list_artifacts(name_of("a"))
    log = world.directory("a").log
    (logged,) = [artifact for artifact in artifacts if artifact.kind == job_pb2.Artifact.LOG]
    assert (logged.path, logged.size_bytes) == ("log/attempt.log", log.stat().st_size)
    assert logged.sha256 == hashlib.sha256(log.read_bytes()).hexdigest()
    ((attempt,), _) = world.store.list_attempts(name_of("a"))
    assert (attempt.log_size_bytes, attempt.log_dropped_bytes) == (log.stat().st_size, 0)


def test_the_oldest_job_that_fits_is_claimed_and_one_that_does_not_fit_waits(tmp_path: Path) -> None:
    world = World(tmp_path, Devices(("0", "1"), 1))
    try:
        world.desk.create("two-gpus", gpus=2)
        world.desk.create("one-gpu", gpus=1)
        world.desk.create("cpu", cpu_replicas=2)
        world.desk.create("another-cpu", gpus=0)
        world.tick()
        assert [world.state(name) for name in ("two-gpus", "one-gpu", "cpu", "another-cpu")] == [
            "STARTING",
            "QUEUED",
            "STARTING",
            "QUEUED",
        ]
        attempts = {row.name.job_id: row.devices for row in world.store.live_attempts()}
        assert attempts == {"two-gpus": ("GPU:0", "GPU:1"), "cpu": ("CPU:0",)}
    finally:
        world.close()


def test_devices_are_free_again_when_the_trainer_has_released_them_though_it_still_runs(world: World) -> None:
    for name in ("first", "second"):
        world.desk.create(name)
    world.tick()
    released = attempt_pb2.ReportRequest(beat=1, devices_released=True)
    world.store.record_report(world.job("first").uid, 1, released, world.desk.now())
    world.tick()
    assert world.state("second") == "STARTING"
    assert len(world.living()) == 2


def test_only_the_digest_of_the_token_is_stored(world: World) -> None:
    world.do("open(os.path.join(request['attempt_directory'], 'token'), 'w').write(request['token']); time.sleep(600)")
    world.desk.create("a")
    world.tick()
    told = world.directory("a").path / "token"
    until(lambda: told.exists() and told.read_text())
    token = told.read_text()
    assert world.store.attempt_by_token(token_digest(token)).number == 1
    assert token.encode() not in b"".join(path.read_bytes() for path in world.root.glob("gradloom.db*"))


@pytest.mark.parametrize(
    ("script", "reasons"),
    [
        ("print('last words'); sys.exit(1)", ["TRAINER_EXITED"] * 3),
        ("os.kill(os.getpid(), 11)", ["KILLED_BY_SIGNAL"] * 3),
    ],
)
def test_a_job_fails_when_its_attempts_are_used_up_and_says_why(world: World, script: str, reasons: list[str]) -> None:
    world.do(script)
    world.desk.create("a")
    world.tick_until(lambda: world.state("a") == "FAILED")
    assert world.reasons("a") == reasons
    job = world.job("a")
    assert "retry.max_attempts is 3" in job.state_message
    assert any("the trainer" in line for line in job.error.log_lines)


def test_a_failure_that_the_trainer_reported_wins_over_its_exit_code(world: World) -> None:
    world.desk.create("a")
    world.tick()
    refused = attempt_pb2.FinishAttemptRequest(reason=Job.SPEC_REFUSED, message="no such shape")
    world.store.finish_attempt(world.job("a").uid, 1, refused, world.desk.now())
    kill(world.trainer_pid("a"))
    world.tick_until(lambda: world.state("a") == "FAILED")
    assert world.job("a").state_message == "no such shape"
    assert world.reasons("a") == ["SPEC_REFUSED"]


def test_a_trainer_that_lives_on_after_its_report_is_ended(world: World) -> None:
    world.desk.create("a")
    world.tick()
    world.store.finish_attempt(world.job("a").uid, 1, completed(1), world.desk.now())
    world.tick_until(lambda: world.state("a") == "SUCCEEDED")


def test_what_a_failed_attempt_left_half_done_is_removed_and_its_log_stays(world: World) -> None:
    world.do("[os.makedirs(os.path.join(request['attempt_directory'], d)) for d in ('work', 'export')]; sys.exit(1)")
    world.desk.create("a")
    world.tick_until(lambda: world.state("a") == "FAILED")
    assert sorted(path.name for path in world.directory("a").path.iterdir()) == ["log", "supervisor"]


LEAVE_FILES = """
place = os.path.join(request['attempt_directory'], 'checkpoints')
os.makedirs(place)
[open(os.path.join(place, name), 'w').close() for name in ('10.ckpt', '20.ckpt')]
time.sleep(600)
"""


def checkpoint_files(world: World) -> list[str]:
    return sorted(str(path.relative_to(path.parents[2])) for path in world.root.glob("artifacts/*/*/checkpoints/*"))


@pytest.mark.parametrize("moment", ["", "ended, on record"])
def test_what_looks_like_a_checkpoint_and_is_on_no_record_goes_when_its_attempt_has_ended(
    world: World, moment: str
) -> None:
    """As a trainer leaves it that is killed between the rename and the record; and a server that dies then, too."""
    world.do(LEAVE_FILES)
    world.desk.create("a")
    world.tick()
    until(lambda: len(checkpoint_files(world)) == 2)
    (attempt,) = world.store.live_attempts()
    world.desk.save(attempt, 10)
    for _ in range(3):
        world.tick()
    assert len(checkpoint_files(world)) == 2, "a live attempt's files are its own"
    world.do("time.sleep(600)")
    world.crash.moment = moment
    kill(world.trainer_pid("a"))
    if moment:
        with pytest.raises(CrashError):
            world.tick_until(lambda: False)
        assert len(checkpoint_files(world)) == 2
        world.serve()
    world.tick_until(lambda: world.job("a").attempt_count == 2)
    assert checkpoint_files(world) == ["1/checkpoints/10.ckpt"]


def test_a_launch_that_fails_says_why_and_uses_up_no_attempt(world: World) -> None:
    (world.root / "artifacts").touch()
    world.desk.create("a")
    world.tick_until(lambda: world.job("a").attempt_count == 4)
    assert "Not a directory" in world.store.attempts_of(world.job("a").uid)[0].stopping_message
    (world.root / "artifacts").unlink()
    world.tick_until(lambda: world.state("a") == "STARTING")
    assert set(world.reasons("a")) == {"LAUNCH_FAILED", "REASON_UNSPECIFIED"}
    assert world.store.live_attempts()[0].counted_attempts == 0


# Cancels


def test_a_cancel_ends_a_running_attempt_and_is_not_retried(world: World) -> None:
    world.desk.create("a")
    world.tick()
    world.store.record_report(world.job("a").uid, 1, report(1), world.desk.now())
    world.desk.cancel("a")
    world.tick_until(lambda: world.state("a") == "CANCELLED")
    assert world.reasons("a") == ["CANCELLED_BY_USER"]
    assert is_gone(world.trainer_pid("a"))


def test_a_cancel_while_starting_ends_the_attempt(world: World) -> None:
    world.desk.create("a")
    world.tick()
    assert world.state("a") == "STARTING"
    world.desk.cancel("a")
    world.tick_until(lambda: world.state("a") == "CANCELLED")
    assert world.living() == []


def test_a_cancel_wins_over_a_proven_export(world: World) -> None:
    world.desk.create("a")
    world.tick()
    world.store.finish_attempt(world.job("a").uid, 1, completed(1), world.desk.now())
    world.desk.cancel("a")
    world.tick_until(lambda: world.state("a") == "CANCELLED")


# Restarts and crashes


def test_a_restarted_server_follows_a_living_attempt_to_its_end(world: World) -> None:
    world.do(f"while not os.path.exists({str(world.root / 'go-on')!r}): time.sleep(0.02)\nsys.exit(5)")
    world.desk.create("a")
    world.tick()
    pid = world.trainer_pid("a")
    world.serve()
    for _ in range(3):
        world.tick()
    assert not is_gone(pid)
    world.do("time.sleep(600)")
    (world.root / "go-on").touch()
    world.tick_until(lambda: world.job("a").attempt_count == 2)
    assert world.reasons("a")[0] == "TRAINER_EXITED"
    attempts, _ = world.store.list_attempts(name_of("a"))
    assert attempts[0].exit_code == 5


def test_an_attempt_that_ended_while_no_server_ran_is_decided_by_its_record(world: World) -> None:
    world.desk.create("a")
    world.tick()
    world.store.finish_attempt(world.job("a").uid, 1, completed(1), world.desk.now())
    kill(world.trainer_pid("a"))
    until(lambda: world.living() == [])
    world.serve()
    world.tick()
    assert world.state("a") == "SUCCEEDED"


def test_an_attempt_that_was_lost_while_no_server_ran_is_swept_and_started_over_uncounted(world: World) -> None:
    world.do(
        "c = subprocess.Popen(['setsid', 'sleep', '604']); print('child', c.pid, 'there', flush=True); time.sleep(600)"
    )
    world.desk.create("a")
    world.tick()
    until(lambda: "there" in log_of(world.directory("a")))
    child = int(log_of(world.directory("a")).split("child ")[1].split()[0])
    record = world.directory("a").read_record()
    assert record is not None
    kill(record.pid)
    until(lambda: is_gone(record.trainer_pid))
    assert not is_gone(child)
    world.serve()
    world.tick_until(lambda: world.job("a").attempt_count == 2)
    assert is_gone(child)
    assert not list(world.directory("a").supervisor.glob("*.aside"))
    assert world.reasons("a")[0] == "TRAINER_LOST"
    (row,) = world.store.live_attempts()
    assert (row.counted_attempts, row.uncounted_attempts) == (0, 1)


@pytest.mark.parametrize("moment", ["claimed, not launched", "launched", "ended, not on record", "ended, on record"])
def test_a_server_that_dies_at_any_moment_leaves_one_attempt_at_most_and_a_job_that_goes_on(
    world: World, moment: str
) -> None:
    world.do("sys.exit(1)" if "ended" in moment else "time.sleep(600)")
    world.crash.moment = moment
    world.desk.create("a")
    with pytest.raises(CrashError):
        world.tick_until(lambda: False)
    world.do("time.sleep(600)")
    before = len(world.living())
    world.serve()
    assert len(world.living()) == before
    world.tick_until(lambda: len(world.living()) == 1)
    for _ in range(3):
        world.tick()
    assert len(world.living()) == 1
    assert len(world.store.live_attempts()) == 1
    assert world.state("a") == "STARTING"
    expected = {
        "claimed, not launched": ["TRAINER_LOST", "REASON_UNSPECIFIED"],
        "launched": ["REASON_UNSPECIFIED"],
        "ended, not on record": ["TRAINER_EXITED", "REASON_UNSPECIFIED"],
        "ended, on record": ["TRAINER_EXITED", "REASON_UNSPECIFIED"],
    }
    assert world.reasons("a") == expected[moment]


@pytest.mark.parametrize("moment", ["about to stop", "stopped", "ended, not on record", "ended, on record"])
def test_a_server_that_dies_over_a_cancel_leaves_it_to_the_next_one(world: World, moment: str) -> None:
    world.desk.create("a")
    world.tick()
    world.desk.cancel("a")
    world.crash.moment = moment
    with pytest.raises(CrashError):
        world.tick_until(lambda: False)
    world.serve()
    world.tick_until(lambda: world.state("a") == "CANCELLED")
    assert world.reasons("a") == ["CANCELLED_BY_USER"]


def test_a_late_supervisor_of_an_attempt_that_was_given_up_starts_nothing(world: World) -> None:
    world.crash.moment = "claimed, not launched"
    world.desk.create("a")
    with pytest.raises(CrashError):
        world.tick()
    late = world.launchers[-1]
    world.serve()
    world.tick_until(lambda: world.job("a").attempt_count == 2)
    with pytest.raises(Exception, match="given up before"):
        late.start(AttemptStart(world.directory("a", 1).path, "token", "unix:/nowhere", {}))


# Draining


def test_a_drain_returns_jobs_to_the_queue_uncounted_and_leaves_no_process(world: World) -> None:
    world.desk.create("a")
    world.tick_until(lambda: world.launchers[-1].spare is not None)
    spare = world.launchers[-1].spare
    assert spare is not None
    children = processes.descendants(spare.process.pid)
    world.scheduler.drain(10.0)
    assert world.state("a") == "QUEUED"
    assert world.reasons("a") == ["SERVER_STOPPED"]
    assert is_gone(world.trainer_pid("a"))
    assert is_gone(spare.process.pid)
    assert all(is_gone(child.pid) for child in children)


def test_a_stop_in_the_middle_of_a_tick_lets_no_other_attempt_begin(tmp_path: Path) -> None:
    world = World(tmp_path, Devices((), 2))
    for job_id in ("a", "b"):
        world.desk.create(job_id)

    def begin(start: AttemptStart) -> None:
        world.scheduler.claim_no_more()
        MortalLauncher.start(world.launchers[-1], start)

    world.launchers[-1].start = begin  # type: ignore[method-assign]
    try:
        world.tick()
        world.tick()
        assert [world.state(job_id) for job_id in ("a", "b")] == ["STARTING", "QUEUED"]
    finally:
        world.close()


def test_a_drain_kills_what_does_not_end_in_time_or_at_once_when_hurried(world: World) -> None:
    world.do("signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)")
    world.desk.create("a")
    world.tick()
    until(lambda: "deaf" in log_of(world.directory("a")))
    world.scheduler.drain(0.3)
    assert world.state("a") == "QUEUED"
    world.serve()
    world.tick_until(lambda: world.job("a").attempt_count == 2)
    until(lambda: "deaf" in log_of(world.directory("a", 2)))
    world.scheduler.drain(600.0, lambda: True)
    assert world.reasons("a") == ["SERVER_STOPPED"] * 2
    assert world.living() == []


def train(world: World, *job_ids: str, phase: int = job_pb2.Progress.TRAINING) -> None:
    """Creates jobs and has them report, as if the trainers did."""
    for job_id in job_ids:
        world.desk.create(job_id)
    world.tick()
    for job_id in job_ids:
        world.store.record_report(world.job(job_id).uid, 1, report(1, phase, step=10), world.desk.now())


def drain(world: World, timeout_seconds: float, is_hurried: Callable[[], bool] = lambda: False) -> threading.Thread:
    """Begins to drain in a thread, and returns once every attempt is told so."""
    thread = threading.Thread(target=world.scheduler.drain, args=(timeout_seconds, is_hurried))
    thread.start()
    until(lambda: not world.store.live_attempts() or world.store.live_attempts()[0].stopping_reason)
    return thread


def test_a_drain_has_a_training_attempt_save_and_the_next_one_goes_on_from_there(world: World) -> None:
    world.do(f"while not os.path.exists({str(world.root / 'saved')!r}): time.sleep(0.02)\nsys.exit(3)")
    train(world, "a")
    draining = drain(world, 600.0)
    answer = world.store.record_report(world.job("a").uid, 1, report(2, step=20), world.desk.now())
    assert answer.directive == attempt_pb2.ReportResponse.CHECKPOINT_AND_STOP
    time.sleep(0.5)
    assert not is_gone(world.trainer_pid("a")), "nobody sends it a signal before it has saved"
    (attempt,) = world.store.live_attempts()
    world.desk.save(attempt, 20)
    (world.root / "saved").touch()
    draining.join()
    assert (world.state("a"), world.reasons("a")) == ("QUEUED", ["SERVER_STOPPED"])
    ((ended,), _) = world.store.list_attempts(name_of("a"))
    assert (ended.exit_code, ended.HasField("signal")) == (3, False), "it ended by itself"
    assert world.job("a").progress.checkpoint_step == 20
    assert world.store.attempts_of(attempt.uid)[0].counted_attempts == 0


def test_a_drain_ends_a_training_attempt_that_does_not_save_within_the_timeout(world: World) -> None:
    train(world, "a")
    started = time.monotonic()
    world.scheduler.drain(2.0)
    assert time.monotonic() - started >= 1.0, "half of it is for saving"
    assert (world.state("a"), world.reasons("a")) == ("QUEUED", ["SERVER_STOPPED"])


def test_a_drain_that_is_hurried_waits_for_no_checkpoint(world: World) -> None:
    train(world, "a")
    world.scheduler.drain(600.0, lambda: True)
    assert (world.state("a"), world.reasons("a")) == ("QUEUED", ["SERVER_STOPPED"])


@pytest.mark.parametrize("phase", ["PREPARING", "EXPORTING", "PROVING"])
def test_a_drain_ends_at_once_what_cannot_save(world: World, phase: str) -> None:
    train(world, "a", phase=job_pb2.Progress.Phase.Value(phase))
    # Longer than a test may take.
    world.scheduler.drain(600.0)
    assert (world.state("a"), world.reasons("a")) == ("QUEUED", ["SERVER_STOPPED"])


def test_a_cancel_while_an_attempt_saves_for_a_drain_ends_it_at_once(world: World) -> None:
    train(world, "a")
    draining = drain(world, 600.0)
    world.desk.cancel("a")
    draining.join(10.0)
    assert not draining.is_alive()
    assert world.state("a") == "CANCELLED"


def test_a_drain_lets_a_proven_export_and_a_cancel_stand(tmp_path: Path) -> None:
    world = World(tmp_path, Devices((), 2))
    try:
        for name in ("done", "cancelled"):
            world.desk.create(name)
        world.tick()
        world.store.finish_attempt(world.job("done").uid, 1, completed(1), world.desk.now())
        world.desk.cancel("cancelled")
        world.scheduler.drain(10.0)
        assert (world.state("done"), world.state("cancelled")) == ("SUCCEEDED", "CANCELLED")
    finally:
        world.close()


def test_a_server_that_dies_over_a_drain_leaves_the_reason_to_the_next_one(world: World) -> None:
    world.desk.create("a")
    world.tick()
    world.crash.moment = "about to stop"
    with pytest.raises(CrashError):
        world.scheduler.drain(10.0)
    world.serve()
    world.tick_until(lambda: world.job("a").attempt_count == 2)
    assert world.reasons("a")[0] == "SERVER_STOPPED"


def test_what_was_told_to_save_by_a_server_that_died_has_a_while_to_do_so_under_the_next_one(world: World) -> None:
    train(world, "a")
    world.store.mark_stopping(world.job("a").uid, 1, Job.SERVER_STOPPED, "why")
    world.serve()
    world.tick()
    answer = world.store.record_report(world.job("a").uid, 1, report(2, step=20), world.desk.now())
    assert answer.directive == attempt_pb2.ReportResponse.CHECKPOINT_AND_STOP
    assert not is_gone(world.trainer_pid("a"))
    world.tick_until(lambda: world.job("a").attempt_count == 2)
    assert world.reasons("a")[0] == "SERVER_STOPPED"


def test_no_spare_is_warmed_while_an_attempt_prepares(world: World) -> None:
    world.scheduler._timing = Timing(spare_pause_seconds=600.0)
    world.desk.create("a")
    for _ in range(3):
        world.tick()
    assert world.launchers[-1].spare is None
    world.store.record_report(world.job("a").uid, 1, report(1), world.desk.now())
    world.tick()
    assert world.launchers[-1].spare is not None


# Trouble


def test_trouble_of_the_world_is_one_line_until_it_changes_or_a_minute_has_passed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = iter((0.0, 1.0, 59.0, 60.0, 61.0, 62.0, 62.0))
    trouble = TroubleLog(logging.getLogger("tests"), lambda: next(times))
    full, gone = LimitExceededError("the disk is full"), OSError(errno.EIO, "Input/output error")
    for error in (full, full, full, full, gone, full):
        trouble.tell("A tick", error)
    trouble.tell("Another", full)
    full_line, gone_line = "A tick: the disk is full", "A tick: [Errno 5] Input/output error"
    assert caplog.messages == [full_line, full_line, gone_line, full_line, "Another: the disk is full"]
    assert "Traceback" not in caplog.text


def test_other_trouble_keeps_its_traceback_every_time(caplog: pytest.LogCaptureFixture) -> None:
    trouble = TroubleLog(logging.getLogger("tests"), lambda: 0.0)
    for _ in range(2):
        trouble.tell("A tick", ValueError("a mistake"))
    assert caplog.messages == ["A tick"] * 2
    assert caplog.text.count("ValueError: a mistake") == 2


class FullDiskStore(MortalStore):
    full = False

    def live_attempts(self) -> list[AttemptRow]:
        if self.full:
            raise LimitExceededError("the server's disk is full; nothing was stored", subject="disk")
        return super().live_attempts()


async def test_a_tick_on_a_full_disk_is_one_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FullDiskStore.open(sqlite_url(tmp_path))
    world = World(tmp_path)
    scheduler = Scheduler(
        store,
        world.launchers[-1],
        world.devices,
        world.instruments,
        artifact_root=tmp_path / "artifacts",
        trainer_address="unix:/nowhere.sock",
        timing=TIMING,
    )
    store.full = True
    thread = SchedulerThread(scheduler, store.hub)
    thread.start()
    try:
        await asyncio.to_thread(until, lambda: caplog.messages)
    finally:
        await thread.stop()
        store.full = False
        store.close()
        world.close()
    wanted = "A tick of the scheduler failed: the server's disk is full; nothing was stored"
    assert [message for message in caplog.messages if "tick" in message] == [wanted]
    assert "Traceback" not in caplog.text


def test_an_attempt_that_cannot_be_looked_after_is_one_line_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.desk.create("a")
    world.tick()
    (attempt,) = world.store.live_attempts()
    for _ in range(3):
        with world.scheduler._trouble.kept_from_others(f"{attempt.full_name} could not be looked after"):
            raise OSError(errno.ENOSPC, "No space left on device")
    lines = [message for message in caplog.messages if "looked after" in message]
    assert lines == [f"{name_of('a')}/attempts/1 could not be looked after: [Errno 28] No space left on device"]
    assert "Traceback" not in caplog.text
