"""Takes jobs from the queue to their ends: claims devices, launches, follows, stops, decides.

All that matters is in the store and in the attempts' directories; what the scheduler remembers beside them may be lost
at any moment. A claim is stored before its attempt is launched, and an attempt is ended in the store only once
nothing of it is left, so a job never has two live attempts, whatever is killed when.
"""

import contextlib
import hashlib
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gradloom.errors import AttemptSupersededError, GradloomError, WrongStateError
from gradloom.job import ENDING_STATES, SAVING_REASONS, TERMINAL_STATES, reason_name, state_name
from gradloom.jobs.deadlines import Deadlines
from gradloom.jobs.devices import Devices
from gradloom.jobs.disks import Disks
from gradloom.jobs.hearing import Hearing
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.launcher import Alive, AttemptStart, Ended, Launcher, LaunchError, Lost, Observation
from gradloom.jobs.leavings import read_log, remove_unfinished
from gradloom.jobs.outcome import decide
from gradloom.jobs.planner import Planner
from gradloom.jobs.queue import Plan, Preemption
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.store import Store
from gradloom.jobs.sweep import sweep_job
from gradloom.jobs.trouble import TroubleLog
from gradloom.v1 import job_pb2

logger = logging.getLogger(__name__)

_LEASE_SECONDS = 5.0
_DRAIN_LOOK_SECONDS = 0.05
_KILL_SECONDS = 10.0
_END_SECONDS = 3.0
"""The part of a drain that is left for ending what has not saved in time."""


@dataclass(frozen=True)
class Timing:
    """How long the scheduler waits for what."""

    stop_grace_seconds: float = 10.0
    """Between asking a trainer to end and killing it."""
    save_seconds: float = 60.0
    """What a trainer has to save a checkpoint that is to end, before it is signalled; a drain says it anew."""
    finish_grace_seconds: float = 30.0
    """A trainer that has reported its end and lives on is stopped after this."""
    launch_pause_seconds: float = 5.0
    """After a launch that failed, which is the machine's fault rather than the job's."""
    spare_pause_seconds: float = 20.0
    """The longest that the spare's imports are put off, so as not to slow an attempt that prepares."""
    report_timeout_seconds: float = 300.0
    """A trainer of which nothing is heard for so long is stopped."""
    reservation_seconds: float = 60.0
    """A job that has not fitted for so long has devices held back for it."""


def utc_now() -> datetime:
    """The wall clock, for what is shown."""
    return datetime.now(UTC)


class Scheduler:
    """The scheduler of one server. Belongs to one thread at a time, but for what tells of it."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        devices: Devices,
        instruments: Instruments,
        *,
        artifact_root: Path,
        trainer_address: str,
        timing: Timing | None = None,
        hearing: Hearing | None = None,
        disks: Disks | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Takes the address at which trainers reach the AttemptService, who notes their calls in `hearing`.

        While one of the disks is full, no attempt is started.
        """
        self._store = store
        self._launcher = launcher
        self._devices = devices
        self._instruments = instruments
        self._artifact_root = artifact_root
        self._trainer_address = trainer_address
        self._timing = timing or Timing()
        self._clock = clock
        self._stop_grace_seconds = self._timing.stop_grace_seconds
        self._save_seconds = self._timing.save_seconds
        self._owner = str(uuid.uuid4())
        self._lease_beat = 0
        self._next_lease = 0.0
        self._no_claim_before = clock()
        self._seen_at: dict[tuple[str, int, str], float] = {}
        self._stops_sent: set[tuple[str, int]] = set()
        self._taken_count = 0
        self._trouble = TroubleLog(logger, clock)
        self._hearing = hearing or Hearing(clock)
        self._disks = disks or Disks({})
        self._told_of_full_disk: set[str] = set()
        self._deadlines = Deadlines(store, instruments, clock)
        self._planner = Planner(store, devices, self._timing.reservation_seconds, clock)

    def adopt(self) -> None:
        """Takes over what an earlier server left; before the first tick."""
        for attempt in self._store.take_over(self._owner):
            observed = type(self._observe(attempt)).__name__.lower()
            logger.info("Took over %s: %s", _named(attempt), observed)
        for uid in self._store.unswept_jobs():
            sweep_job(self._store, uid)

    def tick(self, now: datetime) -> None:
        """Does what is to be done now: ends what has ended, stops what must end, claims what fits, keeps a spare."""
        live = self._follow(now)
        self._hearing.tick((attempt.uid, attempt.number) for attempt in live)
        self._deadlines.look(live, now)
        self._claim(live, now)
        if self._clock() >= self._next_lease and live:
            self._next_lease = self._clock() + _LEASE_SECONDS
            self._lease_beat += 1
            self._store.renew_leases(self._owner, self._lease_beat)
        if not self._is_preparing(live):
            self._launcher.warm()

    def drain(self, timeout_seconds: float, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Has every attempt save what it can and end, and returns their jobs to the queue.

        Kills what is left after the timeout, or at once when hurried. Returns when nothing is left. No tick may follow.
        """
        deadline = self._clock() + timeout_seconds
        self._stop_grace_seconds = timeout_seconds
        self._save_seconds = timeout_seconds - min(_END_SECONDS, timeout_seconds / 2)
        for attempt in self._store.live_attempts():
            with self._logged(attempt):
                # Before it is stopped, so that a server that dies here leaves the reason to the next one. From now on
                # the answer to a report is to save and to stop.
                reason, message = job_pb2.Job.SERVER_STOPPED, "the server was stopped"
                self._store.mark_stopping(attempt.uid, attempt.number, reason, message)
        self._follow(utc_now())
        self._launcher.close()
        with self._kept_apart("What is left of the jobs' limits could not be stored"):
            self._deadlines.settle()
        while (live := self._follow(utc_now())) and self._clock() < deadline and not is_hurried():
            time.sleep(_DRAIN_LOOK_SECONDS)
        for attempt in live:
            with self._logged(attempt):
                self._launcher.stop(attempt.directory, 0.0)
        deadline = self._clock() + _KILL_SECONDS
        while (live := self._follow(utc_now())) and self._clock() < deadline:
            time.sleep(_DRAIN_LOOK_SECONDS)
        for attempt in live:
            logger.error("%s does not end; the next server follows it", _named(attempt))

    def device_counts(self) -> dict[str, int]:
        """How many devices are `free` and `claimed`, as of the last tick."""
        return {"free": len(self._devices.names) - self._taken_count, "claimed": self._taken_count}

    # What is told of what it knows, to any thread; see `waits.Outlook`

    def silent_seconds(self, uid: str, number: int) -> float:
        """Since the newest call of a live attempt's trainer, or since its start."""
        return self._hearing.silent_seconds(uid, number)

    def backoff_seconds_left(self, uid: str) -> float | None:
        """Until a waiting job may be claimed again, where its backoff is counted."""
        return self._deadlines.backoffs.left(uid)

    def queue_seconds_left(self, uid: str) -> float | None:
        """Until a waiting job fails that has a limit."""
        return self._deadlines.waits.left(uid)

    def run_seconds_left(self, uid: str) -> float | None:
        """Until the attempt of a job that has a limit is ended."""
        return self._deadlines.runs.left(uid)

    def kept_devices(self) -> Mapping[str, str]:
        """The devices that are held back, each with the uid of the waiting job that it is for."""
        return self._planner.kept

    # Attempts that live

    def _follow(self, now: datetime) -> list[AttemptRow]:
        """Looks after every live attempt; returns those that live on."""
        left = []
        for attempt in self._store.live_attempts():
            ended = False
            with self._logged(attempt):
                ended = self._settle(attempt, now)
            if not ended:
                left.append(attempt)
        keys = {(attempt.uid, attempt.number) for attempt in left}
        self._stops_sent &= keys
        self._seen_at = {key: at for key, at in self._seen_at.items() if key[:2] in keys}
        self._taken_count = len(_taken(left))
        return left

    def _settle(self, attempt: AttemptRow, now: datetime) -> bool:
        """Ends the attempt if it has ended; stops it if it must end. Tells whether it is ended in the store."""
        observed = self._observe(attempt)
        if isinstance(observed, Alive):
            self._stop_if_silent(attempt)
            self._stop_if_due(attempt)
            return False
        if isinstance(observed, Lost) and not self._launcher.kill_leftovers(attempt.directory):
            if self._is_news(attempt, "left over"):
                logger.warning("Something of %s is left and does not end yet", _named(attempt))
            return False
        # What the trainer reported last may be newer than the row that was read before the look.
        for newest in self._store.attempts_of(attempt.uid):
            if newest.number == attempt.number:
                return self._end(newest, observed, now)
        return False

    def _observe(self, attempt: AttemptRow) -> Observation:
        try:
            return self._launcher.observe(attempt.directory)
        except OSError as error:
            # What cannot be seen is taken for alive: a second attempt must not start beside it.
            if self._is_news(attempt, "unreadable"):
                logger.warning("%s cannot be read: %s", attempt.directory, error)
            return Alive()

    def _stop_if_silent(self, attempt: AttemptRow) -> None:
        seconds = self._hearing.silent_seconds(attempt.uid, attempt.number)
        is_ending = attempt.stopping_reason or attempt.job_state in ENDING_STATES or attempt.finish is not None
        if seconds >= self._timing.report_timeout_seconds and not is_ending:
            message = f"nothing was heard of the trainer for {seconds:.0f} s (--report-timeout)"
            self._store.mark_stopping(attempt.uid, attempt.number, job_pb2.Job.TRAINER_SILENT, message)

    def _stop_if_due(self, attempt: AttemptRow) -> None:
        key = (attempt.uid, attempt.number)
        lingers = attempt.finish is not None and self._age(attempt, "finished") > self._timing.finish_grace_seconds
        wanted = attempt.job_state == job_pb2.Job.CANCELLING or attempt.stopping_reason or lingers
        if wanted and key not in self._stops_sent and not self._may_save(attempt):
            self._launcher.stop(attempt.directory, self._stop_grace_seconds)
            self._stops_sent.add(key)

    def _may_save(self, attempt: AttemptRow) -> bool:
        """Tells whether the attempt is told to save by the answers to its reports, and has time left to."""
        is_wanted = attempt.stopping_reason in SAVING_REASONS and attempt.job_state != job_pb2.Job.CANCELLING
        can_save = is_wanted and attempt.finish is None and attempt.is_training
        return can_save and self._age(attempt, "saving") < self._save_seconds

    def _end(self, attempt: AttemptRow, observed: Ended | Lost | LaunchError, now: datetime) -> bool:
        directory = attempt.directory
        retry = self._store.spec_of(attempt.uid).retry
        verdict = decide(attempt, observed, read_log(directory), retry)
        remove_unfinished(directory, keep_export=verdict.next_state == job_pb2.Job.SUCCEEDED)
        try:
            self._store.end_attempt(attempt.uid, attempt.number, verdict.outcome, verdict.next_state, now)
        except (WrongStateError, AttemptSupersededError) as error:
            logger.info("%s is decided again: %s", _named(attempt), error)
            return False
        name, reason = attempt.name, verdict.outcome.reason
        to = state_name(verdict.next_state)
        logger.info(
            "%s ended: %s, %s; the job is %s",
            _named(attempt),
            reason_name(reason),
            verdict.outcome.message,
            to,
        )
        self._instruments.attempt_ended(name, reason)
        if verdict.next_state in TERMINAL_STATES:
            self._instruments.job_finished(name, verdict.next_state, reason)
        with self._logged(attempt):
            sweep_job(self._store, attempt.uid)
        return True

    # Jobs that wait

    def _claim(self, live: list[AttemptRow], now: datetime) -> None:
        """Claims and launches what fits, and has others make room; adds the new attempts to `live`."""
        if self._clock() < self._no_claim_before:
            return
        planned = self._planner.plan(live)
        if self._is_held_up_by_disk(planned, now):
            return
        for preemption in planned.preemptions:
            self._preempt(preemption)
        for start in planned.starts:
            attempt = self._launch(start.uid, start.devices, now)
            if attempt is not None:
                live.append(attempt)
            if self._clock() < self._no_claim_before:
                break
        self._taken_count = len(_taken(live))

    def _is_held_up_by_disk(self, planned: Plan, now: datetime) -> bool:
        """Tells whether a disk is full, so that no attempt should begin; says so in the events of jobs that would."""
        full = self._disks.full() if planned.starts or planned.preemptions else ""
        if not full:
            self._told_of_full_disk.clear()
            return False
        for start in planned.starts:
            if start.uid not in self._told_of_full_disk:
                self._told_of_full_disk.add(start.uid)
                with self._kept_apart("A full disk could not be told in a job's events"):
                    self._store.note_waiting(start.uid, f"waits, because {full}", now)
        return True

    def _preempt(self, preemption: Preemption) -> None:
        holder, waiting = preemption.holder, preemption.waiting
        message = f"made room for {waiting.name}, whose priority is {waiting.priority}, not {holder.priority}"
        self._store.mark_stopping(holder.uid, holder.number, job_pb2.Job.PREEMPTED, message)

    def _launch(self, uid: str, devices: tuple[str, ...], now: datetime) -> AttemptRow | None:
        """Claims the job and launches its attempt; None when somebody cancelled it first or the launch failed."""
        token = secrets.token_urlsafe(32)
        attempt = self._store.claim(
            uid, devices, token_digest(token), self._owner, now, artifact_root=str(self._artifact_root)
        )
        if attempt is None:
            return None
        self._instruments.job_claimed((now - attempt.queued_time).total_seconds())
        start = AttemptStart(attempt.directory, token, self._trainer_address, self._devices.environment(devices))
        try:
            self._launcher.start(start)
        except LaunchError as error:
            logger.error("%s could not be started: %s", _named(attempt), error)
            self._no_claim_before = self._clock() + self._timing.launch_pause_seconds
            self._end(attempt, error, now)
            return None
        logger.info("%s started on %s", _named(attempt), ", ".join(devices))
        return attempt

    @contextlib.contextmanager
    def _logged(self, attempt: AttemptRow) -> Iterator[None]:
        """Keeps one attempt's trouble, such as a full disk, from the others; the next look tries again."""
        with self._kept_apart(f"{_named(attempt)} could not be looked after"):
            yield

    @contextlib.contextmanager
    def _kept_apart(self, what: str) -> Iterator[None]:
        try:
            yield
        except (GradloomError, OSError) as error:
            self._trouble.tell(what, error)

    # What the scheduler remembers

    def _is_preparing(self, live: list[AttemptRow]) -> bool:
        """Tells whether an attempt prepares, which the imports of a new spare would slow down."""
        starting = [attempt for attempt in live if attempt.job_state == job_pb2.Job.STARTING]
        return any(self._age(attempt, "starting") < self._timing.spare_pause_seconds for attempt in starting)

    def _is_news(self, attempt: AttemptRow, what: str) -> bool:
        """Tells whether the scheduler sees the attempt so for the first time."""
        known = (attempt.uid, attempt.number, what) in self._seen_at
        self._age(attempt, what)
        return not known

    def _age(self, attempt: AttemptRow, what: str) -> float:
        """Seconds since the scheduler first saw the attempt so, by its own clock."""
        now = self._clock()
        return now - self._seen_at.setdefault((attempt.uid, attempt.number, what), now)


def token_digest(token: str) -> str:
    """What is stored of an attempt's token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _taken(live: list[AttemptRow]) -> set[str]:
    return {device for attempt in live if not attempt.devices_released for device in attempt.devices}


def _named(attempt: AttemptRow) -> str:
    return attempt.name.attempt(attempt.number)
