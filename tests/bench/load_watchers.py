"""Many watchers of one server while jobs progress: each must see every event in order, for little memory."""

import asyncio
from pathlib import Path
from typing import Any, Final

import grpc

from gradloom.v1 import job_pb2, service_pb2, service_pb2_grpc
from tests.bench.load_server import Figure, PlayedServer, played_job

JOBS: Final = 20
EPOCHS: Final = 40
EPOCH_MILLISECONDS: Final = 500
LONGEST_SECONDS: Final = 300.0


def measure(directory: Path, watchers: int) -> list[Figure]:
    """Watchers on one connection each, from before the first event to the last one."""
    server = PlayedServer(directory, "--cpu-slots", str(JOBS)).start()
    try:
        return asyncio.run(_watched(server, watchers))
    finally:
        server.kill()


async def _watched(server: PlayedServer, watchers: int) -> list[Figure]:
    address = server.addresses["listen"]
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(LONGEST_SECONDS):
        stub = service_pb2_grpc.TrainingServiceStub(channel)
        # What a first use loads is no watcher's.
        warm = await stub.CreateJob(service_pb2.CreateJobRequest(job=played_job(1, 0)))
        await _events_of(address, warm.name)
        job = played_job(EPOCHS, EPOCH_MILLISECONDS)
        names = [(await stub.CreateJob(service_pb2.CreateJobRequest(job=job))).name for _ in range(JOBS)]
        before = server.resident_kibibytes()
        watching = asyncio.gather(*(_events_of(address, names[number % JOBS]) for number in range(watchers)))
        largest = before
        while not watching.done():
            largest = max(largest, server.resident_kibibytes())
            await asyncio.wait((watching,), timeout=0.5)
        seen = await watching
        told = {name: [event async for event in _all_events(stub, name)] for name in names}
    wrong = sum(events != told[names[number % JOBS]] for number, events in enumerate(seen))
    assert all(len(events) > EPOCHS for events in told.values())
    return [
        Figure(f"memory for each of {watchers:,} watchers", (largest - before) / watchers, "KiB", 50),
        Figure("watchers that missed an event, or saw one twice or out of order", wrong, "", 0),
        Figure("events that reached the watchers", sum(map(len, seen)), ""),
    ]


async def _events_of(address: str, name: str) -> list[int]:
    """The numbers of the events that a watcher on a connection of its own sees until the job has ended."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(address, options) as channel:
        return [number async for number in _all_events(service_pb2_grpc.TrainingServiceStub(channel), name)]


async def _all_events(stub: Any, name: str) -> Any:
    state = job_pb2.Job.STATE_UNSPECIFIED
    async for message in stub.WatchJob(service_pb2.WatchJobRequest(name=name, from_start=True)):
        state = message.job.state
        if message.HasField("event"):
            yield message.event.number
    assert state == job_pb2.Job.SUCCEEDED
