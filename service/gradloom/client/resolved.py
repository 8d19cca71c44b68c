"""What runs, as lines for people: devices, groups, what became of random numbers and of initial weights."""

from collections.abc import Iterator, Sequence
from math import prod

from gradloom.client import text
from gradloom.client.names import enum_name
from gradloom.v1 import spec_pb2


def resolved_lines(resolved: spec_pb2.ResolvedSpec) -> Iterator[str]:
    """What the first attempt made of the spec, one fact a line; nothing before it has."""
    if resolved.replicas:
        yield f"runs on   {_devices(resolved)}"
    if resolved.HasField("initial_weights"):
        weights = resolved.initial_weights
        left = f", {len(weights.not_loaded)} not" if weights.not_loaded else ""
        source = f"{text.one_line(weights.job)} at step {weights.global_step}"
        yield f"weights   from {source}: {len(weights.loaded)} loaded{left}"
    if resolved.synchronized_layers:
        yield f"synced    statistics over all replicas: {_listed(resolved.synchronized_layers)}"
    if resolved.replica_dependent_layers:
        layers = _listed(resolved.replica_dependent_layers)
        yield f"depends   on the number of replicas, by the random numbers of: {layers}"
    yield from _groups(resolved)


def _devices(resolved: spec_pb2.ResolvedSpec) -> str:
    """Such as `2 CPU replicas, MIXED_BFLOAT16, compiled by XLA`."""
    kind = enum_name(spec_pb2.ResolvedSpec.DeviceKind, resolved.device_kind)
    parts = [f"{resolved.replicas} {kind} replica{'' if resolved.replicas == 1 else 's'}"]
    if resolved.spec.training.precision:
        parts.append(enum_name(spec_pb2.TrainingSpec.Precision, resolved.spec.training.precision))
    if resolved.jit_compiled:
        parts.append("compiled by XLA")
    return ", ".join(parts)


def _groups(resolved: spec_pb2.ResolvedSpec) -> Iterator[str]:
    asked = {group.name: group for group in resolved.spec.variable_groups}
    groups: dict[str, list[spec_pb2.VariableAssignment]] = {}
    for variable in resolved.variables:
        groups.setdefault(variable.group, []).append(variable)
    # Those without a group come last.
    for name, variables in sorted(groups.items(), key=lambda item: not item[0]):
        parameters = sum(prod(variable.shape) for variable in variables)
        label = f"group     {text.one_line(name)}" if name else "          (no group)"
        facts = [f"{len(variables)} variable{'' if len(variables) == 1 else 's'}", f"{parameters:,} parameters"]
        if not any(variable.trained for variable in variables):
            facts.append("not trained")
        elif name in asked:
            facts.extend(_options(asked[name]))
        yield f"{label}: {', '.join(facts)}"


def _options(group: spec_pb2.VariableGroup) -> Iterator[str]:
    """How a group is trained, where it is not as one expects: `Adam`, `one update in 4 steps`, `from epoch 3`."""
    if group.optimizer.type:
        yield text.one_line(group.optimizer.type)
    if group.update_every_steps > 1:
        yield f"one update in {group.update_every_steps} steps"
    if group.unfreeze_at_epoch:
        yield f"from epoch {group.unfreeze_at_epoch}"
    if group.HasField("ema_momentum"):
        yield "averaged"


def assignment_table(resolved: spec_pb2.ResolvedSpec) -> list[str]:
    """Every variable with its group and shape."""
    rows = (
        (
            variable.path,
            variable.group or "-",
            "x".join(str(length) for length in variable.shape) or "scalar",
            variable.dtype,
            "yes" if variable.trained else "no",
        )
        for variable in resolved.variables
    )
    return text.columns(("VARIABLE", "GROUP", "SHAPE", "DTYPE", "TRAINED"), rows)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(text.one_line(name) for name in names[:10]) + more
