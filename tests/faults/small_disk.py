"""Run in a mount namespace of its own: a real server on a small disk, which gets full and then read-only.

unshare --mount --map-root-user python -m tests.faults.small_disk DIRECTORY
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gradloom import Client
from gradloom.errors import LimitExceededError
from gradloom.v1 import job_pb2
from tests.e2e.server import Server, serve_command, wait_until
from tests.faults import census
from tests.faults.chaos import dropout_job

Job = job_pb2.Job
DISK_BYTES = 64 << 20
HELD_SECONDS = 2.0


def main(directory: Path) -> None:
    mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(directory))
    server = Server(directory).start()
    try:
        with server.client() as client:
            undisturbed = client.submit(dropout_job())
            disturbed = client.submit(dropout_job())
            wait_for_training(client, disturbed)
            while_the_disk_is_full(directory, client, disturbed)
            while_artifacts_are_read_only(server)
            expected, state = [final_state(server, client, job) for job in (undisturbed, disturbed)]
            assert [key for key in expected if state.get(key) != expected[key]] == []
    finally:
        code = server.terminate()
    assert code == 0, code
    assert not census.processes_of(directory)
    assert not census.damage(server.data_directory)
    refused_on_a_read_only_disk(server.data_directory)


def while_the_disk_is_full(directory: Path, client: Client, job: job_pb2.Job) -> None:
    """There is no room for a while; what was acknowledged is answered for all the time."""
    with full(directory):
        acknowledged = submitted_until_refused(client)
        time.sleep(HELD_SECONDS)
        assert client.get(job.name).uid == job.uid
    for other in acknowledged:
        assert client.cancel(other.name).uid == other.uid


def submitted_until_refused(client: Client) -> list[job_pb2.Job]:
    """Jobs for which there was room in files that are there already."""
    acknowledged: list[job_pb2.Job] = []
    refusal = None
    while refusal is None:
        try:
            acknowledged.append(client.submit(dropout_job()))
        except LimitExceededError as error:
            refusal = error
    assert refusal.subject == "disk", refusal.subject
    return acknowledged


def while_artifacts_are_read_only(server: Server) -> None:
    """Nothing can be written beside what is open."""
    artifacts = str(server.data_directory / "artifacts")
    mount("--bind", artifacts, artifacts)
    mount("-o", "remount,bind,ro", artifacts)
    time.sleep(HELD_SECONDS)
    subprocess.run(["umount", "-l", artifacts], check=True)


def refused_on_a_read_only_disk(data_directory: Path) -> None:
    """A server that cannot write says which path, why, and nothing else."""
    mount("--bind", str(data_directory), str(data_directory))
    mount("-o", "remount,bind,ro", str(data_directory))
    started = subprocess.run(serve_command(data_directory), capture_output=True, text=True, timeout=60)
    assert started.returncode not in (0, None)
    assert "Read-only file system" in started.stderr, started.stderr
    assert str(data_directory) in started.stderr, started.stderr
    assert "Traceback" not in started.stderr, started.stderr


@contextlib.contextmanager
def full(directory: Path) -> Iterator[None]:
    """Leaves not a byte of the disk free."""
    filler = directory / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert os.statvfs(directory).f_bavail == 0
    yield
    filler.unlink()


def wait_for_training(client: Client, job: job_pb2.Job) -> None:
    def trains() -> bool:
        progress = client.get(job.name).progress
        return progress.phase == job_pb2.Progress.TRAINING and progress.HasField("checkpoint_step")

    wait_until(trains, 120, "training has saved something")


def final_state(server: Server, client: Client, job: job_pb2.Job) -> dict[str, bytes]:
    ended = client.wait(job.name, timeout=240)
    assert ended.state == Job.SUCCEEDED, ended
    return server.final_state(ended)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
