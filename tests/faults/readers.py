"""Clients that begin to read streams, read no more, and go away without a word."""

import random
from collections import deque
from typing import Any

import grpc

from gradloom.v1 import service_pb2, service_pb2_grpc

MOST = 6


class IdleReaders:
    """Streams of which one message is taken at most; whoever has been there longest goes when one too many comes."""

    def __init__(self, address: str):
        self._address = address
        self._reading: deque[tuple[grpc.Channel, Any]] = deque()

    def add(self, name: str, draw: random.Random) -> None:
        """Begins to read a stream of a job, over a connection of its own."""
        channel = grpc.insecure_channel(self._address, options=(("grpc.use_local_subchannel_pool", 1),))
        stub: Any = service_pb2_grpc.TrainingServiceStub(channel)
        method, request = draw.choice(
            [
                (stub.WatchJob, service_pb2.WatchJobRequest(name=name, from_start=True)),
                (stub.StreamLogs, service_pb2.StreamLogsRequest(name=name, follow=True)),
                (stub.StreamMetrics, service_pb2.StreamMetricsRequest(name=name, follow=True)),
            ]
        )
        # Sent at once; what comes of it waits at the server's side, but for what gRPC takes by itself.
        self._reading.append((channel, method(request)))
        while len(self._reading) > MOST:
            self._reading.popleft()[0].close()

    def close(self) -> None:
        while self._reading:
            self._reading.popleft()[0].close()
