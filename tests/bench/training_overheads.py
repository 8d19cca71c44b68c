"""What checkpoints and full metrics cost a training, in processor seconds, and what they add to its memory.

    .venv/bin/python -m tests.bench.training_overheads [--rounds 15]

Counts the processor seconds of all threads: of a checkpoint (copy, file, digest, fsync), of a look (a step of its own,
norms, ratios, scalars) and of a report (both sides of the call), and sets them against one checkpoint in 30 seconds and
two looks and reports in a second. Ends with 1 when the sum is above its target. Besides, what scalars by step add when
they are recorded every hundredth step.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.contenders import Work, training_of
from tests.bench.training_speed import CONVOLUTIONAL, SMALL, interval_of_median

MODULE = "tests.bench.training_overheads"
TARGET = 0.02
CHECKPOINT_SECONDS = 30.0
LOOKS_PER_SECOND = 2.0
STEPS = 64
WORK = {"small": Work(SMALL, 1, STEPS), "convolutional": Work(CONVOLUTIONAL, 1, STEPS)}


def main() -> int:
    """Measures each model in a process of its own and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return report(arguments.work, arguments.rounds)
    command = [sys.executable, "-m", MODULE, "--rounds", str(arguments.rounds), "--work"]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    return max(subprocess.run([*command, name], env=environment, check=False).returncode for name in WORK)


def report(name: str, rounds: int) -> int:
    """Measures and prints one model's lines; returns 1 when the target is missed."""
    from gradloom.trainer.loop import Training

    class Looked(Training):
        """Looks after every step."""

        always = False

        def _pause(self) -> bool:
            return super()._pause() or self.always

    training = training_of(WORK[name], Looked)
    training.run_epoch(1)
    recording = training_of(replace(WORK[name], scalars_every_steps=1))
    recording.record_with(to_be_reported())
    recording.run_epoch(1)
    checkpoints, looks, stalls, points = [], [], [], []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds + 1):
            plain, looked = (epoch_seconds(training, always) for always in (False, True))
            looks.append((looked - plain) / (STEPS - 1))
            recorded = processor_seconds(lambda: recording.run_epoch(recording.place.epoch))
            points.append(((recorded - plain) / STEPS, plain / STEPS))
            seconds, stall, size = save(training, Path(directory), number)
            checkpoints.append(seconds)
            stalls.append(stall)
        reports = [seconds_of_a_report(Path(directory)) for _ in range(rounds)]
    # The first of each traces, or touches memory for the first time.
    shares = {
        "a checkpoint every 30 s": np.array(checkpoints[1:]) / CHECKPOINT_SECONDS,
        "two looks a second": np.array(looks[1:]) * LOOKS_PER_SECOND,
        "two reports a second": np.array(reports) * LOOKS_PER_SECOND,
    }
    print(f"\n{name + ' model':<34}{'of one processor':>18}{'95 % interval':>20}{'target':>9}")
    for what, taken in shares.items():
        low, high = interval_of_median(taken)
        print(f"{what:<34}{np.median(taken):>17.2%} {f'{low:.2%} to {high:.2%}':>19}")
    total = sum(float(np.median(taken)) for taken in shares.values())
    print(f"{'together':<34}{total:>17.2%} {'':>19}{TARGET:>9.0%}{'' if total <= TARGET else '   MISSED'}")
    print(f"{'a checkpoint holds the loop up for':<34}{1e3 * np.median(stalls[1:]):>14.1f} ms   ({size / 1e6:.1f} MB)")
    point, step = np.median(points[1:], axis=0)
    print(
        f"{'scalars of a step, recorded, take':<34}{1e6 * point:>14.0f} µs   ({point / step / 100:.2%} every 100 steps)"
    )
    return int(total > TARGET)


def to_be_reported() -> Callable[[int, int, Any], None]:
    """Takes points as an attempt does, until a report takes them along."""
    from gradloom.trainer.points import Points
    from gradloom.v1 import job_pb2

    points = Points()

    def record(step: int, epoch: int, scalars: Any) -> None:
        points.add(job_pb2.ScalarsPoint(global_step=step, epoch=epoch, scalars=scalars))

    return record


def epoch_seconds(training: Any, always: bool) -> float:
    """Processor seconds of an epoch, with a look after every step or after the last."""
    training.always = always
    return processor_seconds(lambda: training.run_epoch(training.place.epoch))


def processor_seconds(act: Callable[[], Any]) -> float:
    begin = time.process_time()
    act()
    return time.process_time() - begin


def save(training: Any, directory: Path, number: int) -> tuple[float, float, int]:
    """Processor seconds of a checkpoint, seconds of its copy, and bytes of its file."""
    from gradloom.trainer import checkpoints

    header = checkpoints.Header("job", "spec", 1, training.global_step, training.place.epoch)
    begin, held = time.process_time(), time.perf_counter()
    state = training.state()
    stall = time.perf_counter() - held
    path = directory / "checkpoints" / f"{number}.ckpt"
    written = checkpoints.write(path, directory / "aside", header, state.arrays)
    seconds = time.process_time() - begin
    path.unlink()
    return seconds, stall, written.size_bytes


def seconds_of_a_report(directory: Path, count: int = 20) -> float:
    """Processor seconds of a report, those of a server in the same process included."""
    from gradloom.attempt.v1 import attempt_pb2
    from gradloom.trainer.control import ControlPlane
    from gradloom.trainer.reports import Reporter
    from tests.attempt_service import TOKEN, AttemptServer

    with (
        AttemptServer(directory / "socket", attempt_pb2.Assignment(attempt=1)) as server,
        ControlPlane(server.address, TOKEN) as control,
        Reporter(control, attempt=1, on_stop=lambda cause: None, started=time.monotonic()) as reporter,
    ):
        reporter.flush()
        begin = time.process_time()
        for _ in range(count):
            reporter.flush()
        return (time.process_time() - begin) / count


if __name__ == "__main__":
    sys.exit(main())
