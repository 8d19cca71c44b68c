"""What the service itself costs: the time from submitting a second job to its first step, and the server's memory.

    .venv/bin/python -m tests.bench.service_cost [--rounds 5]

Each round starts a real server, runs one digits job to its end and submits another, which finds a spare trainer with
its imports done. The time is taken from the acknowledged CreateJob to the end of the first training step, both as the
job records them. Ends with 1 when a median misses its target.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from gradloom.v1 import job_pb2
from tests.e2e.server import Server, digits_job, wait_until

FIRST_STEP_TARGET_SECONDS = 3.0
MEMORY_TARGET_MEBIBYTES = 120.0


def main() -> int:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = [measure(number + 1) for number in range(parser.parse_args().rounds)]
    seconds, mebibytes = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"\n{'median':<52}{'value':>12}{'target':>12}")
    print(f"{'warm second job, submit to first step':<52}{seconds:>10.2f} s{FIRST_STEP_TARGET_SECONDS:>10.1f} s")
    print(
        f"{'largest resident memory of the control plane':<52}{mebibytes:>8.0f} MiB{MEMORY_TARGET_MEBIBYTES:>8.0f} MiB"
    )
    return int(seconds > FIRST_STEP_TARGET_SECONDS or mebibytes > MEMORY_TARGET_MEBIBYTES)


def measure(number: int) -> tuple[float, float]:
    """Seconds to the second job's first step, and the server's peak of resident memory in MiB."""
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory)).start()
        try:
            with server.client() as client:
                first = client.wait(client.submit(digits_job()), timeout=300)
                assert first.state == job_pb2.Job.SUCCEEDED, first.state_message
                wait_until(lambda: quiet(server), 60, "the next spare has done its imports")
                second = client.wait(client.submit(digits_job()), timeout=300)
                assert second.state == job_pb2.Job.SUCCEEDED, second.state_message
            waited = second.start_time.ToDatetime() - second.create_time.ToDatetime()
            seconds = waited.total_seconds() + second.progress.first_step_duration.ToTimedelta().total_seconds()
            mebibytes = peak_mebibytes(server)
        finally:
            server.terminate()
    print(f"round {number}: first step after {seconds:.2f} s, memory {mebibytes:.0f} MiB", flush=True)
    return seconds, mebibytes


def quiet(server: Server) -> bool:
    """Whether nothing that the server started has used the processor for a second."""
    before = ticks_of_children(server)
    time.sleep(1)
    return bool(before) and ticks_of_children(server) == before


def ticks_of_children(server: Server) -> dict[int, int]:
    """Processor time by pid of every process below the server."""
    assert server.process is not None
    ticks: dict[int, int] = {}
    parents = {server.process.pid}
    for stat in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) in parents:
            parents.add(int(stat.parent.name))
            ticks[int(stat.parent.name)] = int(fields[11]) + int(fields[12])
    return ticks


def peak_mebibytes(server: Server) -> float:
    """VmHWM of the server's process."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
