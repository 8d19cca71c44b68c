"""From errors to statuses: the table is total, and what it makes travels well."""

import grpc
import pytest
from google.rpc import error_details_pb2

from gradloom.api.status import STATUS_CODES, status_of
from gradloom.errors import (
    FieldFault,
    GradloomError,
    InvalidRequestError,
    LimitExceededError,
    ServerFaultError,
    ServerUnavailableError,
    WrongStateError,
)

MOST_METADATA_BYTES = 8192
"""What a client of gRPC accepts unless it says otherwise."""


def unpacked(error: GradloomError, kind: type) -> object:
    _, _, status = status_of(error)
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            return message
    raise AssertionError(f"no {kind.__name__}")


def test_every_error_has_a_status_code() -> None:
    assert set(GradloomError.__subclasses__()) == set(STATUS_CODES)


def test_every_status_carries_the_reason_and_the_domain() -> None:
    info = unpacked(WrongStateError("projects/default/jobs/a", "it has ended"), error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("WRONG_STATE", "gradloom.dev")


def test_faults_limits_and_states_carry_their_details() -> None:
    faults = InvalidRequestError([FieldFault("spec.model", "required"), FieldFault("spec.data", "required")])
    violations = unpacked(faults, error_details_pb2.BadRequest).field_violations
    assert [violation.field for violation in violations] == ["spec.model", "spec.data"]
    limit = LimitExceededError("too many", subject="validator", retry_after_seconds=2.5)
    assert unpacked(limit, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 2500
    assert unpacked(limit, error_details_pb2.QuotaFailure).violations[0].subject == "validator"
    _, _, status = status_of(LimitExceededError("the disk is full", retry_after_seconds=None))
    assert not any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
    state = WrongStateError("projects/default/jobs/a", "it has ended")
    assert unpacked(state, error_details_pb2.PreconditionFailure).violations[0].subject == "projects/default/jobs/a"
    assert unpacked(ServerUnavailableError("stopping"), error_details_pb2.RetryInfo)


def test_the_text_of_a_fault_of_the_server_stays_with_the_server() -> None:
    for error in (ServerFaultError("secret"), GradloomError("secret")):
        code, message, status = status_of(error)
        assert code is grpc.StatusCode.INTERNAL
        assert "secret" not in message + str(status)


@pytest.mark.parametrize("text", ["x" * 100_000, "é" * 5_000, "\ud800", "\0", "🙂" * 3_000])
def test_whatever_faults_say_fits_what_a_client_accepts(text: str) -> None:
    error = InvalidRequestError([FieldFault(f"spec.labels[{index}]", text) for index in range(1_000)])
    _, message, status = status_of(error)
    assert len(message) + len(status.SerializeToString()) * 4 / 3 < MOST_METADATA_BYTES - 500
    info = unpacked(error, error_details_pb2.ErrorInfo)
    assert info.metadata["faults"] == "1000"
    assert len(unpacked(error, error_details_pb2.BadRequest).field_violations) == int(info.metadata["faults_shown"])
