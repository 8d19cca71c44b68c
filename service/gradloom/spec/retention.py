"""The rules of spec.retention."""

from gradloom.faults import Faults
from gradloom.spec.limits import between, duration_between
from gradloom.v1 import spec_pb2


def check_retention(retention: spec_pb2.RetentionSpec, faults: Faults) -> None:
    """Notes every fault of the fields that are set."""
    field = "spec.retention"
    duration_between(retention, "ttl_duration", 1.0, None, field, faults)
    between(retention, "keep_last", 0, None, field, faults)
    between(retention, "keep_best", 0, None, field, faults)
