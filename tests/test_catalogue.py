"""The catalogue: fresh, complete, and true to what Keras's own configurations hold."""

from typing import Any

import keras
import pytest
from google.protobuf import struct_pb2

from gradloom import components
from gradloom.catalogue import FILE_NAME, KINDS, VALUE_TYPES, Catalogue, Entry, Parameter
from gradloom.documents import job_from_dict
from gradloom.faults import Faults
from gradloom.spec import struct_to_config
from gradloom.spec.components import ComponentChecker
from gradloom.trainer import catalogue as generator
from gradloom.trainer.construction import construct
from gradloom.v1 import service_pb2

CATALOGUE = Catalogue.load()
FUNCTIONS = [entry for entry in CATALOGUE.entries() if entry.kind == "activation" or entry.type == "gradloom>cauchy"]
CONSTRUCTED = [
    entry
    for entry in CATALOGUE.entries()
    if entry.kind != "dataset" and entry.type != "Input" and entry not in FUNCTIONS
]

ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(
        ["units", "filters", "output_dim", "num_heads", "num_query_heads", "num_bins", "num_classes", "n"], 3
    ),
    **dict.fromkeys(["kernel_size", "output_size", "pool_size", "input_dim", "head_dim", "key_dim", "max_number"], 2),
    **dict.fromkeys(["rate", "stddev", "recall", "precision", "specificity", "sensitivity", "decay_rate"], 0.5),
    **dict.fromkeys(["factor", "height_factor", "width_factor"], 0.25),
    **dict.fromkeys(["height", "width", "axes", "num_key_value_heads"], 1),
    "equation": "ab,bc->ac",
    "output_shape": [3],
    "dims": [1],
    "target_shape": [2],
    "target_class_ids": [0],
    "scale": 2.0,
    "activation": "relu",
    "initial_learning_rate": 1.0,
    "decay_steps": 10,
    "first_decay_steps": 10,
    "boundaries": [10, 20],
    "values": [1.0, 0.5, 0.25],
    "layer": {"type": "LSTM", "config": {"units": 2}},
    "cell": {"type": "LSTMCell", "config": {"units": 2}},
    "cells": [{"type": "LSTMCell", "config": {"units": 2}}],
    "layers": [{"type": "Dropout", "config": {"rate": 1.0}}],
}
"""A value for every required parameter of any component."""
MORE_ARGUMENTS: dict[str, dict[str, Any]] = {
    "CategoryEncoding": {"num_tokens": 3},
    "Discretization": {"num_bins": 3},
    "RandomPosterization": {"factor": 3},
}


def sample(entry: Entry) -> dict[str, Any]:
    required = {p.name: ARGUMENTS[p.name] for p in entry.parameters if p.required}
    return required | MORE_ARGUMENTS.get(entry.type, {})


def on_the_wire(config: dict[str, Any]) -> struct_pb2.Struct:
    job = job_from_dict({"spec": {"loss": {"config": config}}})
    struct = struct_pb2.Struct.FromString(job.spec.loss.config.SerializeToString())
    return struct


def listed(value: Any) -> Any:
    """Tuples as lists: JSON has one of them."""
    if isinstance(value, dict):
        return {key: listed(entry) for key, entry in value.items()}
    return [listed(entry) for entry in value] if isinstance(value, tuple | list) else value


def with_types(value: Any, parameter: Parameter | None = None) -> Any:
    """The value with the type of every number beside it."""
    if isinstance(value, dict):
        return {key: with_types(entry) for key, entry in value.items()}
    if isinstance(value, list):
        # Keras pairs an integer bound with the float it was given: no rule tells (0, 1.0) from (0.0, 1.0).
        return [with_types(float(v) if parameter and parameter.floats else v) for v in value]
    return (type(value).__name__, value)


def test_the_committed_catalogue_is_what_the_installed_keras_gives() -> None:
    from importlib import resources

    committed = resources.files("gradloom.catalogue").joinpath(FILE_NAME).read_text("utf-8")
    assert committed == generator.generate(), "run: python -m gradloom.trainer catalogue > the file"


def test_kinds_and_value_types_are_those_of_the_wire() -> None:
    names = [name.lower() for name in service_pb2.ComponentInfo.Kind.keys()][1:]  # noqa: SIM118 - an enum wrapper, no dict
    assert list(KINDS) == names
    assert {p.value_type for entry in CATALOGUE.entries() for p in entry.parameters} <= set(VALUE_TYPES)


def test_every_kind_has_entries_and_every_entry_a_doc_line() -> None:
    for kind in KINDS:
        assert CATALOGUE.entries(kind), kind
    assert [entry.type for entry in CATALOGUE.entries() if not entry.doc or "\n" in entry.doc] == []


def test_nothing_that_runs_code_or_loads_files_is_in_the_catalogue() -> None:
    for excluded in generator.EXCLUDED.values():
        for name in excluded:
            assert all(CATALOGUE.get(kind, name) is None or name == "InputLayer" for kind in KINDS)


def test_every_parameter_that_keras_takes_for_a_path_is_marked() -> None:
    marked = {(entry.type, p.name) for entry in CATALOGUE.entries() for p in entry.parameters if p.is_path}
    assert marked == {(type, "vocabulary") for type in ("IntegerLookup", "StringLookup", "TextVectorization")}


@pytest.mark.parametrize("entry", CONSTRUCTED, ids=lambda entry: f"{entry.kind}-{entry.type}")
def test_a_config_survives_the_wire_and_the_checks_and_makes_the_same_object(entry: Entry) -> None:
    config = listed(construct(entry, sample(entry), "it").get_config())
    back = struct_to_config(on_the_wire(config), entry)
    typed = {key: with_types(value, entry.by_name.get(key)) for key, value in back.items()}
    assert typed == {key: with_types(value, entry.by_name.get(key)) for key, value in config.items()}
    faults = Faults()
    ComponentChecker(CATALOGUE, (), faults).config(entry, back, "it.config")
    assert faults.told() == []
    assert listed(construct(entry, back, "it").get_config()) == config


@pytest.mark.parametrize("entry", CATALOGUE.entries("activation"), ids=lambda entry: entry.type)
def test_an_activation_is_found_by_each_of_its_names(entry: Entry) -> None:
    package = components if ">" in entry.type else keras.activations
    for name in (entry.type, *entry.aliases):
        layer = construct(CATALOGUE.get("layer", "Activation"), {"activation": name}, "it")  # type: ignore[arg-type]
        assert layer.activation is getattr(package, entry.type.rpartition(">")[2])


def test_a_plain_function_is_a_component_by_what_it_takes() -> None:
    entry = CATALOGUE.get("loss", "gradloom>cauchy")
    assert entry is not None
    assert entry.parameters == ()
    assert construct(entry, {}, "it") is components.cauchy
    assert generator.kind_of(lambda x: x) == generator.kind_of(keras.activations.relu) == "activation"
    assert generator.kind_of(keras.losses.huber) == "loss"
    assert generator.kind_of(lambda: 0) is generator.kind_of(dict) is generator.kind_of(7) is None


def test_aliases_name_the_same_entry() -> None:
    assert CATALOGUE.get("layer", "AvgPool2D") is CATALOGUE.get("layer", "AveragePooling2D")
    assert CATALOGUE.get("initializer", "glorot_uniform") is CATALOGUE.get("initializer", "GlorotUniform")
    assert CATALOGUE.get("loss", "AvgPool2D") is None


def test_the_nearest_name_is_found() -> None:
    assert CATALOGUE.nearest("layer", "Dens") == "Dense"
    assert CATALOGUE.nearest("optimizer", "adam") == "Adam"
    assert CATALOGUE.nearest("layer", "qqqqqq") is None


def test_our_own_components_are_all_there() -> None:
    names = {f"gradloom>{name}" for name in components.__all__}
    names -= {"gradloom>GradientTransformation"}  # to be subclassed
    assert names == {entry.type for entry in CATALOGUE.entries() if ">" in entry.type}


def test_a_data_set_says_what_it_holds() -> None:
    entry = CATALOGUE.get("dataset", "fashion_mnist")
    assert entry is not None
    assert entry.dataset is not None
    assert entry.dataset.feature_shape == (28, 28, 1)
    assert dict(entry.dataset.splits) == {"train": 60000, "test": 10000}
