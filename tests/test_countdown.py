"""Limits that are counted down by a clock of the test's, and silence."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gradloom.jobs.countdown import WRITE_SECONDS, Countdown
from gradloom.jobs.hearing import MOST_BETWEEN_TICKS_SECONDS, Hearing


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Books:
    """What a store would keep, and a server that counts it down; `restart` is a crash and the next server."""

    stored: dict[str, float]
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.countdown = Countdown(self.stored.update, self.clock)

    def look(self, *uids: str) -> list[str]:
        return self.countdown.look({uid: self.stored[uid] for uid in uids})


def test_time_counts_from_the_first_look_and_not_before() -> None:
    books = Books({"a": 2.0, "b": 2.0})
    books.clock.seconds = 100.0
    assert books.look("a") == []
    books.clock.seconds += 1.5
    assert books.look("a", "b") == []
    books.clock.seconds += 1.0
    assert books.look("a", "b") == ["a"]
    books.clock.seconds += 1.0
    assert books.look("a", "b") == ["a", "b"], "told until somebody has acted"


def test_time_in_which_a_limit_does_not_apply_is_not_counted() -> None:
    books = Books({"a": 5.0})
    books.look("a")
    books.clock.seconds += 3.0
    books.look()
    books.clock.seconds += 1000.0
    assert books.look("a") == []
    books.clock.seconds += 1.9
    assert books.look("a") == []
    books.clock.seconds += 0.2
    assert books.look("a") == ["a"]


def test_a_limit_that_is_forgotten_is_not_written_and_a_new_one_counts_from_its_own_first_look() -> None:
    books = Books({"a": 2.0, "b": 9.0})
    books.look("a", "b")
    books.clock.seconds += 3.0
    assert books.look("a", "b") == ["a"]
    books.countdown.forget(["a"])
    assert books.countdown.left("a") is None
    assert books.countdown.left("b") == 6.0
    books.stored["a"] = 5.0
    assert books.look("a", "b") == [], "a new limit of the same job begins whole"
    assert books.countdown.left("a") == 5.0
    books.countdown.forget(["a"])
    books.clock.seconds += 1.0
    books.look("b")
    assert books.stored["a"] == 5.0


@given(st.lists(st.floats(0.01, 30.0), min_size=1, max_size=40), st.integers(0, 39))
def test_a_crash_gives_back_what_was_not_stored_yet_and_no_more(steps: list[float], crash: int) -> None:
    """The oracle adds up the time; looks come at random distances, and the server dies once."""
    books = Books({"a": 1000.0})
    books.look("a")
    passed = lost = 0.0
    for number, step in enumerate(steps):
        if number == crash:
            lost = books.clock.seconds - (1000.0 - books.stored["a"])
            assert lost <= WRITE_SECONDS + max(steps)
            books.restart()
            books.look("a")
        books.clock.seconds += step
        passed += step
        assert books.look("a") == (["a"] if 1000.0 - (passed - lost) <= 1e-9 else [])
    books.countdown.settle()
    assert abs(books.stored["a"] - max(0.0, 1000.0 - (passed - lost))) < 1e-6


def test_what_was_counted_is_stored_at_the_end_of_a_server() -> None:
    books = Books({"a": 5.0, "b": 0.5})
    books.look("a", "b")
    books.clock.seconds += 1.25
    books.countdown.settle()
    assert books.stored == {"a": 3.75, "b": 0.0}


def test_a_trainer_is_silent_for_as_long_as_none_of_its_calls_came() -> None:
    clock = Clock()
    hearing = Hearing(clock)
    for _ in range(10):
        clock.seconds += 1.0
        hearing.heard("talks", 1)
        hearing.tick([("talks", 1), ("silent", 2)])
    assert hearing.silent_seconds("silent", 2) == 10.0
    assert hearing.silent_seconds("talks", 1) <= 1.0
    hearing.heard("silent", 2)
    assert hearing.silent_seconds("silent", 2) == 0.0


def test_a_server_that_was_held_up_itself_takes_nobody_for_silent() -> None:
    clock = Clock()
    hearing = Hearing(clock)
    hearing.tick([("a", 1)])
    clock.seconds += 3600.0
    hearing.tick([("a", 1)])
    assert hearing.silent_seconds("a", 1) == MOST_BETWEEN_TICKS_SECONDS


def test_an_attempt_that_has_ended_is_forgotten() -> None:
    clock = Clock()
    hearing = Hearing(clock)
    hearing.tick([("a", 1)])
    clock.seconds += 2.0
    hearing.tick([("a", 2)])
    assert hearing.silent_seconds("a", 1) == 0.0
