"""Takes jobs from the queue to their ends: claims devices, launches, and sees to what follows them.

All that matters is in the store and in the attempts' directories; what the scheduler remembers beside them may be lost
at any moment. A claim is stored before its attempt is launched, and an attempt is ended in the store only once
nothing of it is left, so a job never has two live attempts, whatever is killed when.
"""

import hashlib
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from gradloom.jobs.deadlines import Deadlines
from gradloom.jobs.devices import Devices
from gradloom.jobs.disks import Disks
from gradloom.jobs.following import Following
from gradloom.jobs.hearing import Hearing
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.launcher import AttemptStart, Launcher, LaunchError
from gradloom.jobs.planner import Planner
from gradloom.jobs.queue import Plan, Preemption
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.store import Store
from gradloom.jobs.sweep import sweep_job
from gradloom.jobs.timing import Timing
from gradloom.jobs.trouble import TroubleLog
from gradloom.v1 import job_pb2

logger = logging.getLogger(__name__)

_LEASE_SECONDS = 5.0
_DRAIN_LOOK_SECONDS = 0.05
_KILL_SECONDS = 10.0


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
        self._owner = str(uuid.uuid4())
        self._lease_beat = 0
        self._next_lease = 0.0
        self._no_claim_before = clock()
        self._may_claim = True
        self._taken_count = 0
        self._trouble = TroubleLog(logger, clock)
        self._hearing = hearing or Hearing(clock)
        self._disks = disks or Disks({})
        self._told_of_full_disk: set[str] = set()
        self._deadlines = Deadlines(store, instruments, clock)
        self._following = Following(store, launcher, instruments, self._hearing, self._timing, clock)
        self._planner = Planner(store, devices, self._timing.reservation_seconds, clock)

    def adopt(self) -> None:
        """Takes over what an earlier server left; before the first tick."""
        for attempt in self._store.take_over(self._owner):
            observed = type(self._following.observe(attempt)).__name__.lower()
            logger.info("Took over %s: %s", attempt.full_name, observed)
        for uid in self._store.unswept_jobs():
            with self._trouble.kept_from_others(f"The job {uid} could not be swept"):
                sweep_job(self._store, uid)

    def tick(self, now: datetime) -> None:
        """Does what is to be done now: ends what has ended, stops what must end, claims what fits, keeps a spare."""
        live = self._following.follow(now)
        self._taken_count = len(_taken(live))
        self._hearing.tick((attempt.uid, attempt.number) for attempt in live)
        self._deadlines.look(live, now)
        self._claim(live, now)
        if self._clock() >= self._next_lease and live and not self._store.full_disk():
            self._next_lease = self._clock() + _LEASE_SECONDS
            self._lease_beat += 1
            with self._trouble.kept_from_others("The leases of attempts could not be renewed"):
                self._store.renew_leases(self._owner, self._lease_beat)
        if not self._is_preparing(live):
            self._launcher.warm()

    def claim_no_more(self) -> None:
        """A tick under way claims nothing from now on, and none after it; from any thread."""
        self._may_claim = False

    def drain(self, timeout_seconds: float, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Has every attempt save what it can and end, and returns their jobs to the queue.

        Kills what is left after the timeout, or at once when hurried. Returns when nothing is left. No tick may follow.
        """
        deadline = self._clock() + timeout_seconds
        self._following.hurry(timeout_seconds)
        for attempt in self._store.live_attempts():
            with self._trouble.kept_from_others(f"{attempt.full_name} could not be stopped"):
                # Before it is stopped, so that a server that dies here leaves the reason to the next one. From now on
                # the answer to a report is to save and to stop.
                reason, message = job_pb2.Job.SERVER_STOPPED, "the server was stopped"
                self._store.mark_stopping(attempt.uid, attempt.number, reason, message)
        self._following.follow(utc_now())
        self._launcher.close()
        self._deadlines.settle()
        while (live := self._following.follow(utc_now())) and self._clock() < deadline and not is_hurried():
            time.sleep(_DRAIN_LOOK_SECONDS)
        for attempt in live:
            with self._trouble.kept_from_others(f"{attempt.full_name} could not be stopped"):
                self._launcher.stop(attempt.directory, 0.0)
        deadline = self._clock() + _KILL_SECONDS
        while (live := self._following.follow(utc_now())) and self._clock() < deadline:
            time.sleep(_DRAIN_LOOK_SECONDS)
        for attempt in live:
            logger.error("%s does not end; the next server follows it", attempt.full_name)

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

    # Jobs that wait

    def _claim(self, live: list[AttemptRow], now: datetime) -> None:
        """Claims and launches what fits, and has others make room; adds the new attempts to `live`."""
        if not self._claims():
            return
        planned = self._planner.plan(live)
        if self._is_held_up_by_disk(planned, now):
            return
        for preemption in planned.preemptions:
            with self._trouble.kept_from_others(f"{preemption.holder.uid} could not be asked to make room"):
                self._preempt(preemption)
        for start in planned.starts:
            if not self._claims():
                break
            with self._trouble.kept_from_others(f"{start.uid} could not be started"):
                if (attempt := self._launch(start.uid, start.devices, now)) is not None:
                    live.append(attempt)
        self._taken_count = len(_taken(live))

    def _claims(self) -> bool:
        return self._may_claim and self._clock() >= self._no_claim_before

    def _is_held_up_by_disk(self, planned: Plan, now: datetime) -> bool:
        """Tells whether a disk is full, so that no attempt should begin; says so in the events of jobs that would."""
        full = self._disks.full() if planned.starts or planned.preemptions else ""
        if not full:
            self._told_of_full_disk.clear()
            return False
        for start in planned.starts:
            if start.uid not in self._told_of_full_disk:
                self._told_of_full_disk.add(start.uid)
                with self._trouble.kept_from_others("A full disk could not be told in a job's events"):
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
            logger.error("%s could not be started: %s", attempt.full_name, error)
            self._no_claim_before = self._clock() + self._timing.launch_pause_seconds
            self._following.end(attempt, error, now)
            return None
        logger.info("%s started on %s", attempt.full_name, ", ".join(devices))
        return attempt

    # What the scheduler remembers

    def _is_preparing(self, live: list[AttemptRow]) -> bool:
        """Tells whether an attempt prepares, which the imports of a new spare would slow down."""
        starting = [attempt for attempt in live if attempt.job_state == job_pb2.Job.STARTING]
        return any(self._following.age(attempt, "starting") < self._timing.spare_pause_seconds for attempt in starting)


def token_digest(token: str) -> str:
    """What is stored of an attempt's token."""
    return hashlib.sha256(token.encode()).hexdigest()


def _taken(live: list[AttemptRow]) -> set[str]:
    return {device for attempt in live if not attempt.devices_released for device in attempt.devices}
