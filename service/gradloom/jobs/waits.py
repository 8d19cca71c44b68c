"""Why a job that is QUEUED does not run yet."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from gradloom.job import reason_name
from gradloom.jobs.devices import Devices
from gradloom.jobs.hints import FREE_A_DISK, hint, reference
from gradloom.jobs.messages import duration
from gradloom.jobs.situation import MOST_JOBS, OtherJob, Situation
from gradloom.jobs.wording import count, demanded, how_far, listed, sentence, span
from gradloom.v1 import service_pb2


class Outlook(Protocol):
    """What the scheduler knows by its own clock. May be asked from any thread."""

    def silent_seconds(self, uid: str, number: int) -> float:
        """Since the newest call of a live attempt's trainer reached this server."""

    def backoff_seconds_left(self, uid: str) -> float | None:
        """Until a waiting job may be claimed again; None where nothing is counted (yet)."""

    def queue_seconds_left(self, uid: str) -> float | None:
        """Until a waiting job fails that has a limit; None where nothing is counted (yet)."""

    def run_seconds_left(self, uid: str) -> float | None:
        """Until the attempt of a job that has a limit is ended; None where nothing is counted (yet)."""

    def kept_devices(self) -> Mapping[str, str]:
        """The devices that are held back, each with the uid of the waiting job that it is for."""


class Wait:
    """One job's wait, as of one moment."""

    def __init__(self, situation: Situation, devices: Devices, outlook: Outlook, full_disk: str, now: datetime):
        """Takes what is to be said of a disk that is full, empty when none is."""
        self._situation = situation
        self._devices = devices
        self._demand = devices.demand(situation.gpus, situation.cpu_replicas)
        self._backoff_seconds = situation.backoff_seconds
        if situation.backoff_seconds is not None and (left := outlook.backoff_seconds_left(situation.uid)) is not None:
            self._backoff_seconds = left
        self._queue_seconds = outlook.queue_seconds_left(situation.uid)
        self._full_disk = full_disk
        self._waited_seconds = max(0.0, (now - situation.queued_time).total_seconds())
        self._owned = [name for name in devices.names if name.startswith(self._demand.kind)]
        held = {name for holder in situation.holders for name in holder.devices}
        self._free = [name for name in self._owned if name not in held]
        kept = outlook.kept_devices()
        self._kept = {name: kept[name] for name in self._free if kept.get(name, situation.uid) != situation.uid}

    def message(self) -> service_pb2.ExplainJobResponse.Waiting:
        """All of it."""
        situation = self._situation
        return service_pb2.ExplainJobResponse.Waiting(
            position=situation.position,
            waited_duration=duration(self._waited_seconds),
            demand=demanded(self._demand),
            missing=sentence(self._missing()),
            backoff_duration=None if self._backoff_seconds is None else duration(self._backoff_seconds),
            ahead=[self._other(other) for other in situation.ahead],
            holders=[self._other(other) for other in situation.holders[:MOST_JOBS]],
        )

    def summary(self) -> str:
        """The answer in a sentence."""
        position = self._situation.position
        place = "first in the queue" if position == 1 else f"number {position:,} in the queue"
        wait = f"{reference(self._situation.name)} waits for {demanded(self._demand)}, {place}: {self._missing()}"
        if self._queue_seconds is None:
            return f"{wait}."
        return f"{wait}; it fails if it has not started in {span(self._queue_seconds)} (max_queue_duration)."

    def hint(self) -> str:
        """What its user can do, where there is something to do."""
        name = reference(self._situation.name)
        if self._is_too_large():
            return (
                f"`gradloom cancel {name}`, and submit it again with fewer devices in spec.resources; or start the "
                "server again with more of them (--gpus, --cpu-slots)."
            )
        if self._backoff_seconds is not None and self._situation.attempts:
            last = self._situation.attempts[0].message
            return hint(last.reason, self._situation.name, last.number, last.error, self._situation.standing)
        if self._full_disk:
            return FREE_A_DISK
        if not self._fits():
            frees = "`gradloom cancel` or `gradloom pause` of a job that holds the devices frees them."
            if self._situation.position == 1:
                return frees
            return f"`gradloom update {name} --priority N` with an N above the others' moves it up; {frees}"
        return ""

    def _missing(self) -> str:
        """What stands between the job and its devices, as a clause."""
        if self._is_too_large():
            owned = count(len(self._owned), self._unit)
            return f"this server has {owned}, fewer than it asks for, so that it cannot start here"
        if self._backoff_seconds is not None:
            ended = "the attempt before failed"
            if self._situation.attempts:
                last = self._situation.attempts[0].message
                ended = f"attempt {last.number} ended with {reason_name(last.reason)}"
            return f"{ended}, and the next one may start in {span(self._backoff_seconds)}"
        if not self._fits():
            return "; ".join(self._obstacles())
        if self._full_disk:
            return f"its devices are free, but {self._full_disk}"
        return "its devices are free, and it is about to start"

    def _obstacles(self) -> Iterable[str]:
        free, owned = len(self._free), len(self._owned)
        if free:
            verb = "is" if free == 1 else "are"
            yield f"{free} of {count(owned, self._unit)} {verb} free"
        for name, uid in self._kept.items():
            keeper = next((other for other in self._situation.ahead if other.uid == uid), None)
            yield f"{name} is kept for {reference(keeper.name) if keeper else 'another job'}, which comes first"
        taken = [self._taken_by(holder) for holder in self._situation.holders]
        if taken:
            yield listed(taken)

    def _taken_by(self, holder: OtherJob) -> str:
        which = listed(holder.devices) if len(self._owned) > 1 else f"the only {self._unit}"
        progress = how_far(holder.progress)
        verb = "is" if len(holder.devices) == 1 else "are"
        return f"{which} {verb} taken by {reference(holder.name)}" + (f" ({progress})" if progress else "")

    def _fits(self) -> bool:
        return self._wanted <= len(self._free) - len(self._kept)

    def _is_too_large(self) -> bool:
        return self._wanted > len(self._owned)

    @property
    def _wanted(self) -> int:
        return self._demand.gpus or self._demand.cpu_slots

    @property
    def _unit(self) -> str:
        return "GPU" if self._demand.gpus else "CPU slot"

    def _other(self, other: OtherJob) -> service_pb2.ExplainJobResponse.OtherJob:
        asked = demanded(self._devices.demand(other.gpus, other.cpu_replicas))
        return service_pb2.ExplainJobResponse.OtherJob(
            name=str(other.name),
            display_name=other.display_name,
            priority=other.priority,
            state=other.state,  # type: ignore[arg-type]
            devices=", ".join(other.devices) or asked,
            progress=how_far(other.progress),
        )
