"""Random sequences of calls, against a model of a few lines: the store does what the model says, at every step."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import (
    AlreadyExistsError,
    AttemptSupersededError,
    EtagMismatchError,
    NotFoundError,
    WrongStateError,
)
from gradloom.job import NEXT_STATES, SAVING_REASONS, TERMINAL_STATES
from gradloom.v1 import job_pb2
from tests.stores import STORES, Desk, a_checkpoint, a_job, completed, epoch_ended, name_of, outcome, report

Job = job_pb2.Job
Directive = attempt_pb2.ReportResponse
JOB_IDS = st.sampled_from(["a", "b", "c"])
ENDS = st.sampled_from(
    [
        (Job.COMPLETED, Job.SUCCEEDED),
        (Job.TRAINER_RAISED, Job.FAILED),
        (Job.TRAINER_LOST, Job.QUEUED),
        (Job.CANCELLED_BY_USER, Job.CANCELLED),
        (Job.PAUSED_BY_USER, Job.PAUSED),
        (Job.PREEMPTED, Job.QUEUED),
    ]
)
LIVE = (Job.STARTING, Job.RUNNING)
REASONS = st.sampled_from([Job.SERVER_STOPPED, Job.PREEMPTED, Job.DEADLINE_EXCEEDED])


@dataclass
class ModelJob:
    """What a job must be: its state, and one entry an attempt."""

    uid: str
    state: int = Job.QUEUED
    attempts: int = 0
    live: bool = False
    finished: int | None = None
    stopping: int | None = None
    """Why the live attempt is being ended."""
    priority: int = 0
    retry_source: "tuple[ModelJob, tuple[int, int]] | None" = None
    """The job and the checkpoint that it goes on from."""
    reported_events: int = 0
    history: list[int] = field(default_factory=lambda: [Job.QUEUED])
    saved: list[tuple[int, int]] = field(default_factory=list)
    """Attempt and update of the checkpoints on record, oldest first."""
    best: set[tuple[int, int]] = field(default_factory=set)

    def may_end_in(self, state: int) -> bool:
        proven = self.finished == Job.COMPLETED
        return state in NEXT_STATES[self.state] and (proven or state != Job.SUCCEEDED)

    def save(self, number: int, step: int, best: bool) -> None:
        if (number, step) not in self.saved:
            self.saved.append((number, step))
        if best:
            self.best.add((number, step))
        newest = self.saved[-2:]
        needed = [[o for o in self.saved if o in self.best and o <= one and o[1] <= one[1]][-1:] for one in newest]
        self.saved = [one for one in self.saved if one in newest or [one] in needed]
        self.best &= set(self.saved)

    def move(self, to: int) -> None:
        assert to in NEXT_STATES[self.state]
        self.state = to
        self.history.append(to)

    def stop(self, reason: int) -> bool:
        stops = self.live and self.stopping is None
        if stops:
            self.stopping = reason
        return stops

    def cancel(self) -> None:
        if self.state in (Job.QUEUED, Job.PAUSED):
            self.move(Job.CANCELLED)
        elif self.state in (*LIVE, Job.PAUSING):
            self.move(Job.CANCELLING)

    def directive(self) -> int:
        if self.state == Job.CANCELLING:
            return Directive.STOP
        if self.stopping is None:
            return Directive.CONTINUE
        return Directive.CHECKPOINT_AND_STOP if self.stopping in SAVING_REASONS else Directive.STOP


class StoreAgainstModel(RuleBasedStateMachine):
    kind = "sqlite"

    @initialize()
    def open_store(self):
        self.directory = tempfile.TemporaryDirectory()
        self.desk = Desk(STORES[self.kind](Path(self.directory.name)))
        self.jobs: dict[str, ModelJob] = {}
        self.buried: list[ModelJob] = []
        """Deleted, and not forgotten yet."""
        self.answered: list[tuple[Callable[[], job_pb2.Job], job_pb2.Job]] = []

    def teardown(self):
        self.desk.store.close()
        self.directory.cleanup()

    @rule(data=st.data())
    def something_happens(self, data):
        """One thing of all that can: were each a rule of its own, most histories would leave out what begins others."""
        can = ["create"] * 3 + ["claim"] * 3 + ["forget", "reopen"]
        if self.jobs:
            can += ["cancel", "pause", "resume", "update", "delete", "retry"]
        if self.answered:
            can += ["repeat"]
        if any(job.attempts for job in self.everyone()):
            can += ["report", "report", "report", "save", "save", "stop", "finish", "end", "end"]
        getattr(self, data.draw(st.sampled_from(can), "what happens"))(data)

    def create(self, data):
        job_id = data.draw(JOB_IDS, "job id")
        if job_id in self.jobs:
            with pytest.raises(AlreadyExistsError):
                self.desk.create(job_id)
        else:
            self.jobs[job_id] = ModelJob(self.desk.create(job_id).uid)

    def cancel(self, data):
        job_id = data.draw(JOB_IDS, "job id")
        request_id = data.draw(st.uuids().map(str), "request id")
        job = self.jobs.get(job_id)
        if job is None:
            return
        if job.state in (Job.SUCCEEDED, Job.FAILED):
            with pytest.raises(WrongStateError):
                self.desk.cancel(job_id)
            return
        job.cancel()
        self.answer(lambda: self.desk.store.cancel_job(name_of(job_id), request_id, "", self.desk.now()), job)

    def pause(self, data):
        job_id = data.draw(JOB_IDS, "job id")
        request_id = data.draw(st.uuids().map(str), "request id")

        def ask():
            return self.desk.store.pause_job(name_of(job_id), "", request_id, "", self.desk.now())

        job = self.jobs.get(job_id)
        if job is None or job.state not in (Job.QUEUED, *LIVE, Job.PAUSING, Job.PAUSED):
            with pytest.raises(NotFoundError if job is None else WrongStateError):
                ask()
            return
        if job.state == Job.QUEUED:
            job.move(Job.PAUSED)
        elif job.state in LIVE:
            job.move(Job.PAUSING)
            job.stop(Job.PAUSED_BY_USER)
        self.answer(ask, job)

    def resume(self, data):
        job_id = data.draw(JOB_IDS, "job id")
        request_id = data.draw(st.uuids().map(str), "request id")

        def ask():
            return self.desk.store.resume_job(name_of(job_id), "", request_id, "", self.desk.now())

        job = self.jobs.get(job_id)
        if job is None or job.state not in (Job.PAUSED, Job.QUEUED, *LIVE):
            with pytest.raises(NotFoundError if job is None else WrongStateError):
                ask()
            return
        if job.state == Job.PAUSED:
            job.move(Job.QUEUED)
        self.answer(ask, job)

    def update(self, data):
        job_id = data.draw(JOB_IDS, "job id")
        priority = data.draw(st.integers(-2, 2), "priority")
        stale = data.draw(st.booleans(), "stale")
        request_id = data.draw(st.uuids().map(str), "request id")
        job = self.jobs.get(job_id)
        if job is None:
            return
        etag = "of another time" if stale else self.desk.store.get_job(name_of(job_id)).etag
        wanted = job_pb2.Job(priority=priority, etag=etag)

        def ask():
            return self.desk.store.update_job(name_of(job_id), wanted, ["priority"], request_id, "", self.desk.now())

        if stale:
            with pytest.raises(EtagMismatchError):
                ask()
            return
        changes, job.priority = job.priority != priority, priority
        assert (self.answer(ask, job).etag != etag) == changes

    def repeat(self, data):
        ask, first = data.draw(st.sampled_from(self.answered), "request")
        if not self.desk.store.known_jobs([first.uid]):
            first.ClearField("spec")
        assert ask() == first

    def delete(self, data):
        job_id = data.draw(JOB_IDS, "job id")
        force = data.draw(st.booleans(), "force")
        job = self.jobs.get(job_id)
        needed = job is not None and any(
            other.retry_source is not None and other.retry_source[0] is job and other.state not in TERMINAL_STATES
            for other in self.jobs.values()
            if other is not job
        )
        if job is None or needed or (job.state not in TERMINAL_STATES and not force):
            with pytest.raises(NotFoundError if job is None else WrongStateError):
                self.desk.delete(job_id, force=force)
            return
        self.desk.delete(job_id, force=force)
        job.cancel()
        self.buried.append(self.jobs.pop(job_id))

    def forget(self, data):
        gone = [job for job in self.buried if job.state in TERMINAL_STATES]
        assert {deleted.uid for deleted in self.desk.store.deleted_jobs()} == {job.uid for job in gone}
        for job in gone:
            self.desk.store.forget_job(job.uid)
            with pytest.raises(NotFoundError):
                self.desk.store.snapshot_by_uid(job.uid)
        self.buried = [job for job in self.buried if job not in gone]

    def retry(self, data):
        job_id = data.draw(JOB_IDS, "job id")
        ended = {name: job for name, job in self.jobs.items() if job.state in TERMINAL_STATES}
        if job_id in self.jobs or not ended:
            return
        old_id = data.draw(st.sampled_from(sorted(ended)), "old")
        old = ended[old_id]
        place = data.draw(st.sampled_from([None, *old.saved]), "checkpoint")
        retried = self.desk.store.find_retried(name_of(old_id), place and f"{place[0]}-{place[1]}")
        job = self.desk.store.create_job(name_of(job_id), a_job(), None, "", self.desk.now(), retried)
        self.jobs[job_id] = ModelJob(job.uid, retry_source=place and (old, place))

    def stop(self, data):
        reason = data.draw(REASONS, "reason")
        job, number = self.some_attempt(data)
        stops = self.is_live(job, number) and job.stop(reason)
        assert self.desk.store.mark_stopping(job.uid, number, reason, "so it is") == stops

    def claim(self, data):
        job_id = data.draw(JOB_IDS, "job id")
        job = self.jobs.get(job_id)
        if job is None:
            return
        self.desk.tokens += 1
        claimed = self.desk.store.claim(
            job.uid, ["CPU:0"], f"token-{self.desk.tokens}", "server", self.desk.now(), artifact_root="/a"
        )
        if job.state != Job.QUEUED:
            assert claimed is None
            return
        job.move(Job.STARTING)
        job.attempts += 1
        job.live, job.finished, job.stopping, job.reported_events = True, None, None, 0
        assert claimed.number == job.attempts

    def report(self, data):
        offset_back = data.draw(st.integers(0, 2), "offset back")
        events = data.draw(st.integers(0, 3), "events")
        trains = data.draw(st.booleans(), "trains")
        job, number = self.some_attempt(data)
        phase = job_pb2.Progress.TRAINING if trains else job_pb2.Progress.PREPARING
        look = report(self.desk.seconds, phase)
        look.event_offset = max(0, job.reported_events - offset_back)
        look.events.extend(epoch_ended(look.event_offset + 1 + index) for index in range(events))
        if not self.is_live(job, number):
            with pytest.raises(AttemptSupersededError):
                self.desk.store.record_report(job.uid, number, look, self.desk.now())
            return
        told = self.desk.store.record_report(job.uid, number, look, self.desk.now())
        if trains and job.state == Job.STARTING:
            job.move(Job.RUNNING)
            assert told.started_running
        assert told.directive == job.directive()
        job.reported_events = max(job.reported_events, look.event_offset + events)

    def save(self, data):
        further = data.draw(st.integers(0, 2), "further")
        best = data.draw(st.booleans(), "best")
        job, number = self.some_attempt(data)
        step = further + max((step for attempt, step in job.saved if attempt == number), default=0)
        checkpoint = a_checkpoint(step, best=best)
        if not self.is_live(job, number):
            with pytest.raises(AttemptSupersededError):
                self.desk.store.record_checkpoint(job.uid, number, checkpoint, self.desk.now())
            return
        before = list(job.saved)
        told = self.desk.store.record_checkpoint(job.uid, number, checkpoint, self.desk.now())
        assert told.repeated == ((number, step) in before)
        job.save(number, step, best)
        gone = [one for one in [*before, (number, step)] if one not in job.saved]
        assert set(told.dropped) == {Path("/a", job.uid, str(one), f"checkpoints/{step}.ckpt") for one, step in gone}

    def finish(self, data):
        proven = data.draw(st.booleans(), "proven")
        job, number = self.some_attempt(data)
        how = completed(number) if proven else attempt_pb2.FinishAttemptRequest(reason=Job.TRAINER_RAISED)
        if self.is_live(job, number):
            self.desk.store.finish_attempt(job.uid, number, how, self.desk.now())
            job.finished = job.finished or how.reason
        else:
            with pytest.raises(AttemptSupersededError):
                self.desk.store.finish_attempt(job.uid, number, how, self.desk.now())

    def end(self, data):
        end = data.draw(ENDS, "end")
        job, number = self.some_attempt(data)
        reason, next_state = end
        if not self.is_live(job, number):
            expected = AttemptSupersededError
        elif not job.may_end_in(next_state):
            expected = WrongStateError
        else:
            expected = None
        if expected:
            with pytest.raises(expected):
                self.desk.store.end_attempt(job.uid, number, outcome(reason), next_state, self.desk.now())
            return
        self.desk.store.end_attempt(job.uid, number, outcome(reason), next_state, self.desk.now())
        job.move(next_state)
        job.live = False

    def reopen(self, data):
        self.desk.store.close()
        self.desk.store = STORES[self.kind](Path(self.directory.name))

    def some_attempt(self, data):
        jobs = [job for job in self.everyone() if job.attempts]
        job = data.draw(st.sampled_from(jobs), "job")
        newest_first = st.integers(0, job.attempts - 1).map(lambda back: job.attempts - back)
        return job, data.draw(newest_first, "attempt")

    def everyone(self):
        return [*self.jobs.values(), *self.buried]

    def answer(self, ask, job):
        """Asks, and keeps the answer: whoever repeats the request is given it again."""
        first = ask()
        assert (first.uid, first.state) == (job.uid, job.state)
        self.answered.append((ask, first))
        return first

    def is_live(self, job, number):
        return job.live and number == job.attempts

    @invariant()
    def every_job_is_what_the_model_says(self):
        store = self.desk.store
        listed, _ = store.list_jobs("default")
        assert {job.uid: job.state for job in listed} == {job.uid: job.state for job in self.jobs.values()}
        for job_id, job in self.jobs.items():
            stored = store.get_job(name_of(job_id))
            assert (stored.attempt_count, stored.priority) == (job.attempts, job.priority)
            assert stored.HasField("end_time") == (job.state in TERMINAL_STATES)
            assert stored.HasField("export") == (job.state == Job.SUCCEEDED)
            assert bool(store.list_artifacts(name_of(job_id))[0]) == (job.state == Job.SUCCEEDED)

    @invariant()
    def the_newest_two_checkpoints_and_the_best_as_of_each_are_on_record(self):
        for job_id, job in self.jobs.items():
            stored = [stored.checkpoint for stored in self.desk.store.checkpoints_of(job.uid)]
            assert [(one.attempt, one.global_step) for one in reversed(stored)] == job.saved
            assert {(one.attempt, one.global_step) for one in stored if one.best} == job.best
            step = job.saved[-1][1] if job.saved else None
            progress = self.desk.store.get_job(name_of(job_id)).progress
            assert (progress.checkpoint_step if progress.HasField("checkpoint_step") else None) == step

    @invariant()
    def the_log_tells_every_state_in_order_without_gaps(self):
        for job in self.jobs.values():
            events = self.desk.store.events_after(job.uid, 0, limit=10_000)
            assert [event.number for event in events] == list(range(1, len(events) + 1))
            assert [event.state for event in events if event.state] == job.history

    @invariant()
    def the_log_holds_every_epoch_of_an_attempt_once(self):
        for job in self.jobs.values():
            events = self.desk.store.events_after(job.uid, 0, limit=10_000)
            epochs = [event.epoch for event in events if event.attempt == job.attempts and event.HasField("epoch")]
            assert epochs == list(range(1, job.reported_events + 1))

    @invariant()
    def a_job_has_one_live_attempt_or_none_as_its_state_says(self):
        live = [(row.uid, row.number) for row in self.desk.store.live_attempts()]
        assert sorted(live) == sorted((job.uid, job.attempts) for job in self.everyone() if job.live)
        waiting = {row.uid for row in self.desk.store.queued_jobs()}
        assert waiting == {job.uid for job in self.jobs.values() if job.state == Job.QUEUED}


StoreAgainstModel.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStoreAgainstModel = StoreAgainstModel.TestCase
