"""Floating-point types: a precision's dtype policy, and which types single layers may have beside it."""

from collections.abc import Mapping
from typing import Any, Final

from gradloom.v1 import spec_pb2

_Precision = spec_pb2.TrainingSpec

POLICIES: Final[Mapping[int, str]] = {
    _Precision.FLOAT32: "float32",
    _Precision.FLOAT64: "float64",
    _Precision.MIXED_BFLOAT16: "mixed_bfloat16",
    _Precision.MIXED_FLOAT16: "mixed_float16",
}
"""Keras's dtype policy of each precision."""

# A tuple: what a spec holds may be unhashable.
_NOT_FLOATING: Final = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "string")


def policy_of(training: spec_pb2.TrainingSpec) -> str:
    """Keras's dtype policy of a job."""
    return POLICIES.get(training.precision, POLICIES[_Precision.FLOAT32])


def dtype_rule(dtype: Any, policy: str) -> str | None:
    """What is wrong with a layer's own dtype in a job of this policy; None when nothing is.

    Weights have the job's type everywhere, which is float32 where computations are in less: there a layer, such as the
    last one, may compute in float32 too.
    """
    allowed = (policy, "float32") if policy.startswith("mixed_") else (policy,)
    if dtype in allowed or dtype in _NOT_FLOATING:
        return None
    names: dict[Any, str] = {known: spec_pb2.TrainingSpec.Precision.Name(number) for number, known in POLICIES.items()}
    is_precision = isinstance(dtype, str) and dtype in names
    hint = f"; training.precision: {names[dtype]} sets it for all layers" if is_precision else ""
    rule = f"must be {' or '.join(allowed)}, an integer type, bool or string"
    return f"{rule}, because training.precision is {names[policy]}{hint}"
