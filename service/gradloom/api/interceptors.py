"""What every RPC goes through, on every listener: decoding, translation of errors, and RPC metrics.

Requests are decoded here, not by grpc, so that bytes that are no message are the caller's INVALID_ARGUMENT and not
UNKNOWN.
"""

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import DecodeError

from gradloom.api.status import status_of
from gradloom.errors import FieldFault, GradloomError, InvalidRequestError, ServerFaultError, UnknownMethodError
from gradloom.wire import DETAILS_KEY, refuse_too_large

log = logging.getLogger(__name__)


_TRAINERS_METHODS: Final = "/gradloom.attempt."
_NEITHER: Final = grpc.StatusCode.CANCELLED
"""What an RPC is counted as that has neither a reply nor an error: the caller has gone, or its deadline."""


class RpcObserver(Protocol):
    """Counts finished RPCs."""

    def rpc_handled(self, service: str, method: str, code: str, seconds: float) -> None:
        """Takes one finished RPC."""


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic only to the type checker
    """Turns whatever a handler raises into a status, for single replies and for streams, and counts the RPC.

    Belongs to one server, whose handlers it remembers by their methods.
    """

    def __init__(self, observer: RpcObserver):
        self._observer = observer
        self._handlers: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the handler of one RPC; reflection, which takes a stream of requests, passes."""
        path = str(handler_call_details.method)
        if (known := self._handlers.get(path)) is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is None:
            return grpc.stream_stream_rpc_method_handler(partial(_refuse_method, path))
        if not handler.request_streaming:
            handler = self._handlers[path] = _Method(handler, path, self._observer).wrapped()
        return handler


async def _refuse_method(path: str, _requests: Any, context: Any) -> None:
    """Answers a method that is not there; it is not counted, for callers could make up names without end."""
    await context.abort(*_refusal(UnknownMethodError(f"there is no method {path[:200]} here")))


def _refusal(error: GradloomError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """What `context.abort` takes."""
    code, message, status = status_of(error)
    return code, message, ((DETAILS_KEY, status.SerializeToString()),)


class _Method:
    """One method of a server."""

    def __init__(self, handler: Any, path: str, observer: RpcObserver):
        self._handler = handler
        self._path = path
        self._observer = observer

    def wrapped(self) -> Any:
        serializer = self._handler.response_serializer
        if self._handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream, None, serializer)
        return grpc.unary_unary_rpc_method_handler(self._single, None, serializer)

    async def _single(self, raw: bytes, context: Any) -> Any:
        start, code = time.monotonic(), _NEITHER
        try:
            reply = await self._handler.unary_unary(self._decoded(raw), context)
            code = grpc.StatusCode.OK
            return reply
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            code, *refusal = _refusal(self._known(error))
            await context.abort(code, *refusal)
        finally:
            self._count(start, code)

    async def _stream(self, raw: bytes, context: Any) -> AsyncGenerator[Any, None]:
        start, code = time.monotonic(), _NEITHER
        try:
            async with contextlib.aclosing(self._handler.unary_stream(self._decoded(raw), context)) as replies:
                async for reply in replies:
                    yield reply
            code = grpc.StatusCode.OK
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            code, *refusal = _refusal(self._known(error))
            await context.abort(code, *refusal)
        finally:
            self._count(start, code)

    def _decoded(self, raw: bytes) -> Any:
        if not self._path.startswith(_TRAINERS_METHODS):
            refuse_too_large(len(raw))
        try:
            return self._handler.request_deserializer(raw)
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            fault = FieldFault("request", f"the request is not a message of this method: {error}")
            raise InvalidRequestError([fault]) from error

    def _known(self, error: Exception) -> GradloomError:
        """The error as callers may see it; what is the server's own fault goes to the log."""
        if not isinstance(error, GradloomError) or isinstance(error, ServerFaultError):
            log.error("%s failed", self._path, exc_info=error)
        return error if isinstance(error, GradloomError) else ServerFaultError(type(error).__name__)

    def _count(self, start: float, code: grpc.StatusCode) -> None:
        _, service, method = self._path.split("/", 2)
        self._observer.rpc_handled(service, method, code.name, time.monotonic() - start)
