"""A real server with real trainers, started as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc

from gradloom import Client
from gradloom.trainer import checkpoints
from gradloom.v1 import service_pb2, service_pb2_grpc

ROOT = Path(__file__).parents[2]


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Polls until the condition holds and returns its value; fails naming what did not happen."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return value


def processes_mentioning(text: str) -> list[int]:
    """Pids of living processes whose command line, environment or working directory names the text."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid() or not is_running(int(entry.name)):
            continue
        try:
            if text.encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def is_running(pid: int) -> bool:
    """Whether the process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def serve_command(data_directory: Path, *flags: str) -> list[str]:
    """`gradloom serve` on free ports."""
    listeners = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
    return [sys.executable, "-m", "gradloom", "serve", "--data-dir", str(data_directory), *listeners, *flags]


class Server:
    """`gradloom serve` in a process of its own, on free ports."""

    def __init__(self, directory: Path, *flags: str, environment: Mapping[str, str] | None = None):
        self.data_directory = directory / "data"
        self.log_path = directory / "server.log"
        self.flags = flags
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        self.spawn()
        wait_until(self._addresses_known, 60, f"the server listens; its log: {self.log_path.read_text()}")
        return self

    def spawn(self) -> None:
        """Starts the process, and does not wait until it listens."""
        (self.data_directory / "server.json").unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=subprocess.STDOUT, env=self.environment)

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def command(self) -> list[str]:
        return serve_command(self.data_directory, *self.flags)

    def _addresses_known(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log_path.read_text()
        return (self.data_directory / "server.json").exists()

    @property
    def addresses(self) -> dict[str, str]:
        return json.loads((self.data_directory / "server.json").read_text())

    def client(self) -> Client:
        return Client(self.addresses["listen"])

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self.addresses['metrics_listen']}/metrics", timeout=10) as response:
            return response.read().decode()

    def metric(self, series: str) -> float:
        """The value of one series, by its name and labels; 0 when there is none."""
        lines = [line for line in self.metrics().splitlines() if line.startswith(f"{series} ")]
        return float(lines[0].split()[-1]) if lines else 0.0

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def terminate(self, seconds: float = 60) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def final_state(self, job: Any) -> dict[str, bytes]:
        """What a job that has trained to its end leaves: bytes of the final checkpoint's arrays, scalars by step."""
        directory = self.data_directory / "artifacts" / job.uid
        # Their names begin with a count.
        last = checkpoints.read(
            max(directory.glob("*/checkpoints/*"), key=lambda path: (int(path.parts[-3]), path.name))
        )
        assert last.header.global_step == job.progress.total_steps
        return {key: array.tobytes() for key, array in last.arrays.items()} | self._scalars_by_step(job)

    def _scalars_by_step(self, job: Any) -> dict[str, bytes]:
        with grpc.insecure_channel(self.addresses["listen"]) as channel:
            stub = service_pb2_grpc.TrainingServiceStub(channel)
            stream = stub.StreamMetrics(service_pb2.StreamMetricsRequest(name=job.name))
            points = [point for message in stream for point in message.points]
        assert [point.number for point in points] == list(range(1, len(points) + 1))
        steps = [(point.global_step, point.epoch_end) for point in points]
        assert steps == sorted(set(steps)), "each once, in order"
        return {
            f"scalars/{point.global_step}/{point.epoch_end}": repr(sorted(point.scalars.items())).encode()
            for point in points
        }

    def trainer_pid(self, uid: str, attempt: int) -> int:
        record = self.data_directory / "artifacts" / uid / str(attempt) / "supervisor" / "supervisor.json"
        return int(json.loads(record.read_text())["trainer_pid"])

    def supervisor_pid(self, uid: str, attempt: int) -> int:
        record = self.data_directory / "artifacts" / uid / str(attempt) / "supervisor" / "supervisor.json"
        return int(json.loads(record.read_text())["pid"])


def digits_job(epochs: int = 3, **changes: Any) -> dict[str, Any]:
    """A small network on the digits; about 15 ms an epoch, so 1,000 epochs outlast any kill."""
    spec: dict[str, Any] = {
        "model": {
            "name": "digits_net",
            "layers": [
                {"type": "Input", "config": {"shape": [8, 8]}},
                {"type": "Rescaling", "config": {"scale": 0.0625}},
                {"type": "Flatten"},
                {"type": "Dense", "name": "hidden", "config": {"units": 32, "activation": "relu"}},
                {"type": "Dense", "name": "classifier", "config": {"units": 10}},
            ],
        },
        "data": {
            "train": {"builtin": {"name": "digits"}, "range": {"to": 1200}},
            "validation": {"builtin": {"name": "digits"}, "range": {"from": 1200}},
        },
        "loss": {"type": "SparseCategoricalCrossentropy", "config": {"from_logits": True}},
        "metrics": [{"type": "SparseCategoricalAccuracy", "name": "accuracy"}],
        "variable_groups": [
            {
                "name": "lower",
                "match": ["hidden/**"],
                "optimizer": {"type": "Adam", "config": {"learning_rate": 0.001}},
            },
            {
                "name": "head",
                "match": ["classifier/**"],
                "optimizer": {"type": "SGD", "config": {"learning_rate": 0.01}},
            },
        ],
        "training": {"epochs": epochs, "global_batch_size": 32, "seed": 7},
    }
    return {"display_name": "digits", "spec": {**spec, **changes}}
