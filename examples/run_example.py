"""What `make run` does: a server of its own, one real job through it, what came of it, and the server stopped again.

    python examples/run_example.py [JOB_FILE]

Everything lies in a new directory below .gradloom/ and stays there: the database, the logs and the export. The exit
code is 0 when the job succeeded, 1 when it did not, 130 after Ctrl-C.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradloom import Client
from gradloom.client.show import outcome_details, outcome_line
from gradloom.client.watching import follow, view_for
from gradloom.errors import GradloomError
from gradloom.v1 import job_pb2

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/fashion_mnist_three_optimizers.yaml"
START_SECONDS = 60
STOP_SECONDS = 60
SHOWN_METRICS = (
    "gradloom_jobs{",
    "gradloom_jobs_finished_total",
    "gradloom_job_steps_total",
    "gradloom_job_examples_total",
    "gradloom_job_learning_rate",
    "gradloom_job_gradient_norm",
    "gradloom_step_seconds_count",
)


class ExampleFailedError(Exception):
    """The example cannot go on; the text says why."""


@contextmanager
def running_server(directory: Path) -> Iterator[dict[str, str]]:
    """Starts `gradloom serve` on free ports and yields its addresses; on the way out, stops it and its trainers."""
    log_path = directory / "server.log"
    command = [sys.executable, "-m", "gradloom", "serve", "--data-dir", str(directory)]
    command += ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
    with log_path.open("ab") as log:
        # In a session of its own: Ctrl-C is for this script, which then stops the server in order.
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        yield wait_for_addresses(server, directory / "server.json", log_path)
    finally:
        stop(server)


def wait_for_addresses(server: subprocess.Popen[bytes], record: Path, log_path: Path) -> dict[str, str]:
    """Waits until the server has written where it listens."""
    deadline = time.monotonic() + START_SECONDS
    while not record.exists():
        if server.poll() is not None:
            raise ExampleFailedError(f"the server ended with {server.returncode}:\n{log_path.read_text()}")
        if time.monotonic() > deadline:
            raise ExampleFailedError(f"the server does not listen after {START_SECONDS} s; see {log_path}")
        time.sleep(0.05)
    return dict(json.loads(record.read_text()))


def stop(server: subprocess.Popen[bytes]) -> None:
    """Lets the server drain; kills it when it does not end."""
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def train(client: Client, file: Path) -> job_pb2.Job:
    """Submits the job, shows how it goes and returns it as it ended; cancels it when interrupted."""
    job = client.submit(file)
    say(f"submitted {file.name} as {job.name}")
    try:
        follow(client.watch(job), view_for(sys.stdout))
    except KeyboardInterrupt:
        say("interrupted: cancelling the job and stopping the service")
        client.cancel(job)
        raise
    return client.get(job)


def tell_outcome(job: job_pb2.Job) -> None:
    """Prints how the job ended, its accuracies and where its proven export lies."""
    say(outcome_line(job))
    if job.state != job_pb2.Job.SUCCEEDED:
        for line in outcome_details(job):
            say(f"  {line}")
        return
    for name, said in (("val_accuracy", "validation accuracy"), ("test_accuracy", "test accuracy")):
        if name in job.progress.scalars:
            say(f"  {said:<20} {job.progress.scalars[name]:.4f}")
    say(f"  {'proven SavedModel':<20} {job.export.path}")
    say(
        f"  {'proof':<20} {job.export.proof_examples} examples in a clean process; "
        f"largest difference {job.export.largest_difference:.2g}, allowed {job.export.absolute_tolerance:g}"
    )


def tell_metrics(address: str) -> None:
    """Prints a few lines of what Prometheus would scrape."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    say(f"a few of the metrics at http://{address}/metrics:")
    for line in lines:
        if line.startswith(SHOWN_METRICS) and not line.endswith(" 0.0"):
            say(f"  {line}")


def say(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(line, flush=True)


def main() -> int:
    """Runs the example and turns its outcome into an exit code."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else EXAMPLE
    (ROOT / ".gradloom").mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=ROOT / ".gradloom"))
    # A polite end by another process cleans up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with running_server(directory) as addresses, Client(addresses["listen"]) as client:
            say(f"gradloom serves at {addresses['listen']}; its data lies in {os.path.relpath(directory)}")
            job = train(client, file)
            tell_outcome(job)
            tell_metrics(addresses["metrics_listen"])
    except KeyboardInterrupt:
        return 130
    except (GradloomError, ExampleFailedError) as error:
        print(error, file=sys.stderr)
        return 1
    say(f"the service is stopped; everything it wrote is still in {os.path.relpath(directory)}")
    return 0 if job.state == job_pb2.Job.SUCCEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
