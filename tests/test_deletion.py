"""Deleted jobs are gone at once for every reader, and soon from the disk, whoever dies meanwhile."""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import AlreadyExistsError, EtagMismatchError, NotFoundError, WrongStateError
from gradloom.jobs.leavings import remove_tree
from gradloom.supervisor.attempt_directory import AttemptDirectory
from gradloom.v1 import job_pb2
from tests.housekeeping import House
from tests.stores import a_job, completed, epoch_ended, name_of, outcome, report

Job = job_pb2.Job


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


def started_from(source: str) -> job_pb2.Job:
    """A job that starts with another one's weights."""
    job = a_job()
    job.spec.model.initial_weights.job = source
    return job


def test_a_deleted_job_is_gone_for_every_reader_at_once_and_its_name_is_free(house):
    attempt = house.run("one")
    house.fail(attempt)
    house.desk.delete("one")
    store, name = house.store, name_of("one")
    readers: list[Callable[[], object]] = [
        lambda: store.get_job(name),
        lambda: store.snapshot_by_uid(attempt.uid),
        lambda: store.events_after(attempt.uid, 0),
        lambda: store.list_attempts(name),
        lambda: store.list_artifacts(name),
        lambda: store.get_artifact(name, "a1-0"),
        lambda: store.cancel_job(name, None, "", house.desk.now()),
        lambda: store.update_job(name, Job(), [], None, "", house.desk.now()),
        lambda: house.desk.delete("one"),
        lambda: store.get_job(name_of(f"~{attempt.uid}")),
    ]
    for read in readers:
        with pytest.raises(NotFoundError):
            read()
    assert store.list_jobs("default") == ([], "")
    assert not any(store.count_jobs_by_state().values())
    assert house.desk.create("one").uid != attempt.uid


def test_a_job_cannot_take_the_place_of_a_deleted_one_by_its_uid(house):
    uid = house.desk.create("one").uid
    house.desk.delete("one", force=True)
    house.desk.submit(uid, a_job())
    assert house.store.get_job(name_of(uid)).uid != uid


@pytest.mark.parametrize("state", ["QUEUED", "STARTING", "RUNNING", "CANCELLING"])
def test_a_job_that_has_not_ended_is_deleted_by_force_alone(house, state):
    uid = house.desk.create("one").uid
    if state != "QUEUED":
        attempt = house.desk.claim(uid)
        house.store.record_report(uid, 1, report(1, int(state != "STARTING") + 1), house.desk.now())
    if state == "CANCELLING":
        house.desk.cancel("one")
    before = house.store.get_job(name_of("one"))
    assert Job.State.Name(before.state) == state
    with pytest.raises(WrongStateError, match=f"is {state}; cancel it first"):
        house.desk.delete("one")
    assert house.store.get_job(name_of("one")) == before
    deleted = house.desk.delete("one", force=True)
    assert (deleted.job, deleted.ended) == (before, state == "QUEUED")
    if state != "QUEUED":
        told = house.store.record_report(uid, 1, report(2), house.desk.now())
        assert told.directive == attempt_pb2.ReportResponse.STOP
        house.keeper.tick()
        assert house.rows_of(uid)
        house.desk.end(attempt, outcome(Job.CANCELLED_BY_USER), Job.CANCELLED)
    house.keeper.tick()
    assert house.rows_of(uid) == {}


def test_an_etag_guards_a_job_from_being_deleted(house):
    read = house.desk.create("one")
    house.desk.cancel("one")
    with pytest.raises(EtagMismatchError):
        house.desk.delete("one", etag=read.etag)
    house.desk.delete("one", etag=house.store.get_job(name_of("one")).etag)
    assert not house.exists("one")


def test_everything_that_a_job_left_is_removed_and_nothing_of_another_one(house):
    other = house.run("other")
    house.save(other, 10)
    attempt = house.run("one")
    house.save(attempt, 10, best=True)
    many = report(1)
    many.events.extend(epoch_ended(epoch, loss=0.5) for epoch in range(12_000))
    house.store.record_report(attempt.uid, 1, many, house.desk.now())
    again = house.desk.again(attempt)
    house.store.finish_attempt(again.uid, 2, completed(2), house.desk.now())
    house.desk.succeed(again)
    kept = house.rows_of(other.uid)
    assert house.rows_of(attempt.uid).keys() >= {"jobs", "specs", "attempts", "events", "artifacts", "checkpoints"}
    house.desk.delete("one")
    house.keeper.tick()
    assert house.rows_of(attempt.uid) == {}
    assert [path.name for path in house.root.iterdir() if path.is_dir()] == [other.uid]
    assert house.rows_of(other.uid) == kept
    assert (other.directory / "checkpoints" / "10.ckpt").exists()


class DiedError(BaseException):
    """The server dies; nothing in it may catch this."""


@pytest.mark.parametrize("after_rows", [0, 1, 2])
def test_a_removal_that_a_dead_server_began_is_ended_by_the_next(house, monkeypatch, after_rows):
    attempt = house.run("one")
    house.fail(attempt)
    house.desk.delete("one")
    writes, write = iter(range(100)), house.store._database.write

    def mortal_write(**options):
        if next(writes) == after_rows:
            raise DiedError
        return write(**options)

    monkeypatch.setattr(house.store._database, "write", mortal_write)
    with pytest.raises(DiedError):
        house.keeper.tick()
    monkeypatch.undo()
    assert house.rows_of(attempt.uid)
    assert not house.exists("one")
    house.serve()
    house.keeper.tick()
    assert house.rows_of(attempt.uid) == {}
    assert not (house.root / attempt.uid).exists()


def test_a_job_whose_files_cannot_be_removed_is_tried_again_and_holds_up_no_other(house):
    stuck, other = house.run("stuck"), house.run("other")
    for attempt in (stuck, other):
        house.fail(attempt)
        house.desk.delete(attempt.name.job_id)
    place = house.root / stuck.uid
    remove_tree(place)
    place.write_text("a file, which is no directory to be removed")
    house.keeper.tick()
    assert house.rows_of(other.uid) == {}
    assert house.rows_of(stuck.uid)
    place.unlink()
    house.seconds += 20
    house.keeper.tick()
    assert house.rows_of(stuck.uid)
    house.seconds += 20
    house.keeper.tick()
    assert house.rows_of(stuck.uid) == {}


def test_what_user_code_made_unwritable_is_removed_and_links_are_not_followed():
    """By a user that permissions hold for, whoever runs the tests."""
    with tempfile.TemporaryDirectory() as made:
        top = Path(made)
        outside, job = top / "outside", top / "job"
        (job / "1" / "cache" / "deep").mkdir(parents=True)
        outside.mkdir()
        (outside / "precious").touch()
        (job / "1" / "cache" / "deep" / "file").touch()
        (job / "1" / "link").symlink_to(outside)
        for directory in (job / "1" / "cache" / "deep", job / "1" / "cache", job / "1", job):
            directory.chmod(0o500 if directory.name == "1" else 0o000)
        for path in (top, outside, outside / "precious", job):
            os.chown(path, 65534, 65534, follow_symlinks=False) if os.getuid() == 0 else None
        for path in job.rglob("*"):
            os.chown(path, 65534, 65534, follow_symlinks=False) if os.getuid() == 0 else None
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                remove_tree(job)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert sorted(path.name for path in top.iterdir()) == ["outside"]
        assert (outside / "precious").exists()


def retry(house: House, job_id: str) -> None:
    """Makes a new job that goes on from the only checkpoint of `source`."""
    retried = house.store.find_retried(name_of("source"), "1-10")
    house.store.create_job(name_of(job_id), a_job(), None, "", house.desk.now(), retried)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("begins", ["with its weights", "where it stopped"])
def test_a_job_that_another_one_starts_from_stays_until_that_one_has_ended(house, begins, force):
    attempt = house.run("source")
    house.save(attempt, 10)
    house.fail(attempt)
    if begins == "with its weights":
        house.desk.submit("user", started_from("source"))
    else:
        retry(house, "user")
    with pytest.raises(WrongStateError, match="projects/default/jobs/user may still start from"):
        house.desk.delete("source", force=force)
    assert house.exists("source")
    house.desk.cancel("user")
    house.desk.delete("source", force=force)
    house.keeper.tick()
    assert house.rows_of(attempt.uid) == {}
    assert house.exists("user")
    house.desk.delete("user")
    house.keeper.tick()
    assert house.store.list_jobs("default") == ([], "")


def test_a_job_cannot_start_from_a_deleted_one(house):
    attempt = house.run("source")
    house.save(attempt, 10)
    house.fail(attempt)
    house.desk.delete("source")
    with pytest.raises(Exception, match="must be a job that exists"):
        house.desk.submit("user", started_from("source"))


# Directories of no job


def an_orphan(house: House, file: str) -> Path:
    """A directory that a job could have, with one file; empty with none."""
    place = house.root / str(uuid.uuid4())
    (place / "1").mkdir(parents=True)
    if file:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_text("something")
    return place


@pytest.mark.parametrize(
    ("file", "stays"),
    [
        ("", False),
        ("1/log/attempt.log", False),
        ("1/supervisor/exit.json", False),
        ("1/work/aside", False),
        ("1/checkpoints/00000010.ckpt", True),
        ("2/export/net/2/saved_model.pb", True),
    ],
)
def test_a_server_removes_what_belongs_to_no_job_when_it_starts_but_nobody_s_work(house, caplog, file, stays):
    place = an_orphan(house, file)
    house.serve()
    assert place.exists() == stays
    assert (f"{house.root}: 1 belong to no job" in caplog.text) == stays


def test_a_start_leaves_jobs_those_who_live_and_what_nobody_here_made(house):
    live = an_orphan(house, "1/supervisor/lock")
    job = house.run("one").directory
    (house.root / "lost+found").mkdir()
    (house.root / "notes.txt").touch()
    with AttemptDirectory(live / "1").locked():
        house.serve()
    assert sorted(path.name for path in house.root.iterdir()) == sorted(
        [live.name, job.parent.name, "lost+found", "notes.txt"]
    )
    house.serve()
    assert not live.exists()


def test_a_directory_that_cannot_be_removed_keeps_no_other(house, caplog):
    stuck = house.root / "00000000-0000-4000-8000-000000000000"
    # Nobody here made this: a link is not removed as a directory.
    stuck.symlink_to(house.directory, target_is_directory=True)
    places = [an_orphan(house, "1/work/aside") for _ in range(2)]
    house.serve()
    assert stuck.is_symlink()
    assert not any(place.exists() for place in places)
    assert f"{stuck} belongs to no job and could not be removed" in caplog.text


@pytest.mark.parametrize("hourly", [False, True])
def test_requests_are_remembered_for_two_hours_at_least_and_not_for_ever(house: House, hourly: bool) -> None:
    """Whether one server lives on, or one is killed every hour, which takes a part of the service clock."""

    def ask() -> job_pb2.Job:
        return house.store.create_job(name_of("one"), a_job(), "request", "digest", house.desk.now())

    def pass_an_hour() -> None:
        for _ in range(75):
            house.seconds += 48
            house.keeper.tick()
        if hourly:
            house.serve()

    house.seconds += 3500
    house.keeper.tick()
    pass_an_hour()
    first = ask()
    for _ in range(2):
        pass_an_hour()
        assert ask() == first
    for _ in range(3):
        pass_an_hour()
    with pytest.raises(AlreadyExistsError):
        ask()
