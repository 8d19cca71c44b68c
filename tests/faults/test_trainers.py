"""Trainers that do what no trainer should, and clients that do what no client should: the job's own code does it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom.v1 import job_pb2
from tests.e2e.server import Server, digits_job, wait_until

from . import census

Job = job_pb2.Job
FLOOD_LINES = 1500
LINE_CHARACTERS = 60_000
"""Together more than one file of a log holds."""
CHILDREN = """
import os, signal, subprocess, sys
import keras

keras.saving.register_keras_serializable(package="mine")(type("Unused", (keras.layers.Layer,), {{}}))
signal.signal(signal.SIGTERM, signal.SIG_IGN)


def leave(name, **how):
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    return subprocess.Popen([sys.executable, "-S", "-c", program, name + " of {directory}"], **how)


leave("a child")
leave("a child in a session of its own, without a mark", start_new_session=True, env={{}})
if os.fork() == 0:
    os.setsid()
    leave("a grandchild whose parent is gone", start_new_session=True, env={{}})
    os._exit(0)
"""
FLOOD = f"""
for number in range({FLOOD_LINES}):
    print(f"{{number:07}} " + "x" * {LINE_CHARACTERS})
"""
FREEZE = """
import ctypes
print("frozen now", flush=True)
ctypes.PyDLL(None).sleep(600)  # Holds the interpreter's lock: no thread of the trainer moves any more.
"""
STREAMS = 50
MOST_GROWTH_BYTES = STREAMS * (3 << 20)
"""Whatever the length of what is not read."""
READERS = """
import sys, threading
import grpc
from gradloom.v1 import service_pb2, service_pb2_grpc
calls = []
for _ in range(10):
    options = [("grpc.use_local_subchannel_pool", 1)]
    stub = service_pb2_grpc.TrainingServiceStub(grpc.insecure_channel(sys.argv[1], options=options))
    calls += [stub.StreamLogs(service_pb2.StreamLogsRequest(name=sys.argv[2])) for _ in range(5)]
for call in calls:
    next(call)
print("have begun to read", flush=True)
threading.Event().wait()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("odd-trainers")
    server = Server(directory, "--user-code", "--cpu-slots", "2").start()
    yield server
    assert server.terminate() == 0
    assert not census.processes_of(directory)


def left_by_jobs(server: Server) -> list[str]:
    """The commands of processes that user code has started."""
    directory = server.data_directory.parent
    return [seen.command for seen in census.processes_of(directory) if f"of {directory}" in seen.command]


def submit(server: Server, client, *sources: str) -> job_pb2.Job:
    source = "\n".join([CHILDREN.format(directory=server.data_directory.parent), *sources])
    return client.submit(digits_job(epochs=2, user_code={"source": source}))


@pytest.fixture(scope="module")
def flooded(server: Server) -> job_pb2.Job:
    """A job that succeeded although its code ignores SIGTERM, leaves children behind and writes a long log."""
    with server.client() as client:
        job = client.wait(submit(server, client, FLOOD).name, timeout=180)
        assert job.state == Job.SUCCEEDED, job
        return job


def test_a_job_that_leaves_children_succeeds_once_none_of_them_is_left(server: Server, flooded: job_pb2.Job):
    assert not left_by_jobs(server)


def test_a_log_beyond_one_file_is_read_whole_and_in_order(server: Server, flooded: job_pb2.Job):
    with server.client() as client:
        lines = [line.text for line in client.logs(flooded.name)]
        assert len([artifact for artifact in client.artifacts(flooded.name) if artifact.kind == 2]) > 1
    flood = [line for line in lines if len(line) > LINE_CHARACTERS]
    assert [int(line.split()[0]) for line in flood] == list(range(FLOOD_LINES))


def test_a_frozen_trainer_that_ignores_sigterm_is_killed_by_a_cancel_with_its_children(server: Server):
    with server.client() as client:
        job = submit(server, client, FREEZE)
        assert any(line.text == "frozen now" for line in client.logs(job.name, follow=True) if not line.text.isspace())
        wait_until(lambda: len(left_by_jobs(server)) == 3, 20, "its children run")
        client.cancel(job.name)
        job = client.wait(job.name, timeout=60)
        (attempt,) = client.attempts(job.name)
        assert (job.state, attempt.signal) == (Job.CANCELLED, 9)
        assert "did not end in time and is killed" in "\n".join(line.text for line in client.logs(job.name))
    assert not left_by_jobs(server)


def resident_bytes(server: Server) -> int:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def left_streams(server: Server) -> int:
    """How many readers of logs have gone away in the middle."""
    name = 'grpc_server_handled_total{grpc_code="CANCELLED",grpc_method="StreamLogs"'
    return sum(int(float(line.split()[-1])) for line in server.metrics().splitlines() if line.startswith(name))


def test_clients_that_read_nothing_cost_little_stop_nobody_and_may_vanish(server: Server, flooded: job_pb2.Job):
    """Fifty streams of a log of 90 MB, of which each client takes one message."""
    before, left_before = resident_bytes(server), left_streams(server)
    command = [sys.executable, "-c", READERS, server.addresses["listen"], flooded.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as readers, server.client() as client:
        assert readers.stdout is not None
        readers.stdout.readline()
        # They read nothing until they are killed, so that whoever waited for one of them would wait for ever.
        read = sum(len(line.text) for line in client.logs(flooded.name))
        grown = resident_bytes(server) - before
        readers.kill()
    assert read > FLOOD_LINES * LINE_CHARACTERS
    assert grown < MOST_GROWTH_BYTES, f"{grown >> 20} MiB"
    wait_until(lambda: left_streams(server) == left_before + STREAMS, 20, "the server has let go of every stream")
