"""What may differ between a job and the one that goes on from its checkpoint, and which learning rates are new then.

What stands in none of the tables of free fields must stay as it was: the state in a checkpoint means something in the
training that it was saved in, and a field that nobody has thought of may be part of that meaning.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from gradloom.differences import Difference, differences
from gradloom.errors import FieldFault
from gradloom.faults import child
from gradloom.spec.defaults import with_defaults
from gradloom.v1 import spec_pb2

_FREE: Final = frozenset({"export", "retry", "user_code", "scheduling", "retention"})
_LOOKED_INTO: Final = frozenset({"model", "variable_groups", "training", "resources"})
_FREE_OF_MODEL: Final = frozenset({"initial_weights"})
_FREE_OF_TRAINING: Final = frozenset(
    {
        "epochs",
        "deterministic",
        "steps_per_loop",
        "clip_norm",
        "jit_compile",
        "gradient_accumulation_steps",
        "checkpoint",
        "early_stopping",
        "step_timeout_seconds",
        "stage_timeout_seconds",
        "scalars_every_steps",
    }
)
_FREE_OF_GROUP: Final = frozenset(
    {
        "optimizer",
        "learning_rate",
        "clip_norm",
        "clip_value",
        "ema_momentum",
        "unfreeze_at_epoch",
        "reduce_on_plateau",
        "gradient_transformations",
    }
)


@dataclass(frozen=True)
class Source:
    """The checkpoint that a job is to go on from."""

    job: str
    """Resource name of the job that wrote it."""
    spec: spec_pb2.JobSpec
    """Of that job."""
    replicas: int
    """That trained."""
    epoch: int
    """The one in work when it was saved."""
    final: bool
    """It was saved when training had ended."""
    has_best: bool
    """The best one as of it is on record."""


def retry_faults(source: Source, spec: spec_pb2.JobSpec, replicas: int) -> list[FieldFault]:
    """Why a job cannot go on from a checkpoint of another one; an empty list when only TensorFlow may still object.

    Takes the new job's spec, sound and with defaults, and how many replicas it would be given.
    """
    job, old = source.job, with_defaults(source.spec, seed=source.spec.training.seed)
    found = [*_but(old, spec, "spec", _FREE | _LOOKED_INTO), *_but(old.model, spec.model, "spec.model", _FREE_OF_MODEL)]
    found += _but(old.training, spec.training, "spec.training", _FREE_OF_TRAINING)
    found += differences(old.training.checkpoint, spec.training.checkpoint, "spec.training.checkpoint", {"best"})
    found += _group_differences(old, spec)
    rule = f"must stay as in {job}, because the job goes on from its checkpoint"
    told = [FieldFault(one.path, f"{rule}; was {one.before}; got {one.now}") for one in found]
    if spec.model.HasField("initial_weights"):
        told.append(FieldFault("spec.model.initial_weights", "must be left out: the checkpoint has every weight"))
    if spec.training.epochs < source.epoch:
        rule = f"must be at least {source.epoch}, the epoch in which the checkpoint was saved"
        told.append(FieldFault("spec.training.epochs", f"{rule}; got {spec.training.epochs}"))
    if _may_need_best(source, old.training, spec.training) and not source.has_best:
        rule = "must be false: the best checkpoint as of that one is on record no more"
        told.append(FieldFault("spec.training.early_stopping.restore_best", f"{rule}; got true"))
    if replicas != source.replicas:
        replica = f"{source.replicas} replica{'' if source.replicas == 1 else 's'}"
        rule = f"must give {replica}, because the checkpoint has the state of each"
        told.append(FieldFault("spec.resources", f"{rule}; got {replicas}"))
    return told


def _may_need_best(source: Source, before: spec_pb2.TrainingSpec, training: spec_pb2.TrainingSpec) -> bool:
    """Whether the job may end with the weights of an epoch before it began."""
    is_over = source.final and (before.epochs, before.early_stopping) == (training.epochs, training.early_stopping)
    return training.early_stopping.restore_best and source.epoch > 1 and not is_over


def new_learning_rates(before: spec_pb2.JobSpec, spec: spec_pb2.JobSpec) -> frozenset[str]:
    """The groups of a job that goes on from another one's checkpoint whose learning rate is the spec's.

    Those whose optimizer or schedule is another one; all others go on with the rate that they had.
    """
    known = {group.name: group for group in before.variable_groups}
    return frozenset(
        group.name
        for group in spec.variable_groups
        if group.name in known
        and (group.optimizer, group.learning_rate) != (known[group.name].optimizer, known[group.name].learning_rate)
    )


def _group_differences(before: spec_pb2.JobSpec, spec: spec_pb2.JobSpec) -> Iterator[Difference]:
    names = [[group.name for group in one.variable_groups] for one in (before, spec)]
    if names[0] != names[1]:
        yield Difference("spec.variable_groups", *(", ".join(listed) for listed in names))
        return
    for position, (old, new) in enumerate(zip(before.variable_groups, spec.variable_groups, strict=True)):
        where = child("spec.variable_groups", position)
        yield from _but(old, new, where, _FREE_OF_GROUP)
        yield from differences(old.optimizer, new.optimizer, f"{where}.optimizer", {"type"})
        # Whether averages are kept is part of the state, how fast they follow is not.
        if old.HasField("ema_momentum") != new.HasField("ema_momentum"):
            yield from differences(old, new, where, {"ema_momentum"})


def _but(before: Message, now: Message, path: str, free: Set[str]) -> Iterator[Difference]:
    """The differences in all fields but the free ones."""
    names = {field.name for field in before.DESCRIPTOR.fields} - free
    return differences(before, now, path, names)
