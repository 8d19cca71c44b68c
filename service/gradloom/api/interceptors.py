"""What every RPC goes through, on every listener: decoding, translation of errors, and RPC metrics.

Requests are decoded here, not by grpc, so that bytes that are no message are the caller's INVALID_ARGUMENT and not
UNKNOWN.
"""

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, Final, NoReturn, Protocol

import grpc
from google.protobuf.message import DecodeError

from gradloom.api.status import status_of
from gradloom.errors import FieldFault, GradloomError, InvalidRequestError, ServerFaultError, UnknownMethodError
from gradloom.wire import DETAILS_KEY, refuse_too_large

log = logging.getLogger(__name__)


_TRAINERS_METHODS: Final = "/gradloom.attempt."


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
            handler = self._handlers[path] = _wrapped(handler, path, self._observer)
        return handler


def _wrapped(handler: Any, path: str, observer: RpcObserver) -> Any:
    def stream(raw: bytes, context: Any) -> AsyncGenerator[Any, None]:
        return _Rpc(handler, path, observer).stream(raw, context)

    async def single(raw: bytes, context: Any) -> Any:
        return await _Rpc(handler, path, observer).single(raw, context)

    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(stream, None, handler.response_serializer)
    return grpc.unary_unary_rpc_method_handler(single, None, handler.response_serializer)


async def _refuse_method(path: str, _requests: Any, context: Any) -> None:
    """Answers a method that is not there; it is not counted, for callers could make up names without end."""
    code, message, status = status_of(UnknownMethodError(f"there is no method {path[:200]} here"))
    await context.abort(code, message, ((DETAILS_KEY, status.SerializeToString()),))


class _Rpc:
    """One RPC being handled."""

    def __init__(self, handler: Any, path: str, observer: RpcObserver):
        self._handler = handler
        self._path = path
        self._observer = observer
        self._start = time.monotonic()
        # What stands when neither a reply nor an error is reached: the caller has gone, or its deadline.
        self._code = grpc.StatusCode.CANCELLED

    async def single(self, raw: bytes, context: Any) -> Any:
        try:
            reply = await self._handler.unary_unary(self._decoded(raw), context)
            self._code = grpc.StatusCode.OK
            return reply
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await self._abort(context, error)
        finally:
            self._count()

    async def stream(self, raw: bytes, context: Any) -> AsyncGenerator[Any, None]:
        try:
            async with contextlib.aclosing(self._handler.unary_stream(self._decoded(raw), context)) as replies:
                async for reply in replies:
                    yield reply
            self._code = grpc.StatusCode.OK
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await self._abort(context, error)
        finally:
            self._count()

    def _decoded(self, raw: bytes) -> Any:
        if not self._path.startswith(_TRAINERS_METHODS):
            refuse_too_large(len(raw))
        try:
            return self._handler.request_deserializer(raw)
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            fault = FieldFault("request", f"the request is not a message of this method: {error}")
            raise InvalidRequestError([fault]) from error

    async def _abort(self, context: Any, error: Exception) -> NoReturn:
        if not isinstance(error, GradloomError) or isinstance(error, ServerFaultError):
            log.error("%s failed", self._path, exc_info=error)
            error = error if isinstance(error, GradloomError) else ServerFaultError(type(error).__name__)
        self._code, message, status = status_of(error)
        await context.abort(self._code, message, ((DETAILS_KEY, status.SerializeToString()),))
        raise AssertionError("context.abort returned")

    def _count(self) -> None:
        _, service, method = self._path.split("/", 2)
        self._observer.rpc_handled(service, method, self._code.name, time.monotonic() - self._start)
