"""The trainer's calls to the control plane: with the attempt's token, and patient while the server is away."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

import grpc
from google.rpc import error_details_pb2, status_pb2

from gradloom.attempt.v1 import attempt_pb2, attempt_pb2_grpc
from gradloom.errors import AttemptSupersededError, PermissionDeniedError, ServerFaultError, WrongStateError
from gradloom.wire import DETAILS_KEY

CALL_TIMEOUT_SECONDS: Final = 20.0
FIRST_RETRY_SECONDS: Final = 0.1
LONGEST_RETRY_SECONDS: Final = 2.0
MOST_RECEIVED_BYTES: Final = 64 << 20
# CANCELLED is what a server that stops says of the calls in work; nothing here cancels a call.
AWAY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})

logger = logging.getLogger(__name__)


class ControlPlane:
    """The AttemptService as one attempt sees it; safe to use from several threads.

    Calls wait for a server that is away (UNAVAILABLE, or no answer in time) for as long as it takes: the
    supervisor ends this process when no server has been seen for the orphan timeout. They raise
    AttemptSupersededError or PermissionDeniedError when this attempt must stop, WrongStateError for any other
    precondition, and ServerFaultError for everything else.
    """

    def __init__(self, address: str, token: str):
        # A local socket needs no proxy, and a server that comes back should be found within the second.
        options = [
            ("grpc.enable_http_proxy", 0),
            # An assignment may hold a spec three times: as asked for, resolved, and as the retried job resolved it.
            ("grpc.max_receive_message_length", MOST_RECEIVED_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = grpc.insecure_channel(address, options)
        self._stub = attempt_pb2_grpc.AttemptServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; calls that wait end with ServerFaultError."""
        self._channel.close()

    def get_assignment(self) -> attempt_pb2.Assignment:
        """What this attempt trains."""
        return self._patiently(self._stub.GetAssignment, attempt_pb2.GetAssignmentRequest())

    def record_resolved_spec(self, request: attempt_pb2.RecordResolvedSpecRequest) -> None:
        """Stores what this attempt, its job's first to come so far, resolved."""
        self._patiently(self._stub.RecordResolvedSpec, request)

    def record_checkpoint(self, request: attempt_pb2.RecordCheckpointRequest) -> None:
        """Makes a checkpoint exist that is whole on the disk; a repeat after a lost answer is harmless."""
        self._patiently(self._stub.RecordCheckpoint, request)

    def finish_attempt(self, request: attempt_pb2.FinishAttemptRequest) -> None:
        """Says how the attempt ended; the first one stands, so that a repeat after a lost answer is harmless."""
        self._patiently(self._stub.FinishAttempt, request)

    def report(self, request: attempt_pb2.ReportRequest, timeout_seconds: float) -> attempt_pb2.ReportResponse | None:
        """Sends one look, once; None when the server is away: the next report is newer than a repeat would be."""
        try:
            return self._call(self._stub.Report, request, timeout_seconds)
        except ServerAway:
            return None

    def _patiently(self, method: Callable[..., Any], request: Any) -> Any:
        delay = FIRST_RETRY_SECONDS
        pause = threading.Event()
        while True:
            try:
                return self._call(method, request, CALL_TIMEOUT_SECONDS)
            except ServerAway as away:
                if delay == FIRST_RETRY_SECONDS:
                    logger.warning("the server is away (%s): asking again until it is back", away)
            pause.wait(delay)
            delay = min(2 * delay, LONGEST_RETRY_SECONDS)

    def _call(self, method: Callable[..., Any], request: Any, timeout_seconds: float) -> Any:
        try:
            return method(request, timeout=timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _translated(error) from error
        except ValueError as error:
            # What grpc raises for a channel that was closed.
            raise ServerFaultError(str(error)) from error


class ServerAway(Exception):
    """No server answered; asking again may help."""


def _translated(error: grpc.RpcError) -> Exception:
    """The error of this project that a failed call means."""
    code, details = error.code(), error.details() or ""
    if code in AWAY:
        return ServerAway(f"{code.name}: {details}")
    if code is grpc.StatusCode.PERMISSION_DENIED or code is grpc.StatusCode.UNAUTHENTICATED:
        return PermissionDeniedError(details)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        superseded = AttemptSupersededError.reason in _error_reasons(error)
        return AttemptSupersededError(details) if superseded else WrongStateError("attempt", details)
    return ServerFaultError(f"{code.name}: {details}")


def _error_reasons(error: grpc.RpcError) -> set[str]:
    """The `reason` of every ErrorInfo that travels in the error's trailers."""
    reasons = set()
    trailers: Any = error.trailing_metadata()
    for key, value in trailers or ():
        if key == DETAILS_KEY:
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    reasons.add(info.reason)
    return reasons
