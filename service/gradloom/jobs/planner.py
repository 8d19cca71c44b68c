"""Looks at the queue for the scheduler, and remembers for how long its jobs have been blocked."""

from collections.abc import Callable, Mapping, Sequence

from gradloom.jobs.devices import Devices
from gradloom.jobs.queue import Holder, Plan, Waiting, plan
from gradloom.jobs.records import AttemptRow, QueuedJob
from gradloom.jobs.store import Store


class Planner:
    """Plans over what the store holds; `clock` is monotonic."""

    def __init__(self, store: Store, devices: Devices, reservation_seconds: float, clock: Callable[[], float]):
        """After `reservation_seconds` in which a job does not fit, devices are held back for it."""
        self._store = store
        self._devices = devices
        self._reservation_seconds = reservation_seconds
        self._clock = clock
        self._blocked_since: dict[str, float] = {}
        self.kept: Mapping[str, str] = {}
        """The devices that the newest plan holds back, each with the uid of the waiting job it is for. Never changed,
        but replaced: any thread may read it."""

    def plan(self, live: Sequence[AttemptRow]) -> Plan:
        """Plans for the queue as it is now, beside the attempts that live.

        Of each demand no more jobs are read than could start or wait for devices of their own, one a device: the
        plan is that of the whole queue, however long it is.
        """
        waiting = [self._waiting(job) for job in self._store.queued_jobs(limit=len(self._devices.names))]
        now = self._clock()
        starved = {uid for uid, since in self._blocked_since.items() if now - since >= self._reservation_seconds}
        planned = plan(self._devices, waiting, [_holder(attempt) for attempt in live], starved)
        self._blocked_since = {uid: self._blocked_since.get(uid, now) for uid in planned.blocked}
        self.kept = planned.kept
        return planned

    def _waiting(self, job: QueuedJob) -> Waiting:
        demand = self._devices.demand(job.gpus, job.cpu_replicas)
        return Waiting(job.uid, str(job.name), demand, job.priority, job.sequence)


def _holder(attempt: AttemptRow) -> Holder:
    return Holder(
        attempt.uid,
        attempt.number,
        () if attempt.devices_released else attempt.devices,
        attempt.priority,
        attempt.sequence,
        may_make_room=attempt.preemptible and not attempt.devices_released and not attempt.is_ending,
        is_ending=attempt.is_ending,
    )
