"""Which faults of a job may only follow from what of its file could not be read, so that nobody is told those."""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from gradloom.errors import FieldFault

_ALSO_BY: Final = tuple(
    (re.compile(pattern), parts)
    for pattern, parts in (
        # A scalar that is monitored: the losses and metrics that there are.
        (r".*\.(monitor|best)", ("spec.data", "spec.metrics", "spec.model", "spec.outputs")),
        # Which outputs the model has, and whether each has a loss.
        (r"spec\.(loss|metrics)", ("spec.outputs",)),
        (r"spec\.outputs(\.\w+|\[[^]]*\])?", ("spec.model.layers", "spec.model.outputs")),
        (r"spec\.data\.(\w+)\.npz\.labels.*", ("spec.outputs",)),
        # How layers are connected, and in which way the model is given.
        (r"spec\.model\.(layers\[\d+\](\.inputs\[\d+\])?|outputs\[\d+\])", ("spec.model.layers", "spec.model.outputs")),
        (r"spec\.model\.(layers|outputs|builder|keras_config)", ("spec.model",)),
        # Whose types and dtypes are known.
        (r".*\.(type|class_name|registered_name|keras_config\b.*)", ("spec.user_code",)),
        (r".*\bdtype\b.*|.*\.keras_config\b.*", ("spec.training.precision",)),
        # Options that exclude or bound one another.
        (r".*\.unfreeze_at_epoch", ("spec.training.epochs",)),
        (r"(spec\.variable_groups\[\d+\])\.\w+", (r"\1",)),
        (r"(spec\.data\.\w+)\..*", (r"\1",)),
        (r"spec\.training\.gradient_accumulation_steps", ("spec.training.global_batch_size",)),
        (r"(spec\.resources|spec\.retry\.backoff)\.\w+", (r"\1",)),
    )
)
"""By a fault's field, the parts of the job by which it is judged beside what lies on its own path."""


def without_consequences(faults: Iterable[FieldFault], unread: Collection[str]) -> list[FieldFault]:
    """The faults of a job but those that may not be there once the unread fields of its file can be read."""
    return [
        fault
        for fault in faults
        if not any(_is_on_one_path(part, field) for part in _judged_by(fault.field) for field in unread)
    ]


def _judged_by(field: str) -> Sequence[str]:
    also = (match.expand(part) for pattern, parts in _ALSO_BY if (match := pattern.fullmatch(field)) for part in parts)
    return [field, *also]


def _is_on_one_path(one: str, other: str) -> bool:
    """Whether one path leads to the other, or to the same field."""
    shorter, longer = sorted((one, other), key=len)
    return longer.startswith(shorter) and longer[len(shorter) : len(shorter) + 1] in ("", ".", "[")
