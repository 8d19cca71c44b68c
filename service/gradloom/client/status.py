"""gRPC statuses, turned back into the errors that the server raised."""

from collections.abc import Iterator
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from gradloom.errors import (
    AlreadyExistsError,
    CursorExpiredError,
    DataLossError,
    EtagMismatchError,
    FieldFault,
    GradloomError,
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
    ServerFaultError,
    ServerUnavailableError,
    UnknownMethodError,
    WrongStateError,
)
from gradloom.wire import DETAILS_KEY, DOMAIN

_CLASS_OF_CODE: Final[dict[grpc.StatusCode, type[GradloomError]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: WrongStateError,
    grpc.StatusCode.ABORTED: EtagMismatchError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitExceededError,
    grpc.StatusCode.OUT_OF_RANGE: CursorExpiredError,
    grpc.StatusCode.DATA_LOSS: DataLossError,
    grpc.StatusCode.UNIMPLEMENTED: UnknownMethodError,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: ServerUnavailableError,
}
"""For a status without an ErrorInfo of ours: from gRPC itself, or from something between."""


def domain_error(error: grpc.RpcError, server: str) -> GradloomError:
    """The error of `gradloom.errors` that a failed call to `server` stands for, with its faults, subject and delay."""
    code, text = error.code(), error.details() or ""
    details = list(_details(error))
    kind = _class_of_reason(details) or _CLASS_OF_CODE.get(code, ServerFaultError)
    if kind is InvalidRequestError:
        return InvalidRequestError(_faults(details) or [FieldFault("request", text)])
    if kind is WrongStateError or kind is EtagMismatchError:
        return kind(_subject(details), text)
    if kind is LimitExceededError:
        return LimitExceededError(text, _subject(details), _retry_after_seconds(details))
    if kind is ServerUnavailableError:
        return ServerUnavailableError(_unavailable_text(code, text, server), answered=bool(details))
    if kind is UnknownMethodError:
        return UnknownMethodError(f"{server} does not know this call; is it older than this client? ({text})")
    if kind is ServerFaultError:
        return ServerFaultError(f"{server} answered {code.name}: {text or 'no explanation'}")
    if kind is NotFoundError or kind is AlreadyExistsError or kind is DataLossError:
        return kind(text, _resource(details))
    if kind is CursorExpiredError:
        return CursorExpiredError(text, next((fault.field for fault in _faults(details)), "cursor"))
    return kind(text)


def _details(error: grpc.RpcError) -> Iterator[Message]:
    """The details of google.rpc.Status that this client knows; damaged ones count as absent."""
    metadata: Any = error.trailing_metadata()
    for key, value in metadata or ():
        if key != DETAILS_KEY:
            continue
        try:
            status = status_pb2.Status.FromString(value)
            for packed in status.details:
                for kind in _KNOWN_DETAILS:
                    if packed.Is(kind.DESCRIPTOR):
                        yield kind.FromString(packed.value)
        except DecodeError:
            return


_KNOWN_DETAILS: Final[tuple[Any, ...]] = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)


def _class_of_reason(details: list[Message]) -> type[GradloomError] | None:
    by_reason = {kind.reason: kind for kind in GradloomError.__subclasses__()}
    for detail in details:
        if isinstance(detail, error_details_pb2.ErrorInfo) and detail.domain == DOMAIN:
            return by_reason.get(detail.reason)
    return None


def _faults(details: list[Message]) -> list[FieldFault]:
    faults = [
        FieldFault(violation.field, violation.description)
        for detail in details
        if isinstance(detail, error_details_pb2.BadRequest)
        for violation in detail.field_violations
    ]
    for detail in details:
        # A status holds a few KiB: the server says how many faults did not fit.
        if isinstance(detail, error_details_pb2.ErrorInfo) and detail.metadata.get("faults", "").isdecimal():
            missing = int(detail.metadata["faults"]) - len(faults)
            if missing > 0:
                faults.append(FieldFault("request", f"{missing} more faults are told once these are mended"))
    return faults


def _subject(details: list[Message]) -> str:
    for detail in details:
        if isinstance(detail, error_details_pb2.PreconditionFailure | error_details_pb2.QuotaFailure):
            for violation in detail.violations:
                return str(violation.subject)
    return ""


def _resource(details: list[Message]) -> str:
    named = (detail.resource_name for detail in details if isinstance(detail, error_details_pb2.ResourceInfo))
    return next(named, "")


def _retry_after_seconds(details: list[Message]) -> float | None:
    for detail in details:
        if isinstance(detail, error_details_pb2.RetryInfo):
            return float(detail.retry_delay.ToTimedelta().total_seconds())
    return None


def _unavailable_text(code: grpc.StatusCode, text: str, server: str) -> str:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{server} did not answer in time"
    # gRPC puts the address and its own layers before the cause.
    cause = text.rpartition("Failed to connect to remote host: ")[2]
    return f"cannot reach {server}: {cause}" if cause != text or not text else f"{server} is unavailable: {text}"
