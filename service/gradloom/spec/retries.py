"""What may differ between a job and the one that goes on from its checkpoint, and which learning rates are new then.

What stands in none of the tables of free fields must stay as it was: the state in a checkpoint means something in the
training that it was saved in, and a field that nobody has thought of may be part of that meaning.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message

from gradloom.documents import is_map
from gradloom.errors import FieldFault
from gradloom.faults import child, shown
from gradloom.spec.defaults import with_defaults
from gradloom.v1 import spec_pb2

_FREE: Final = frozenset({"export", "retry", "user_code", "scheduling", "retention"})
_LOOKED_INTO: Final = frozenset({"model", "variable_groups", "training", "resources"})
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
    faults = list(_differences(old, spec, "spec", _FREE | _LOOKED_INTO))
    faults += _differences(old.model, spec.model, "spec.model", {"initial_weights"})
    faults += _differences(old.training, spec.training, "spec.training", _FREE_OF_TRAINING)
    faults += _differing(old.training.checkpoint, spec.training.checkpoint, "best", "spec.training.checkpoint.best")
    faults += _group_differences(old, spec)
    told = [
        FieldFault(where, f"must stay as in {job}, because the job goes on from its checkpoint; {what}")
        for where, what in faults
    ]
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


_Difference = tuple[str, str]
"""A field and what it was and is."""


def _group_differences(before: spec_pb2.JobSpec, spec: spec_pb2.JobSpec) -> Iterator[_Difference]:
    names = [[group.name for group in one.variable_groups] for one in (before, spec)]
    if names[0] != names[1]:
        yield "spec.variable_groups", f"the groups were {', '.join(names[0])}; got {', '.join(names[1])}"
        return
    for position, (old, new) in enumerate(zip(before.variable_groups, spec.variable_groups, strict=True)):
        where = child("spec.variable_groups", position)
        yield from _differences(old, new, where, _FREE_OF_GROUP)
        yield from _differing(old.optimizer, new.optimizer, "type", f"{where}.optimizer.type")
        # Whether averages are kept is part of the state, how fast they follow is not.
        if old.HasField("ema_momentum") != new.HasField("ema_momentum"):
            yield from _differing(old, new, "ema_momentum", f"{where}.ema_momentum")


def _differences(before: Message, now: Message, path: str, free: Collection[str] = ()) -> Iterator[_Difference]:
    """Every field that differs, but for free ones, as deep as messages of ours and lists of one length go."""
    for field in before.DESCRIPTOR.fields:
        if field.name not in free:
            yield from _differing(before, now, field.name, child(path, field.name))


def _differing(before: Message, now: Message, name: str, path: str) -> Iterator[_Difference]:
    """The same of one field."""
    field = before.DESCRIPTOR.fields_by_name[name]
    old, new = getattr(before, name), getattr(now, name)
    is_set = [field.is_repeated or not field.has_presence or one.HasField(name) for one in (before, now)]
    if old == new and is_set[0] == is_set[1]:
        return
    is_ours = field.message_type is not None and field.message_type.file.package.startswith("gradloom.")
    if isinstance(old, struct_pb2.Struct):
        yield from _config_differences(json_format.MessageToDict(old), json_format.MessageToDict(new), path)
    elif is_ours and not field.is_repeated and all(is_set):
        yield from _differences(old, new, path)
    elif is_ours and not is_map(field) and field.is_repeated and len(old) == len(new):
        for position, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, child(path, position))
    else:
        yield path, f"was {_shown(field, old, is_set[0])}; got {_shown(field, new, is_set[1])}"


def _config_differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[_Difference]:
    for key in dict.fromkeys([*old, *new]):
        was, got = (shown(config[key]) if key in config else "unset" for config in (old, new))
        if key not in old or key not in new or old[key] != new[key]:
            yield child(path, key), f"was {was}; got {got}"


def _shown(field: Any, value: Any, is_set: bool) -> str:
    if not is_set:
        return "unset"
    if field.message_type is not None:
        return f"{len(value)} of them" if field.is_repeated else "another one"
    if field.enum_type is not None and not field.is_repeated:
        return str(field.enum_type.values_by_number[value].name)
    return shown(list(value) if field.is_repeated else value)
