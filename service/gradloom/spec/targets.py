"""Rules of what is minimised and measured: the loss and the metrics, of one output or of several."""

from collections.abc import Sequence
from typing import Final

from gradloom.faults import child, shown
from gradloom.spec.components import ComponentChecker
from gradloom.spec.defaults import metric_name, output_names
from gradloom.spec.graph import REFERENCE, REFERENCE_RULE
from gradloom.spec.limits import at_least_zero
from gradloom.v1 import spec_pb2

MAX_METRICS: Final = 100
MAX_OUTPUTS: Final = 100
MEAN_REDUCTIONS: Final = ("sum_over_batch_size", "mean", "mean_with_sample_weight")

_OUTPUTS: Final = "spec.outputs"
_OF_OTHER_DATA: Final = ("val_", "test_")


def check_targets(spec: spec_pb2.JobSpec, checker: ComponentChecker) -> None:
    """Checks `loss` and `metrics`, or `outputs` in their place."""
    faults = checker.faults
    names = output_names(spec.model)
    if spec.outputs:
        if spec.HasField("loss"):
            faults.add("spec.loss", "must be left out: each of spec.outputs has a loss of its own")
        if spec.metrics:
            faults.add("spec.metrics", "must be left out: each of spec.outputs has metrics of its own")
        _check_outputs(spec, names, checker)
        return
    if len(names) > 1:
        rule = "is required, with a loss for each, in place of loss"
        faults.add(_OUTPUTS, f"{rule}: the model's outputs are {_listed(names)}")
    elif not spec.HasField("loss"):
        faults.add("spec.loss", "is required")
    if spec.HasField("loss"):
        _check_loss(spec.loss, "spec.loss", checker)
    taken = {"loss": "the loss"}
    _check_metrics(spec.metrics, "spec.metrics", "", taken, checker)


def _check_outputs(spec: spec_pb2.JobSpec, names: Sequence[str], checker: ComponentChecker) -> None:
    faults = checker.faults
    if len(spec.outputs) > MAX_OUTPUTS:
        faults.add(_OUTPUTS, f"must be at most {MAX_OUTPUTS}; got {len(spec.outputs)}")
        return
    for name in names:
        if name not in spec.outputs:
            faults.add(_OUTPUTS, f"must hold every output of the model; {shown(name)} is missing")
    # By the scalar's name, what has it.
    taken = {"loss": "the sum of the outputs' losses"}
    for name, output in sorted(spec.outputs.items()):
        field = child(_OUTPUTS, name)
        if names and name not in names:
            hint = faults.did_you_mean(name, names)
            faults.add(field, f"must be an output of the model: {_listed(names)}; got {shown(name)}{hint}")
        elif not REFERENCE.fullmatch(name):
            faults.add(field, f"{REFERENCE_RULE}; got {shown(name)}")
        elif f"{name}_".startswith(_OF_OTHER_DATA):
            faults.add(field, f"must not be named as the scalars of other data, val_ or test_; got {shown(name)}")
        if output.HasField("loss"):
            _check_loss(output.loss, f"{field}.loss", checker)
        else:
            faults.add(f"{field}.loss", "is required")
        if output.HasField("weight"):
            at_least_zero(output.weight, f"{field}.weight", faults)
        _take_scalar(f"{name}_loss", field, taken, checker)
        _check_metrics(output.metrics, f"{field}.metrics", f"{name}_", taken, checker)
    if all(output.HasField("weight") and output.weight == 0 for output in spec.outputs.values()):
        faults.add(_OUTPUTS, "must hold an output with a weight above 0: nothing would be minimised")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names[:20]) + (", ..." if len(names) > 20 else "")


def _check_loss(loss: spec_pb2.Component, field: str, checker: ComponentChecker) -> None:
    """A loss is always the mean over the global batch."""
    _, config = checker.component("loss", loss, field)
    reduction = config.get("reduction", "sum_over_batch_size")
    if reduction not in MEAN_REDUCTIONS:
        checker.faults.add(
            f"{field}.config.reduction",
            f"must be left out: the loss is the mean over the global batch; got {shown(reduction)}",
        )


def _check_metrics(
    metrics: Sequence[spec_pb2.Component], field: str, prefix: str, taken: dict[str, str], checker: ComponentChecker
) -> None:
    """Checks the metrics of an output; `prefix` is before their names in those of scalars."""
    if len(metrics) > MAX_METRICS:
        checker.faults.add(field, f"must be at most {MAX_METRICS}; got {len(metrics)}")
        return
    for position, metric in enumerate(metrics):
        entry, _ = checker.component("metric", metric, child(field, position))
        if entry is not None:
            _take_scalar(prefix + metric_name(metric), f"{child(field, position)}.name", taken, checker)


def _take_scalar(name: str, field: str, taken: dict[str, str], checker: ComponentChecker) -> None:
    """Notes a scalar's name, which is no other's and is not read as that of another data source's."""
    if name in taken:
        checker.faults.add(field, f"must give a scalar of its own; {shown(name)} is that of {taken[name]}")
    elif name.startswith(_OF_OTHER_DATA) and field.endswith(".name"):
        checker.faults.add(field, f"must not begin with val_ or test_, as scalars of other data do; got {shown(name)}")
    taken.setdefault(name, field.removesuffix(".name"))
