"""Run in a mount namespace of its own: a real server on small disks, which get full and then read-only.

unshare --mount --map-root-user python -m tests.faults.small_disk DIRECTORY
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gradloom import Client
from gradloom.errors import LimitExceededError
from gradloom.v1 import job_pb2
from tests.e2e.server import Server, serve_command, wait_until
from tests.faults import census
from tests.faults.disk import full, mount_disk, read_only
from tests.faults.kinds import dropout_job

Job = job_pb2.Job
DISK_BYTES = 64 << 20
NO_SPACE = "No space left on device"
NO_WRITES = "Read-only file system"


def main(directory: Path) -> None:
    server = Server(directory)
    artifacts = server.data_directory / "artifacts"
    mount_disk(server.data_directory, DISK_BYTES)
    mount_disk(artifacts, DISK_BYTES)
    server.start()
    try:
        with server.client() as client:
            jobs = [client.submit(dropout_job()) for _ in range(3)]
            wait_for_training(client, jobs[0])
            with full(artifacts):
                wait_for_trouble(client, jobs[0], NO_SPACE)
                while_the_other_disk_is_full_too(server, client)
            wait_for_training(client, jobs[1])
            with read_only(artifacts):
                wait_for_trouble(client, jobs[1], NO_WRITES)
            states = [final_state(server, client, job) for job in jobs]
            assert_went_on(client, jobs[0], NO_SPACE)
            assert_went_on(client, jobs[1], NO_WRITES)
            undisturbed = states.pop()
            for state in states:
                assert [key for key in undisturbed if state.get(key) != undisturbed[key]] == []
    finally:
        code = server.terminate()
    assert code == 0, code
    assert not census.processes_of(directory)
    assert not census.damage(server.data_directory)
    with read_only(server.data_directory):
        refused_to_start(server.data_directory)


def while_the_other_disk_is_full_too(server: Server, client: Client) -> None:
    """Neither users nor trainers can be told that anything is stored; what was acknowledged before is answered for."""
    with full(server.data_directory):
        acknowledged = submitted_until_refused(client)
        wait_until(lambda: refused_reports(server) > 0, 60, "a trainer is told that its report cannot be stored")
        for other in acknowledged:
            assert client.get(other.name).uid == other.uid
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


def refused_reports(server: Server) -> int:
    name = 'grpc_server_handled_total{grpc_code="UNAVAILABLE",grpc_method="Report"'
    return sum(int(float(line.split()[-1])) for line in server.metrics().splitlines() if line.startswith(name))


def wait_for_training(client: Client, job: job_pb2.Job) -> None:
    wait_for_progress(client, job, lambda progress: progress.HasField("checkpoint_step"), "saves something")


def wait_for_trouble(client: Client, job: job_pb2.Job, cause: str) -> None:
    """Returns once the job says that a checkpoint could not be written, and why."""
    wait_for_progress(client, job, lambda progress: cause in progress.trouble, cause)


def wait_for_progress(client: Client, job: job_pb2.Job, holds: Callable[[job_pb2.Progress], bool], what: str) -> None:
    def seen() -> bool:
        now = client.get(job.name)
        assert not now.HasField("end_time"), f"{job.name} ended before: {what}"
        return holds(now.progress)

    wait_until(seen, 120, f"{job.name}: {what}")


def assert_went_on(client: Client, job: job_pb2.Job, cause: str) -> None:
    """One attempt did it all, and told what was wrong and when it was over."""
    told = [message.event.message for message in client.watch(job.name, from_start=True) if message.HasField("event")]
    (trouble,) = [number for number, message in enumerate(told) if cause in message]
    (over,) = [number for number, message in enumerate(told) if "a checkpoint could be written again" in message]
    assert trouble < over
    assert [attempt.reason for attempt in client.attempts(job.name)] == [Job.COMPLETED]


def final_state(server: Server, client: Client, job: job_pb2.Job) -> dict[str, bytes]:
    ended = client.wait(job.name, timeout=240)
    assert ended.state == Job.SUCCEEDED, ended
    return server.final_state(ended)


def refused_to_start(data_directory: Path) -> None:
    """A server that cannot write says which path, why, and nothing else."""
    started = subprocess.run(serve_command(data_directory), capture_output=True, text=True, timeout=60)
    assert started.returncode not in (0, None)
    assert NO_WRITES in started.stderr, started.stderr
    assert str(data_directory) in started.stderr, started.stderr
    assert "Traceback" not in started.stderr, started.stderr


if __name__ == "__main__":
    main(Path(sys.argv[1]))
