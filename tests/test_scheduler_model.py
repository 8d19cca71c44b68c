"""Random histories of jobs, trainers that die, and servers that die within a tick; over the real store and scheduler.

Only the machine is a model: what processes there are. It says itself when it is asked for what must never be, such as
a second attempt beside one that lives.
"""

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import AttemptSupersededError, WrongStateError
from gradloom.job import LIVE_STATES, TERMINAL_STATES, state_name
from gradloom.jobs.devices import Devices
from gradloom.jobs.hearing import Hearing
from gradloom.jobs.housekeeping import Housekeeper
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.launcher import Alive, AttemptStart, Ended, LaunchError, Lost, Observation
from gradloom.jobs.scheduler import Scheduler
from gradloom.jobs.timing import Timing
from gradloom.supervisor.attempt_directory import ExitRecord
from gradloom.v1 import job_pb2
from tests.stores import STORES, Desk, a_checkpoint, a_job, completed, name_of, report

Job = job_pb2.Job
Directive = attempt_pb2.ReportResponse
SLOTS = 2
TIMING = Timing(report_timeout_seconds=20.0, reservation_seconds=60.0, save_seconds=20.0)
LIMIT_SECONDS = 300.0
ROUNDS = 400
"""Within so many every job must have come to its end, once nobody disturbs it."""
RESOURCES = st.one_of(st.just({}), st.just({"cpu_replicas": 2}), st.fixed_dictionaries({"gpus": st.integers(0, 3)}))
WAYS_TO_DIE = st.sampled_from(["killed", "exited", "lost"])
LIMITS = st.sets(st.sampled_from(["max_run_duration", "max_queue_duration"]))


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
    heard_at: float = 0.0
    """When its trainer called last, or else when it was started."""

    @property
    def lives(self) -> bool:
        return self.end is None and not self.lost

    def die(self, how: str) -> None:
        if how == "lost":
            self.lost = True
        else:
            self.end = ExitRecord(signal=9) if how == "killed" else ExitRecord(exit_code=1)

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
        self.processes[directory] = Process(directory, heard_at=self.seconds)

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
    @initialize(gpus=st.integers(0, 3))
    def begin(self, gpus: int) -> None:
        self.devices = Devices(tuple(map(str, range(gpus))), SLOTS)
        self.directory = tempfile.TemporaryDirectory()
        self.root = Path(self.directory.name)
        (self.root / "artifacts").mkdir()
        self.desk = Desk(STORES["sqlite"](self.root))
        self.machine, self.fuse = Machine(), Fuse()
        self.ids: dict[str, str] = {}
        self.created_at: dict[str, float] = {}
        self.silenced: set[Path] = set()
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
            self.hearing = Hearing(self.machine.clock)
            self.scheduler = Scheduler(
                Mortal(self.desk.store, self.fuse),  # type: ignore[arg-type]
                Mortal(self.machine, self.fuse),  # type: ignore[arg-type]
                self.devices,
                Instruments(60.0),
                artifact_root=self.root / "artifacts",
                trainer_address="unix:/nowhere.sock",
                timing=TIMING,
                hearing=self.hearing,
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

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        """One thing of all that can: were each a rule of its own, most histories would leave out what begins others."""
        can = ["create"] * 3 + ["tick"] * 5 + ["die_in_a_tick", "keep_house", "crash", "drain", "launches_fail"]
        if self.ids:
            can += ["pause", "resume", "cancel", "delete"]
        if self.machine.living():
            can += ["die", "die_again_and_again", "train", "train", "train", "save", "save", "finish"]
        getattr(self, data.draw(st.sampled_from(can), "what happens"))(data)

    # What users do

    def create(self, data: st.DataObject) -> None:
        job_id, resources = data.draw(st.sampled_from("abcde")), data.draw(RESOURCES)
        if job_id in self.ids or resources.get("gpus", 0) > len(self.devices.gpus):
            return
        job = a_job(**resources)
        job.priority, job.spec.scheduling.preemptible = data.draw(st.integers(-1, 1)), data.draw(st.booleans())
        job.spec.retry.backoff.initial_duration.FromSeconds(data.draw(st.sampled_from([0, 5])))
        for limit in data.draw(LIMITS):
            getattr(job.spec.scheduling, limit).FromSeconds(int(LIMIT_SECONDS))
        self.ids[job_id] = self.desk.submit(job_id, job).uid
        self.created_at[job_id] = self.machine.seconds

    def pause(self, data: st.DataObject) -> None:
        job_id = self.some_job(data)
        pause = partial(self.desk.store.pause_job, name_of(job_id), "", None, "", self.desk.now())
        self.ask(job_id, pause, refused_in=(*TERMINAL_STATES, Job.CANCELLING))

    def resume(self, data: st.DataObject) -> None:
        job_id = self.some_job(data)
        resume = partial(self.desk.store.resume_job, name_of(job_id), "", None, "", self.desk.now())
        self.ask(job_id, resume, refused_in=(*TERMINAL_STATES, Job.CANCELLING, Job.PAUSING))

    def delete(self, data: st.DataObject) -> None:
        job_id = self.some_job(data)
        self.desk.delete(job_id, force=True)
        del self.ids[job_id]
        self.cancelled.discard(job_id)
        self.ended.pop(job_id, None)

    def cancel(self, data: st.DataObject) -> None:
        job_id = self.some_job(data)
        if self.ask(job_id, partial(self.desk.cancel, job_id), refused_in=(Job.SUCCEEDED, Job.FAILED)):
            self.cancelled.add(job_id)

    def ask(self, job_id: str, act: Callable[[], object], refused_in: Collection[int]) -> bool:
        """Asks for something of a job; tells whether it was done. A refusal changes nothing."""
        before = self.desk.store.get_job(name_of(job_id))
        try:
            act()
        except WrongStateError:
            assert before.state in refused_in
            assert self.desk.store.get_job(name_of(job_id)) == before
            return False
        return True

    # What the server does

    def tick(self, data: st.DataObject) -> None:
        self.ticks(data.draw(st.integers(1, 6)), data.draw(st.sampled_from([0.0, 0.5, 5.0, 60.0, 600.0])))

    def ticks(self, times: int, seconds: float) -> None:
        for _ in range(times):
            self.machine.seconds += seconds
            self.do(lambda: self.scheduler.tick(self.desk.now()))

    def die_in_a_tick(self, data: st.DataObject) -> None:
        self.fuse.moments = data.draw(st.integers(1, 30))
        self.ticks(1, 0.0)
        self.fuse.moments = 0

    def keep_house(self, data: st.DataObject) -> None:
        self.fuse.moments = data.draw(st.integers(0, 8))
        self.do(self.housekeeper.tick)
        self.fuse.moments = 0

    def crash(self, _data: st.DataObject) -> None:
        self.serve()

    def drain(self, data: st.DataObject) -> None:
        self.fuse.moments = data.draw(st.integers(0, 40))
        self.do(lambda: self.scheduler.drain(2.0))
        self.fuse.moments = 0
        self.serve()

    # What the machine does

    def launches_fail(self, data: st.DataObject) -> None:
        self.machine.launches_to_fail = data.draw(st.integers(1, 3))

    def die(self, data: st.DataObject) -> None:
        self.some_process(data).die(data.draw(WAYS_TO_DIE))

    def die_again_and_again(self, data: st.DataObject) -> None:
        uid, how = self.some_process(data).uid, data.draw(WAYS_TO_DIE)
        for _ in range(data.draw(st.integers(2, 4))):
            for process in self.machine.living():
                if process.uid == uid:
                    process.die(how)
            self.ticks(2, 30.0)

    # What trainers do

    def train(self, data: st.DataObject) -> None:
        self.report_of(self.some_process(data))

    def save(self, data: st.DataObject) -> None:
        self.save_of(self.some_process(data))

    def finish(self, data: st.DataObject) -> None:
        self.finish_of(self.some_process(data), exits=data.draw(st.booleans()))

    def report_of(self, process: Process) -> None:
        """Reports, and does what it is told."""
        process.step += 1
        self.call_of(process)
        try:
            told = self.desk.store.record_report(process.uid, process.number, report(process.step), self.desk.now())
        except AttemptSupersededError:
            raise AssertionError(f"{process} lives and is superseded") from None
        if told.directive == Directive.CHECKPOINT_AND_STOP:
            self.save_of(process)
        if told.directive != Directive.CONTINUE:
            process.end = ExitRecord(exit_code=3)

    def call_of(self, process: Process) -> None:
        """The server hears that it lives."""
        process.heard_at = self.machine.seconds
        self.hearing.heard(process.uid, process.number)

    def save_of(self, process: Process) -> None:
        process.step += 1
        self.call_of(process)
        before = [stored.checkpoint.global_step for stored in self.desk.store.checkpoints_of(process.uid)]
        checkpoint = a_checkpoint(max(before, default=0) + 1)
        self.desk.store.record_checkpoint(process.uid, process.number, checkpoint, self.desk.now())

    def finish_of(self, process: Process, exits: bool) -> None:
        self.call_of(process)
        self.desk.store.finish_attempt(process.uid, process.number, completed(process.number), self.desk.now())
        if exits:
            process.end = ExitRecord(exit_code=0)

    def some_job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.ids)), "job")

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
        of_users = {row.name.job_id for row in live.values() if not row.name.is_tombstone}
        assert of_users == {job_id for job_id in self.ids if self.state(job_id) in LIVE_STATES}

    @invariant()
    def no_device_is_held_twice_and_every_attempt_has_what_its_job_asks_for(self) -> None:
        held: list[str] = []
        for attempt in self.desk.store.live_attempts():
            held += attempt.devices
            asked = self.desk.store.spec_of(attempt.uid).resources
            gpus = asked.gpus if asked.HasField("gpus") else 0 if asked.cpu_replicas else len(self.devices.gpus)
            kinds = [device.partition(":")[0] for device in attempt.devices]
            assert kinds == (["GPU"] * gpus or ["CPU"])
        assert len(held) == len(set(held))
        assert set(held) <= set(self.devices.names)

    @invariant()
    def attempts_and_limits_are_within_what_the_spec_allows(self) -> None:
        for attempt in self.desk.store.live_attempts():
            assert attempt.counted_attempts < attempt.max_attempts
            left, limit = attempt.run_seconds_left, self.desk.store.spec_of(attempt.uid).scheduling.max_run_duration
            assert left is None if not limit.seconds else left is not None and 0.0 <= left <= LIMIT_SECONDS
            if attempt.stopping_reason == Job.TRAINER_SILENT and attempt.directory not in self.silenced:
                self.silenced.add(attempt.directory)
                process = self.machine.processes[attempt.directory]
                assert self.machine.seconds - process.heard_at >= TIMING.report_timeout_seconds

    @invariant()
    def an_end_is_final_and_fits_what_happened(self) -> None:
        for job_id in self.ids:
            job = self.desk.store.get_job(name_of(job_id))
            if job.state in TERMINAL_STATES:
                assert self.ended.setdefault(job_id, job.state) == job.state
            if job_id in self.cancelled:
                assert job.state in (Job.CANCELLING, Job.CANCELLED), state_name(job.state)
            if job.state == Job.FAILED and job.state_reason in (Job.DEADLINE_EXCEEDED, Job.QUEUE_DEADLINE_EXCEEDED):
                assert self.machine.seconds - self.created_at[job_id] >= LIMIT_SECONDS
            elif job.state == Job.FAILED:
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
    max_examples=10, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSchedulerAgainstMachine = SchedulerAgainstMachine.TestCase
