"""`gradloom serve`, whose attempts are played: one process makes the calls of all trainers, and trains nothing.

    .venv/bin/python -m tests.bench.played_trainers serve FLAGS...

Everything else is the real server's: the load on it is that of jobs that run, and its memory is its own. Each job tells
by its spec how it is played: `training.epochs` are reported as events, `training.seed` milliseconds apart.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc

from gradloom.attempt.v1 import attempt_pb2, attempt_pb2_grpc
from gradloom.jobs.launcher import Alive, AttemptStart, Ended, Observation
from gradloom.supervisor.attempt_directory import AttemptDirectory, ExitRecord, write_whole
from gradloom.v1 import job_pb2


class PlayedLauncher:
    """Hands every attempt to the process that plays them; takes the arguments of LocalLauncher."""

    def __init__(self, server_beat: Path, orphan_timeout_seconds: float):
        self._player = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.played_trainers", "play"], stdin=subprocess.PIPE, text=True
        )

    def start(self, start: AttemptStart) -> None:
        """See Launcher."""
        attempt = AttemptDirectory(start.directory)
        attempt.create()
        attempt.log.touch()
        assert self._player.stdin is not None
        line = {"directory": str(start.directory), "token": start.token, "address": start.address}
        self._player.stdin.write(json.dumps(line) + "\n")
        self._player.stdin.flush()

    def observe(self, directory: Path) -> Observation:
        """See Launcher."""
        record = AttemptDirectory(directory).read_exit()
        return Alive() if record is None else Ended(record)

    def stop(self, directory: Path, grace_seconds: float) -> None:
        """See Launcher."""
        write_whole(AttemptDirectory(directory).exit, asdict(ExitRecord(signal=15, stopped=True)))

    def kill_leftovers(self, directory: Path) -> bool:
        """See Launcher."""
        return True

    def warm(self) -> None:
        """See Launcher."""

    def close(self) -> None:
        """See Launcher."""
        self._player.kill()
        self._player.wait()


async def play() -> None:
    """Plays every attempt that a line of the standard input names."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    stub, attempts = None, set()
    while line := await lines.readline():
        start = json.loads(line)
        if stub is None:
            stub = attempt_pb2_grpc.AttemptServiceStub(grpc.aio.insecure_channel(start["address"]))
        attempt = asyncio.create_task(_play(stub, start))
        attempts.add(attempt)
        attempt.add_done_callback(attempts.discard)


async def _play(stub: Any, start: Mapping[str, str]) -> None:
    bearer = (("authorization", f"Bearer {start['token']}"),)
    assignment = await stub.GetAssignment(attempt_pb2.GetAssignmentRequest(), metadata=bearer)
    training = assignment.spec.training
    for epoch in range(1, training.epochs + 1):
        await asyncio.sleep(training.seed / 1000)
        await stub.Report(_report(assignment.attempt, epoch, training.epochs), metadata=bearer)
    export = job_pb2.Export(model=assignment.spec.model.name, version=assignment.attempt, path="/played")
    finish = attempt_pb2.FinishAttemptRequest(reason=job_pb2.Job.COMPLETED, message="played", export=export)
    await stub.FinishAttempt(finish, metadata=bearer)
    write_whole(AttemptDirectory(Path(start["directory"])).exit, asdict(ExitRecord(exit_code=0)))


def _report(attempt: int, epoch: int, epochs: int) -> attempt_pb2.ReportRequest:
    scalars = {"loss": 1 / epoch, "accuracy": 1 - 1 / epoch, "val_loss": 1.1 / epoch, "val_accuracy": 1 - 1.1 / epoch}
    progress = job_pb2.Progress(
        phase=job_pb2.Progress.TRAINING,
        attempt=attempt,
        epoch=epoch,
        epochs=epochs,
        global_step=38 * epoch,
        total_steps=38 * epochs,
        scalars=scalars,
        groups={name: job_pb2.GroupProgress(learning_rate=0.001, gradient_norm=1.0) for name in ("lower", "head")},
    )
    event = job_pb2.Event(kind=job_pb2.Event.EPOCH_ENDED, epoch=epoch, scalars=scalars)
    return attempt_pb2.ReportRequest(
        beat=epoch,
        progress=progress,
        events=[event],
        event_offset=epoch - 1,
        mean_step_seconds=0.001,
        steps=38,
        examples=1200,
    )


def serve(arguments: Sequence[str]) -> None:
    """Runs `gradloom serve` with these flags."""
    from gradloom.__main__ import main
    from gradloom.api import server

    server.LocalLauncher = PlayedLauncher  # type: ignore[assignment,misc]
    main(["serve", *arguments])


if __name__ == "__main__":
    if sys.argv[1] == "play":
        asyncio.run(play())
    else:
        serve(sys.argv[2:])
