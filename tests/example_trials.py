"""Trains every example on a part of its data for a few epochs and exports it; `test_examples` looks at what comes out.

    python tests/example_trials.py DIRECTORY FILE...

Writes one line of JSON for each file: the scalars of each epoch, and the largest differences of the exports.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gradloom import documents
from gradloom.spec import with_defaults
from gradloom.trainer.export import ExportPaths, write_export
from gradloom.trainer.prepare import Given, prepare
from gradloom.trainer.reference import prove_keras_file, reference_outputs
from gradloom.v1 import spec_pb2

EPOCHS = 4
ROWS = 200


def reduced(file: Path) -> spec_pb2.JobSpec:
    """The example's spec for the first rows of each source."""
    spec = with_defaults(documents.read_job(file.read_text()).spec, seed=1)
    spec.training.epochs = EPOCHS
    for source in (spec.data.train, spec.data.validation, spec.data.test):
        positions = source.range
        begin = getattr(positions, "from")
        if source.builtin.name in ("digits", "fashion_mnist"):
            positions.to = begin + ROWS if not positions.HasField("to") else min(positions.to, begin + ROWS)
    return spec


def writing_operations(loaded: Any) -> list[str]:
    """Operations of what serves that write to a variable."""
    graph = loaded.signatures["serve"].graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return [node.op for node in nodes if node.op.startswith("Assign")]


def trial(file: Path, directory: Path) -> dict[str, Any]:
    spec = reduced(file)
    prepared = prepare(spec, Given(spec_pb2.ResolvedSpec.CPU, 1, dataset_directories=[]))
    epochs = [prepared.training.run_epoch(epoch) for epoch in range(1, EPOCHS + 1)]
    inputs = prepared.sources["validation"].features[:16].astype(prepared.model.inputs[0].dtype)
    expected = reference_outputs(prepared.model, inputs)
    paths = ExportPaths(directory / file.stem, spec.model.name, 1)
    write_export(paths, prepared.model, spec.export.formats, inputs, expected)
    loaded = tf.saved_model.load(str(paths.saved_model))
    served = loaded.serve(inputs).numpy()
    return {
        "epochs": epochs,
        "test": prepared.training.evaluate(prepared.sources["test"], "test_"),
        "writes": writing_operations(loaded),
        "saved_model": float(np.abs(served - expected[0]).max()),
        "keras": prove_keras_file(paths.keras_file, inputs, expected).largest_difference,
    }


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(json.dumps({Path(name).stem: trial(Path(name), Path(sys.argv[1]))}), flush=True)
