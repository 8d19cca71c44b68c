"""Floating-point types: a precision's dtype policy, and which types single layers may have beside it."""

from collections.abc import Mapping
from typing import Final

from gradloom.v1 import spec_pb2

_Precision = spec_pb2.TrainingSpec

POLICIES: Final[Mapping[int, str]] = {
    _Precision.FLOAT32: "float32",
    _Precision.FLOAT64: "float64",
    _Precision.MIXED_BFLOAT16: "mixed_bfloat16",
    _Precision.MIXED_FLOAT16: "mixed_float16",
}
"""Keras's dtype policy of each precision."""

_NOT_FLOATING: Final = frozenset(
    {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "string"}
)


def policy_of(training: spec_pb2.TrainingSpec) -> str:
    """Keras's dtype policy of a job."""
    return POLICIES.get(training.precision, POLICIES[_Precision.FLOAT32])


def dtype_rule(dtype: object, policy: str) -> str | None:
    """What is wrong with a layer's own dtype in a job of this policy; None when nothing is.

    A layer may compute in more than the others (the last one in float32 where they are mixed), not in less: its
    gradients would be lost, or its precision be another than the job says.
    """
    wider = {"float64", "float32"} if policy != "float64" else {"float64"}
    if dtype == policy or dtype in wider or dtype in _NOT_FLOATING:
        return None
    known = [name for name, stated in spec_pb2.TrainingSpec.Precision.items() if POLICIES.get(stated) == dtype]
    hint = f"; training.precision: {known[0]} sets it for all layers" if known else ""
    floats = " or ".join(sorted({policy, *wider}))
    return f"must be {floats}, an integer type, bool or string, where training.precision says {policy}{hint}"
