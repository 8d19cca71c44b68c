"""Rules of `spec.data`."""

from collections.abc import Set
from typing import Final

from gradloom.faults import Faults, child, shown
from gradloom.spec.components import ComponentChecker
from gradloom.spec.defaults import DEFAULT_LABEL
from gradloom.spec.limits import between
from gradloom.spec.paths import resolve_within
from gradloom.v1 import spec_pb2

FIELD: Final = "spec.data"

_ARRAY_RULE: Final = "must name an array of the file"


def check_data(spec: spec_pb2.JobSpec, checker: ComponentChecker) -> None:
    """Checks every source; only `train` is required."""
    if not spec.data.HasField("train"):
        checker.faults.add(f"{FIELD}.train", "is required")
    for name in ("train", "validation", "test"):
        if spec.data.HasField(name):
            _check_source(getattr(spec.data, name), child(FIELD, name), spec.outputs.keys(), checker)


def _check_source(source: spec_pb2.DataSource, field: str, outputs: Set[str], checker: ComponentChecker) -> None:
    faults = checker.faults
    size = None
    if source.HasField("builtin") and source.HasField("npz"):
        faults.add(field, "must be builtin or npz, not both")
    elif source.HasField("builtin"):
        size = _check_builtin(source.builtin, f"{field}.builtin", checker)
    elif source.HasField("npz"):
        _check_npz(source.npz, f"{field}.npz", outputs, checker)
    else:
        faults.add(field, "must say where the examples come from: builtin or npz")
    if source.HasField("range"):
        _check_range(source.range, f"{field}.range", size, faults)


def _check_builtin(builtin: spec_pb2.BuiltinData, field: str, checker: ComponentChecker) -> int | None:
    """Returns how many examples the split has, when that is known."""
    entry = None
    if not builtin.name:
        known = ", ".join(checker.catalogue.names("dataset"))
        checker.faults.add(f"{field}.name", f"is required: one of {known}")
    else:
        entry = checker.entry("dataset", builtin.name, f"{field}.name")
    # A split that no data set has is told beside a name that none has.
    candidates = [entry] if entry is not None else checker.catalogue.entries("dataset")
    sizes = {split: size for one in candidates if one.dataset for split, size in one.dataset.splits.items()}
    split = builtin.split if builtin.HasField("split") else "train"
    if split not in sizes:
        hint = checker.faults.did_you_mean(split, list(sizes))
        checker.faults.add(f"{field}.split", f"must be one of {', '.join(sizes)}; got {shown(split)}{hint}")
        return None
    return sizes[split] if entry is not None else None


def _check_npz(npz: spec_pb2.NpzData, field: str, outputs: Set[str], checker: ComponentChecker) -> None:
    faults = checker.faults
    if not npz.path:
        faults.add(f"{field}.path", "is required: an absolute path within the server's data roots")
    else:
        resolved = resolve_within(npz.path, checker.data_roots)
        if isinstance(resolved, str):
            faults.add(f"{field}.path", resolved)
    for name in ("features", "label", "sample_weight"):
        if npz.HasField(name) and not getattr(npz, name):
            faults.add(child(field, name), f"{_ARRAY_RULE}; leave it out for the default")
    # An autoencoder says that its labels are its features; nobody else means it.
    if npz.features == DEFAULT_LABEL and not npz.HasField("label") and not npz.labels:
        faults.add(f"{field}.features", f"must not be the array of the labels; got {shown(npz.features)}")
    if npz.labels:
        _check_labels(npz, f"{field}.labels", outputs, faults)


def _check_labels(npz: spec_pb2.NpzData, field: str, outputs: Set[str], faults: Faults) -> None:
    """Checks the arrays by output."""
    if npz.HasField("label"):
        faults.add(field, f"must be left out where label is given; got label {shown(npz.label)}")
    if not outputs:
        faults.add(
            field, "must be left out: they belong to spec.outputs, which is not given; `label` is the one output's"
        )
        return
    for name, array in sorted(npz.labels.items()):
        if name not in outputs:
            hint = faults.did_you_mean(name, outputs)
            faults.add(child(field, name), f"must be that of an output in spec.outputs; got {shown(name)}{hint}")
        if not array:
            faults.add(child(field, name), _ARRAY_RULE)
    for name in sorted(outputs - npz.labels.keys()):
        faults.add(field, f"must name the array of every output; that of {shown(name)} is missing")


def _check_range(part: spec_pb2.ExampleRange, field: str, size: int | None, faults: Faults) -> None:
    between(part, "from", 0, None, field, faults)
    start = getattr(part, "from")
    if part.HasField("to") and part.to <= max(start, 0):
        faults.add(f"{field}.to", f"must be above from ({start}), so that there is an example; got {part.to}")
    if size is not None:
        if part.to > size:
            faults.add(f"{field}.to", f"must be at most the source's {size} examples; got {part.to}")
        if start >= size:
            faults.add(f"{field}.from", f"must be below the source's {size} examples; got {start}")
