"""The log of an ended attempt is put on record whole, and a large one holds up nobody else."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom.jobs import ended_logs
from gradloom.jobs.devices import Devices
from gradloom.jobs.ended_logs import LARGE_BYTES, AttemptLog, read_log
from gradloom.v1 import job_pb2
from tests.stage import Stage
from tests.stores import name_of
from tests.supervised import until

Job = job_pb2.Job


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path, Devices((), 1))
    yield made
    made.store.close()


class SlowDisk:
    """Lets nobody read a log before the test says so."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.is_ready = threading.Event()
        self.readers: list[str] = []
        patch.setattr(ended_logs, "read_log", self.read)

    def read(self, directory: Path) -> AttemptLog:
        self.readers.append(threading.current_thread().name)
        assert self.is_ready.wait(60.0)
        return read_log(directory)


def fill(stage: Stage, job_id: str, size: int = LARGE_BYTES) -> Path:
    """The log of a job's attempt, of one byte more than a size."""
    log = stage.attempt(job_id).directory / "log" / "attempt.log"
    log.write_bytes(b"x" * (size - 10) + b"\nlast word\n")
    return log


def digests(stage: Stage, job_id: str) -> list[str]:
    artifacts, _ = stage.store.list_artifacts(name_of(job_id))
    return [artifact.sha256 for artifact in artifacts]


def test_a_large_log_is_read_beside_the_scheduler_while_its_devices_go_to_the_next_job(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    for job_id in ("large", "next"):
        stage.submit(job_id)
    stage.tick()
    log = fill(stage, "large")
    stage.end("large", exit_code=1)
    stage.tick(30.0)
    assert stage.states() == {"large": "STARTING", "next": "STARTING"}
    assert len(disk.readers) == 1, "once, and not by the scheduler"
    assert threading.current_thread().name not in disk.readers
    assert digests(stage, "large") == []
    disk.is_ready.set()
    until(lambda: (stage.tick(), stage.states()["large"] == "QUEUED")[1])
    assert digests(stage, "large") == [hashlib.sha256(log.read_bytes()).hexdigest()]
    (ended,), _ = stage.store.list_attempts(name_of("large"))
    assert (ended.reason, ended.log_size_bytes) == (Job.TRAINER_EXITED, LARGE_BYTES + 1)
    assert list(ended.error.log_lines)[-1] == "last word"


def test_a_server_that_dies_over_a_large_log_leaves_it_to_the_next_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(monkeypatch)
    stage.submit("large")
    stage.tick()
    log = fill(stage, "large")
    stage.end("large", exit_code=1)
    stage.tick()
    stage.serve()
    assert stage.job("large").attempt_count == 1
    disk.is_ready.set()
    until(lambda: (stage.tick(), stage.job("large").attempt_count == 2)[1])
    assert digests(stage, "large") == [hashlib.sha256(log.read_bytes()).hexdigest()]
    assert stage.reasons("large") == ["TRAINER_EXITED", "REASON_UNSPECIFIED"]


def test_what_is_asked_of_a_job_while_its_log_is_read_is_done(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    stage.submit("large", max_run=20.0)
    stage.tick()
    fill(stage, "large")
    stage.end("large", exit_code=1)
    stage.tick(60.0)
    assert not stage.attempt("large").stopping_reason, "its process is gone: no limit goes on counting"
    stage.desk.cancel("large")
    disk.is_ready.set()
    until(lambda: (stage.tick(), stage.states() == {"large": "CANCELLED"})[1])
    assert stage.reasons("large") == ["CANCELLED_BY_USER"]
    assert len(disk.readers) == 1


def test_a_small_log_is_read_at_once(stage: Stage) -> None:
    stage.submit("small")
    stage.tick()
    log = fill(stage, "small", LARGE_BYTES - 1)
    stage.end("small", exit_code=1)
    stage.desk.cancel("small")
    stage.tick()
    assert stage.states() == {"small": "CANCELLED"}
    assert digests(stage, "small") == [hashlib.sha256(log.read_bytes()).hexdigest()]
