"""CreateJob, durable, against a bare echo that commits one insert: both called in the same way, in turns."""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc

from gradloom.v1 import service_pb2
from tests.bench.bare_echo import METHOD as ECHO
from tests.bench.load_server import Figure, PlayedServer, played_job

CREATE: Final = "/gradloom.v1.TrainingService/CreateJob"
ROUNDS: Final = 5
CALLS: Final = 400
FOREVER_MILLISECONDS: Final = 10**9


def measure(directory: Path) -> list[Figure]:
    """The rates of both and their ratio, one call after the other and many at once."""
    command = [sys.executable, "-m", "tests.bench.bare_echo", str(directory / "bare.db")]
    bare = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert bare.stdout is not None
    server = PlayedServer(directory).start()
    try:
        with server.client() as client:
            # It holds the one slot, so that what is created waits.
            client.submit(played_job(1, FOREVER_MILLISECONDS))
        echo = f"127.0.0.1:{bare.stdout.readline().strip()}"
        return [
            figure
            for at_once in (1, 16)
            for figure in asyncio.run(_compared(echo, server.addresses["listen"], at_once))
        ]
    finally:
        bare.kill()
        bare.wait()
        server.kill()


async def _compared(echo: str, server: str, at_once: int) -> list[Figure]:
    bodies = [_body(0.001 + call / 1e6) for call in range(CALLS)]
    async with grpc.aio.insecure_channel(echo) as bare, grpc.aio.insecure_channel(server) as real:
        for channel, method in ((bare, ECHO), (real, CREATE)):
            await _rate(channel, method, bodies, at_once)
        rounds = [
            (await _rate(bare, ECHO, bodies, at_once), await _rate(real, CREATE, bodies, at_once))
            for _ in range(ROUNDS)
        ]
    rates = [statistics.median(column) for column in zip(*rounds, strict=True)]
    ratio = statistics.median(real / bare for bare, real in rounds)
    how = "one after the other" if at_once == 1 else f"{at_once} at once"
    return [
        Figure(f"echo and one committed insert, {how}", rates[0], "/s"),
        Figure(f"CreateJob, {how}", rates[1], "/s"),
        Figure(f"CreateJob against echo and insert, {how}", ratio, "", 0.4, at_least=True),
    ]


def _body(learning_rate: float) -> bytes:
    """A job of a sweep: the same task, trained in another way."""
    job = played_job(3, 7)
    job.spec.variable_groups[0].optimizer.config["learning_rate"] = learning_rate
    return service_pb2.CreateJobRequest(job=job).SerializeToString()


async def _rate(channel: grpc.aio.Channel, method: str, bodies: Sequence[bytes], at_once: int) -> float:
    call = channel.unary_unary(method)
    left = iter(bodies)

    async def caller() -> None:
        for body in left:
            await call(body)

    start = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    return len(bodies) / (time.monotonic() - start)
