"""Errors that callers may meet, on both sides of the wire.

The server raises them; `gradloom.api.status` turns each into a gRPC status with an ErrorInfo of the same `reason`; the
client turns that back into the same class. A new subclass needs a row in the status table: a test holds it total.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldFault:
    """One fault of a request: where, and which rule its value breaks.

    `field` is a path such as `spec.variable_groups[1].optimizer.config.learning_rate`; `description` names the rule,
    the value and, for an unknown name, the nearest known one.
    """

    field: str
    description: str


class GradloomError(Exception):
    """Anything that this project refuses or fails with on purpose."""

    reason: ClassVar[str] = "UNKNOWN"


class InvalidRequestError(GradloomError):
    """The request breaks rules; holds all faults at once."""

    reason = "INVALID_REQUEST"

    def __init__(self, faults: Sequence[FieldFault]):
        self.faults = tuple(faults)
        lines = "\n".join(f"  {fault.field}: {fault.description}" for fault in self.faults)
        super().__init__(f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}:\n{lines}")


def refusal(field: str, description: str) -> InvalidRequestError:
    """The error of a request with one fault."""
    return InvalidRequestError([FieldFault(field, description)])


class NotFoundError(GradloomError):
    """No resource of that name; `resource` is the name."""

    reason = "NOT_FOUND"

    def __init__(self, message: str, resource: str = ""):
        self.resource = resource
        super().__init__(message)


class AlreadyExistsError(GradloomError):
    """The id is taken; `resource` is the name of what has it."""

    reason = "ALREADY_EXISTS"

    def __init__(self, message: str, resource: str = ""):
        self.resource = resource
        super().__init__(message)


class WrongStateError(GradloomError):
    """The resource's state does not allow the call; `subject` is the resource's name."""

    reason = "WRONG_STATE"

    def __init__(self, subject: str, message: str):
        self.subject = subject
        super().__init__(message)


class EtagMismatchError(GradloomError):
    """The resource has changed since the caller read it; `subject` is its name."""

    reason = "ETAG_MISMATCH"

    def __init__(self, subject: str, message: str):
        self.subject = subject
        super().__init__(message)


class AttemptSupersededError(GradloomError):
    """The attempt is no longer its job's live one; it must stop and change nothing."""

    reason = "ATTEMPT_SUPERSEDED"


class PermissionDeniedError(GradloomError):
    """The caller may not do this."""

    reason = "PERMISSION_DENIED"


class LimitExceededError(GradloomError):
    """A limit is reached; `retry_after_seconds` says when to try again, and is None where waiting does not help."""

    reason = "LIMIT_EXCEEDED"

    def __init__(self, message: str, subject: str = "server", retry_after_seconds: float | None = 5.0):
        self.subject = subject
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class CursorExpiredError(GradloomError):
    """The cursor or offset points at what the server does not hold; `field` is the request's that does."""

    reason = "CURSOR_EXPIRED"

    def __init__(self, message: str, field: str = "cursor"):
        self.field = field
        super().__init__(message)


class DataLossError(GradloomError):
    """A stored file no longer has its recorded digest; `resource` is the artifact's name."""

    reason = "DATA_LOSS"

    def __init__(self, message: str, resource: str = ""):
        self.resource = resource
        super().__init__(message)


class UnknownMethodError(GradloomError):
    """The server has no such method."""

    reason = "UNKNOWN_METHOD"


class ServerUnavailableError(GradloomError):
    """The server drains or cannot be reached; `answered` tells that it was there to say so itself."""

    reason = "SERVER_UNAVAILABLE"

    def __init__(self, message: str, answered: bool = False):
        self.answered = answered
        super().__init__(message)


class ServerFaultError(GradloomError):
    """The server failed in a way it does not explain to callers; its log does."""

    reason = "INTERNAL"
