"""The one table from errors to gRPC statuses, with their details.

Details travel in trailing metadata, of which a client accepts 8 KiB unless it says otherwise; so they are cut to
fit, and ErrorInfo's metadata then says how many faults there are in all.
"""

from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gradloom import errors
from gradloom.wire import DOMAIN

MOST_DETAIL_BYTES: Final = 4400
"""Serialized; base64 makes it a third longer, and the status message travels beside it."""
MOST_MESSAGE_CHARACTERS: Final = 600
DESCRIPTION_CHARACTERS: Final = (500, 160, 80)
"""Descriptions are shortened step by step, so that more faults find room."""

RESOURCE_TYPES: Final = {"jobs": "Job", "attempts": "Attempt", "artifacts": "Artifact", "checkpoints": "Checkpoint"}
"""By the collection, the last part but one of a resource's name."""

STATUS_CODES: Final[Mapping[type[errors.GradloomError], grpc.StatusCode]] = {
    errors.InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.WrongStateError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EtagMismatchError: grpc.StatusCode.ABORTED,
    errors.AttemptSupersededError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.LimitExceededError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.CursorExpiredError: grpc.StatusCode.OUT_OF_RANGE,
    errors.DataLossError: grpc.StatusCode.DATA_LOSS,
    errors.UnknownMethodError: grpc.StatusCode.UNIMPLEMENTED,
    errors.ServerUnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.ServerFaultError: grpc.StatusCode.INTERNAL,
}


def status_of(error: errors.GradloomError) -> tuple[grpc.StatusCode, str, status_pb2.Status]:
    """Gives the code, the short message and the details of an error.

    The text of a fault of the server's own (INTERNAL, also an error that the table lacks) stays here.
    """
    code = STATUS_CODES.get(type(error), grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.INTERNAL:
        message, details = "the server failed; its log says why", [_error_info(errors.ServerFaultError.reason)]
    else:
        message, details = _message(error), _details(error)
    number: Any = code_pb2.Code.Value(code.name)
    return code, message, status_pb2.Status(code=number, message=message, details=[_packed(item) for item in details])


def _message(error: errors.GradloomError) -> str:
    """ASCII, because other characters travel percent-encoded, three times as long."""
    text = str(error).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= MOST_MESSAGE_CHARACTERS else text[: MOST_MESSAGE_CHARACTERS - 3] + "..."


def _details(error: errors.GradloomError) -> list[Any]:
    match error:
        case errors.InvalidRequestError():
            return _fault_details(error)
        case errors.NotFoundError() | errors.AlreadyExistsError() | errors.DataLossError() if error.resource:
            resource = error_details_pb2.ResourceInfo(
                resource_type=_resource_type(error.resource),
                resource_name=_clean(error.resource),
                description=_clean(str(error)),
            )
            return [_error_info(error.reason), resource]
        case errors.CursorExpiredError():
            field = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=_clean(str(error)))
            return [_error_info(error.reason), error_details_pb2.BadRequest(field_violations=[field])]
        case errors.WrongStateError() | errors.EtagMismatchError():
            violation = error_details_pb2.PreconditionFailure.Violation(
                type="STATE" if isinstance(error, errors.WrongStateError) else "ETAG",
                subject=_clean(error.subject),
                description=_clean(str(error)),
            )
            return [_error_info(error.reason), error_details_pb2.PreconditionFailure(violations=[violation])]
        case errors.LimitExceededError():
            quota = error_details_pb2.QuotaFailure.Violation(
                subject=_clean(error.subject), description=_clean(str(error))
            )
            details = [_error_info(error.reason), error_details_pb2.QuotaFailure(violations=[quota])]
            after = error.retry_after_seconds
            return details if after is None else [*details, _retry_info(after)]
        case errors.ServerUnavailableError():
            return [_error_info(error.reason), _retry_info(1.0)]
    return [_error_info(error.reason)]


def _resource_type(name: str) -> str:
    """`gradloom.dev/Job` for `projects/default/jobs/a`, and so on; what has no resource name is a service."""
    collection = name.split("/")[-2:-1]
    return f"{DOMAIN}/{RESOURCE_TYPES[collection[0]]}" if collection and collection[0] in RESOURCE_TYPES else "service"


def _fault_details(error: errors.InvalidRequestError) -> list[Any]:
    shown: list[error_details_pb2.BadRequest.FieldViolation] = []
    for longest in DESCRIPTION_CHARACTERS:
        shown = _violations_that_fit(error, longest)
        if len(shown) == len(error.faults):
            break
    info = _error_info(error.reason, faults=len(error.faults), faults_shown=len(shown))
    return [info, error_details_pb2.BadRequest(field_violations=shown)]


def _violations_that_fit(
    error: errors.InvalidRequestError, longest: int
) -> list[error_details_pb2.BadRequest.FieldViolation]:
    shown: list[error_details_pb2.BadRequest.FieldViolation] = []
    size = 0
    for fault in error.faults:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_clean(fault.field), description=_clean(fault.description, longest)
        )
        size += violation.ByteSize() + 4
        if size > MOST_DETAIL_BYTES:
            break
        shown.append(violation)
    return shown


def _clean(text: str, longest: int = DESCRIPTION_CHARACTERS[0]) -> str:
    """Text that a protobuf string accepts (no lone surrogates, which a JSON string may hold) and of bounded length."""
    short = text if len(text) <= longest else text[: longest - 3] + "..."
    return short.encode("utf-8", "backslashreplace").decode()


def _error_info(reason: str, **metadata: int) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(
        reason=reason, domain=DOMAIN, metadata={key: str(value) for key, value in metadata.items()}
    )


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(int(seconds * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
