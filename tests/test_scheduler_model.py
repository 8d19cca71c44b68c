"""Random histories of jobs, trainers that die, and servers that die within a tick; over the real store and scheduler.

Only the machine is a model: what processes there are. It says itself when it is asked for what must never be, such as
a second attempt beside one that lives.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import AttemptSupersededError, WrongStateError
from gradloom.job import TERMINAL_STATES, state_name
from gradloom.jobs.devices import Devices
from gradloom.jobs.housekeeping import Housekeeper
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.launcher import Alive, AttemptStart, Ended, LaunchError, Lost, Observation
from gradloom.jobs.scheduler import Scheduler
from gradloom.supervisor.attempt_directory import ExitRecord
from gradloom.v1 import job_pb2
from tests.stores import STORES, Desk, a_checkpoint, a_job, completed, name_of, report

Job = job_pb2.Job
Directive = attempt_pb2.ReportResponse
SLOTS = 2
ROUNDS = 400
"""Within so many every job must have come to its end, once nobody disturbs it."""


class CrashError(BaseException):
    """The server dies here; nothing in it may catch this."""


@dataclass
class Process:
    """A supervisor with its trainer."""

    directory: Path
    killed_at: float | None = None
    """Since a stop was asked for; then it is killed."""
    end: ExitRecord | None = None
    lost: bool = False
    step: int = 0

    @property
    def lives(self) -> bool:
        return self.end is None and not self.lost

    @property
    def uid(self) -> str:
        return self.directory.parent.name

    @property
    def number(self) -> int:
        return int(self.directory.name)


@dataclass
class Machine:
    """What runs, with a clock of its own. Outlives servers; a launcher by its methods."""

    seconds: float = 0.0
    processes: dict[Path, Process] = field(default_factory=dict)
    given_up: set[Path] = field(default_factory=set)
    launches_to_fail: int = 0

    def clock(self) -> float:
        # Whoever waits for a time comes there by looking.
        self.seconds += 0.01
        return self.seconds

    def living(self) -> list[Process]:
        return [process for process in self.processes.values() if process.lives]

    def start(self, start: AttemptStart) -> None:
        directory = start.directory
        assert directory not in self.processes, f"{directory} is started twice"
        assert directory not in self.given_up, f"{directory} is started after it was given up"
        beside = [process for process in self.living() if process.uid == directory.parent.name]
        assert not beside, f"{directory} is started beside {beside}"
        if self.launches_to_fail:
            self.launches_to_fail -= 1
            raise LaunchError("the machine does not want to")
        self.processes[directory] = Process(directory)

    def observe(self, directory: Path) -> Observation:
        process = self.processes.get(directory)
        if process is None or process.lost:
            return Lost()
        if process.end is None and process.killed_at is not None and self.seconds >= process.killed_at:
            process.end = ExitRecord(signal=9, stopped=True)
        return Alive() if process.end is None else Ended(process.end)

    def stop(self, directory: Path, grace_seconds: float) -> None:
        process = self.processes.get(directory)
        if process is not None:
            killed_at = self.seconds + grace_seconds
            process.killed_at = killed_at if process.killed_at is None else min(killed_at, process.killed_at)

    def kill_leftovers(self, directory: Path) -> bool:
        self.given_up.add(directory)
        return True

    def warm(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass
class Fuse:
    """Lets the server die at the n-th moment from now."""

    moments: int = 0

    def burn(self) -> None:
        if self.moments:
            self.moments -= 1
            if not self.moments:
                raise CrashError


class Mortal:
    """Before and after whatever the scheduler asks of something, the server may die."""

    def __init__(self, thing: Any, fuse: Fuse):
        self._thing = thing
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self._fuse.burn()
            result = getattr(self._thing, name)(*arguments, **named)
            self._fuse.burn()
            return result

        return call


class SchedulerAgainstMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.root = Path(self.directory.name)
        self.desk = Desk(STORES["sqlite"](self.root))
        self.machine, self.fuse = Machine(), Fuse()
        self.ids: dict[str, str] = {}
        self.cancelled: set[str] = set()
        self.ended: dict[str, int] = {}
        self.serve()

    def teardown(self) -> None:
        try:
            self.every_job_comes_to_its_end()
        finally:
            self.desk.store.close()
            self.directory.cleanup()

    def serve(self) -> None:
        """A server over what the one before left; it may die at once."""
        while True:
            self.scheduler = Scheduler(
                Mortal(self.desk.store, self.fuse),  # type: ignore[arg-type]
                Mortal(self.machine, self.fuse),  # type: ignore[arg-type]
                Devices((), SLOTS),
                Instruments(60.0),
                artifact_root=self.root / "artifacts",
                trainer_address="unix:/nowhere.sock",
                clock=self.machine.clock,
            )
            self.housekeeper = Housekeeper(
                Mortal(self.desk.store, self.fuse),  # type: ignore[arg-type]
                Instruments(60.0),
                self.root / "artifacts",
                self.machine.clock,
            )
            try:
                self.scheduler.adopt()
                self.housekeeper.begin()
                return
            except CrashError:
                continue

    def do(self, act: Any) -> None:
        try:
            act()
        except CrashError:
            self.serve()

    # What users do

    @rule(job_id=st.sampled_from("abcd"), priority=st.integers(0, 2), preemptible=st.booleans())
    def create(self, job_id: str, priority: int, preemptible: bool) -> None:
        if job_id not in self.ids:
            job = a_job()
            job.priority, job.spec.scheduling.preemptible = priority, preemptible
            self.ids[job_id] = self.desk.submit(job_id, job).uid

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def pause(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.ids)), "job")
        try:
            self.desk.store.pause_job(name_of(job_id), "", None, "", self.desk.now())
        except WrongStateError:
            assert self.state(job_id) in (*TERMINAL_STATES, Job.CANCELLING)

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.ids)), "job")
        try:
            self.desk.store.resume_job(name_of(job_id), "", None, "", self.desk.now())
        except WrongStateError:
            assert self.state(job_id) in (*TERMINAL_STATES, Job.CANCELLING, Job.PAUSING)

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.ids)), "job")
        self.desk.delete(job_id, force=True)
        del self.ids[job_id]
        self.cancelled.discard(job_id)
        self.ended.pop(job_id, None)

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.ids)), "job")
        try:
            self.desk.cancel(job_id)
            self.cancelled.add(job_id)
        except WrongStateError:
            assert self.state(job_id) in (Job.SUCCEEDED, Job.FAILED)

    # What the server does

    @rule()
    def tick(self) -> None:
        self.do(lambda: self.scheduler.tick(self.desk.now()))

    @rule(moments=st.integers(1, 30))
    def die_soon(self, moments: int) -> None:
        self.fuse.moments = moments
        self.do(lambda: self.scheduler.tick(self.desk.now()))
        self.fuse.moments = 0

    @rule(moments=st.integers(0, 8))
    def keep_house(self, moments: int) -> None:
        self.fuse.moments = moments
        self.do(self.housekeeper.tick)
        self.fuse.moments = 0

    @rule()
    def crash(self) -> None:
        self.serve()

    @rule(moments=st.integers(0, 40))
    def drain(self, moments: int) -> None:
        self.fuse.moments = moments
        self.do(lambda: self.scheduler.drain(2.0))
        self.fuse.moments = 0
        self.serve()

    # What the machine does

    @rule(seconds=st.sampled_from([0.5, 5.0, 60.0, 600.0]))
    def time_passes(self, seconds: float) -> None:
        self.machine.seconds += seconds

    @rule(count=st.integers(1, 3))
    def launches_fail(self, count: int) -> None:
        self.machine.launches_to_fail = count

    @precondition(lambda self: self.machine.living())
    @rule(data=st.data(), how=st.sampled_from(["killed", "exited", "lost"]))
    def die(self, data: st.DataObject, how: str) -> None:
        process = self.some_process(data)
        if how == "lost":
            process.lost = True
        else:
            process.end = ExitRecord(signal=9) if how == "killed" else ExitRecord(exit_code=1)

    # What trainers do

    @precondition(lambda self: self.machine.living())
    @rule(data=st.data())
    def train(self, data: st.DataObject) -> None:
        self.report_of(self.some_process(data))

    @precondition(lambda self: self.machine.living())
    @rule(data=st.data())
    def save(self, data: st.DataObject) -> None:
        self.save_of(self.some_process(data))

    @precondition(lambda self: self.machine.living())
    @rule(data=st.data(), exits=st.booleans())
    def finish(self, data: st.DataObject, exits: bool) -> None:
        self.finish_of(self.some_process(data), exits)

    def report_of(self, process: Process) -> None:
        """Reports, and does what it is told."""
        process.step += 1
        try:
            told = self.desk.store.record_report(process.uid, process.number, report(process.step), self.desk.now())
        except AttemptSupersededError:
            raise AssertionError(f"{process} lives and is superseded") from None
        if told.directive == Directive.CHECKPOINT_AND_STOP:
            self.save_of(process)
        if told.directive != Directive.CONTINUE:
            process.end = ExitRecord(exit_code=3)

    def save_of(self, process: Process) -> None:
        process.step += 1
        before = [stored.checkpoint.global_step for stored in self.desk.store.checkpoints_of(process.uid)]
        checkpoint = a_checkpoint(max(before, default=0) + 1)
        self.desk.store.record_checkpoint(process.uid, process.number, checkpoint, self.desk.now())

    def finish_of(self, process: Process, exits: bool) -> None:
        self.desk.store.finish_attempt(process.uid, process.number, completed(process.number), self.desk.now())
        if exits:
            process.end = ExitRecord(exit_code=0)

    def some_process(self, data: st.DataObject) -> Process:
        # In the order in which they were started, which does not depend on chance as their uids do.
        living = self.machine.living()
        return data.draw(st.sampled_from(living), "process")

    def state(self, job_id: str) -> int:
        return self.desk.store.get_job(name_of(job_id)).state

    # What always holds

    @invariant()
    def what_lives_is_what_the_store_calls_live(self) -> None:
        live = {(row.uid, row.number): row for row in self.desk.store.live_attempts()}
        assert {(process.uid, process.number) for process in self.machine.living()} <= live.keys()
        held = [device for row in live.values() if not row.devices_released for device in row.devices]
        assert len(held) == len(set(held)) <= SLOTS

    @invariant()
    def an_end_is_final_and_fits_what_happened(self) -> None:
        for job_id in self.ids:
            job = self.desk.store.get_job(name_of(job_id))
            if job.state in TERMINAL_STATES:
                assert self.ended.setdefault(job_id, job.state) == job.state
            if job_id in self.cancelled:
                assert job.state in (Job.CANCELLING, Job.CANCELLED), state_name(job.state)
            if job.state == Job.FAILED:
                attempts, _ = self.desk.store.list_attempts(name_of(job_id), 1000)
                assert sum(attempt.counted for attempt in attempts) == 3 or len(attempts) >= 20

    def every_job_comes_to_its_end(self) -> None:
        self.machine.launches_to_fail = 0
        for _ in range(ROUNDS):
            states = {job_id: self.state(job_id) for job_id in self.ids}
            gone = not self.machine.living() and not self.desk.store.deleted_jobs()
            if gone and all(state in TERMINAL_STATES for state in states.values()):
                return
            for job_id, state in states.items():
                if state == Job.PAUSED:
                    self.desk.store.resume_job(name_of(job_id), "", None, "", self.desk.now())
            self.machine.seconds += 30.0
            self.scheduler.tick(self.desk.now())
            self.housekeeper.tick()
            for process in self.machine.living():
                self.report_of(process)
                if process.lives:
                    self.finish_of(process, exits=True)
        named = {job_id: state_name(self.state(job_id)) for job_id in self.ids}
        raise AssertionError(f"after {ROUNDS} rounds in peace: {named}, {self.machine.living()}")


SchedulerAgainstMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSchedulerAgainstMachine = SchedulerAgainstMachine.TestCase
