"""One tick of the scheduler while many jobs wait for devices that are taken, others of which are free or not."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gradloom.jobs.devices import Devices
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.launcher import Alive, AttemptStart, Observation
from gradloom.jobs.scheduler import Scheduler
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.bench.load_server import Figure, percentile
from tests.many_jobs import made_up_jobs, put
from tests.stores import sqlite_url

TICKS: Final = 50


class NothingEnds:
    """A launcher whose attempts run for ever."""

    def start(self, start: AttemptStart) -> None:
        pass

    def observe(self, directory: Path) -> Observation:
        return Alive()

    def stop(self, directory: Path, grace_seconds: float) -> None:
        pass

    def kill_leftovers(self, directory: Path) -> bool:
        return False

    def warm(self) -> None:
        pass

    def close(self) -> None:
        pass


def measure(directory: Path, queued: int) -> list[Figure]:
    """The slowest ticks once everything that fits runs."""
    return [
        Figure(f"tick with {queued:,} queued, {how}, p99", _tick(directory / f"{number}", queued, cpu_slots), "ms", 50)
        for number, (how, cpu_slots) in enumerate((("every device taken", 0), ("devices of another kind free", 2)))
    ]


def _tick(directory: Path, queued: int, cpu_slots: int) -> float:
    directory.mkdir()
    store = Store.open(sqlite_url(directory))
    waiting = [row | {"gpus": 1} for row in made_up_jobs(queued, states=(job_pb2.Job.QUEUED,))]
    put(store, waiting)
    devices = Devices(("0", "1"), cpu_slots)
    scheduler = Scheduler(
        store,
        NothingEnds(),
        devices,
        Instruments(60.0),
        artifact_root=directory,
        trainer_address="unix:/nowhere.sock",
    )
    scheduler.adopt()
    milliseconds = []
    for _ in range(TICKS):
        start = time.perf_counter()
        scheduler.tick(datetime.now(UTC))
        milliseconds.append((time.perf_counter() - start) * 1000)
    assert len(store.live_attempts()) == 2
    store.close()
    return percentile(milliseconds[5:], 99)
