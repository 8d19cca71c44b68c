"""Which new jobs the event loop checks by itself, and which may wait for a disk or a database and so go to a thread."""

from typing import Any

import pytest

from gradloom.api.creation import LIGHT_BYTES, is_light
from gradloom.catalogue import KINDS
from gradloom.v1 import service_pb2
from tests.specs import CATALOGUE, changed


def test_a_small_job_of_builtin_data_is_light() -> None:
    assert is_light(service_pb2.CreateJobRequest(job=changed("spec.model.name", "net")))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.data.train", {"npz": {"path": "/data/train.npz"}}),
        ("spec.model.layers.1", {"type": "StringLookup", "config": {"vocabulary": "/data/words.txt"}}),
        ("spec.model.initial_weights", {"job": "another"}),
        ("spec.user_code", {"source": "import keras"}),
        ("display_name", "x" * LIGHT_BYTES),
    ],
)
def test_a_job_that_names_a_file_or_a_job_or_brings_source_or_is_long_is_not(path: str, value: Any) -> None:
    assert not is_light(service_pb2.CreateJobRequest(job=changed(path, value)))


def test_of_all_components_only_layers_name_files() -> None:
    entries = [(kind, CATALOGUE.get(kind, name)) for kind in KINDS for name in CATALOGUE.names(kind)]
    naming = {kind for kind, entry in entries if entry and any(parameter.is_path for parameter in entry.parameters)}
    assert naming == {"layer"}
