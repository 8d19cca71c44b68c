"""Rules of `spec.data`."""

from gradloom.errors import FieldFault
from gradloom.faults import Faults, child, shown
from gradloom.spec.components import ComponentChecker
from gradloom.spec.limits import between
from gradloom.spec.paths import resolve_within
from gradloom.v1 import spec_pb2

FIELD = "spec.data"


def check_data(data: spec_pb2.DataSpec, checker: ComponentChecker) -> None:
    """Checks every source; only `train` is required."""
    if not data.HasField("train"):
        checker.faults.add(f"{FIELD}.train", "is required")
    for name in ("train", "validation", "test"):
        if data.HasField(name):
            _check_source(getattr(data, name), child(FIELD, name), checker)


def _check_source(source: spec_pb2.DataSource, field: str, checker: ComponentChecker) -> None:
    faults = checker.faults
    size = None
    if source.HasField("builtin") and source.HasField("npz"):
        faults.add(field, "must be builtin or npz, not both")
    elif source.HasField("builtin"):
        size = _check_builtin(source.builtin, f"{field}.builtin", checker)
    elif source.HasField("npz"):
        _check_npz(source.npz, f"{field}.npz", checker)
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


def _check_npz(npz: spec_pb2.NpzData, field: str, checker: ComponentChecker) -> None:
    if not npz.path:
        checker.faults.add(f"{field}.path", "is required: an absolute path within the server's data roots")
    else:
        resolved = resolve_within(npz.path, checker.data_roots)
        if isinstance(resolved, FieldFault):
            checker.faults.add(f"{field}.path", resolved.description)
    for name in ("features", "label"):
        if npz.HasField(name) and not getattr(npz, name):
            checker.faults.add(child(field, name), "must name an array of the file; leave it out for the default")
    if npz.HasField("features") and npz.features == (npz.label or "label"):
        checker.faults.add(f"{field}.features", f"must not be the array of the labels; got {shown(npz.features)}")


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
