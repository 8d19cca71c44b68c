"""What every store must do. Runs once for each kind of store."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import (
    AlreadyExistsError,
    AttemptSupersededError,
    CursorExpiredError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    WrongStateError,
)
from gradloom.job import REASON_RULES
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2, service_pb2, spec_pb2
from tests.stores import (
    DIGEST,
    STORES,
    Desk,
    a_job,
    after,
    completed,
    epoch_ended,
    name_of,
    outcome,
    report,
)

BASIC, FULL = service_pb2.JobView.BASIC, service_pb2.JobView.FULL
Job, Attempt, Event = job_pb2.Job, job_pb2.Attempt, job_pb2.Event
Directive = attempt_pb2.ReportResponse.Directive


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


def kinds_and_states(store: Store, uid: str) -> list[tuple[int, int, int]]:
    return [(event.number, event.kind, event.state) for event in store.events_after(uid, 0)]


# Jobs


def test_a_created_job_is_read_back_as_it_was_returned(store):
    created = store.create_job(name_of("one"), a_job(), None, "", after(0))
    assert created.state == Job.QUEUED
    assert created.create_time.ToSeconds() == int(after(0).timestamp())
    assert store.get_job(name_of("one")) == created
    assert store.snapshot_by_uid(created.uid, FULL).job == created


def test_the_basic_view_leaves_the_spec_out(desk):
    created = desk.create("one")
    basic = desk.store.get_job(name_of("one"), BASIC)
    assert not basic.HasField("spec")
    created.ClearField("spec")
    assert basic == created


def test_a_taken_name_is_refused_and_changes_nothing(desk):
    first = desk.create("one")
    with pytest.raises(AlreadyExistsError, match="projects/default/jobs/one"):
        desk.create("one")
    assert desk.store.get_job(name_of("one")) == first
    assert desk.create("one", project="other").uid != first.uid


def test_an_unknown_job_is_not_found(store):
    for call in (
        lambda: store.get_job(name_of("none")),
        lambda: store.snapshot_by_uid("none"),
        lambda: store.events_after("none", 0),
        lambda: store.list_attempts(name_of("none")),
        lambda: store.list_artifacts(name_of("none")),
        lambda: store.get_artifact(name_of("none"), "a1-0"),
        lambda: store.cancel_job(name_of("none"), None, "", after(0)),
    ):
        with pytest.raises(NotFoundError):
            call()


def test_a_repeated_create_returns_the_first_result_whatever_happened_since(desk):
    store = desk.store
    first = store.create_job(name_of("one"), a_job(), "request", "digest", desk.now())
    desk.claim(first.uid)
    assert store.create_job(name_of("another"), a_job(), "request", "digest", desk.now()) == first
    assert len(store.list_jobs("default")[0]) == 1


def test_a_request_id_with_another_body_is_refused(desk):
    store = desk.store
    store.create_job(name_of("one"), a_job(), "request", "digest", desk.now())
    with pytest.raises(InvalidRequestError) as refusal:
        store.create_job(name_of("two"), a_job(), "request", "other digest", desk.now())
    assert [fault.field for fault in refusal.value.faults] == ["request_id"]
    with pytest.raises(InvalidRequestError):
        store.cancel_job(name_of("one"), "request", "digest", desk.now())
    assert store.get_job(name_of("one")).state == Job.QUEUED


def test_a_request_is_forgotten_at_the_second_call_after_it_and_not_at_the_first(desk):
    store = desk.store
    first = store.create_job(name_of("one"), a_job(), "request", "digest", desk.now())
    store.forget_requests()
    assert store.create_job(name_of("one"), a_job(), "request", "digest", desk.now()) == first
    later = store.create_job(name_of("two"), a_job(), "later request", "digest", desk.now())
    store.forget_requests()
    with pytest.raises(AlreadyExistsError):
        store.create_job(name_of("one"), a_job(), "request", "digest", desk.now())
    assert store.create_job(name_of("two"), a_job(), "later request", "digest", desk.now()) == later


def test_a_queued_job_is_cancelled_at_once(desk):
    created = desk.create("one")
    cancelled = desk.cancel("one")
    assert (cancelled.state, cancelled.state_reason) == (Job.CANCELLED, Job.CANCELLED_BY_USER)
    assert cancelled.HasField("end_time")
    assert cancelled.spec == created.spec
    assert desk.store.get_job(name_of("one")) == cancelled


@pytest.mark.parametrize("phase", [job_pb2.Progress.PREPARING, job_pb2.Progress.TRAINING])
def test_a_job_with_an_attempt_is_cancelling_until_the_attempt_has_ended(desk, phase):
    attempt = desk.claim(desk.create("one").uid)
    desk.store.record_report(attempt.uid, 1, report(1, phase), desk.now())
    cancelling = desk.cancel("one")
    assert cancelling.state == Job.CANCELLING
    assert not cancelling.HasField("end_time")
    assert desk.end(attempt, outcome(Job.CANCELLED_BY_USER), Job.CANCELLED).state == Job.CANCELLED


def test_a_second_cancel_changes_nothing(desk):
    attempt = desk.run("one")
    first = desk.cancel("one")
    assert desk.cancel("one") == first
    desk.end(attempt, outcome(Job.CANCELLED_BY_USER), Job.CANCELLED)
    ended = desk.store.get_job(name_of("one"))
    assert desk.cancel("one") == ended


def test_a_repeated_cancel_returns_the_first_result(desk):
    attempt = desk.run("one")
    desk.store.record_resolved_spec(attempt.uid, 1, spec_pb2.ResolvedSpec(replicas=2), desk.now())
    first = desk.store.cancel_job(name_of("one"), "request", "digest", desk.now())
    desk.end(attempt, outcome(Job.CANCELLED_BY_USER), Job.CANCELLED)
    assert first.resolved_spec.replicas == 2
    assert desk.store.cancel_job(name_of("one"), "request", "digest", desk.now()) == first


@pytest.mark.parametrize("state", [Job.SUCCEEDED, Job.FAILED])
def test_a_job_that_has_ended_is_not_cancelled(desk, state):
    attempt = desk.run("one")
    if state == Job.SUCCEEDED:
        desk.succeed(attempt)
    else:
        desk.end(attempt, outcome(Job.TRAINER_RAISED), Job.FAILED)
    before = desk.store.get_job(name_of("one"))
    with pytest.raises(WrongStateError) as refusal:
        desk.cancel("one")
    assert refusal.value.subject == "projects/default/jobs/one"
    assert desk.store.get_job(name_of("one")) == before


def test_the_etag_follows_the_state_and_not_the_progress(desk):
    store, etags = desk.store, []
    attempt = desk.claim(desk.create("one").uid)
    for beat in (1, 2, 3):
        store.record_report(attempt.uid, 1, report(beat, step=beat), desk.now())
        etags.append(store.get_job(name_of("one")).etag)
    assert len(set(etags)) == 1
    desk.cancel("one")
    assert store.get_job(name_of("one")).etag not in etags


# Pages


def test_pages_hold_every_job_once_newest_first_though_jobs_come_in_between(desk):
    for number in range(7):
        desk.create(f"job-{number}")
        desk.create(f"job-{number}", project="other")
    seen, token = [], ""
    for _ in range(10):
        page, token = desk.store.list_jobs("default", 3, token)
        seen += [job.name.rpartition("/")[2] for job in page]
        desk.create(f"late-{len(seen)}")
        if not token:
            break
    assert seen == [f"job-{number}" for number in reversed(range(7))]


def test_a_last_page_that_is_full_has_no_token(desk):
    for number in range(4):
        desk.create(f"job-{number}")
    _, token = desk.store.list_jobs("default", 2)
    page, token = desk.store.list_jobs("default", 2, token)
    assert (len(page), token) == (2, "")
    assert desk.store.list_jobs("empty") == ([], "")


def test_a_list_shows_specs_in_the_full_view_alone(desk):
    created = desk.create("one")
    assert desk.store.list_jobs("default", view=FULL)[0] == [created]
    assert not desk.store.list_jobs("default")[0][0].HasField("spec")


@pytest.mark.parametrize("token", ["x", "%%%", "e30", "W10", "WzEsMl0", "[" * 100_000, "ä", "\0"])
def test_a_token_of_nobody_is_refused(store, token):
    with pytest.raises(InvalidRequestError) as refusal:
        store.list_jobs("default", 1, token)
    assert refusal.value.faults[0].field == "page_token"


def test_a_token_is_good_for_its_own_list_alone(desk):
    for job_id in ("one", "two"):
        desk.create(job_id)
        desk.create(job_id, project="other")
    _, token = desk.store.list_jobs("default", 1)
    for call in (
        lambda: desk.store.list_jobs("other", 1, token),
        lambda: desk.store.list_attempts(name_of("one"), 1, token),
        lambda: desk.store.list_artifacts(name_of("one"), 1, token),
    ):
        with pytest.raises(InvalidRequestError):
            call()


def test_page_sizes_have_a_default_a_ceiling_and_a_floor(desk):
    for number in range(51):
        desk.create(f"job-{number}")
    assert len(desk.store.list_jobs("default", 0)[0]) == 50
    assert len(desk.store.list_jobs("default", 2**31 - 1)[0]) == 51
    with pytest.raises(InvalidRequestError) as refusal:
        desk.store.list_jobs("default", -1)
    assert refusal.value.faults[0].field == "page_size"


# Claims


def test_waiting_jobs_are_told_by_priority_then_age_with_what_they_need(desk):
    for name, priority, resources in (
        ("one", 0, {"gpus": 2}),
        ("two", 0, {"cpu_replicas": 4}),
        ("three", 0, {}),
        ("four", 0, {"gpus": 2}),
        ("five", 7, {"gpus": 2}),
        ("six", -7, {}),
    ):
        job = a_job(**resources)
        job.priority = priority
        desk.submit(name, job)
    desk.cancel("two")
    waiting = desk.store.queued_jobs()
    assert [(job.name.job_id, job.priority, job.gpus, job.cpu_replicas) for job in waiting] == [
        ("five", 7, 2, None),
        ("one", 0, 2, None),
        ("three", 0, None, None),
        ("four", 0, 2, None),
        ("six", -7, None, None),
    ]
    assert [job.name.job_id for job in desk.store.queued_jobs(limit=1)] == ["five", "three"]


def test_a_claim_starts_the_next_attempt(desk):
    uid = desk.create("one").uid
    attempt = desk.claim(uid)
    assert (attempt.number, attempt.state, attempt.job_state) == (1, Attempt.STARTING, Job.STARTING)
    assert attempt.devices == ("CPU:0",)
    assert attempt.directory == Path("/artifacts", uid, "1")
    job = desk.store.get_job(name_of("one"))
    assert (job.state, job.attempt_count) == (Job.STARTING, 1)
    assert job.start_time.ToDatetime(tzinfo=attempt.start_time.tzinfo) == attempt.start_time
    assert desk.store.live_attempts() == [attempt]


def test_a_job_is_claimed_once(desk):
    uid = desk.create("one").uid
    desk.claim(uid)
    assert desk.store.claim(uid, ["CPU:0"], "other", "server", desk.now(), artifact_root="/a") is None
    assert desk.store.claim("none", ["CPU:0"], "another", "server", desk.now(), artifact_root="/a") is None
    assert len(desk.store.attempts_of(uid)) == 1


def test_a_cancelled_job_is_not_claimed(desk):
    uid = desk.create("one").uid
    desk.cancel("one")
    assert desk.store.claim(uid, ["CPU:0"], "token", "server", desk.now(), artifact_root="/a") is None


def test_a_job_that_goes_back_keeps_its_place_and_counts_its_attempts(desk):
    first = desk.create("one")
    desk.create("two")
    for reason in (Job.TRAINER_RAISED, Job.SERVER_STOPPED, Job.TRAINER_LOST):
        attempt = desk.claim(first.uid)
        job = desk.end(attempt, outcome(reason), Job.QUEUED)
        assert (job.state, job.state_reason) == (Job.QUEUED, reason)
        assert not job.HasField("end_time")
    assert [job.name.job_id for job in desk.store.queued_jobs()] == ["one", "two"]
    fourth = desk.claim(first.uid)
    assert (fourth.number, fourth.counted_attempts, fourth.uncounted_attempts) == (4, 1, 2)
    assert fourth.queued_time > first.create_time.ToDatetime(tzinfo=fourth.queued_time.tzinfo)
    assert desk.store.get_job(name_of("one")).state_reason == Job.REASON_UNSPECIFIED


def test_the_attempts_allowed_are_those_of_the_spec(desk):
    job = a_job()
    job.spec.retry.max_attempts = 7
    created = desk.store.create_job(name_of("one"), job, None, "", desk.now())
    assert desk.claim(created.uid).max_attempts == 7
    assert desk.claim(desk.create("two").uid).max_attempts == 3


def test_leases_move_for_their_owner_alone_and_can_be_taken_over(desk):
    store = desk.store
    ours = desk.claim(desk.create("ours").uid, owner="us")
    theirs = desk.claim(desk.create("theirs").uid, owner="them")
    ended = desk.claim(desk.create("ended").uid, owner="them")
    desk.end(ended, outcome(Job.TRAINER_RAISED), Job.FAILED)
    store.renew_leases("us", 5)
    assert [(row.uid, row.lease_beat) for row in store.live_attempts()] == [(ours.uid, 5), (theirs.uid, 0)]
    taken = store.take_over("heir")
    assert [(row.uid, row.lease_owner) for row in taken] == [(ours.uid, "heir"), (theirs.uid, "heir")]
    assert store.attempts_of(ended.uid)[0].lease_owner == "them"


# Reports


def test_a_token_leads_to_its_live_attempt_alone(desk):
    store = desk.store
    first = desk.claim(desk.create("one").uid)
    assert store.attempt_by_token("token-1") == first
    with pytest.raises(PermissionDeniedError):
        store.attempt_by_token("token-2")
    desk.end(first, outcome(Job.TRAINER_LOST), Job.QUEUED)
    second = desk.claim(first.uid)
    with pytest.raises(AttemptSupersededError, match="attempts/1"):
        store.attempt_by_token("token-1")
    assert store.attempt_by_token("token-2") == second


def test_a_superseded_attempt_changes_nothing(desk):
    store = desk.store
    first = desk.claim(desk.create("one").uid)
    desk.end(first, outcome(Job.TRAINER_LOST), Job.QUEUED)
    desk.claim(first.uid)
    before = store.snapshot_by_uid(first.uid, FULL)
    for call in (
        lambda: store.record_report(first.uid, 1, report(9, step=99), desk.now()),
        lambda: store.record_resolved_spec(first.uid, 1, spec_pb2.ResolvedSpec(replicas=9), desk.now()),
        lambda: store.finish_attempt(first.uid, 1, completed(1), desk.now()),
        lambda: desk.end(first, outcome(Job.TRAINER_RAISED), Job.FAILED),
        lambda: store.record_report(first.uid, 3, report(1), desk.now()),
    ):
        with pytest.raises(AttemptSupersededError):
            call()
    assert store.mark_stopping(first.uid, 1, Job.SERVER_STOPPED, "why") is False
    assert store.snapshot_by_uid(first.uid, FULL) == before


def test_the_first_look_beyond_preparing_makes_the_job_running(desk):
    store = desk.store
    uid = desk.claim(desk.create("one").uid).uid
    assert not store.record_report(uid, 1, report(1, job_pb2.Progress.PREPARING), desk.now()).started_running
    assert store.get_job(name_of("one")).state == Job.STARTING
    assert store.record_report(uid, 1, report(2), desk.now()).started_running
    assert not store.record_report(uid, 1, report(3), desk.now()).started_running
    assert store.get_job(name_of("one")).state == Job.RUNNING
    assert store.live_attempts()[0].state == Attempt.RUNNING


def test_progress_is_the_newest_look_and_no_event(desk):
    store = desk.store
    uid = desk.run("one").uid
    before = store.snapshot_by_uid(uid)
    store.record_report(uid, 1, report(2, step=42), desk.now())
    seen = store.snapshot_by_uid(uid)
    assert (seen.job.progress.global_step, seen.job.progress.attempt) == (42, 1)
    assert seen.event_number == before.event_number
    assert seen.job.update_time == before.job.update_time
    assert store.live_attempts()[0].beat == 2


def look(beat: int, **progress: Any) -> attempt_pb2.ReportRequest:
    return attempt_pb2.ReportRequest(beat=beat, progress=job_pb2.Progress(phase=job_pb2.Progress.TRAINING, **progress))


@pytest.mark.parametrize("state", [Job.QUEUED, Job.PAUSED])
def test_a_job_that_waits_for_another_attempt_shows_where_that_goes_on_and_nothing_beyond(desk, state):
    attempt = desk.run("one")
    seen = look(2, epoch=4, epochs=9, global_step=350, total_steps=900, scalars={"loss": 0.5}, trouble="a full disk")
    desk.store.record_report(attempt.uid, 1, seen, desk.now())
    desk.save(attempt, 240)
    if state == Job.PAUSED:
        desk.store.pause_job(name_of("one"), "", None, "", desk.now())
    desk.end(attempt, outcome(Job.PAUSED_BY_USER), state)
    place = job_pb2.Progress(epoch=3, epochs=9, global_step=240, total_steps=900, checkpoint_step=240)
    assert desk.store.get_job(name_of("one")).progress == place
    assert desk.store.list_jobs("default")[0][0].progress == place


def test_the_hint_of_a_failure_knows_whether_there_is_a_checkpoint_to_go_on_from(desk):
    def hints(job_id: str) -> set[str]:
        name = name_of(job_id)
        return {desk.store.get_job(name).error.hint, desk.store.list_attempts(name)[0][0].error.hint}

    for job_id, saves in (("with", True), ("without", False)):
        attempt = desk.run(job_id)
        if saves:
            desk.save(attempt, 40)
        desk.end(attempt, outcome(Job.DEADLINE_EXCEEDED, error=job_pb2.JobError(message="too long")), Job.FAILED)
    command = "gradloom retry {} --set spec.scheduling.max_run_duration=7200s"
    (told,) = hints("with")
    assert f"`{command.format('with')} --from newest`" in told
    (told,) = hints("without")
    assert f"`{command.format('without')}`" in told


def test_an_attempt_shows_where_it_goes_on_until_it_tells_where_it_is(desk):
    first = desk.run("one")
    desk.store.record_report(first.uid, 1, look(2, epochs=9, total_steps=900, global_step=50), desk.now())
    desk.save(first, 40)
    second = desk.again(desk.again(first))
    assert second.number == 3, "the second never told anything"
    place = job_pb2.Progress(epoch=1, epochs=9, global_step=40, total_steps=900, checkpoint_step=40)
    assert desk.store.get_job(name_of("one")).progress == place
    desk.store.record_report(second.uid, 3, report(1, job_pb2.Progress.PREPARING), desk.now())
    fell_back = look(2, epoch=0, global_step=0)
    desk.store.record_report(second.uid, 3, fell_back, desk.now())
    told = desk.store.get_job(name_of("one")).progress
    assert (told.epoch, told.epochs, told.global_step, told.attempt) == (0, 9, 0, 3)


def test_a_job_without_a_checkpoint_waits_to_begin_anew_and_one_without_an_attempt_shows_nothing(desk):
    attempt = desk.run("one")
    desk.store.record_report(attempt.uid, 1, look(2, epoch=1, epochs=9, global_step=50, total_steps=900), desk.now())
    desk.end(attempt, outcome(Job.TRAINER_LOST), Job.QUEUED)
    anew = job_pb2.Progress(epoch=0, epochs=9, global_step=0, total_steps=900)
    assert desk.store.get_job(name_of("one")).progress == anew
    assert not desk.create("two").HasField("progress")


def test_a_repeated_report_stores_its_events_once(desk):
    store = desk.store
    uid = desk.run("one").uid
    look = report(2)
    look.events.extend([epoch_ended(1, loss=0.5), epoch_ended(2, loss=0.25)])
    assert not store.record_report(uid, 1, look, desk.now()).repeated
    assert store.record_report(uid, 1, look, desk.now()).repeated
    look.beat = 3
    look.events.append(epoch_ended(3, loss=math.nan))
    store.record_report(uid, 1, look, desk.now())
    late = attempt_pb2.ReportRequest(beat=4, event_offset=3, events=[epoch_ended(4, loss=math.inf)])
    store.record_report(uid, 1, late, desk.now())
    epochs = [event for event in store.events_after(uid, 0) if event.kind == Event.EPOCH_ENDED]
    assert [event.epoch for event in epochs] == [1, 2, 3, 4]
    assert [event.attempt for event in epochs] == [1, 1, 1, 1]
    assert epochs[1].scalars["loss"] == 0.25
    assert math.isnan(epochs[2].scalars["loss"])
    assert math.isinf(epochs[3].scalars["loss"])


def test_a_report_whose_events_leave_a_gap_is_refused(desk):
    uid = desk.run("one").uid
    gap = attempt_pb2.ReportRequest(beat=2, event_offset=1, events=[epoch_ended(2)])
    with pytest.raises(InvalidRequestError) as refusal:
        desk.store.record_report(uid, 1, gap, desk.now())
    assert refusal.value.faults[0].field == "event_offset"


def test_a_trainer_cannot_write_states_into_the_log(desk):
    uid = desk.run("one").uid
    forged = attempt_pb2.ReportRequest(beat=2, events=[Event(kind=Event.STATE_CHANGED, state=Job.SUCCEEDED)])
    with pytest.raises(InvalidRequestError) as refusal:
        desk.store.record_report(uid, 1, forged, desk.now())
    assert refusal.value.faults[0].field == "events[0].kind"


def test_devices_stay_released(desk):
    uid = desk.run("one").uid
    desk.store.record_report(uid, 1, attempt_pb2.ReportRequest(beat=2, devices_released=True), desk.now())
    desk.store.record_report(uid, 1, report(3, job_pb2.Progress.PROVING), desk.now())
    assert desk.store.live_attempts()[0].devices_released


def test_a_report_is_answered_with_what_the_end_that_was_asked_for_allows(desk):
    store = desk.store
    attempts = {name: desk.run(name) for name in ("stopped", "lost", "cancelled", "both", "running")}
    assert store.mark_stopping(attempts["stopped"].uid, 1, Job.SERVER_STOPPED, "why")
    assert not store.mark_stopping(attempts["stopped"].uid, 1, Job.TRAINER_LOST, "why")
    store.mark_stopping(attempts["lost"].uid, 1, Job.TRAINER_LOST, "why")
    store.mark_stopping(attempts["both"].uid, 1, Job.SERVER_STOPPED, "why")
    for name in ("cancelled", "both"):
        desk.cancel(name)
    told = {
        name: Directive.Name(store.record_report(attempt.uid, 1, report(2), desk.now()).directive)
        for name, attempt in attempts.items()
    }
    assert told == {
        "stopped": "CHECKPOINT_AND_STOP",
        "lost": "STOP",
        "cancelled": "STOP",
        "both": "STOP",
        "running": "CONTINUE",
    }
    assert store.live_attempts()[0].stopping_reason == Job.SERVER_STOPPED


def test_the_resolved_spec_is_stored_once_and_tells_an_event(desk):
    store = desk.store
    uid = desk.run("one").uid
    resolved = spec_pb2.ResolvedSpec(replicas=2, variables=[spec_pb2.VariableAssignment(path="a/kernel", trained=True)])
    store.record_resolved_spec(uid, 1, resolved, desk.now())
    store.record_resolved_spec(uid, 1, resolved, desk.now())
    with pytest.raises(WrongStateError, match="differently"):
        store.record_resolved_spec(uid, 1, spec_pb2.ResolvedSpec(replicas=4), desk.now())
    assert store.get_job(name_of("one")).resolved_spec == resolved
    notices = [event.message for event in store.events_after(uid, 0) if event.kind == Event.NOTICE]
    assert notices == ["resolved the spec: 1 variables, 1 of them trained, in 0 groups"]


# Ends


def test_a_proven_attempt_makes_the_job_succeed_with_its_export_on_record(desk):
    store = desk.store
    attempt = desk.run("one")
    log = job_pb2.Artifact(path="log/attempt.log", kind=job_pb2.Artifact.LOG, size_bytes=3, sha256=DIGEST)
    store.finish_attempt(attempt.uid, 1, completed(1), desk.now())
    assert store.list_artifacts(name_of("one")) == ([], "")
    assert store.live_attempts()[0].finish == completed(1)
    job = desk.end(attempt, outcome(artifacts=(log,), exit_code=0, cpu_seconds=1.5), Job.SUCCEEDED)
    assert (job.state, job.export) == (Job.SUCCEEDED, completed(1).export)
    assert job.HasField("end_time")
    artifacts, _ = store.list_artifacts(name_of("one"))
    assert [artifact.path for artifact in artifacts] == [
        "export/net.keras",
        "export/net/1/saved_model.pb",
        "log/attempt.log",
    ]
    stored = store.get_artifact(name_of("one"), artifacts[0].name.rpartition("/")[2])
    assert (stored.artifact, stored.directory) == (artifacts[0], attempt.directory)


def test_the_log_of_a_failed_attempt_is_on_record_and_its_export_is_not(desk):
    attempt = desk.run("one")
    desk.store.finish_attempt(attempt.uid, 1, completed(1), desk.now())
    log = job_pb2.Artifact(path="log/attempt.log", kind=job_pb2.Artifact.LOG, size_bytes=3, sha256=DIGEST)
    job = desk.end(attempt, outcome(Job.KILLED_BY_SIGNAL, signal=9, artifacts=(log,)), Job.FAILED)
    assert not job.HasField("export")
    assert [artifact.path for artifact in desk.store.list_artifacts(name_of("one"))[0]] == ["log/attempt.log"]


def test_artifacts_come_in_pages(desk):
    attempt = desk.run("one")
    desk.succeed(attempt)
    first, token = desk.store.list_artifacts(name_of("one"), 1)
    second, end = desk.store.list_artifacts(name_of("one"), 1, token)
    assert [file.path for file in first + second] == ["export/net.keras", "export/net/1/saved_model.pb"]
    assert end == ""


def test_no_job_succeeds_without_proof(desk):
    attempt = desk.run("one")
    with pytest.raises(WrongStateError, match="never finished"):
        desk.end(attempt, outcome(), Job.SUCCEEDED)
    assert desk.store.get_job(name_of("one")).state == Job.RUNNING
    assert len(desk.store.live_attempts()) == 1


def test_the_first_finish_stands(desk):
    attempt = desk.run("one")
    desk.store.finish_attempt(attempt.uid, 1, completed(1), desk.now())
    refused = attempt_pb2.FinishAttemptRequest(reason=Job.TRAINER_RAISED)
    desk.store.finish_attempt(attempt.uid, 1, refused, desk.now())
    assert desk.store.live_attempts()[0].finish.reason == Job.COMPLETED


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "a\0b"])
def test_a_manifest_with_a_path_that_leads_astray_is_refused(desk, path):
    attempt = desk.run("one")
    finish = completed(1)
    finish.artifacts[0].path = path
    with pytest.raises(InvalidRequestError) as refusal:
        desk.store.finish_attempt(attempt.uid, 1, finish, desk.now())
    assert [fault.field for fault in refusal.value.faults] == ["artifacts[0].path"]


def test_every_fault_of_a_finish_is_told_at_once(desk):
    attempt = desk.run("one")
    finish = completed(1)
    finish.reason = Job.REASON_UNSPECIFIED
    finish.artifacts[1].CopyFrom(finish.artifacts[0])
    finish.artifacts[1].size_bytes = -1
    finish.artifacts[0].sha256 = "ABC"
    with pytest.raises(InvalidRequestError) as refusal:
        desk.store.finish_attempt(attempt.uid, 1, finish, desk.now())
    fields = [fault.field for fault in refusal.value.faults]
    assert fields == ["artifacts[0].sha256", "artifacts[1].path", "artifacts[1].size_bytes", "reason"]


def test_a_cancel_during_the_proof_wins(desk):
    attempt = desk.run("one")
    desk.store.finish_attempt(attempt.uid, 1, completed(1), desk.now())
    desk.cancel("one")
    for state in (Job.SUCCEEDED, Job.FAILED, Job.QUEUED):
        with pytest.raises(WrongStateError, match="CANCELLING"):
            desk.end(attempt, outcome(), state)
    job = desk.end(attempt, outcome(Job.CANCELLED_BY_USER), Job.CANCELLED)
    assert (job.state, job.HasField("export")) == (Job.CANCELLED, False)
    assert desk.store.list_artifacts(name_of("one")) == ([], "")


def test_a_failed_job_tells_what_its_attempt_raised(desk):
    attempt = desk.run("one")
    error = job_pb2.JobError(exception_type="builtins.ValueError", message="no", log_lines=["a", "b"])
    how = outcome(Job.TRAINER_RAISED, error=error, exit_code=1, peak_memory_bytes=5 << 30, cpu_seconds=2.25)
    job = desk.end(attempt, how, Job.FAILED)
    error.hint = job.error.hint
    assert "`gradloom logs one --attempt 1`" in error.hint
    assert (job.error, job.state_message) == (error, how.message)
    (ended,), _ = desk.store.list_attempts(name_of("one"))
    assert (ended.state, ended.reason, ended.error) == (Attempt.ENDED, Job.TRAINER_RAISED, error)
    assert (ended.exit_code, ended.HasField("signal"), ended.counted) == (1, False, True)
    assert (ended.peak_memory_bytes, ended.cpu_duration.ToMilliseconds()) == (5 << 30, 2250)
    assert ended.name == "projects/default/jobs/one/attempts/1"


def test_a_job_that_is_tried_again_shows_no_error(desk):
    attempt = desk.run("one")
    error = job_pb2.JobError(message="no")
    job = desk.end(attempt, outcome(Job.TRAINER_RAISED, error=error), Job.QUEUED)
    assert not job.HasField("error")
    assert desk.store.list_attempts(name_of("one"))[0][0].error.message == "no"


@pytest.mark.parametrize("reason", REASON_RULES, ids=Job.Reason.Name)
def test_an_attempt_counts_as_its_reason_says(desk, reason):
    attempt = desk.run("one")
    desk.end(attempt, outcome(reason), Job.FAILED)
    assert desk.store.list_attempts(name_of("one"))[0][0].counted == REASON_RULES[reason].counted


def test_attempts_come_in_pages_oldest_first(desk):
    uid = desk.create("one").uid
    for _ in range(3):
        desk.end(desk.claim(uid), outcome(Job.TRAINER_LOST), Job.QUEUED)
    first, token = desk.store.list_attempts(name_of("one"), 2)
    second, end = desk.store.list_attempts(name_of("one"), 2, token)
    assert [attempt.number for attempt in first + second] == [1, 2, 3]
    assert end == ""


# Events


def test_the_events_of_a_life_are_numbered_without_gaps(desk):
    attempt = desk.run("one")
    desk.end(attempt, outcome(Job.TRAINER_LOST), Job.QUEUED)
    desk.succeed(desk.claim(attempt.uid))
    assert kinds_and_states(desk.store, attempt.uid) == [
        (1, Event.CREATED, Job.QUEUED),
        (2, Event.STATE_CHANGED, Job.STARTING),
        (3, Event.STATE_CHANGED, Job.RUNNING),
        (4, Event.STATE_CHANGED, Job.QUEUED),
        (5, Event.STATE_CHANGED, Job.STARTING),
        (6, Event.STATE_CHANGED, Job.SUCCEEDED),
    ]
    assert [event.attempt for event in desk.store.events_after(attempt.uid, 0)] == [0, 1, 1, 1, 2, 2]
    assert desk.store.snapshot_by_uid(attempt.uid).event_number == 6


def test_events_follow_a_cursor_and_a_foreign_cursor_is_told(desk):
    uid = desk.run("one").uid
    assert [event.number for event in desk.store.events_after(uid, 1, limit=1)] == [2]
    assert desk.store.events_after(uid, 3) == []
    for number in (4, -1, 2**62):
        with pytest.raises(CursorExpiredError):
            desk.store.events_after(uid, number)


def test_jobs_are_counted_by_state_zeros_included(desk):
    desk.create("one")
    desk.run("two")
    desk.succeed(desk.run("three"))
    counts = desk.store.count_jobs_by_state()
    assert set(counts) == set(Job.State.values()) - {Job.STATE_UNSPECIFIED}
    assert {state: count for state, count in counts.items() if count} == {
        Job.QUEUED: 1,
        Job.RUNNING: 1,
        Job.SUCCEEDED: 1,
    }


def test_hostile_names_are_stored_as_they_are(store):
    job = a_job()
    job.display_name = "Robert'); DROP TABLE jobs;-- \N{PILE OF POO} \0 \u202e"
    job.labels["k"] = "\"'\\%_\n"
    created = store.create_job(name_of("one"), job, "'; --", "%s", after(0))
    assert store.get_job(name_of("one")) == created
    assert created.display_name == job.display_name
    assert dict(created.labels) == dict(job.labels)
