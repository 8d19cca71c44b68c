"""Scalars by step on record: each step once, in order, whatever comes again. Runs once for each kind of store."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import AttemptSupersededError, CursorExpiredError, InvalidRequestError, NotFoundError
from gradloom.jobs import scalars
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.stores import STORES, Desk, outcome

Job = job_pb2.Job


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


def a_point(step: int, epoch_end: bool = False, **values: float) -> job_pb2.ScalarsPoint:
    return job_pb2.ScalarsPoint(
        global_step=step, epoch=1 + (step - 1) // 10, epoch_end=epoch_end, scalars=values or {"loss": 1 / step}
    )


def points_of(beat: int, offset: int, *points: job_pb2.ScalarsPoint) -> attempt_pb2.ReportRequest:
    return attempt_pb2.ReportRequest(beat=beat, points_offset=offset, points=points)


def recorded(store: Store, uid: str) -> list[tuple[int, int, int, bool]]:
    """Number, attempt, step and whether an epoch ended, of every point."""
    page = store.scalars_after(uid, 0)
    assert not page.more
    return [(point.number, point.attempt, point.global_step, point.epoch_end) for point in page.points]


def test_a_point_is_read_back_as_it_was_reported_with_its_number_time_and_attempt(desk):
    uid = desk.run("one").uid
    odd = a_point(10, loss=math.nan, accuracy=math.inf, **{"with space é": -0.1})
    end = a_point(10, epoch_end=True, loss=0.5, val_loss=0.25)
    now = desk.now()
    desk.store.record_report(uid, 1, points_of(2, 0, odd, end), now)
    first, second = desk.store.scalars_after(uid, 0).points
    assert (first.number, first.attempt, first.global_step, first.epoch, first.epoch_end) == (1, 1, 10, 1, False)
    assert first.time.ToDatetime(now.tzinfo) == now
    assert math.isnan(first.scalars["loss"])
    assert (first.scalars["accuracy"], first.scalars["with space é"]) == (math.inf, -0.1)
    assert (second.number, second.epoch_end, dict(second.scalars)) == (2, True, {"loss": 0.5, "val_loss": 0.25})


def test_a_repeated_report_stores_its_points_once(desk):
    uid = desk.run("one").uid
    store = desk.store
    store.record_report(uid, 1, points_of(2, 0, a_point(5), a_point(10)), desk.now())
    store.record_report(uid, 1, points_of(2, 0, a_point(5), a_point(10)), desk.now())
    # The answer was lost, and more came meanwhile.
    store.record_report(uid, 1, points_of(3, 0, a_point(5), a_point(10), a_point(15)), desk.now())
    store.record_report(uid, 1, points_of(4, 3, a_point(20)), desk.now())
    assert recorded(store, uid) == [(1, 1, 5, False), (2, 1, 10, False), (3, 1, 15, False), (4, 1, 20, False)]


def test_a_step_that_a_later_attempt_repeats_is_stored_once_also_when_its_report_is_repeated(desk):
    first = desk.run("one")
    told = [a_point(5), a_point(10), a_point(10, epoch_end=True), a_point(15)]
    desk.store.record_report(first.uid, 1, points_of(2, 0, *told), desk.now())
    second = desk.again(first)
    # It goes on from step 7.
    again = [a_point(10, loss=99.0), a_point(10, epoch_end=True), a_point(15), a_point(20), a_point(20, epoch_end=True)]
    for beat in (1, 2):
        desk.store.record_report(first.uid, second.number, points_of(beat, 0, *again), desk.now())
    desk.store.record_report(first.uid, second.number, points_of(3, 5, a_point(25)), desk.now())
    assert recorded(desk.store, first.uid) == [
        (1, 1, 5, False),
        (2, 1, 10, False),
        (3, 1, 10, True),
        (4, 1, 15, False),
        (5, 2, 20, False),
        (6, 2, 20, True),
        (7, 2, 25, False),
    ]
    assert desk.store.scalars_after(first.uid, 1).points[0].scalars == {"loss": 0.1}


def test_points_of_a_superseded_attempt_are_refused(desk):
    first = desk.run("one")
    desk.again(first)
    with pytest.raises(AttemptSupersededError):
        desk.store.record_report(first.uid, 1, points_of(2, 0, a_point(5)), desk.now())
    assert recorded(desk.store, first.uid) == []


@pytest.mark.parametrize(
    ("offset", "points", "field"),
    [
        (1, [a_point(5)], "points_offset"),
        (-1, [a_point(5)], "points_offset"),
        (0, [a_point(5), job_pb2.ScalarsPoint(epoch=1)], "points[1].global_step"),
        (0, [job_pb2.ScalarsPoint(global_step=3)], "points[0].epoch"),
        (0, [a_point(5)] * (scalars.MOST_REPORTED_POINTS + 1), "points"),
    ],
)
def test_points_that_leave_a_gap_or_are_of_no_step_are_refused_and_nothing_is_stored(desk, offset, points, field):
    uid = desk.run("one").uid
    with pytest.raises(InvalidRequestError) as refusal:
        desk.store.record_report(uid, 1, points_of(2, offset, *points), desk.now())
    assert [fault.field for fault in refusal.value.faults] == [field]
    assert recorded(desk.store, uid) == []


def test_pages_hold_every_point_once_and_are_bounded_in_number_and_in_size(desk):
    uid = desk.run("one").uid
    small = [a_point(step) for step in range(1, 2501)]
    large = [a_point(step, **{"x" * 100_000: 1.0}) for step in range(2501, 2531)]
    desk.store.record_report(uid, 1, points_of(2, 0, *small, *large), desk.now())
    pages, number = [], 0
    while not pages or pages[-1].more:
        pages.append(desk.store.scalars_after(uid, number))
        number = pages[-1].number
    assert [point.global_step for page in pages for point in page.points] == list(range(1, 2531))
    assert [len(page.points) for page in pages[:2]] == [1000, 1000]
    assert max(sum(point.ByteSize() for point in page.points) for page in pages) < 1.2 * scalars.MOST_PAGE_BYTES
    # One that is larger than a page comes alone.
    desk.store.record_report(uid, 1, points_of(3, 2530, a_point(2531, **{"x" * 2_000_000: 1.0})), desk.now())
    assert len(desk.store.scalars_after(uid, 2530).points) == 1


def test_named_scalars_come_alone_and_points_without_them_are_passed_over(desk):
    uid = desk.run("one").uid
    told = [a_point(10), a_point(10, epoch_end=True, loss=0.3, val_loss=0.2), a_point(20)]
    desk.store.record_report(uid, 1, points_of(2, 0, *told), desk.now())
    page = desk.store.scalars_after(uid, 0, ["val_loss"])
    assert [(point.number, dict(point.scalars)) for point in page.points] == [(2, {"val_loss": 0.2})]
    assert (page.number, page.more, page.ended) == (3, False, False)
    assert [point.number for point in desk.store.scalars_after(uid, 0, ["loss"]).points] == [1, 2, 3]


def test_a_page_tells_whether_any_more_can_come(desk):
    attempt = desk.run("one")
    uid = attempt.uid
    assert desk.store.first_scalars(uid) is None
    assert not desk.store.scalars_after(uid, 0).ended
    desk.store.record_report(uid, 1, points_of(2, 0, a_point(5)), desk.now())
    assert desk.store.first_scalars(uid).global_step == 5
    desk.end(attempt, outcome(Job.TRAINER_LOST), Job.QUEUED)
    assert not desk.store.scalars_after(uid, 1).ended
    desk.cancel("one")
    assert desk.store.scalars_after(uid, 1).ended
    assert len(desk.store.scalars_after(uid, 0).points) == 1


def test_numbers_that_the_job_has_not_come_to_and_unknown_jobs_are_refused(desk):
    uid = desk.run("one").uid
    with pytest.raises(CursorExpiredError, match="has 0 points so far; the cursor is after point 1"):
        desk.store.scalars_after(uid, 1)
    with pytest.raises(NotFoundError):
        desk.store.scalars_after("none", 0)
