"""The watchdog: finds what hangs, and nothing else."""

import threading
import time

from gradloom.trainer.watchdog import Watchdog


class Work:
    """Batches that are counted, and what the watchdog said of them."""

    def __init__(self, timeout: float, tracing: float):
        self.count = 0
        self.said: list[str] = []
        self.hung = threading.Event()
        self.watchdog = Watchdog(timeout, lambda: self.count, self._on_hang, tracing)

    def _on_hang(self, what: str) -> None:
        self.said.append(what)
        self.hung.set()

    def step(self, seconds: float) -> None:
        time.sleep(seconds)
        self.count += 1


def test_batches_that_follow_one_another_are_left_alone_however_long_they_take_together():
    work = Work(timeout=0.4, tracing=0.4)
    with work.watchdog, work.watchdog.watching("steps", "a step"):
        for _ in range(10):
            work.step(0.1)
    assert work.said == []


def test_a_batch_that_takes_too_long_is_found_within_the_loop():
    work = Work(timeout=0.3, tracing=30)
    with work.watchdog, work.watchdog.watching("steps", "a step"):
        for _ in range(4):
            work.step(0.1)
        assert work.hung.wait(5)
    assert work.said == ["a step took longer than 0.3 s (training.step_timeout_seconds)"]


def test_the_first_batch_of_a_kind_has_time_to_be_traced_and_the_next_loop_has_not():
    work = Work(timeout=0.2, tracing=30)
    with work.watchdog:
        with work.watchdog.watching("steps", "a step"):
            work.step(0.8)
        assert work.said == []
        with work.watchdog.watching("steps", "a step"):
            assert work.hung.wait(5)


def test_nothing_is_expected_between_two_loops():
    work = Work(timeout=0.2, tracing=0.2)
    with work.watchdog:
        for _ in range(2):
            with work.watchdog.watching("steps", "a step"):
                work.step(0.05)
            time.sleep(0.5)
    assert work.said == []
