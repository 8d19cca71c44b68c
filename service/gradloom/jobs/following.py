"""Looks after live attempts: ends in the store what has ended, and stops what must end.

An attempt is ended in the store only once nothing of it is left.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gradloom.errors import AttemptSupersededError, WrongStateError
from gradloom.job import SAVING_REASONS, TERMINAL_STATES, reason_name, state_name
from gradloom.jobs.ended_logs import EndedLogs
from gradloom.jobs.hearing import Hearing
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.launcher import Alive, Ended, Launcher, LaunchError, Lost, Observation
from gradloom.jobs.leavings import remove_unfinished
from gradloom.jobs.outcome import decide, unsaved_training
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.store import Store
from gradloom.jobs.sweep import sweep_job
from gradloom.jobs.timing import Timing
from gradloom.jobs.trouble import TroubleLog
from gradloom.v1 import job_pb2

logger = logging.getLogger(__name__)

_END_SECONDS = 3.0
"""The part of a drain that is left for ending what has not saved in time."""


class Following:
    """The live attempts of one server, and what it remembers of them. Belongs to one thread; `clock` is monotonic."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        instruments: Instruments,
        hearing: Hearing,
        timing: Timing,
        clock: Callable[[], float],
    ):
        self._store = store
        self._launcher = launcher
        self._instruments = instruments
        self._hearing = hearing
        self._timing = timing
        self._clock = clock
        self._stop_grace_seconds = timing.stop_grace_seconds
        self._save_seconds = timing.save_seconds
        self._seen_at: dict[tuple[str, int, str], float] = {}
        self._stops_sent: set[tuple[str, int]] = set()
        self._logs = EndedLogs()
        self._trouble = TroubleLog(logger, clock)

    def hurry(self, timeout_seconds: float) -> None:
        """From now on all must save and end within this."""
        self._stop_grace_seconds = timeout_seconds
        self._save_seconds = timeout_seconds - min(_END_SECONDS, timeout_seconds / 2)

    def follow(self, now: datetime) -> list[AttemptRow]:
        """Looks after every live attempt; returns those that live on.

        One that has ended holds no devices, though it is not ended in the store before its log has been read.
        """
        left = []
        for attempt in self._store.live_attempts():
            ended = False
            with self._trouble.kept_from_others(f"{attempt.full_name} could not be looked after"):
                ended = self._settle(attempt, now)
            if not ended:
                is_over = self._logs.is_reading(attempt.directory)
                left.append(replace(attempt, devices_released=True) if is_over else attempt)
        self._logs.keep({attempt.directory for attempt in left})
        keys = {(attempt.uid, attempt.number) for attempt in left}
        self._stops_sent &= keys
        self._seen_at = {key: at for key, at in self._seen_at.items() if key[:2] in keys}
        return left

    def observe(self, attempt: AttemptRow) -> Observation:
        """Tells what has become of an attempt."""
        try:
            return self._launcher.observe(attempt.directory)
        except OSError as error:
            # What cannot be seen is taken for alive: a second attempt must not start beside it.
            if self._is_news(attempt, "unreadable"):
                logger.warning("%s cannot be read: %s", attempt.directory, error)
            return Alive()

    def end(self, attempt: AttemptRow, observed: Ended | Lost | LaunchError, now: datetime) -> bool:
        """Ends an attempt of which nothing is left; False when its job changed, or its log is read: then look again."""
        directory = attempt.directory
        if (log := self._logs.read(directory)) is None:
            return False
        retry = self._store.spec_of(attempt.uid).retry
        saved_step = self._store.step_to_go_on_from(attempt.uid)
        unsaved = unsaved_training(attempt, saved_step, self._store.full_disk())
        verdict = decide(attempt, observed, log, retry, unsaved)
        remove_unfinished(directory, keep_export=verdict.next_state == job_pb2.Job.SUCCEEDED)
        try:
            self._store.end_attempt(attempt.uid, attempt.number, verdict.outcome, verdict.next_state, now)
        except (WrongStateError, AttemptSupersededError) as error:
            logger.info("%s is decided again: %s", attempt.full_name, error)
            return False
        reason, message = verdict.outcome.reason, verdict.outcome.message
        to = state_name(verdict.next_state)
        logger.info("%s ended: %s, %s; the job is %s", attempt.full_name, reason_name(reason), message, to)
        self._instruments.attempt_ended(attempt.uid, attempt.number, reason)
        if verdict.next_state in TERMINAL_STATES:
            self._instruments.job_finished(attempt.uid, verdict.next_state, reason)
        with self._trouble.kept_from_others(f"{attempt.full_name} could not be swept"):
            sweep_job(self._store, attempt.uid)
        return True

    def age(self, attempt: AttemptRow, what: str) -> float:
        """Seconds since this server first saw the attempt so, by its own clock."""
        now = self._clock()
        return now - self._seen_at.setdefault((attempt.uid, attempt.number, what), now)

    def _is_news(self, attempt: AttemptRow, what: str) -> bool:
        known = (attempt.uid, attempt.number, what) in self._seen_at
        self.age(attempt, what)
        return not known

    def _settle(self, attempt: AttemptRow, now: datetime) -> bool:
        """Ends the attempt if it has ended; stops it if it must end. Tells whether it is ended in the store."""
        observed = self.observe(attempt)
        if isinstance(observed, Alive):
            self._stop_if_silent(attempt)
            self._stop_if_due(attempt)
            return False
        if isinstance(observed, Lost) and not self._launcher.kill_leftovers(attempt.directory):
            if self._is_news(attempt, "left over"):
                logger.warning("Something of %s is left and does not end yet", attempt.full_name)
            return False
        # What the trainer reported last may be newer than the row that was read before the look.
        for newest in self._store.attempts_of(attempt.uid):
            if newest.number == attempt.number:
                return self.end(newest, observed, now)
        return False

    def _stop_if_silent(self, attempt: AttemptRow) -> None:
        seconds = self._hearing.silent_seconds(attempt.uid, attempt.number)
        if seconds >= self._timing.report_timeout_seconds and not attempt.is_ending:
            message = f"nothing was heard of the trainer for {seconds:.0f} s (--report-timeout)"
            self._store.mark_stopping(attempt.uid, attempt.number, job_pb2.Job.TRAINER_SILENT, message)

    def _stop_if_due(self, attempt: AttemptRow) -> None:
        key = (attempt.uid, attempt.number)
        lingers = attempt.finish is not None and self.age(attempt, "finished") > self._timing.finish_grace_seconds
        wanted = attempt.job_state == job_pb2.Job.CANCELLING or attempt.stopping_reason or lingers
        if wanted and key not in self._stops_sent and not self._may_save(attempt):
            self._launcher.stop(attempt.directory, self._stop_grace_seconds)
            self._stops_sent.add(key)

    def _may_save(self, attempt: AttemptRow) -> bool:
        """Tells whether the attempt is told to save by the answers to its reports, and has time left to."""
        is_wanted = attempt.stopping_reason in SAVING_REASONS and attempt.job_state != job_pb2.Job.CANCELLING
        can_save = is_wanted and attempt.finish is None and attempt.is_training
        return can_save and self.age(attempt, "saving") < self._save_seconds
