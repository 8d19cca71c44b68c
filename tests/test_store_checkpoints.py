"""What every store must do with checkpoints. Runs once for each kind of store."""

from collections.abc import Iterator
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from gradloom.errors import AttemptSupersededError, InvalidRequestError, NotFoundError, WrongStateError
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.stores import STORES, Desk, a_checkpoint, a_job, name_of, outcome, report

Job = job_pb2.Job


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


def kept(store: Store, uid: str) -> list[tuple[int, int]]:
    """Attempt and update of every checkpoint on record, newest first."""
    return [(stored.checkpoint.attempt, stored.checkpoint.global_step) for stored in store.checkpoints_of(uid)]


def a_job_from(source: str) -> job_pb2.Job:
    job = a_job()
    job.spec.model.initial_weights.job = source
    return job


# On record


def test_a_checkpoint_exists_once_it_is_on_record(desk):
    attempt = desk.run("one")
    assert desk.store.checkpoints_of(attempt.uid) == []
    assert not desk.save(attempt, 30, best=True).repeated
    (stored,) = desk.store.checkpoints_of(attempt.uid)
    assert stored.checkpoint == a_checkpoint(30, attempt=1, best=True)
    assert (stored.name, stored.file) == (name_of("one"), attempt.directory / "checkpoints/30.ckpt")


def test_a_repeat_changes_nothing_and_can_only_say_more(desk):
    attempt = desk.run("one")
    told = [desk.save(attempt, 30, **fields).repeated for fields in ({}, {}, {"best": True}, {"final": True}, {})]
    assert told == [False, True, True, True, True]
    (stored,) = desk.store.checkpoints_of(attempt.uid)
    assert (stored.checkpoint.best, stored.checkpoint.final) == (True, True)


def test_other_content_under_a_path_that_is_on_record_is_refused(desk):
    attempt = desk.run("one")
    desk.save(attempt, 30)
    for fields in ({"sha256": "f" * 64}, {"size_bytes": 1001}, {"global_step": 31}, {"epoch": 9}):
        with pytest.raises(WrongStateError, match=r"checkpoints/30\.ckpt"):
            desk.save(attempt, 30, **fields)
    assert desk.store.checkpoints_of(attempt.uid)[0].checkpoint == a_checkpoint(30, attempt=1)


@pytest.mark.parametrize("path", ["/etc/passwd", "checkpoints/../log/attempt.log", "log/attempt.log", "checkpoints/"])
def test_a_path_that_leads_elsewhere_is_refused(desk, path):
    attempt = desk.run("one")
    with pytest.raises(InvalidRequestError) as refusal:
        desk.save(attempt, 30, path=path)
    assert {fault.field for fault in refusal.value.faults} == {"checkpoint.path"}


def test_every_fault_of_a_checkpoint_is_told_at_once(desk):
    attempt = desk.run("one")
    with pytest.raises(InvalidRequestError) as refusal:
        desk.save(attempt, 30, path="30.ckpt", sha256="F" * 64, size_bytes=-1, global_step=-1, epoch=-1)
    assert [fault.field.removeprefix("checkpoint.") for fault in refusal.value.faults] == [
        "sha256",
        "size_bytes",
        "path",
        "global_step",
        "epoch",
    ]


def test_an_attempt_that_has_ended_puts_nothing_on_record(desk):
    first = desk.run("one")
    desk.save(first, 30)
    desk.again(first)
    with pytest.raises(AttemptSupersededError):
        desk.save(first, 60)
    assert kept(desk.store, first.uid) == [(1, 30)]


def test_an_attempt_that_is_being_ended_still_puts_its_last_checkpoint_on_record(desk):
    attempt = desk.run("one")
    desk.store.mark_stopping(attempt.uid, 1, Job.SERVER_STOPPED, "why")
    desk.save(attempt, 30)
    assert kept(desk.store, attempt.uid) == [(1, 30)]


# Listed


def test_checkpoints_are_listed_newest_first_in_pages_that_never_repeat_one(desk):
    job = a_job()
    job.spec.training.checkpoint.keep = 100
    first = desk.claim(desk.submit("one", job).uid)
    for step in (10, 20, 30):
        desk.save(first, step, best=step == 20)
    desk.save(first, 30, path="checkpoints/31-final.ckpt", final=True)
    second = desk.again(first)
    desk.save(second, 15)
    seen, token = [], ""
    for size in (2, 2, 2):
        page, token = desk.store.list_checkpoints(name_of("one"), size, token)
        seen += page
    assert token == ""
    ids = [checkpoint.name.removeprefix("projects/default/jobs/one/checkpoints/") for checkpoint in seen]
    assert ids == ["2-15", "1-31-final", "1-30", "1-20", "1-10"]
    assert [(one.attempt, one.global_step, one.best, one.final) for one in seen[1:4]] == [
        (1, 30, False, True),
        (1, 30, False, False),
        (1, 20, True, False),
    ]
    assert (seen[4].epoch, seen[4].size_bytes, seen[4].sha256) == (1, 1000, f"{10:064x}")
    assert seen[0].create_time.ToDatetime(UTC) == desk.now() - timedelta(seconds=1)


def test_an_attempt_says_what_it_went_on_from_and_its_newest_checkpoint_also_when_that_is_gone(desk):
    first = desk.run("one")
    assert listed(desk)[0] == ("", "")
    desk.save(first, 10)
    desk.save(first, 20)
    second = desk.again(first)
    look = report(1)
    look.checkpoint_in = "projects/default/jobs/one/checkpoints/1-20"
    desk.store.record_report(second.uid, 2, look, desk.now())
    desk.store.record_report(second.uid, 2, report(2), desk.now())
    for step in (30, 40):
        desk.save(second, step)
    desk.save(second, 40, best=True)
    assert [stored.checkpoint.attempt for stored in desk.store.checkpoints_of(first.uid)] == [2, 2]
    name = "projects/default/jobs/one/checkpoints/"
    assert listed(desk) == [("", f"{name}1-20"), (f"{name}1-20", f"{name}2-40")]


def listed(desk: Desk) -> list[tuple[str, str]]:
    """Where each attempt of job `one` went on from, and its newest checkpoint."""
    return [(one.checkpoint_in, one.checkpoint_out) for one in desk.store.list_attempts(name_of("one"))[0]]


# Kept


def test_the_newest_two_are_kept_unless_the_spec_says_otherwise(desk):
    attempt = desk.run("one")
    dropped = [desk.save(attempt, step).dropped for step in (10, 20, 30, 40)]
    assert dropped == [(), (), *((attempt.directory / f"checkpoints/{step}.ckpt",) for step in (10, 20))]
    assert kept(desk.store, attempt.uid) == [(1, 40), (1, 30)]
    job = a_job()
    job.spec.training.checkpoint.keep = 3
    other = desk.claim(desk.submit("three", job).uid)
    for step in (10, 20, 30, 40):
        desk.save(other, step)
    assert kept(desk.store, other.uid) == [(1, 40), (1, 30), (1, 20)]


def test_the_best_and_the_final_one_are_kept_however_old(desk):
    attempt = desk.run("one")
    desk.save(attempt, 10, best=True)
    for step in (20, 30, 40):
        desk.save(attempt, step)
    assert kept(desk.store, attempt.uid) == [(1, 40), (1, 30), (1, 10)]
    desk.save(attempt, 50, best=True)
    assert kept(desk.store, attempt.uid) == [(1, 50), (1, 40), (1, 10)], "who goes on from 40 may need 10"
    desk.save(attempt, 60, final=True)
    assert kept(desk.store, attempt.uid) == [(1, 60), (1, 50)]
    following = desk.again(attempt)
    for step in (62, 64):
        desk.save(following, step)
    assert kept(desk.store, attempt.uid) == [(2, 64), (2, 62), (1, 60), (1, 50)]


def test_an_attempt_that_went_back_beyond_the_best_one_keeps_the_best_before(desk):
    first = desk.run("one")
    desk.save(first, 10, best=True)
    desk.save(first, 40)
    desk.save(first, 50, best=True)  # It is damaged: the second attempt goes on from 40.
    second = desk.again(first)
    for step in (42, 44, 46):
        desk.save(second, step)
    assert kept(desk.store, first.uid) == [(2, 46), (2, 44), (1, 10)]
    desk.save(second, 50, best=True)
    desk.save(second, 52)
    assert kept(desk.store, first.uid) == [(2, 52), (2, 50)]


def test_a_later_attempt_that_had_to_start_over_is_newer_whatever_its_update(desk):
    """It found the others damaged: what it saves must not be dropped in their favour."""
    first = desk.run("one")
    for step in (900, 1000):
        desk.save(first, step)
    second = desk.again(first)
    for step in (10, 20):
        desk.save(second, step)
    assert kept(desk.store, first.uid) == [(2, 20), (2, 10)]


def test_what_was_dropped_does_not_come_back(desk):
    """As the repeat of a call whose answer was lost: its file is gone."""
    attempt = desk.run("one")
    for step in (10, 20, 30):
        desk.save(attempt, step)
    with pytest.raises(WrongStateError, match="update 30"):
        desk.save(attempt, 10)
    assert kept(desk.store, attempt.uid) == [(1, 30), (1, 20)]


@pytest.mark.parametrize("state", [Job.FAILED, Job.SUCCEEDED, Job.CANCELLED])
def test_a_job_that_ends_keeps_what_is_on_record(desk, state):
    attempt = desk.run("one")
    for step in (10, 20):
        desk.save(attempt, step)
    if state == Job.SUCCEEDED:
        desk.succeed(attempt)
    else:
        if state == Job.CANCELLED:
            desk.cancel("one")
        desk.end(attempt, outcome(Job.TRAINER_RAISED), state)
    assert kept(desk.store, attempt.uid) == [(1, 20), (1, 10)]


# What follows from them


def test_a_job_shows_the_update_of_its_newest_checkpoint_also_while_it_waits(desk):
    attempt = desk.run("one")
    forged = report(2, step=42)
    forged.progress.checkpoint_step = 42
    desk.store.record_report(attempt.uid, 1, forged, desk.now())
    assert not desk.store.get_job(name_of("one")).progress.HasField("checkpoint_step")
    desk.save(attempt, 40)
    assert desk.store.get_job(name_of("one")).progress.checkpoint_step == 40
    assert desk.store.list_jobs("default")[0][0].progress.checkpoint_step == 40
    desk.end(attempt, outcome(Job.TRAINER_LOST), Job.QUEUED)
    waiting = desk.store.get_job(name_of("one")).progress
    assert (waiting.checkpoint_step, waiting.global_step) == (40, 40)
    second = desk.claim(attempt.uid)
    desk.save(second, 10)
    assert desk.store.get_job(name_of("one")).progress.checkpoint_step == 10


def test_attempts_that_do_not_count_are_counted_anew_after_each_that_got_further(desk):
    counts = []
    attempt = desk.run("one")
    for step in (None, None, 10, None, 10, 20, None):
        if step:
            desk.save(attempt, step)
        attempt = desk.again(attempt, Job.TRAINER_LOST)
        counts.append(attempt.uncounted_attempts)
    assert counts == [1, 2, 0, 1, 2, 0, 1], "10 once more is no progress"


def test_an_attempt_knows_whether_it_got_further(desk):
    first = desk.run("one")
    assert not desk.store.live_attempts()[0].advanced
    desk.save(first, 30)
    assert desk.store.live_attempts()[0].advanced
    second = desk.again(first)
    desk.save(second, 30, final=True)
    assert not desk.store.live_attempts()[0].advanced, "the same update once more"


# Initial weights


def test_a_job_starts_with_the_newest_checkpoint_of_another_as_it_was_when_the_job_was_created(desk):
    source = desk.run("source")
    desk.save(source, 10)
    for reference in ("source", "projects/default/jobs/source"):
        assert desk.store.find_initial_weights(reference, "default").checkpoint.global_step == 10
    waiting = desk.submit("waiting", a_job_from("source"))
    for step in (20, 30, 40):
        desk.save(source, step)
    assert kept(desk.store, source.uid) == [(1, 40), (1, 30), (1, 10)], "10 is needed"
    chosen = desk.store.initial_weights_of(waiting.uid)
    assert (chosen.name, chosen.file) == (name_of("source"), source.directory / "checkpoints/10.ckpt")
    assert desk.store.initial_weights_of(source.uid) is None
    desk.cancel("waiting")
    desk.save(source, 50)
    assert kept(desk.store, source.uid) == [(1, 50), (1, 40)]


def test_a_bare_id_means_a_job_of_the_same_project(desk):
    desk.save(desk.run("source"), 10)
    with pytest.raises(InvalidRequestError, match="must be a job that exists"):
        desk.submit("one", a_job_from("source"), project="other")
    desk.submit("one", a_job_from("projects/default/jobs/source"), project="other")


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("none", 'must be a job that exists; got "none"'),
        ("empty", "must have a checkpoint; projects/default/jobs/empty is RUNNING and has none"),
        ("No Id", "must be the id of a job, or projects/.*No Id"),
        ("projects/default/jobs/", "must be the id of a job"),
        ("", "must be the id of a job"),
    ],
)
def test_initial_weights_that_are_not_there_are_refused_and_no_job_is_made(desk, reference, told):
    desk.run("empty")
    with pytest.raises(InvalidRequestError, match=told) as refusal:
        desk.submit("one", a_job_from(reference))
    assert [fault.field for fault in refusal.value.faults] == ["spec.model.initial_weights.job"]
    with pytest.raises(InvalidRequestError, match=told):
        desk.store.find_initial_weights(reference, "default")
    assert [job.name for job in desk.store.list_jobs("default")[0]] == ["projects/default/jobs/empty"]


# Retried


def a_retried(desk: Desk, job_id: str, checkpoint_id: str | None) -> job_pb2.Job:
    """Submits a job that was made from job `old`."""
    retried = desk.store.find_retried(name_of("old"), checkpoint_id)
    job = a_job()
    job.retry_of = "projects/default/jobs/old"
    return desk.store.create_job(name_of(job_id), job, None, "", desk.now(), retried)


def test_a_retried_job_is_given_its_checkpoint_and_the_best_one_as_of_it(desk):
    old = desk.run("old")
    for step in (10, 20, 30):
        desk.save(old, step, best=step != 20)
    job = a_retried(desk, "new", "1-20")
    source = desk.store.retry_source_of(job.uid)
    assert (source.checkpoint.file, source.best.file) == (
        old.directory / "checkpoints/20.ckpt",
        old.directory / "checkpoints/10.ckpt",
    )
    assert desk.store.retry_source_of(old.uid) is None


def test_a_job_is_not_deleted_while_a_retried_one_that_has_not_ended_goes_on_from_it(desk):
    old = desk.run("old")
    desk.save(old, 10)
    desk.end(old, outcome(Job.TRAINER_RAISED), Job.FAILED)
    a_retried(desk, "new", "1-10")
    with pytest.raises(WrongStateError, match="jobs/new may still start from"):
        delete(desk, "old")
    desk.cancel("new")
    delete(desk, "old")
    assert desk.store.get_job(name_of("new")).retry_of == "projects/default/jobs/old"
    with pytest.raises(NotFoundError):
        desk.store.find_retried(name_of("old"), "1-10")


def delete(desk: Desk, job_id: str) -> None:
    desk.store.delete_job(
        name_of(job_id), "", force=False, allow_missing=False, request_id=None, request_digest="", now=desk.now()
    )


def test_a_job_that_is_retried_from_scratch_holds_nothing_and_says_what_it_was_made_from(desk):
    old = desk.run("old")
    desk.save(old, 10)
    job = a_retried(desk, "new", None)
    assert (job.retry_of, job.retry_checkpoint) == ("projects/default/jobs/old", "")
    assert desk.store.get_job(name_of("new")).retry_of == job.retry_of
    assert desk.store.retry_source_of(job.uid) is None
    for step in (20, 30):
        desk.save(old, step)
    assert kept(desk.store, old.uid) == [(1, 30), (1, 20)]


@pytest.mark.parametrize("checkpoint_id", ["1-11", "2-10", "10", "1-../1-10", "01-10", ""])
def test_only_a_checkpoint_on_record_is_gone_on_from(desk, checkpoint_id):
    desk.save(desk.run("old"), 10)
    with pytest.raises(InvalidRequestError, match="must be on record") as refusal:
        desk.store.find_retried(name_of("old"), checkpoint_id)
    assert [fault.field for fault in refusal.value.faults] == ["checkpoint"]


def test_a_checkpoint_that_has_gone_since_it_was_found_makes_no_job(desk):
    old = desk.run("old")
    desk.save(old, 10)
    retried = desk.store.find_retried(name_of("old"), "1-10")
    for step in (20, 30):
        desk.save(old, step)
    with pytest.raises(InvalidRequestError, match=r"one of 1-30, 1-20; got .1-10"):
        desk.store.create_job(name_of("new"), a_job(), None, "", desk.now(), retried)
    with pytest.raises(NotFoundError):
        desk.store.get_job(name_of("new"))


# Swept


def test_a_job_is_unswept_from_each_end_of_an_attempt_on(desk):
    attempt = desk.run("one")
    assert desk.store.unswept_jobs() == []
    following = desk.again(attempt)
    assert desk.store.unswept_jobs() == [attempt.uid]
    desk.store.mark_swept(attempt.uid)
    assert desk.store.unswept_jobs() == []
    desk.end(following, outcome(Job.TRAINER_RAISED), Job.FAILED)
    assert desk.store.unswept_jobs() == [attempt.uid]
