"""Rules of the loss, the metrics and the variable groups."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gradloom.catalogue import Entry
from gradloom.faults import child, shown
from gradloom.spec.components import NAME_PATTERN, NAME_RULE, ComponentChecker
from gradloom.spec.defaults import metric_name
from gradloom.spec.limits import above_zero
from gradloom.spec.model import check_name_in_config
from gradloom.spec.numbers import struct_to_config
from gradloom.v1 import spec_pb2

MAX_GROUPS: Final = 100
MAX_METRICS: Final = 100
MAX_PATTERNS: Final = 200
MAX_PATTERN_CHARACTERS: Final = 300

GROUP_PATTERN: Final = re.compile(r"[a-z]([-_a-z0-9]{0,38}[a-z0-9])?")
MEAN_REDUCTIONS: Final = ("sum_over_batch_size", "mean", "mean_with_sample_weight")

OUR_OPTIONS: Final[Mapping[str, str]] = {
    "clipnorm": "the group's clip_norm, which acts on the gradient of the whole batch",
    "global_clipnorm": "the group's clip_norm, or training.clip_norm over all groups",
    "clipvalue": "the group's clip_value, which acts on the gradient of the whole batch",
    "use_ema": "no option of this version: averages of weights are not kept yet",
    "ema_momentum": "no option of this version: averages of weights are not kept yet",
    "ema_overwrite_frequency": "no option of this version: averages of weights are not kept yet",
    "gradient_accumulation_steps": "a smaller training.global_batch_size, or more replicas",
    "loss_scale_factor": "nothing: training is in float32, where no loss needs scaling",
}
"""Keras's options that would act on one replica's gradient or hide from the loop, and what stands for each."""

_GROUPS: Final = "spec.variable_groups"


def _check_component(
    kind: str, component: spec_pb2.Component, field: str, checker: ComponentChecker
) -> tuple[Entry | None, dict[str, Any]]:
    entry = checker.entry(kind, component.type, f"{field}.type")
    if entry is None:
        return None, {}
    if component.HasField("name") and not NAME_PATTERN.fullmatch(component.name):
        checker.faults.add(f"{field}.name", f"{NAME_RULE}; got {shown(component.name)}")
    config = struct_to_config(component.config, entry)
    checker.config(entry, config, f"{field}.config")
    check_name_in_config(config, component.name, f"{field}.config", checker.faults)
    return entry, config


def check_loss(loss: spec_pb2.Component, checker: ComponentChecker) -> None:
    """Checks the loss; it is always the mean over the global batch."""
    _, config = _check_component("loss", loss, "spec.loss", checker)
    reduction = config.get("reduction", "sum_over_batch_size")
    if reduction not in MEAN_REDUCTIONS:
        checker.faults.add(
            "spec.loss.config.reduction",
            f"must be left out: the loss is the mean over the global batch; got {shown(reduction)}",
        )


def check_metrics(metrics: Sequence[spec_pb2.Component], checker: ComponentChecker) -> None:
    """Checks the metrics; their names are those of scalars and must differ."""
    if len(metrics) > MAX_METRICS:
        checker.faults.add("spec.metrics", f"must be at most {MAX_METRICS}; got {len(metrics)}")
        return
    seen: set[str] = set()
    for position, metric in enumerate(metrics):
        field = child("spec.metrics", position)
        entry, _ = _check_component("metric", metric, field, checker)
        if entry is None:
            continue
        name = metric_name(metric)
        if name in seen:
            checker.faults.add(f"{field}.name", f"must differ from every other metric's; {shown(name)} is taken")
        elif name == "loss" or name.startswith(("val_", "test_")):
            checker.faults.add(f"{field}.name", f"must not be loss or begin with val_ or test_; got {shown(name)}")
        seen.add(name)


def check_groups(groups: Sequence[spec_pb2.VariableGroup], checker: ComponentChecker) -> None:
    """Checks the groups; which variables they match is the trainer's to say."""
    faults = checker.faults
    if not groups:
        faults.add(_GROUPS, "must hold a group at least: which optimizer trains which variables")
    elif len(groups) > MAX_GROUPS:
        faults.add(_GROUPS, f"must be at most {MAX_GROUPS}; got {len(groups)}")
        return
    elif all(group.frozen for group in groups):
        faults.add(_GROUPS, "must hold a group that is not frozen: nothing would be trained")
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
        _check_patterns(group.match, f"{field}.match", checker)
        if group.frozen:
            _check_frozen(group, field, checker)
        else:
            _check_trained(group, field, checker)


def _check_patterns(patterns: Sequence[str], field: str, checker: ComponentChecker) -> None:
    if not patterns:
        checker.faults.add(field, 'must hold a pattern at least, such as "conv*/**" or "**"')
    if len(patterns) > MAX_PATTERNS:
        checker.faults.add(field, f"must be at most {MAX_PATTERNS}; got {len(patterns)}")
        return
    for position, pattern in enumerate(patterns):
        if not pattern or len(pattern) > MAX_PATTERN_CHARACTERS:
            rule = f"must be 1 to {MAX_PATTERN_CHARACTERS} characters"
            checker.faults.add(child(field, position), f"{rule}; got {shown(pattern)}")


def _check_frozen(group: spec_pb2.VariableGroup, field: str, checker: ComponentChecker) -> None:
    for name in ("optimizer", "learning_rate", "clip_norm", "clip_value"):
        if group.HasField(name):
            checker.faults.add(child(field, name), "must be left out: the group is frozen")


def _check_trained(group: spec_pb2.VariableGroup, field: str, checker: ComponentChecker) -> None:
    faults = checker.faults
    above_zero(group, "clip_norm", field, faults)
    above_zero(group, "clip_value", field, faults)
    if group.HasField("clip_norm") and group.HasField("clip_value"):
        faults.add(f"{field}.clip_value", "must be left out where clip_norm is given")
    if not group.HasField("optimizer"):
        faults.add(f"{field}.optimizer", "is required unless the group is frozen")
    else:
        _check_optimizer(group.optimizer, f"{field}.optimizer", checker)
    if group.HasField("learning_rate"):
        _check_component("schedule", group.learning_rate, f"{field}.learning_rate", checker)
        if "learning_rate" in group.optimizer.config.fields:
            faults.add(f"{field}.learning_rate", "must be left out where optimizer.config has a learning_rate")


def _check_optimizer(optimizer: spec_pb2.Component, field: str, checker: ComponentChecker) -> None:
    entry, config = _check_component("optimizer", optimizer, field, checker)
    if entry is None:
        return
    for key, instead in OUR_OPTIONS.items():
        parameter = entry.by_name.get(key)
        # get_config writes them all; at Keras's default they do nothing.
        if key in config and parameter is not None and config[key] != parameter.default:
            checker.faults.add(child(f"{field}.config", key), f"is refused; use {instead}; got {shown(config[key])}")
