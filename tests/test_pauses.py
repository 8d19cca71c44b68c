"""PauseJob and ResumeJob: over gRPC, in the store, and through the scheduler to the attempt that goes on."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import EtagMismatchError, WrongStateError
from gradloom.job import MAX_UNCOUNTED_ATTEMPTS
from gradloom.v1 import job_pb2, service_pb2
from tests.api_server import api_server, refusal
from tests.stage import Stage
from tests.stores import completed, name_of, outcome, report

Job = job_pb2.Job
Directive = attempt_pb2.ReportResponse


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.store.close()


def pause(stage: Stage, job_id: str = "a", etag: str = "") -> str:
    return Job.State.Name(stage.store.pause_job(name_of(job_id), etag, None, "", stage.desk.now()).state)


def resume(stage: Stage, job_id: str = "a", etag: str = "") -> str:
    return Job.State.Name(stage.store.resume_job(name_of(job_id), etag, None, "", stage.desk.now()).state)


def test_a_running_job_saves_gives_its_device_back_and_goes_on_in_a_new_attempt_when_resumed(stage: Stage) -> None:
    stage.submit("a")
    stage.tick()
    stage.report("a")
    assert pause(stage) == "PAUSING"
    stage.tick(5.0)
    assert stage.report("a") == Directive.CHECKPOINT_AND_STOP
    assert stage.trainers.stopped == [], "it has a while to save"
    stage.desk.save(stage.attempt("a"), 10)
    stage.end("a", exit_code=0)
    stage.submit("b")
    stage.tick()
    assert stage.states() == {"a": "PAUSED", "b": "STARTING"}
    job = stage.job("a")
    assert (job.state_message, job.progress.checkpoint_step) == ("a user paused the job", 10)
    stage.desk.cancel("b")
    stage.tick(100.0)
    assert stage.states() == {"a": "PAUSED", "b": "CANCELLED"}
    assert resume(stage) == "QUEUED"
    stage.tick()
    assert stage.reasons("a") == ["PAUSED_BY_USER", "REASON_UNSPECIFIED"]
    attempt = stage.attempt("a")
    assert (attempt.number, attempt.counted_attempts) == (2, 0)


def test_what_waits_is_paused_at_once_and_keeps_its_place_in_the_queue(stage: Stage) -> None:
    for job_id in ("running", "a", "b"):
        stage.submit(job_id)
        stage.tick()
    assert pause(stage) == "PAUSED"
    assert resume(stage) == "QUEUED"
    assert [job.name.job_id for job in stage.store.queued_jobs()] == ["a", "b"]


def test_an_attempt_that_prepares_is_stopped_at_once(stage: Stage) -> None:
    stage.submit("a")
    stage.tick()
    assert stage.report("a", job_pb2.Progress.PREPARING) == Directive.CONTINUE
    pause(stage)
    assert stage.report("a", job_pb2.Progress.PREPARING) == Directive.CHECKPOINT_AND_STOP
    stage.tick(1.0)
    assert stage.states() == {"a": "PAUSED"}


def test_a_job_may_be_paused_however_often(stage: Stage) -> None:
    stage.submit("a")
    for _ in range(MAX_UNCOUNTED_ATTEMPTS + 1):
        stage.tick()
        assert pause(stage) == "PAUSING"
        stage.tick(1.0)
        assert stage.states() == {"a": "PAUSED"}
        resume(stage)
    stage.tick()
    stage.end("a", stopped=True)
    stage.tick()
    attempt = stage.attempt("a")
    assert (attempt.counted_attempts, attempt.uncounted_attempts) == (0, 1), "the one that was lost"


def test_resuming_ends_a_backoff(stage: Stage) -> None:
    stage.submit("a", first_backoff=200.0)
    stage.tick()
    stage.end("a", exit_code=1)
    stage.tick()
    assert stage.store.queued_jobs() == []
    pause(stage)
    resume(stage)
    stage.tick()
    assert stage.states() == {"a": "STARTING"}


def test_a_proven_export_wins_over_a_pause_and_a_cancel_over_both(stage: Stage) -> None:
    stage.submit("a")
    stage.tick()
    attempt = stage.attempt("a")
    pause(stage)
    stage.store.finish_attempt(attempt.uid, 1, completed(1), stage.desk.now())
    stage.end("a", exit_code=0)
    stage.tick()
    assert stage.states() == {"a": "SUCCEEDED"}
    stage.submit("b")
    stage.tick()
    pause(stage, "b")
    stage.desk.cancel("b")
    stage.tick(1.0)
    assert stage.states()["b"] == "CANCELLED"


def test_a_paused_job_can_be_cancelled(stage: Stage) -> None:
    stage.submit("a")
    pause(stage)
    assert stage.desk.cancel("a").state == Job.CANCELLED


@pytest.mark.parametrize("lost", [False, True])
def test_a_server_that_dies_over_a_pause_leaves_it_to_the_next_one(stage: Stage, lost: bool) -> None:
    stage.submit("a")
    stage.tick()
    stage.report("a")
    pause(stage)
    stage.serve()
    if lost:
        stage.end("a", signal=9, assigned=False)
    stage.tick(70.0)
    assert (stage.states(), stage.reasons("a")) == ({"a": "PAUSED"}, ["PAUSED_BY_USER"])


def test_a_drain_leaves_a_job_paused_that_was_being_paused(stage: Stage) -> None:
    stage.submit("a")
    stage.tick()
    pause(stage)
    stage.scheduler.drain(0.0)
    assert stage.states() == {"a": "PAUSED"}


def test_pausing_and_resuming_again_changes_nothing(stage: Stage) -> None:
    stage.submit("a")
    assert [pause(stage), pause(stage)] == ["PAUSED", "PAUSED"]
    assert [resume(stage), resume(stage)] == ["QUEUED", "QUEUED"]
    events = stage.store.events_after(stage.job("a").uid, 0)
    assert [Job.State.Name(event.state) for event in events] == ["QUEUED", "PAUSED", "QUEUED"]


def test_what_has_ended_or_is_being_ended_cannot_be_paused_or_resumed(stage: Stage) -> None:
    attempts = {job_id: stage.desk.run(job_id) for job_id in ("failed", "cancelling", "pausing", "succeeded")}
    stage.desk.end(attempts["failed"], outcome(Job.SPEC_REFUSED), Job.FAILED)
    stage.desk.cancel("cancelling")
    stage.desk.succeed(attempts["succeeded"])
    pause(stage, "pausing")
    before = stage.states()
    for job_id in ("failed", "cancelling", "succeeded"):
        for act in (pause, resume):
            with pytest.raises(WrongStateError, match=f"{job_id} is {before[job_id]}"):
                act(stage, job_id)
    with pytest.raises(WrongStateError, match="once it is PAUSED"):
        resume(stage, "pausing")
    assert stage.states() == before


def test_a_stale_etag_is_refused_and_changes_nothing(stage: Stage) -> None:
    old = stage.submit("a").etag
    stage.desk.claim(stage.job("a").uid)
    for act in (pause, resume):
        with pytest.raises(EtagMismatchError):
            act(stage, "a", etag=old)
    assert stage.states() == {"a": "STARTING"}
    assert pause(stage, "a", etag=stage.job("a").etag) == "PAUSING"


def test_specs_are_read_once_for_the_answer_alone(stage: Stage) -> None:
    etag = stage.submit("a").etag
    asked: list[str] = []
    sa.event.listen(
        stage.store._database._writer, "before_cursor_execute", lambda *call: asked.append(" ".join(call[2].split()))
    )
    for act in (lambda: pause(stage, etag=etag), lambda: resume(stage)):
        asked.clear()
        act()
        assert sum(" specs " in statement for statement in asked) == 1, asked


def test_reports_of_an_attempt_that_is_being_paused_take_its_job_nowhere(stage: Stage) -> None:
    stage.submit("a")
    stage.tick()
    pause(stage)
    attempt = stage.attempt("a")
    told = stage.store.record_report(attempt.uid, 1, report(1, job_pb2.Progress.TRAINING), stage.desk.now())
    assert (told.directive, told.started_running) == (Directive.CHECKPOINT_AND_STOP, False)
    assert stage.states() == {"a": "PAUSING"}


async def test_over_the_wire_a_repeat_returns_the_first_result_and_refusals_say_why(tmp_path: Path) -> None:
    async with api_server(tmp_path) as api:
        name = str(api.create("a"))
        request = service_pb2.PauseJobRequest(name=name, request_id=str(uuid.uuid4()))
        paused = await api.stub.PauseJob(request)
        assert paused.state == Job.PAUSED
        resumed = await api.stub.ResumeJob(service_pb2.ResumeJobRequest(name=name, etag=paused.etag))
        assert resumed.state == Job.QUEUED
        assert await api.stub.PauseJob(request) == paused
        assert (await api.stub.GetJob(service_pb2.GetJobRequest(name=name))).state == Job.QUEUED
        stale = await refusal(api.stub.PauseJob(service_pb2.PauseJobRequest(name=name, etag=paused.etag)))
        assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        await api.stub.CancelJob(service_pb2.CancelJobRequest(name=name))
        ended = await refusal(api.stub.ResumeJob(service_pb2.ResumeJobRequest(name=name)))
        assert (ended.code, ended.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
        missing = await refusal(api.stub.PauseJob(service_pb2.PauseJobRequest(name="projects/default/jobs/no")))
        assert missing.code == grpc.StatusCode.NOT_FOUND
