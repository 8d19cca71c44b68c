"""The names of the scalars of an epoch's end, and which of them a spec may monitor."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from gradloom.faults import Faults, child, shown
from gradloom.spec.defaults import metric_name
from gradloom.v1 import spec_pb2


def training_scalars(spec: spec_pb2.JobSpec) -> Iterator[str]:
    """The names of a training's scalars that the spec tells: of its losses and metrics."""
    yield "loss"
    for metric in spec.metrics:
        yield metric_name(metric)
    for output, target in sorted(spec.outputs.items()):
        yield f"{output}_loss"
        for metric in target.metrics:
            yield f"{output}_{metric_name(metric)}"


@dataclass(frozen=True)
class Monitors:
    """What `monitor` and `best` may name."""

    names: tuple[str, ...]
    has_validation: bool
    are_all: bool
    """Whether nothing in the model or among the metrics can have scalars of its own: the spec tells them all."""

    @classmethod
    def of(cls, spec: spec_pb2.JobSpec) -> "Monitors":
        """Those of a spec."""
        # Without those of an output whose name cannot be printed: that is a fault of its own.
        names = tuple(dict.fromkeys(name for name in training_scalars(spec) if name.isprintable()))
        has_validation = spec.data.HasField("validation")
        if has_validation:
            names += tuple(f"val_{name}" for name in names)
        metrics = (*spec.metrics, *(metric for output in spec.outputs.values() for metric in output.metrics))
        # Keras's own have none; the type of anybody else's class is written with its package before a `>`.
        are_all = bool(spec.model.layers) and not any(_may_name_a_package(part) for part in (spec.model, *metrics))
        return cls(names, has_validation, are_all)

    def check(self, message: Any, name: str, path: str, faults: Faults) -> None:
        """Checks the optional field that names a scalar, if it is set."""
        if not message.HasField(name):
            return
        scalar, field = getattr(message, name), child(path, name)
        if not scalar:
            faults.add(field, f"must name a scalar of an epoch's end, such as {self.names[0]}")
        elif scalar.startswith("test_"):
            faults.add(
                field, f"must be known at an epoch's end: test data are evaluated once, at the end; got {shown(scalar)}"
            )
        elif scalar.startswith("val_") and not self.has_validation:
            faults.add(field, f"needs data.validation, which is not given; got {shown(scalar)}")
        elif self.are_all and scalar not in self.names:
            known = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
            hint = faults.did_you_mean(scalar, self.names)
            faults.add(field, f"must be one of {known}; got {shown(scalar)}{hint}")


def _may_name_a_package(part: Message) -> bool:
    """Whether a text in it holds a `>`. Its bytes tell most messages at once; in them it may also be a length."""
    return b">" in part.SerializeToString() and ">" in str(part)
