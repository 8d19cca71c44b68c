"""The heartbeat and the calls of a trainer, against a server that goes away, loses answers and says stop."""

import itertools
import threading
import time

import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import AttemptSupersededError, PermissionDeniedError, WrongStateError
from gradloom.trainer import points, reports
from gradloom.trainer.control import ControlPlane
from gradloom.trainer.points import MOST_PER_REPORT
from gradloom.trainer.reports import Look, Reporter
from gradloom.trainer.speed import Speed
from gradloom.v1 import job_pb2, spec_pb2
from tests.attempt_service import TOKEN, AttemptServer


@pytest.fixture
def server(tmp_path):
    with AttemptServer(tmp_path / "trainer.sock", attempt_pb2.Assignment(attempt=1)) as server:
        yield server


@pytest.fixture
def control(server):
    with ControlPlane(server.address, TOKEN) as control:
        yield control


@pytest.fixture
def stops():
    return []


@pytest.fixture
def no_beats(monkeypatch):
    """From now on, reports are made for news alone."""
    monkeypatch.setattr(reports, "INTERVAL_SECONDS", 3600.0)


@pytest.fixture
def reporter(control, stops):
    with Reporter(control, attempt=1, on_stop=stops.append, started=time.monotonic()) as reporter:
        yield reporter


def epoch_ended(epoch):
    return job_pb2.Event(kind=job_pb2.Event.EPOCH_ENDED, epoch=epoch, scalars={"loss": 1.0 / epoch})


def point(step):
    return job_pb2.ScalarsPoint(global_step=step, epoch=1, scalars={"loss": 1.0 / step})


def epochs(events):
    return [event.epoch for event in events]


def test_the_beat_moves_while_nothing_happens(server, reporter):
    server.wait_until(lambda: len(server.reports) >= 3, seconds=5)
    assert [report.beat for report in server.reports[:3]] == [1, 2, 3]


def test_a_phase_and_an_event_are_told_before_the_next_beat(server, no_beats, reporter):
    server.wait_until(lambda: server.reports)
    reporter.update(phase=job_pb2.Progress.TRAINING, epoch=1, scalars={"loss": 0.5})
    reporter.add_event(epoch_ended(1))
    reporter.flush()
    assert server.reports[-1].progress.phase == job_pb2.Progress.TRAINING
    assert server.reports[-1].progress.scalars == {"loss": 0.5}
    assert epochs(server.events) == [1]


def test_an_answer_that_is_lost_stores_no_event_twice(server, reporter):
    server.answers_to_lose = 2
    for epoch in (1, 2, 3):
        reporter.add_event(epoch_ended(epoch))
    reporter.flush()
    reporter.add_event(epoch_ended(4))
    reporter.flush()
    assert sum(len(report.events) for report in server.reports) > 4
    assert epochs(server.events) == [1, 2, 3, 4]


def test_events_of_the_time_when_the_server_was_away_arrive_when_it_is_back(server, reporter):
    server.wait_until(lambda: server.reports)
    server.stop()
    for epoch in range(1, 601):
        reporter.add_event(epoch_ended(epoch))
    waiting = threading.Thread(target=reporter.flush)
    waiting.start()
    waiting.join(0.7)
    assert waiting.is_alive()
    server.start()
    waiting.join(20)
    assert not waiting.is_alive()
    assert epochs(server.events) == list(range(1, 601))


def test_an_answer_that_is_lost_stores_no_point_twice(server, reporter):
    server.answers_to_lose = 2
    for step in (10, 20, 30):
        reporter.add_point(point(step))
    reporter.flush()
    reporter.add_point(point(40))
    reporter.flush()
    assert sum(len(report.points) for report in server.reports) > 4
    assert server.points == [point(step) for step in (10, 20, 30, 40)]


def test_points_wait_for_the_beat_until_a_report_is_full(server, no_beats, reporter):
    reporter.flush()
    seen = len(server.reports)
    for step in range(1, MOST_PER_REPORT):
        reporter.add_point(point(step))
    assert len(server.reports) == seen
    reporter.flush()
    for step in range(1, 3 * MOST_PER_REPORT):
        reporter.add_point(point(step))
    # What a report has no room for does not wait for a beat.
    reporter.flush()
    assert max(len(report.points) for report in server.reports) == MOST_PER_REPORT
    assert [one.global_step for one in server.points[MOST_PER_REPORT - 1 :]] == list(range(1, 3 * MOST_PER_REPORT))


def test_a_flush_waits_for_no_point_that_comes_after_it(server, reporter):
    done, recorded = threading.Event(), []

    def record():
        for step in itertools.count(1):
            reporter.add_point(point(step))
            recorded.append(step)
            if done.wait(0.0002):
                return

    recording = threading.Thread(target=record)
    recording.start()
    for _ in range(3):
        before = len(recorded)
        reporter.flush()
        assert len(server.points) >= before
    done.set()
    recording.join()


def test_recording_waits_for_a_server_that_is_away_once_the_memory_for_points_is_full(server, reporter, monkeypatch):
    size = point(1).ByteSize()
    monkeypatch.setattr(points, "MOST_WAITING_BYTES", 1000 * size)
    server.wait_until(lambda: server.reports)
    server.stop()
    recorded = []

    def record():
        for step in range(1, 1501):
            reporter.add_point(point(step))
            recorded.append(step)

    recording = threading.Thread(target=record)
    recording.start()
    recording.join(0.7)
    assert 900 < len(recorded) <= 1000
    server.start()
    recording.join(20)
    reporter.flush()
    assert [one.global_step for one in server.points] == list(range(1, 1501))


def test_a_server_that_fails_every_time_holds_nobody_up_for_want_of_room(server, reporter, monkeypatch, caplog):
    monkeypatch.setattr(points, "MOST_WAITING_BYTES", 100)
    monkeypatch.setattr(reports, "MOST_FAULTS", 2)
    server.broken = True
    for step in range(1, 100):
        reporter.add_point(point(step))
    assert sum("are not recorded: the server fails" in message for message in caplog.messages) == 1
    server.broken = False
    reporter.flush()
    reporter.add_point(point(100))
    reporter.flush()
    steps = [one.global_step for one in server.points]
    assert steps == [*range(1, len(steps)), 100]


def test_the_first_step_is_timed_and_steps_and_examples_are_counted_once(server, reporter):
    looks = iter([Look(), Look()])
    last = Look(
        global_step=10, examples=320, step_seconds=0.5, first_step_time=time.monotonic(), scalars={"loss": 0.25}
    )
    reporter.observe(lambda: next(looks, last))
    server.wait_until(lambda: any(report.steps for report in server.reports))
    server.wait_until(lambda: server.reports[-1].steps == 0)
    assert sum(report.steps for report in server.reports) == 10
    assert sum(report.examples for report in server.reports) == 320
    told = next(report for report in server.reports if report.steps)
    assert told.mean_step_seconds == pytest.approx(0.05)
    assert told.progress.HasField("first_step_duration")
    assert told.progress.global_step == 10


def test_the_speed_is_that_of_training_steps_without_the_first_and_without_evaluations(server, reporter):
    reporter.observe(lambda: Look(global_step=1, examples=32, step_seconds=5.0, first_step_time=time.monotonic()))
    reporter.flush()
    assert not reporter.progress().HasField("examples_per_second"), "only the first step has been made, of 5 s"
    last = Look(global_step=251, examples=8032, step_seconds=9.0, first_step_time=time.monotonic())
    reporter.observe(lambda: last)
    reporter.flush()
    assert reporter.progress().examples_per_second == 2000


def test_the_speed_is_that_of_the_newest_ten_seconds():
    speed = Speed()
    told = [speed.per_second(float(second), examples) for second, examples in enumerate(range(0, 2001, 100))]
    assert told == [None] + [100.0] * 20
    slower = [speed.per_second(20.0 + second, 2000 + 10 * second) for second in range(1, 12)]
    assert (slower[0], slower[4], slower[9:]) == (91.0, 55.0, [10.0, 10.0])


def test_what_came_before_a_resume_is_not_counted_though_a_report_was_under_way(server, stops):
    resumed = Look(global_step=100, examples=3200)

    class ResumedMeanwhile(ControlPlane):
        def report(self, request, timeout):
            response = super().report(request, timeout)
            if request.beat == 1:
                reporter.resume_at(resumed)
            return response

    with (
        ResumedMeanwhile(server.address, TOKEN) as control,
        Reporter(control, attempt=2, on_stop=stops.append, started=time.monotonic()) as reporter,
    ):
        server.wait_until(lambda: len(server.reports) >= 2)
        reporter.observe(lambda: Look(global_step=112, examples=3584))
        server.wait_until(lambda: server.reports[-1].progress.global_step == 112)
        reporter.flush()
    assert server.reports[1].progress.global_step == 100
    assert [report.steps for report in server.reports if report.steps] == [12]
    assert sum(report.examples for report in server.reports) == 384


def test_a_directive_to_stop_is_heard_within_a_beat(server, reporter, stops):
    server.directive = attempt_pb2.ReportResponse.STOP
    seen = len(server.reports)
    server.wait_until(lambda: len(server.reports) > seen, seconds=2)
    reporter.close()
    assert stops == ["the server said stop"]


def test_a_superseded_attempt_stops(server, reporter, stops):
    server.superseded = True
    deadline = time.monotonic() + 5
    while not stops and time.monotonic() < deadline:
        time.sleep(0.02)
    assert stops == ["attempt 2 is the live one"]


def test_a_reporter_goes_on_where_the_one_before_ended(server, control, stops):
    with Reporter(control, attempt=1, on_stop=stops.append, started=5.0) as first:
        first.update(epoch=3, scalars={"loss": 0.1})
        first.add_event(epoch_ended(3))
        first.add_point(point(30))
        first.flush()
    left = first.handover()
    with Reporter(control, attempt=1, on_stop=stops.append, started=5.0, handover=left) as second:
        second.add_event(epoch_ended(4))
        second.add_point(point(40))
        second.flush()
    assert epochs(server.events) == [3, 4]
    assert server.points == [point(30), point(40)]
    assert server.reports[-1].progress.scalars == {"loss": 0.1}
    assert server.reports[-1].progress.epoch == 3


def test_calls_wait_for_a_server_that_is_away(server, control):
    server.stop()
    answers = []
    call = threading.Thread(target=lambda: answers.append(control.get_assignment()))
    call.start()
    call.join(0.5)
    assert call.is_alive()
    server.start()
    call.join(10)
    assert answers[0].attempt == 1


def test_an_assignment_of_large_specs_arrives(server, control):
    spec = spec_pb2.JobSpec(model=spec_pb2.ModelSpec(keras_config="x" * (1 << 20)))
    variables = [spec_pb2.VariableAssignment(path=f"{'layer/' * 20}{number}") for number in range(5000)]
    resolved = spec_pb2.ResolvedSpec(spec=spec, variables=variables)
    server.assignment.MergeFrom(attempt_pb2.Assignment(spec=spec, resolved_spec=resolved))
    server.assignment.retry.resolved_spec.CopyFrom(resolved)
    assert control.get_assignment() == server.assignment


def test_a_finish_whose_answer_is_lost_is_told_again(server, control):
    server.answers_to_lose = 1
    control.finish_attempt(attempt_pb2.FinishAttemptRequest(reason=job_pb2.Job.COMPLETED))
    assert server.finished.reason == job_pb2.Job.COMPLETED


def test_a_token_that_was_never_given_is_told_apart_from_a_superseded_attempt(server, control):
    with ControlPlane(server.address, "guessed") as stranger, pytest.raises(PermissionDeniedError):
        stranger.get_assignment()
    server.superseded = True
    with pytest.raises(AttemptSupersededError):
        control.get_assignment()


def test_another_resolved_spec_than_the_stored_one_is_a_wrong_state(server, control):
    first = attempt_pb2.RecordResolvedSpecRequest(resolved_spec=spec_pb2.ResolvedSpec(replicas=1))
    control.record_resolved_spec(first)
    control.record_resolved_spec(first)
    with pytest.raises(WrongStateError):
        control.record_resolved_spec(
            attempt_pb2.RecordResolvedSpecRequest(resolved_spec=spec_pb2.ResolvedSpec(replicas=2))
        )


def test_a_server_that_fails_every_time_is_outlived_and_then_given_up_on(server, reporter, stops):
    server.broken = True
    reporter.add_event(epoch_ended(1))
    reporter.flush()
    assert stops == []
    server.broken = False
    reporter.flush()
    assert epochs(server.events) == [1]


def test_a_look_that_fails_costs_no_beat(server, reporter, stops):
    def fail():
        raise RuntimeError("between two looks")

    reporter.observe(lambda: Look(global_step=5))
    reporter.flush()
    reporter.observe(fail)
    reporter.flush()
    assert server.reports[-1].progress.global_step == 5
    assert stops == []
