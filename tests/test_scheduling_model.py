"""Random lives of several jobs on one scheduler whose server dies now and then: what must always hold, holds."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gradloom.errors import AttemptSupersededError, WrongStateError
from gradloom.job import LIVE_STATES, TERMINAL_STATES
from gradloom.jobs.devices import Devices
from gradloom.jobs.timing import Timing
from gradloom.v1 import job_pb2
from tests.stage import Stage
from tests.stores import completed, name_of

Job = job_pb2.Job
JOB_IDS = st.sampled_from([f"job-{number}" for number in range(5)])
ENDS = st.sampled_from([{"exit_code": 1}, {"signal": 9}, {"stopped": True}, {"signal": 9, "oom_killed": True}])


class Scheduling(RuleBasedStateMachine):
    @initialize(gpus=st.integers(1, 3))
    def open(self, gpus):
        self.directory = tempfile.TemporaryDirectory()
        timing = Timing(report_timeout_seconds=400.0, reservation_seconds=60.0, save_seconds=20.0)
        self.stage = Stage(Path(self.directory.name), Devices(tuple(map(str, range(gpus))), 1), timing)
        self.ended: dict[str, tuple[int, int]] = {}

    def teardown(self):
        self.finish_everything()
        self.stage.store.close()
        self.directory.cleanup()

    @rule(
        job_id=JOB_IDS,
        gpus=st.integers(1, 3),
        priority=st.integers(-1, 1),
        preemptible=st.booleans(),
        limits=st.fixed_dictionaries({}, optional={"max_run": st.just(300.0), "max_queue": st.just(300.0)}),
    )
    def submit(self, job_id, gpus, priority, preemptible, limits):
        if job_id not in self.stage.states():
            gpus = min(gpus, len(self.stage.devices.gpus))
            self.stage.submit(job_id, priority, gpus=gpus, preemptible=preemptible, first_backoff=5.0, **limits)

    @rule(job_id=JOB_IDS, act=st.sampled_from(["pause", "resume", "cancel"]))
    def ask(self, job_id, act):
        store, now = self.stage.store, self.stage.desk.now()
        if (state := self.state(job_id)) is None:
            return
        asked = {
            "pause": lambda: store.pause_job(name_of(job_id), "", None, "", now),
            "resume": lambda: store.resume_job(name_of(job_id), "", None, "", now),
            "cancel": lambda: store.cancel_job(name_of(job_id), None, "", now),
        }
        try:
            asked[act]()
        except WrongStateError:
            assert state in TERMINAL_STATES or state in (Job.PAUSING, Job.CANCELLING)
            assert self.state(job_id) == state

    @rule(job_id=JOB_IDS)
    def report(self, job_id):
        if self.state(job_id) in LIVE_STATES:
            self.stage.report(job_id)

    @rule(job_id=JOB_IDS, end=ENDS)
    def die(self, job_id, end):
        if self.state(job_id) in LIVE_STATES:
            self.stage.end(job_id, **end)

    @rule(job_id=JOB_IDS)
    def complete(self, job_id):
        if self.state(job_id) in LIVE_STATES:
            attempt = self.stage.attempt(job_id)
            try:
                now = self.stage.desk.now()
                self.stage.store.finish_attempt(attempt.uid, attempt.number, completed(attempt.number), now)
            except AttemptSupersededError:
                return
            self.stage.end(job_id, exit_code=0)

    @rule(seconds=st.sampled_from([0.0, 1.0, 7.0, 30.0, 100.0]))
    def tick(self, seconds):
        self.stage.tick(seconds)

    @rule()
    def kill_the_server(self):
        self.stage.serve()

    def state(self, job_id: str) -> int | None:
        state = self.stage.states().get(job_id)
        return None if state is None else Job.State.Value(state)

    @invariant()
    def no_device_is_held_twice_and_every_attempt_has_as_many_as_its_job_asks_for(self):
        held: list[str] = []
        for attempt in self.stage.store.live_attempts():
            held += attempt.devices
            asked = self.stage.store.spec_of(attempt.uid).resources.gpus
            assert len(attempt.devices) == asked
        assert len(held) == len(set(held))
        assert set(held) <= set(self.stage.devices.names)

    @invariant()
    def a_job_has_a_live_attempt_exactly_when_its_state_says_so(self):
        live = {attempt.name.job_id for attempt in self.stage.store.live_attempts()}
        says = {job_id for job_id, state in self.stage.states().items() if Job.State.Value(state) in LIVE_STATES}
        assert live == says

    @invariant()
    def a_job_that_has_ended_stays_as_it_is(self):
        for job_id in self.stage.states():
            job = self.stage.job(job_id)
            if job.state in TERMINAL_STATES:
                ended = (job.state, job.attempt_count)
                assert self.ended.setdefault(job_id, ended) == ended

    @invariant()
    def limits_and_attempts_are_within_what_the_spec_allows(self):
        for attempt in self.stage.store.live_attempts():
            assert attempt.counted_attempts < attempt.max_attempts
            assert attempt.run_seconds_left is None or 0.0 <= attempt.run_seconds_left <= 300.0

    def finish_everything(self):
        """Whatever happened: once everybody is resumed and every trainer does its work, every job ends."""
        store = self.stage.store
        for _ in range(200):
            waiting = [job_id for job_id, state in self.stage.states().items() if state == "PAUSED"]
            for job_id in waiting:
                store.resume_job(name_of(job_id), "", None, "", self.stage.desk.now())
            for attempt in store.live_attempts():
                self.complete(attempt.name.job_id)
            self.stage.tick(5.0)
            if all(Job.State.Value(state) in TERMINAL_STATES for state in self.stage.states().values()):
                return
        raise AssertionError(f"jobs that never end: {self.stage.states()}")


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(
    max_examples=8, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
