"""Who is next: which waiting jobs start now, for which of them devices are held back, and which attempts make room.

The order of the queue is the same everywhere: the higher priority first, among equals the older job. A later job may
start before an earlier one that does not fit; so that the earlier one is not starved, devices are held back for it
once it has waited long enough, and at once when it only waits for attempts that are being ended. Nothing here does
I/O.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gradloom.jobs.devices import Demand, Devices


@dataclass(frozen=True)
class Waiting:
    """A job that may start as soon as it fits."""

    uid: str
    name: str
    demand: Demand
    priority: int
    sequence: int
    """Order of creation."""


@dataclass(frozen=True)
class Holder:
    """A live attempt that holds devices."""

    uid: str
    """Of its job."""
    number: int
    devices: tuple[str, ...]
    priority: int
    sequence: int
    may_make_room: bool
    """Its job is preemptible, and nobody is ending it yet."""
    is_ending: bool
    """Its devices will be free as soon as it has ended."""


@dataclass(frozen=True)
class Start:
    """A waiting job, and the free devices that it is given."""

    uid: str
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Preemption:
    """An attempt that is to be ended, and the waiting job that it makes room for."""

    holder: Holder
    waiting: Waiting


@dataclass(frozen=True)
class Plan:
    """What follows from one look at the queue."""

    starts: tuple[Start, ...]
    preemptions: tuple[Preemption, ...]
    blocked: tuple[str, ...]
    """The uids of the jobs that do not fit now though they ask for no more than the server owns, in order."""
    kept: Mapping[str, str]
    """The devices that are held back, free ones and such as will soon be, each with the uid of the job it is for."""


def plan(
    devices: Devices, waiting: Iterable[Waiting], holders: Sequence[Holder], starved: Collection[str] = ()
) -> Plan:
    """Goes through the queue once, in its order, whatever the order of `waiting`.

    `starved` are the uids of the jobs that have been blocked for so long that devices are held back for the first of
    them. A job that asks for more than the server owns, as one from before its devices were fewer, is passed over.
    """
    room = _Room(devices, holders)
    starts: list[Start] = []
    preemptions: list[Preemption] = []
    blocked: list[str] = []
    kept: dict[str, str] = {}
    is_held = False
    for job in sorted(waiting, key=lambda job: (-job.priority, job.sequence)):
        if devices.pick_from(job.demand, devices.names) is None:
            continue
        picked = devices.pick_from(job.demand, room.free)
        if picked is not None:
            starts.append(Start(job.uid, picked))
            room.take(picked)
            continue
        blocked.append(job.uid)
        if devices.pick_from(job.demand, room.soon) is None:
            preemptions.extend(Preemption(holder, job) for holder in room.vacate(job))
        expected = devices.pick_from(job.demand, room.soon) or ()
        if not expected and not is_held and job.uid in starved:
            expected = devices.most_from(job.demand, room.soon)
            is_held = True
        room.take(expected)
        kept |= dict.fromkeys(expected, job.uid)
    return Plan(tuple(starts), tuple(preemptions), tuple(blocked), kept)


class _Room:
    """The devices that nobody who comes later in the queue has, or has a claim to."""

    def __init__(self, devices: Devices, holders: Sequence[Holder]):
        self._devices = devices
        held = {name for holder in holders for name in holder.devices}
        ending = {name for holder in holders if holder.is_ending for name in holder.devices}
        self.free = [name for name in devices.names if name not in held]
        self._coming = [name for name in devices.names if name in ending]
        # The last of the queue first.
        self._movable = sorted(
            (holder for holder in holders if holder.may_make_room),
            key=lambda holder: (holder.priority, -holder.sequence),
        )

    @property
    def soon(self) -> list[str]:
        """What is free, and then what will be once the attempts that are being ended are gone."""
        return self.free + self._coming

    def take(self, names: Iterable[str]) -> None:
        """These are no longer for those who come later."""
        taken = set(names)
        self.free = [name for name in self.free if name not in taken]
        self._coming = [name for name in self._coming if name not in taken]

    def vacate(self, job: Waiting) -> list[Holder]:
        """Has attempts of lower priority make room, as few as the order allows; none when that does not help."""
        chosen: list[Holder] = []
        for holder in self._movable:
            if holder.priority >= job.priority or self._fits(job, chosen):
                break
            chosen.append(holder)
        if not self._fits(job, chosen):
            return []
        for holder in list(chosen):
            others = [other for other in chosen if other is not holder]
            if self._fits(job, others):
                chosen = others
        self._movable = [holder for holder in self._movable if holder not in chosen]
        self._coming += [name for holder in chosen for name in holder.devices]
        return chosen

    def _fits(self, job: Waiting, leaving: Iterable[Holder]) -> bool:
        vacated = [name for holder in leaving for name in holder.devices]
        return self._devices.pick_from(job.demand, self.soon + vacated) is not None
