"""The watchdog: finds what hangs, and nothing else."""

import re
import threading
import time

from gradloom.trainer.watchdog import Hang, Watchdog
from gradloom.v1 import job_pb2


class Work:
    """Batches that are counted, and what the watchdog said of them and of what is around them."""

    def __init__(self, step: float = 30.0, stage: float = 30.0, tracing: float = 30.0, telling: float = 60.0):
        self.count = 0
        self.said: list[Hang] = []
        self.hung = threading.Event()
        self.watchdog = Watchdog(step, stage, self._on_hang, tracing, telling)

    def _on_hang(self, hang: Hang) -> None:
        self.said.append(hang)
        self.hung.set()

    def steps(self):
        return self.watchdog.batches(lambda: self.count, "steps", "a step")

    def step(self, seconds: float) -> None:
        time.sleep(seconds)
        self.count += 1


def test_batches_that_follow_one_another_are_left_alone_however_long_they_take_together():
    work = Work(step=0.4, tracing=0.4)
    with work.watchdog, work.steps():
        for _ in range(10):
            work.step(0.1)
    assert work.said == []


def test_a_batch_that_takes_too_long_is_found_within_the_loop():
    work = Work(step=0.3)
    with work.watchdog, work.steps():
        for _ in range(4):
            work.step(0.1)
        assert work.hung.wait(5)
    told = "a step took longer than 0.3 s (training.step_timeout_seconds)"
    assert work.said == [Hang(job_pb2.Job.STEP_HUNG, told)]


def test_the_first_batch_of_a_kind_has_time_to_be_traced_and_the_next_loop_has_not():
    work = Work(step=0.2)
    with work.watchdog:
        with work.steps():
            work.step(0.8)
        assert work.said == []
        with work.steps():
            assert work.hung.wait(5)


def test_nothing_is_expected_between_two_loops():
    work = Work(step=0.2, stage=0.2, tracing=0.2)
    with work.watchdog:
        for _ in range(2):
            with work.steps():
                work.step(0.05)
            time.sleep(0.5)
    assert work.said == []


def test_a_stage_that_takes_too_long_is_told_by_its_name_and_the_innermost_is():
    work = Work(stage=0.3)
    with work.watchdog, work.watchdog.stage("the preparation"), work.watchdog.stage("building the model"):
        assert work.hung.wait(5)
    told = "building the model took longer than 0.3 s (training.stage_timeout_seconds)"
    assert work.said == [Hang(job_pb2.Job.STAGE_HUNG, told)]


def test_a_stage_has_its_whole_time_again_after_each_one_within_it_and_hangs_by_itself():
    work = Work(stage=1.0)
    with work.watchdog, work.watchdog.stage("the preparation"):
        for _ in range(6):
            time.sleep(0.3)
            with work.watchdog.stage("reading data"):
                """Sooner done than anybody looks."""
        assert work.said == []
        assert work.hung.wait(5)
    assert [hang.message.partition(" took ")[0] for hang in work.said] == ["the preparation"]


def test_what_lies_between_the_steps_of_a_stage_is_watched_and_the_steps_have_their_own_time():
    work = Work(step=30.0, stage=0.3)
    with work.watchdog, work.watchdog.stage("epoch 1"):
        with work.steps():
            work.step(0.8)
        assert work.said == []
        assert work.hung.wait(5)
    assert [hang.reason for hang in work.said] == [job_pb2.Job.STAGE_HUNG]


def test_a_wait_for_somebody_else_is_left_alone_within_a_stage():
    work = Work(stage=0.2)
    with work.watchdog, work.watchdog.stage("epoch 1"):
        with work.watchdog.paused():
            time.sleep(0.8)
        assert work.said == []
        assert work.hung.wait(5)


def test_the_log_says_once_of_each_stage_that_takes_long_what_it_is_and_what_it_may_take(caplog):
    caplog.set_level("INFO", "gradloom.trainer.watchdog")
    work = Work(stage=2.0, telling=0.5)
    with work.watchdog, work.watchdog.stage("the preparation"):
        with work.watchdog.stage("reading data"):
            """Sooner done than it is told."""
        with work.watchdog.stage("building the model"):
            assert work.hung.wait(10)
    (told,) = caplog.messages
    assert re.fullmatch(r"building the model has taken [0-9.]+ s so far; 2 are allowed \(training\.stage_.*\)", told)
