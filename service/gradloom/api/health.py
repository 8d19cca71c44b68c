"""gRPC health: SERVING until the server drains, then NOT_SERVING for good."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from gradloom.errors import NotFoundError

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Answers for "" and each named service alike.

    The library's own servicer holds a lock while it writes to a watcher, so one watcher that does not read could
    hold up a drain; here nobody waits for a watcher.
    """

    def __init__(self, services: Collection[str]):
        self._services = {"", *services}
        self._not_serving = asyncio.Event()

    def stop_serving(self) -> None:
        """Tells NOT_SERVING from now on, to watchers at once."""
        self._not_serving.set()

    async def Check(self, request: Any, context: Any) -> Any:
        """Tells the status of one service; NOT_FOUND for a name that is not served here."""
        if request.service not in self._services:
            raise NotFoundError(f"no service {request.service!r} here", request.service)
        return self._status()

    async def List(self, request: Any, context: Any) -> Any:
        """Tells the status of every service."""
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._services, self._status()))

    async def Watch(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        """Tells the status now and when it changes; never ends by itself."""
        if request.service not in self._services:
            yield health_pb2.HealthCheckResponse(status=SERVICE_UNKNOWN)
            await asyncio.Event().wait()
        if not self._not_serving.is_set():
            yield health_pb2.HealthCheckResponse(status=SERVING)
            await self._not_serving.wait()
        yield health_pb2.HealthCheckResponse(status=NOT_SERVING)
        await asyncio.Event().wait()

    def _status(self) -> Any:
        return health_pb2.HealthCheckResponse(status=NOT_SERVING if self._not_serving.is_set() else SERVING)
