"""Run in a mount namespace of its own: stores and servers whose data directory lies on a disk that is full.

unshare --mount --map-root-user python -m tests.faults.full_disk SCENE DIRECTORY
"""

import contextlib
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from gradloom import Client
from gradloom.client.explanation import explanation_lines
from gradloom.errors import LimitExceededError, ServerUnavailableError
from gradloom.jobs.database import StoreUnusableError
from gradloom.jobs.housekeeping import Housekeeper
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.reserve import RESERVE_BYTES, Reserve
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.e2e.server import Server, digits_job, serve_command, wait_until
from tests.faults.disk import mount_disk, read_only
from tests.stores import Desk, a_job, after, epoch_ended, name_of, outcome, report, sqlite_url

Job = job_pb2.Job
DISK_BYTES = 40 << 20
JOBS = 24
FIRST = str(uuid.uuid4())
"""The request that created the first job."""


class Neighbour:
    """Takes every byte of a disk that comes free, in files of its own."""

    def __init__(self, path: Path):
        self._path = path

    def eat(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            # Others may give something back meanwhile.
            while os.statvfs(self._path.parent).f_bavail:
                for size in (1 << 20, 4096, 1):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(bytes(size))

    def leave(self) -> None:
        self._path.unlink()


def opened(disk: Path) -> Store:
    return Store.open(sqlite_url(disk), reserve=Reserve(disk / "gradloom.db"))


def changes_on_a_full_disk(directory: Path) -> None:
    """Whatever ends, changes or removes a job is stored, however greedy others are, and outlives a kill."""
    disk = directory / "disk"
    mount_disk(disk, DISK_BYTES)
    neighbour = Neighbour(disk / "filler")
    server = os.fork()
    if not server:
        try:
            _serve_until_killed(disk, neighbour)
        except BaseException:
            traceback.print_exc()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(server, 0)
    assert (directory / "done").exists(), "the story ended before its end"
    assert os.statvfs(disk).f_bavail == 0
    store = opened(disk)
    states = {job.name.rpartition("/")[2]: job.state for job in store.list_jobs("default", 1000)[0]}
    assert states == {"one": Job.FAILED, **{f"j{number}": Job.CANCELLED for number in range(JOBS - 1)}}
    with pytest.raises(LimitExceededError):
        Desk(store).create("more")
    Desk(store).delete("j1")
    store.close()
    neighbour.eat()
    store = opened(disk)
    Desk(store).delete("j2")
    neighbour.leave()
    Housekeeper(store, Instruments(1.0)).tick()
    assert (disk / "gradloom.db-reserve").stat().st_blocks * 512 >= RESERVE_BYTES
    Desk(store).create("more")
    store.close()
    with sqlite3.connect(disk / "gradloom.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _serve_until_killed(disk: Path, neighbour: Neighbour) -> None:
    store = opened(disk)
    desk = Desk(store)
    first = store.create_job(name_of("one"), a_job(), FIRST, "digest", after(0))
    desk.claim(first.uid)
    for number in range(JOBS):
        desk.create(f"j{number}")
    # Whoever reads for long keeps the log from being folded into the database.
    reader = sqlite3.connect(disk / "gradloom.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM jobs").fetchone()
    neighbour.eat()

    for number in range(JOBS):
        desk.cancel(f"j{number}")
        neighbour.eat()
    with pytest.raises(LimitExceededError) as refused:
        desk.create("another")
    assert refused.value.retry_after_seconds is None
    assert "--data-dir is full (less than 1 MiB left; 2 MiB are needed)" in str(refused.value)
    again = store.create_job(name_of("one"), a_job(), FIRST, "digest", after(0))
    assert again.uid == first.uid, "what was acknowledged is answered for"

    look = report(1)
    look.events.append(epoch_ended(1, loss=0.5))
    with pytest.raises(ServerUnavailableError):
        store.record_report(first.uid, 1, look, after(1))
    store.mark_stopping(first.uid, 1, Job.PAUSED_BY_USER, "")
    store.record_report(first.uid, 1, look, after(1))
    store.end_attempt(first.uid, 1, outcome(Job.TRAINER_RAISED), Job.FAILED, after(2))
    neighbour.eat()
    last = desk.delete(f"j{JOBS - 1}")
    assert last.job is not None
    reader.close()
    Housekeeper(store, Instruments(1.0)).tick()
    neighbour.eat()
    assert not store.known_jobs([last.job.uid])
    (disk.parent / "done").touch()


def a_disk_that_a_write_fills(directory: Path) -> None:
    """Whoever comes upon it is to ask again, and is answered."""
    disk = directory / "disk"
    mount_disk(disk, DISK_BYTES)
    store = opened(disk)
    desk = Desk(store)
    desk.create("one")
    large = a_job()
    large.spec.model.keras_config = "x" * 3_000_000
    Neighbour(disk / "filler").eat()
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - (2 << 20))
    with pytest.raises(ServerUnavailableError, match="full; nothing was stored; ask again"):
        desk.submit("two", large)
    with pytest.raises(LimitExceededError):
        desk.submit("two", large)
    assert desk.cancel("one").state == Job.CANCELLED
    store.close()


def no_room_for_a_database(directory: Path) -> None:
    """There is nothing to serve, and one sentence says so."""
    disk = directory / "disk"
    mount_disk(disk, DISK_BYTES)
    Neighbour(disk / "filler").eat()
    with pytest.raises(StoreUnusableError, match=r"--data-dir is full .*; make room there, and start the server again"):
        opened(disk)
    started = subprocess.run(serve_command(disk / "data"), capture_output=True, text=True, timeout=60)
    assert started.returncode == 4
    (line,) = started.stderr.splitlines()
    assert line.startswith(f"gradloom: cannot start: --data-dir {disk / 'data'}: No space left on device; make room")


def a_read_only_disk(directory: Path) -> None:
    """What is open already can be written to there, so the kernel refuses it by other means."""
    disk = directory / "disk"
    mount_disk(disk, DISK_BYTES)
    store = opened(disk)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with read_only(disk):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        with pytest.raises(ServerUnavailableError, match=r"its disk is read-only.*nothing was stored"):
            Desk(store).create("one")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Desk(store).create("one")
    store.close()


def a_stop(directory: Path) -> None:
    """A drain ends it before it gives up to save; a pause, a preemption and a deadline take the same way."""
    server = Server(directory, "--drain-timeout", "4")
    artifacts = server.data_directory / "artifacts"
    server.data_directory.mkdir()
    mount_disk(artifacts, DISK_BYTES)
    neighbour = Neighbour(artifacts / "filler")
    server.start()
    with server.client() as client:
        name = client.submit(digits_job(epochs=100_000)).name
        wait_until(lambda: client.get(name).progress.checkpoint_step, 60, "it saves something")

        def in_trouble() -> job_pb2.Progress | None:
            neighbour.eat()
            progress = client.get(name).progress
            return progress if progress.trouble else None

        seen = wait_until(in_trouble, 60, "no checkpoint can be written")
    assert server.terminate() == 0
    server.start()
    with server.client() as client:
        job, explained = client.get(name), client.explain(name)
        newest = next(client.checkpoints(name)).global_step
        client.cancel(name)
        events = [message.event for message in client.watch(name, from_start=True)]
        (event,) = [each.message for each in events if each.reason == Job.SERVER_STOPPED]
    (attempt,) = explained.attempts
    assert job.state == Job.QUEUED
    assert attempt.message == event
    found = re.fullmatch(
        r".*; what it trained after step ([\d,]+) is lost \(its last report was of step ([\d,]+)\): "
        r"the checkpoint of step \d+ could not be written: \[Errno 28\] No space left on device(; .*)?",
        event,
    )
    assert found, event
    after, last = (int(found[number].replace(",", "")) for number in (1, 2))
    assert (after, last > after, last >= seen.global_step) == (newest, True, True)
    assert job.progress.global_step == newest, "where it goes on"
    assert f"  {attempt.message}" in list(explanation_lines(explained, None))
    assert server.terminate() == 0


def a_server(directory: Path) -> None:
    """Users and operators are told, who may still change and delete; so are those who start it anew."""
    server = Server(directory)
    data = server.data_directory
    mount_disk(data, DISK_BYTES)
    neighbour = Neighbour(data / "filler")
    server.start()
    with server.client() as client:
        # One trains, the others wait.
        jobs = [client.submit(digits_job(epochs=100_000)) for _ in range(4)]
        wait_until(lambda: client.get(jobs[0].name).state == Job.RUNNING, 60, "it trains")
        assert server.metric("gradloom_disk_full") == 0
        neighbour.eat()
        refused_for_want_of_room(server, client)
        assert server.metric("gradloom_disk_full") == 1
        assert server.metric('gradloom_disk_free_bytes{disk="data_dir"}') < 1 << 20
        assert client.update(jobs[1].name, priority=3).priority == 3
        client.pause(jobs[1].name)
        assert client.cancel(jobs[2].name).state == Job.CANCELLED
    server.kill()
    neighbour.eat()
    server.start()
    with server.client() as client:
        assert client.get(jobs[1].name).state == Job.PAUSED
        refused_for_want_of_room(server, client)
        assert client.cancel(jobs[0].name).state in (Job.CANCELLING, Job.CANCELLED)
        cancelled = client.wait(jobs[0].name, timeout=60)
        assert cancelled.state == Job.CANCELLED
        assert "is lost (its last report was of step" in cancelled.state_message
    assert server.terminate() == 0
    neighbour.eat()
    neighbour.leave()
    # The disk is full of what a job has.
    (log,) = (data / "artifacts" / jobs[0].uid).glob("*/log")
    Neighbour(log / "large").eat()
    server.start()
    with server.client() as client:
        refused_for_want_of_room(server, client)
        client.delete(jobs[0].name, force=True)
        wait_until(lambda: server.metric("gradloom_disk_full") == 0, 30, "the disk has room again")
        client.cancel(client.submit(digits_job()).name)
    assert server.terminate() == 0
    told = server.log_path.read_text()
    assert told.count("new jobs are refused") == 3, "once by each server"
    assert "nothing was stored" not in told
    assert "Traceback" not in told


def refused_for_want_of_room(server: Server, client: Client) -> None:
    with pytest.raises(LimitExceededError) as refused:
        client.submit(digits_job())
    assert (refused.value.subject, refused.value.retry_after_seconds) == ("disk", None)
    job = server.data_directory.parent / "job.json"
    job.write_text(json.dumps(digits_job()))
    command = [sys.executable, "-m", "gradloom", "submit", "--server", server.addresses["listen"], str(job)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done
    assert "--data-dir is full" in done.stderr
    assert "`gradloom delete JOB` removes what a job has" in done.stderr
    assert "Try again" not in done.stderr


SCENES: dict[str, Callable[[Path], None]] = {
    scene.__name__: scene
    for scene in (
        changes_on_a_full_disk,
        a_disk_that_a_write_fills,
        no_room_for_a_database,
        a_read_only_disk,
        a_stop,
        a_server,
    )
}

if __name__ == "__main__":
    SCENES[sys.argv[1]](Path(sys.argv[2]))
