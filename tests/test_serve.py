"""`gradloom serve` as a process: what it says, what it refuses, and that it leaves nothing behind."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gradloom.jobs.devices import has_gpu_driver
from gradloom.v1 import job_pb2, service_pb2, service_pb2_grpc
from tests.api_server import digits_job

DEADLINE_SECONDS = 60.0
MOST_RESIDENT_KIB = 120 * 1024


class Server:
    """One `gradloom serve`."""

    def __init__(self, data_dir: Path, *flags: str):
        self.data_dir = data_dir
        self.log = data_dir.parent / f"{data_dir.name}.log"
        arguments = ("serve", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0", "--metrics-listen", "", *flags)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gradloom", *arguments], stdout=log, stderr=log, start_new_session=True
            )

    def ready(self) -> "Server":
        """Waits until it listens."""
        until(lambda: self.process.poll() is not None or self.addresses.get("pid") == self.process.pid)
        assert self.process.poll() is None, self.log.read_text()
        return self

    @property
    def addresses(self) -> dict[str, object]:
        try:
            found: dict[str, object] = json.loads((self.data_dir / "server.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    @property
    def stub(self) -> service_pb2_grpc.TrainingServiceStub:
        return service_pb2_grpc.TrainingServiceStub(grpc.insecure_channel(str(self.addresses["listen"])))

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)

    def processes(self) -> list[int]:
        """What it started and what that started, by the counter file that it names to them."""
        return [pid for pid in processes_naming(str(self.data_dir / "server.beat")) if pid != self.process.pid]


def processes_naming(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def starter(*flags: str, name: str = "data") -> Server:
        servers.append(Server(tmp_path / name, *flags))
        return servers[-1]

    yield starter
    for server in servers:
        if server.process.poll() is None:
            # Not killed: the attempts of a server that dies live on.
            server.process.terminate()
            server.exit_code()
    for server in servers:
        until(lambda server=server: not server.processes())


def test_sigterm_drains_and_leaves_nothing_behind(start: Callable[..., Server]) -> None:
    server = start("--health-listen", "127.0.0.1:0").ready()
    address = str(server.addresses["health_listen"])
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            service_pb2_grpc.TrainingServiceStub(channel).ListJobs(service_pb2.ListJobsRequest())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    until(server.processes)  # The spare.
    server.process.send_signal(signal.SIGTERM)
    assert server.exit_code() == 0, server.log.read_text()
    until(lambda: not server.processes())
    assert sorted(path.name for path in server.data_dir.iterdir()) == [
        "artifacts",
        "gradloom.db",
        "gradloom.db-reserve",
        "server.beat",
        "server.lock",
    ]
    assert list((server.data_dir / "artifacts").iterdir()) == []
    assert "Traceback" not in server.log.read_text()


def test_a_second_sigterm_hurries_and_changes_no_exit_code(start: Callable[..., Server]) -> None:
    server = start().ready()
    server.process.send_signal(signal.SIGTERM)
    until(lambda: "Draining" in server.log.read_text())
    while server.process.poll() is None:
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.005)
    assert server.exit_code() == 0, server.log.read_text()


def test_a_second_server_on_the_same_data_directory_is_told_who_holds_it(start: Callable[..., Server]) -> None:
    first = start().ready()
    second = start()
    assert second.exit_code() == 4
    assert f"process {first.process.pid} on {socket.gethostname()}" in second.log.read_text()
    assert first.process.poll() is None


def test_a_port_that_is_taken_is_refused_and_not_shared(start: Callable[..., Server]) -> None:
    first = start().ready()
    taken = str(first.addresses["listen"])
    second = start("--listen", taken, name="other")
    assert second.exit_code() == 4
    assert f"--listen: cannot listen on {taken}" in second.log.read_text()


def test_a_setting_that_is_refused_is_bad_usage(start: Callable[..., Server]) -> None:
    server = start("--cpu-slots", "none", "--health-listen", "nowhere")
    assert server.exit_code() == 2
    assert "--cpu-slots" in server.log.read_text()
    assert "--health-listen" in server.log.read_text()


def test_an_artifact_root_that_cannot_be_written_is_refused_at_the_start(start: Callable[..., Server]) -> None:
    server = start("--artifact-root", "/proc/nope")
    assert server.exit_code() == 4
    (line,) = server.log.read_text().splitlines()
    assert line.startswith("gradloom: --artifact-root: cannot write to /proc/nope: ")


def test_a_disk_that_takes_nothing_is_told_with_the_path(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "gradloom", "serve", "--data-dir", str(tmp_path / "data"))
    limited = ("sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *command)
    done = subprocess.run(limited, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert done.returncode == 4
    assert done.stderr == f"gradloom: cannot start: --data-dir {tmp_path / 'data'}: File too large\n"


@pytest.mark.skipif(has_gpu_driver(), reason="a machine with GPUs is not warned")
def test_gpus_that_are_named_where_there_are_none_are_warned_of_once(start: Callable[..., Server]) -> None:
    server = start("--gpus", "0").ready()
    (line,) = [line for line in server.log.read_text().splitlines() if "WARNING" in line]
    assert "--gpus none" in line


def test_a_socket_directory_beside_a_deep_data_directory_goes_with_its_last_server(
    start: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The directory of this test's own, short enough for a socket.
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("TMPDIR", short)
        servers = [start(name=letter * 120).ready() for letter in "de"]
        directories = {Path(str(server.addresses["trainer_listen"]).removeprefix("unix:")).parent for server in servers}
        (directory,) = directories
        assert directory == Path(short) / f"gradloom-{os.getuid()}"
        for server, left in zip(servers, (True, False), strict=True):
            server.process.send_signal(signal.SIGTERM)
            assert server.exit_code() == 0, server.log.read_text()
            assert directory.exists() == left


def test_the_trainers_socket_is_its_owners_alone(start: Callable[..., Server]) -> None:
    server = start().ready()
    path = Path(str(server.addresses["trainer_listen"]).removeprefix("unix:"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700


def test_the_control_plane_stays_under_120_mib_without_tensorflow(start: Callable[..., Server]) -> None:
    server = start().ready()
    stub = server.stub
    job = digits_job()
    job.spec.resources.cpu_replicas = 1
    for number in range(50):
        stub.CreateJob(service_pb2.CreateJobRequest(job=job, job_id=f"job-{number}"), wait_for_ready=True)
        stub.CancelJob(service_pb2.CancelJobRequest(name=f"projects/default/jobs/job-{number}"))
    stub.ListComponents(service_pb2.ListComponentsRequest(page_size=1000))
    stub.ListJobs(service_pb2.ListJobsRequest(view=service_pb2.JobView.FULL))
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0])
    assert peak < MOST_RESIDENT_KIB
    assert "tensorflow" not in Path(f"/proc/{server.process.pid}/maps").read_text()


def test_a_job_acknowledged_before_a_kill_is_there_after_it(start: Callable[..., Server]) -> None:
    first = start().ready()
    request = service_pb2.CreateJobRequest(job=digits_job(), job_id="kept")
    created = first.stub.CreateJob(request, wait_for_ready=True)
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    second = start().ready()
    kept = second.stub.GetJob(service_pb2.GetJobRequest(name=created.name), wait_for_ready=True)
    assert (kept.uid, kept.spec) == (created.uid, created.spec)
    second.stub.CancelJob(service_pb2.CancelJobRequest(name=created.name))
    ended = (job_pb2.Job.CANCELLED,)
    until(lambda: second.stub.GetJob(service_pb2.GetJobRequest(name=created.name)).state in ended)


def test_a_job_deleted_before_a_kill_is_ended_and_removed_by_the_next_server(
    start: Callable[..., Server],
) -> None:
    first = start().ready()
    request = service_pb2.CreateJobRequest(job=digits_job(), job_id="gone")
    created = first.stub.CreateJob(request, wait_for_ready=True)
    artifacts = first.data_dir / "artifacts"
    until(lambda: any(artifacts.iterdir()))
    first.stub.DeleteJob(service_pb2.DeleteJobRequest(name=created.name, force=True))
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    second = start().ready()
    successor = second.stub.CreateJob(request, wait_for_ready=True)
    assert successor.uid != created.uid
    until(lambda: created.uid not in [path.name for path in artifacts.iterdir()])
    listed = second.stub.ListJobs(service_pb2.ListJobsRequest()).jobs
    assert [job.uid for job in listed] == [successor.uid]
