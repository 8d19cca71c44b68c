"""The connection to one server: single calls, pages and streams, with the retries that a caller wants."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc

from gradloom.client.names import is_local
from gradloom.client.reconnect import UNREACHED_SECONDS, Patience, is_away, resumed_stream
from gradloom.client.status import domain_error
from gradloom.errors import GradloomError
from gradloom.v1 import service_pb2_grpc
from gradloom.wire import refuse_too_large

_PAGE_SIZE: Final = 200

_CHANNEL_OPTIONS: Final = (
    # A job with a long spec and its resolved one; the server's own limit of a spec is 1 MiB.
    ("grpc.max_receive_message_length", 64 << 20),
    # A dead network is noticed in about a minute, also while a stream is silent.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # gRPC's own waits grow to two minutes: a restarted server would stay unseen for as long.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # In spite of its name what gRPC gives a connection to come about: a far or busy server takes its time.
    ("grpc.min_reconnect_backoff_ms", 5_000),
)


class Connection:
    """Calls methods of `stub`; whatever fails is raised as an error of `gradloom.errors`."""

    def __init__(
        self,
        server: str,
        call_seconds: float,
        reconnect_seconds: float,
        on_reconnect: Callable[[GradloomError], None] | None,
    ):
        """Connects when the first call is made.

        Args:
            server: an address as gRPC takes it.
            call_seconds: how many seconds a single call may take.
            reconnect_seconds: how long a stream that was lost is asked for again.
            on_reconnect: hears of every loss of a stream before it is asked for again.
        """
        self._server = server
        self._call_seconds = call_seconds
        self._reconnect_seconds = reconnect_seconds
        self._on_reconnect = on_reconnect
        self._answered = False
        options = (*_CHANNEL_OPTIONS, *((("grpc.enable_http_proxy", 0),) if is_local(server) else ()))
        self._channel = grpc.insecure_channel(server, options=options)
        self.stub: Any = service_pb2_grpc.TrainingServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Ends the connection and every stream over it."""
        self._channel.close()

    def call(self, method: Any, request: Any, seconds: float | None = None) -> Any:
        """The response of a single call, made again for about a second while the server is away.

        A request that no server takes is not sent: gRPC itself would end a very large one without a word of ours.
        """
        refuse_too_large(request.ByteSize())
        patience = Patience(UNREACHED_SECONDS)
        while True:
            try:
                response = method(request, timeout=seconds or self._call_seconds)
            except grpc.RpcError as error:
                if not is_away(error) or not patience.wait():
                    raise domain_error(error, self._server) from error
            else:
                self._answered = True
                return response

    def pages(self, method: Any, request: Any, field: str) -> Iterator[Any]:
        """The entries of `field` of every page, each page asked for when the one before has been consumed."""
        request.page_size = request.page_size or _PAGE_SIZE
        while True:
            response = self.call(method, request)
            yield from getattr(response, field)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def stream(self, method: Any, request: Any, seconds: float | None = None) -> Iterator[Any]:
        """The messages of a server stream, asked for again when it is lost.

        The caller moves the cursor in `request` before it takes the next message. Raises TimeoutError after `seconds`.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        patience = Patience(self._reconnect_seconds if self._answered else UNREACHED_SECONDS)

        def lost(error: grpc.RpcError) -> None:
            if self._answered and self._on_reconnect:
                self._on_reconnect(domain_error(error, self._server))

        try:
            for message in resumed_stream(
                lambda: method(request, timeout=deadline and max(0.0, deadline - time.monotonic())),
                patience,
                self._reconnect_seconds,
                lost,
            ):
                self._answered = True
                yield message
        except grpc.RpcError as error:
            if seconds is not None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(f"still going on after {seconds:g} s") from error
            raise domain_error(error, self._server) from error
