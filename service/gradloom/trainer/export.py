"""The files of an export: written aside, made durable, digested, then renamed into place in one step.

export/<model>/<attempt>/     the SavedModel, as TensorFlow Serving expects its versions
export/<model>.keras
export/README.txt             what that needs to be loaded, where Keras alone does not do; and export/user_code.py
export/proof/examples.npz     `inputs` and `outputs`, the trained model's own, of the examples of the proof; of several
                              outputs `outputs/<name>` each
"""

import hashlib
import keyword
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from gradloom.trainer.durable import flush_to_disk
from gradloom.trainer.models import exported_model, output_names
from gradloom.trainer.requirements import saved_whole, write_readme
from gradloom.trainer.targets import Target
from gradloom.v1 import job_pb2, spec_pb2

EXPORT_DIRECTORY: Final = "export"


@dataclass(frozen=True)
class ExportPaths:
    """Where the parts of an export lie below an `export` directory, wherever that is for now."""

    root: Path
    model: str
    version: int

    @property
    def saved_model(self) -> Path:
        """The SavedModel's directory."""
        return self.root / self.model / str(self.version)

    @property
    def keras_file(self) -> Path:
        """The `.keras` file."""
        return self.root / f"{self.model}.keras"

    @property
    def examples(self) -> Path:
        """The examples of the proof."""
        return self.root / "proof" / "examples.npz"


def write_export(
    paths: ExportPaths,
    model: keras.Model,
    formats: Sequence[int],
    inputs: np.ndarray,
    outputs: Sequence[np.ndarray],
    targets: Sequence[Target] = (),
) -> None:
    """Writes the export of the formats asked for, and the proof's examples, below a root that does not exist yet.

    With targets, by output, the `.keras` file is ready for `evaluate`: their losses, with all their settings, and
    metrics are saved with the model.
    """
    paths.examples.parent.mkdir(parents=True)
    names = [f"outputs/{name}" for name in output_names(model)] if len(outputs) > 1 else ["outputs"]
    np.savez(paths.examples, **{"inputs": inputs, **dict(zip(names, outputs, strict=True))})  # type: ignore[arg-type]
    if spec_pb2.ExportSpec.SAVED_MODEL in formats:
        _write_saved_model(paths.saved_model, model)
    if spec_pb2.ExportSpec.KERAS in formats:
        exported = exported_model(model)
        if targets:
            _compile(exported, targets)
        exported.save(paths.keras_file)
        write_readme(paths.keras_file)


def _compile(model: keras.Model, targets: Sequence[Target]) -> None:
    losses = [saved_whole(target.loss) for target in targets]
    metrics = [[saved_whole(metric) for metric in target.metrics] for target in targets]
    weights = [target.weight for target in targets]
    # Several optimizers cannot be saved with a model; Keras wants one.
    optimizer = keras.optimizers.SGD()
    if len(targets) == 1:
        model.compile(optimizer, loss=losses[0], loss_weights=weights[0], metrics=metrics[0])
    else:
        model.compile(optimizer, loss=losses, loss_weights=weights, metrics=metrics)


def _write_saved_model(path: Path, model: keras.Model) -> None:
    """Writes the model as it infers. `model.export` does not say so to the layers: augmentation would go on serving.

    Several outputs go by their names in the signature.
    """
    (taken,) = model.inputs
    names = output_names(model)

    def serve(inputs: tf.Tensor) -> Any:
        outputs = model(inputs, training=False)
        return outputs if len(names) == 1 else dict(zip(names, keras.tree.flatten(outputs), strict=True))

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        serve,
        input_signature=[tf.TensorSpec(taken.shape, taken.dtype, name=_argument_name(taken.name))],
    )
    archive.write_out(str(path), verbose=False)


def _argument_name(layer: str) -> str:
    """The signature's name for an input: the layer's, but for names that no argument of a traced function can have."""
    return f"{layer}_input" if layer == "self" or keyword.iskeyword(layer) else layer


def put_in_place(written: Path, target: Path) -> None:
    """Makes a written directory durable, then gives it its name: it is there whole or not at all."""
    for directory, _, files in os.walk(written):
        for name in files:
            flush_to_disk(Path(directory, name))
        flush_to_disk(Path(directory))
    os.rename(written, target)
    flush_to_disk(target.parent)


def manifest(written: Path, attempt: int) -> list[job_pb2.Artifact]:
    """Every file of an export: path below the attempt's directory once in place, size, digest; sorted by path."""
    return [
        job_pb2.Artifact(
            path=f"{EXPORT_DIRECTORY}/{path.relative_to(written).as_posix()}",
            kind=job_pb2.Artifact.EXPORT,
            size_bytes=path.stat().st_size,
            sha256=_sha256(path),
            attempt=attempt,
        )
        for path in sorted(written.rglob("*"))
        if path.is_file()
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
