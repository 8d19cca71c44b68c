"""Where the server listens: the public service, the trainers' service, health for probes, and metrics."""

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any, Final
from wsgiref.simple_server import WSGIServer

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer
from prometheus_client import CollectorRegistry, start_http_server

from gradloom.api.attempt_servicer import AttemptServicer
from gradloom.api.health import HealthServicer
from gradloom.api.interceptors import ErrorInterceptor, RpcObserver
from gradloom.api.servicer import TrainingServicer
from gradloom.attempt.v1 import attempt_pb2_grpc
from gradloom.settings import short_socket_directory, split_address
from gradloom.v1 import service_pb2, service_pb2_grpc

PUBLIC_SERVICE: Final = service_pb2.DESCRIPTOR.services_by_name["TrainingService"].full_name
HEALTH_SERVICE: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
REFLECTION_SERVICE: Final = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name

RECEIVED_BYTES: Final = 64 << 20
"""What trainers may send. It is more than a public request may have, so that one that is too large is told so with its
details, which gRPC itself, which ends what is larger than this, would not tell."""
OPTIONS: Final = (
    ("grpc.max_receive_message_length", RECEIVED_BYTES),
    # A second server on the same port is an error, not a rival.
    ("grpc.so_reuseport", 0),
    # Dead peers are found within about 80 s, so that no stream outlives its reader for long.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients may ask every 10 s whether the server lives, also between calls.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)


class ListenError(RuntimeError):
    """An address cannot be listened on; the message says which and what may help."""


def public_listener(
    address: str, observer: RpcObserver, training: TrainingServicer, health: HealthServicer
) -> tuple[grpc.aio.Server, str]:
    """The public service with health and reflection; not started. Returns also the address with its real port."""
    server = _server(observer)
    service_pb2_grpc.add_TrainingServiceServicer_to_server(training, server)  # type: ignore[no-untyped-call]
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    services = (PUBLIC_SERVICE, HEALTH_SERVICE, REFLECTION_SERVICE)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(ReflectionServicer(services, _public_pool()), server)
    return server, _bound(server, address, "--listen")


def trainer_listener(address: str, observer: RpcObserver, attempts: AttemptServicer) -> tuple[grpc.aio.Server, str]:
    """The trainers' service and nothing else; a socket is opened to its owner alone."""
    server = _server(observer)
    attempt_pb2_grpc.add_AttemptServiceServicer_to_server(attempts, server)  # type: ignore[no-untyped-call]
    if not address.startswith("unix:"):
        return server, _bound(server, address, "--trainer-listen")
    _make_private_directory(Path(address.removeprefix("unix:")).parent)
    mask = os.umask(0o177)
    try:
        return server, _bound(server, address, "--trainer-listen")
    finally:
        os.umask(mask)


def remove_socket_directory(address: str) -> None:
    """Removes the directory that was made outside the data directory for the trainers' socket, once it is empty.

    Other servers of the same user may have theirs in it, and a directory that somebody chose is theirs.
    """
    directory = short_socket_directory()
    if address.startswith("unix:") and Path(address.removeprefix("unix:")).parent == directory:
        with contextlib.suppress(OSError):
            directory.rmdir()


def health_listener(address: str, observer: RpcObserver, health: HealthServicer) -> tuple[grpc.aio.Server, str]:
    """Health and nothing else, for probes."""
    server = _server(observer)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    return server, _bound(server, address, "--health-listen")


class MetricsListener:
    """Serves /metrics over HTTP, from threads of its own."""

    def __init__(self, address: str, registry: CollectorRegistry):
        host, port = split_address(address)
        try:
            self._server: WSGIServer
            self._thread: Thread
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ListenError(f"--metrics-listen: cannot listen on {address}: {error.strerror or error}") from error
        self.address = _with_port(address, self._server.server_port)

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _server(observer: RpcObserver) -> grpc.aio.Server:
    return grpc.aio.server(interceptors=(ErrorInterceptor(observer),), options=OPTIONS)


def _bound(server: grpc.aio.Server, address: str, flag: str) -> str:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        port = 0
        cause: Exception | None = error
    else:
        cause = None
    if address.startswith("unix:") and cause is None:
        return address
    if port == 0:
        raise ListenError(
            f"{flag}: cannot listen on {address}: it is in use, or not an address of this machine"
        ) from cause
    return _with_port(address, port)


def _with_port(address: str, port: int) -> str:
    return f"{address.rpartition(':')[0]}:{port}"


def _make_private_directory(directory: Path) -> None:
    """Makes the socket's directory if it is missing; refuses one in which somebody else could put a socket."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    if status.st_uid not in (os.getuid(), 0) or (status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX):
        raise ListenError(f"--trainer-listen: {directory} belongs to somebody else, or others may write to it")


def _public_pool() -> descriptor_pool.DescriptorPool:
    """What reflection shows: the public files and what they import; never the trainers' service."""
    pool = descriptor_pool.DescriptorPool()
    _add_files(pool, (service_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR), set())
    return pool


def _add_files(pool: descriptor_pool.DescriptorPool, files: Sequence[FileDescriptor], added: set[str]) -> None:
    for file in files:
        if file.name not in added:
            added.add(file.name)
            dependencies: Any = file.dependencies
            _add_files(pool, dependencies, added)
            proto = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(proto)
            pool.Add(proto)
