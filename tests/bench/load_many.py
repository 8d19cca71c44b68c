"""The server's memory over many jobs, each from its creation to its end."""

import asyncio
from pathlib import Path
from typing import Final

import grpc

from gradloom.v1 import service_pb2, service_pb2_grpc
from tests.bench.load_server import Figure, PlayedServer, played_job

AT_ONCE: Final = 8
WARM: Final = 1000
"""Jobs after which all is loaded and every cache is full."""


def measure(directory: Path, jobs: int) -> list[Figure]:
    """How much the server grows between the first thousand jobs and the last."""
    server = PlayedServer(directory, "--cpu-slots", str(AT_ONCE), "--finished-job-metrics-grace", "5").start()
    try:
        return asyncio.run(_grown(server, jobs))
    finally:
        server.kill()


async def _grown(server: PlayedServer, jobs: int) -> list[Figure]:
    async with grpc.aio.insecure_channel(server.addresses["listen"]) as channel:
        stub = service_pb2_grpc.TrainingServiceStub(channel)
        await _run(stub, WARM)
        before = server.resident_kibibytes()
        await _run(stub, jobs - WARM)
        grown = (server.resident_kibibytes() - before) / 1024
    return [Figure(f"growth of the server's memory over {jobs - WARM:,} jobs", grown, "MiB", 5)]


async def _run(stub: service_pb2_grpc.TrainingServiceStub, jobs: int) -> None:
    """Creates that many jobs, watches each to its end, so many at once that no slot is ever free."""
    left = iter(range(jobs))
    body = service_pb2.CreateJobRequest(job=played_job(1, 0))

    async def user() -> None:
        for _ in left:
            created = await stub.CreateJob(body)
            async for _ in stub.WatchJob(service_pb2.WatchJobRequest(name=created.name)):
                pass

    await asyncio.gather(*(user() for _ in range(2 * AT_ONCE)))
