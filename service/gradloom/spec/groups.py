"""Rules of the variable groups: which optimizer trains what, and how."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from gradloom.faults import child, shown
from gradloom.spec.components import ComponentChecker
from gradloom.spec.limits import above_zero, between, check_patterns, within_zero_and_one
from gradloom.spec.scalars import Monitors
from gradloom.v1 import spec_pb2

MAX_GROUPS: Final = 100
MAX_TRANSFORMATIONS: Final = 20
MAX_UPDATE_EVERY_STEPS: Final = 10_000

GROUP_PATTERN: Final = re.compile(r"[a-z]([-_a-z0-9]{0,38}[a-z0-9])?")

OUR_OPTIONS: Final[Mapping[str, str]] = {
    "clipnorm": "the group's clip_norm, which acts on the gradient of the whole batch",
    "global_clipnorm": "the group's clip_norm, or training.clip_norm over all groups",
    "clipvalue": "the group's clip_value, which acts on the gradient of the whole batch",
    "use_ema": "the group's ema_momentum, which says how averages are kept",
    "ema_momentum": "the group's ema_momentum, whose averages are validated and exported",
    "ema_overwrite_frequency": "the group's ema_momentum: training never goes on from the averages",
    "gradient_accumulation_steps": (
        "the group's update_every_steps for rarer updates, or training.gradient_accumulation_steps to save memory"
    ),
    "loss_scale_factor": "training.precision: MIXED_FLOAT16 scales the loss of all groups together",
}
"""Keras's options that would act on one replica's gradient or hide from the loop, and what stands for each."""

_GROUPS: Final = "spec.variable_groups"
_OF_ANY_GROUP: Final = ("name", "match", "frozen")


def check_groups(
    groups: Sequence[spec_pb2.VariableGroup], epochs: int, monitors: Monitors, checker: ComponentChecker
) -> None:
    """Checks the groups; which variables they match is the trainer's to say.

    Args:
        groups: Of the spec.
        epochs: How many the job trains.
        monitors: What a group may monitor.
        checker: Notes the faults.
    """
    faults = checker.faults
    if not groups:
        faults.add(_GROUPS, "must hold a group at least: which optimizer trains which variables")
    elif len(groups) > MAX_GROUPS:
        faults.add(_GROUPS, f"must be at most {MAX_GROUPS}; got {len(groups)}")
        return
    elif all(group.frozen for group in groups):
        faults.add(_GROUPS, "must hold a group that is not frozen: nothing would be trained")
    elif all(group.frozen or group.unfreeze_at_epoch > 1 for group in groups):
        faults.add(_GROUPS, "must hold a group that is trained from the first epoch: nothing would be trained in it")
    seen: dict[str, int] = {}
    for position, group in enumerate(groups):
        field = child(_GROUPS, position)
        if not GROUP_PATTERN.fullmatch(group.name):
            got = f"must match {GROUP_PATTERN.pattern}; got {shown(group.name)}" if group.name else "is required"
            faults.add(f"{field}.name", got)
        elif group.name in seen:
            taken = child(_GROUPS, seen[group.name])
            faults.add(f"{field}.name", f"must differ from every other group's; {shown(group.name)} is {taken}'s")
        seen.setdefault(group.name, position)
        if not group.match:
            faults.add(f"{field}.match", 'must hold a pattern at least, such as "conv*/**" or "**"')
        check_patterns(group.match, f"{field}.match", faults)
        if group.frozen:
            _check_frozen(group, field, checker)
        else:
            _check_trained(group, field, checker)
            _check_when(group, field, epochs, monitors, checker)


def _check_frozen(group: spec_pb2.VariableGroup, field: str, checker: ComponentChecker) -> None:
    for option, _ in group.ListFields():
        if option.name not in _OF_ANY_GROUP:
            checker.faults.add(child(field, option.name), "must be left out: the group is frozen")


def _check_trained(group: spec_pb2.VariableGroup, field: str, checker: ComponentChecker) -> None:
    """Checks what is done to the group's gradients and weights."""
    faults = checker.faults
    if not group.HasField("optimizer"):
        faults.add(f"{field}.optimizer", "is required unless the group is frozen")
    else:
        _check_optimizer(group.optimizer, f"{field}.optimizer", checker)
    if group.HasField("learning_rate"):
        checker.component("schedule", group.learning_rate, f"{field}.learning_rate")
        if "learning_rate" in group.optimizer.config.fields:
            faults.add(f"{field}.learning_rate", "must be left out where optimizer.config has a learning_rate")
    above_zero(group, "clip_norm", field, faults)
    above_zero(group, "clip_value", field, faults)
    if group.HasField("clip_norm") and group.HasField("clip_value"):
        faults.add(f"{field}.clip_value", "must be left out where clip_norm is given")
    within_zero_and_one(group, "ema_momentum", field, faults)
    if group.HasField("ema_momentum") and group.optimizer.type.startswith("ScheduleFree"):
        own = f"{group.optimizer.type} keeps averages of its own, which are validated and exported"
        faults.add(f"{field}.ema_momentum", f"must be left out: {own}")
    transformations = f"{field}.gradient_transformations"
    if len(group.gradient_transformations) > MAX_TRANSFORMATIONS:
        got = len(group.gradient_transformations)
        faults.add(transformations, f"must be at most {MAX_TRANSFORMATIONS}; got {got}")
        return
    for position, transformation in enumerate(group.gradient_transformations):
        checker.component("gradient_transformation", transformation, child(transformations, position))


def _check_when(
    group: spec_pb2.VariableGroup, field: str, epochs: int, monitors: Monitors, checker: ComponentChecker
) -> None:
    """Checks in which steps and epochs the group is trained, and when its learning rate falls."""
    faults = checker.faults
    between(group, "update_every_steps", 1, MAX_UPDATE_EVERY_STEPS, field, faults)
    between(group, "unfreeze_at_epoch", 2, None, field, faults)
    if 1 <= epochs < group.unfreeze_at_epoch:
        never = f"must be at most training.epochs, {epochs}: the group would never be trained"
        faults.add(f"{field}.unfreeze_at_epoch", f"{never}; got {group.unfreeze_at_epoch}")
    if not group.HasField("reduce_on_plateau"):
        return
    plateau, plateau_field = group.reduce_on_plateau, f"{field}.reduce_on_plateau"
    rate = group.optimizer.config.fields.get("learning_rate")
    if group.HasField("learning_rate") or (rate is not None and rate.HasField("struct_value")):
        faults.add(plateau_field, "must be left out where the learning rate is a schedule, which sets it in every step")
    monitors.check(plateau, "monitor", plateau_field, faults)
    within_zero_and_one(plateau, "factor", plateau_field, faults)
    between(plateau, "patience", 1, None, plateau_field, faults)
    between(plateau, "min_learning_rate", 0, None, plateau_field, faults)


def _check_optimizer(optimizer: spec_pb2.Component, field: str, checker: ComponentChecker) -> None:
    entry, config = checker.component("optimizer", optimizer, field)
    if entry is None:
        return
    for key, instead in OUR_OPTIONS.items():
        parameter = entry.by_name.get(key)
        # get_config writes them all; at Keras's default they do nothing.
        if key in config and parameter is not None and config[key] != parameter.default:
            checker.faults.add(child(f"{field}.config", key), f"is refused; use {instead}; got {shown(config[key])}")
