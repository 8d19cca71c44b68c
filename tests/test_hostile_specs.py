"""Specs written to do harm: each is refused with a fault, without importing, opening or allocating anything."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradloom.documents.messages import MAX_STRUCT_DEPTH
from gradloom.faults import MAX_HINTS
from gradloom.spec import check_job, with_defaults
from gradloom.v1 import job_pb2, spec_pb2
from tests.specs import CATALOGUE, ONE_CPU, changed, faults_of, faults_with

LAYER = "spec.model.layers.2"
CONFIG = "spec.model.layers[2].config"


@pytest.mark.parametrize(
    "type",
    [
        *(
            "Lambda",
            "keras.layers.Dense",
            "keras>Lambda",
            "tf.keras.layers.Dense",
            "os.system",
            "builtins.eval",
            "__lambda__",
        ),
        *(
            "TFSMLayer",
            "TorchModuleWrapper",
            "JaxLayer",
            "FlaxLayer",
            "Layer",
            "Wrapper",
            "function",
            "Functional",
            "Model",
        ),
        *("../Dense", "Dense\0", "Dénse", "", "D" * 100_000, "__class__", "deserialize", "serialize", "dense\n"),
    ],
)
def test_a_type_that_the_catalogue_does_not_hold_is_refused(type: str) -> None:
    faults = faults_with(LAYER, {"type": type})
    assert faults.keys() == {"spec.model.layers[2].type"}
    assert len(faults["spec.model.layers[2].type"]) < 300


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kernel_initializer", {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}),
        ("kernel_initializer", {"class_name": "function", "config": "system", "module": "os"}),
        ("kernel_initializer", {"class_name": "function", "config": "relu", "module": "builtins"}),
        ("kernel_initializer", {"class_name": "Zeros", "module": "os", "config": {}}),
        ("kernel_initializer", {"class_name": "Zeros", "module": "keras.src.ops.numpy", "config": {}}),
        ("kernel_initializer", {"class_name": "Zeros", "module": ["keras"], "config": {}}),
        ("kernel_initializer", {"class_name": "Zeros", "config": {"seed": 1}}),
        ("kernel_initializer", {"class_name": ["Zeros"], "config": {}}),
        ("kernel_initializer", {"class_name": "Zeros", "config": [1]}),
        ("kernel_initializer", {"class_name": "Zeros", "spec_name": "x"}),
        ("kernel_initializer", {"type": "Dense", "config": {"units": 1}}),
        ("kernel_initializer", {"class_name": "Zeros", "registered_name": "evil>Zeros", "config": {}}),
        ("kernel_initializer", "os.system"),
        ("kernel_initializer", "get"),
        ("kernel_initializer", 5),
        ("kernel_initializer", [{"class_name": "Zeros"}]),
        ("activation", "deserialize"),
        ("activation", {"class_name": "Lambda", "config": {"function": "x"}}),
        ("activation", "eval"),
        ("dtype", "mixed_float16"),
        ("dtype", {"class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}}),
        ("dtype", {"class_name": "DTypePolicy", "config": {"name": ["float32"]}}),
        ("dtype", {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}),
        ("units", {"class_name": "__numpy__", "config": {"value": [1], "dtype": "int32"}}),
        ("units", {"class_name": "__typespec__", "spec_name": "TensorSpec", "config": [[1], "float32"]}),
        ("units", 1e12),
        ("units", 2**53),
        ("units", -1e12 - 0.5),
        ("units", "4"),
        ("units", True),
        ("units", None),
        ("units", [4]),
        ("use_bias", 1),
        ("lora_rank", 1e300),
        ("name", "a/b"),
        ("name", "другой"),
        ("name", "x" * 65),
        ("quantization_config", {"class_name": "Int8QuantizationConfig", "config": {}}),
        ("quantization_config", {"anything": 1}),
        ("function", "lambda x: x"),
        ("module", "os"),
        ("__class__", "x"),
    ],
)
def test_a_hostile_argument_of_a_layer_is_refused(key: str, value: Any) -> None:
    faults = faults_with(f"{LAYER}.config", {"units": 4, key: value})
    assert faults
    assert all(field.startswith(CONFIG) for field in faults), faults


@pytest.fixture
def roots(tmp_path: Path) -> tuple[str, ...]:
    inside = tmp_path / "roots" / "data"
    inside.mkdir(parents=True)
    (inside / "words.txt").write_text("a\nb\n")
    (tmp_path / "secret.txt").write_text("secret\n")
    (inside / "out").symlink_to(tmp_path)
    (inside / "secret").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "roots" / "data2").mkdir()
    (tmp_path / "roots" / "data2" / "words.txt").write_text("a\n")
    (tmp_path / "link").symlink_to(inside)
    return (str(tmp_path / "link"),)


ESCAPES: list[Callable[[str], str]] = [
    lambda root: "/etc/passwd",
    lambda root: "words.txt",
    lambda root: "./words.txt",
    lambda root: f"file://{root}/words.txt",
    lambda root: "gs://bucket/words.txt",
    lambda root: f"{root}/../../secret.txt",
    lambda root: f"{root}/secret",
    lambda root: f"{root}/out/secret.txt",
    lambda root: f"{os.path.realpath(root)}2/words.txt",
    lambda root: f"{root}/words.txt\0",
    lambda root: root,
    lambda root: "/proc/self/environ",
    lambda root: "/" + "a" * 5000,
    lambda root: "",
]


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("type", ["StringLookup", "TextVectorization", "IntegerLookup"])
def test_a_vocabulary_outside_the_data_roots_is_refused(
    roots: tuple[str, ...], escape: Callable[[str], str], type: str
) -> None:
    faults = faults_with(LAYER, {"type": type, "config": {"vocabulary": escape(roots[0])}}, roots)
    assert "data roots" in faults[f"{CONFIG}.vocabulary"]


@pytest.mark.parametrize("escape", ESCAPES)
def test_data_outside_the_data_roots_are_refused(roots: tuple[str, ...], escape: Callable[[str], str]) -> None:
    faults = faults_with("spec.data.train", {"npz": {"path": escape(roots[0])}}, roots)
    assert "data roots" in faults["spec.data.train.npz.path"]


def test_paths_within_the_data_roots_are_accepted(roots: tuple[str, ...]) -> None:
    for path in (f"{roots[0]}/words.txt", f"{os.path.realpath(roots[0])}/words.txt", f"{roots[0]}/../data/words.txt"):
        assert not faults_with(LAYER, {"type": "StringLookup", "config": {"vocabulary": path}}, roots)
        assert not faults_with("spec.data.train", {"npz": {"path": path}}, roots)


def test_a_vocabulary_nested_in_a_wrapper_is_found() -> None:
    lookup = {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}}
    faults = faults_with(LAYER, {"type": "TimeDistributed", "config": {"layer": lookup}})
    assert faults.keys() == {f"{CONFIG}.layer.config.vocabulary"}


def test_a_lambda_nested_in_wrappers_is_found() -> None:
    layer: dict[str, Any] = {"class_name": "Lambda", "config": {"function": "x"}}
    for _ in range(5):
        layer = {"class_name": "TimeDistributed", "config": {"layer": layer}}
    (field,) = faults_with(LAYER, {"type": "TimeDistributed", "config": {"layer": layer}})
    assert field.endswith("class_name")


@pytest.mark.parametrize("key", ["clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor"])
def test_keras_options_that_are_wrong_under_replicas_name_ours(key: str) -> None:
    field = "spec.variable_groups.0.optimizer"
    faults = faults_with(field, {"type": "Adam", "config": {key: 1.0}})
    assert "use " in faults[f"spec.variable_groups[0].optimizer.config.{key}"]
    assert not faults_with(field, {"type": "Adam", "config": {key: None}})


def keras_config(*layers: dict[str, Any], **changes: Any) -> str:
    inputs = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {"batch_shape": [None, 8, 8], "name": "in"},
    }
    model = {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": [inputs, *layers]}}
    return json.dumps({**model, **changes})


def faults_with_keras_config(text: str, roots: tuple[str, ...] = ()) -> dict[str, str]:
    return faults_with("spec.model", {"keras_config": text}, roots)


DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 10, "name": "d"}}


def test_a_plain_keras_config_is_accepted() -> None:
    assert not faults_with_keras_config(keras_config({"class_name": "Flatten", "config": {}}, DENSE))


@pytest.mark.parametrize(
    "layer",
    [
        {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"value": "x"}}}},
        {"class_name": "__lambda__", "config": {"value": "x"}},
        {"class_name": "function", "config": "eval", "module": "builtins"},
        {**DENSE, "module": "os"},
        {**DENSE, "module": "keras_hub.layers"},
        {**DENSE, "module": "keras.src.ops.numpy", "registered_name": "Dense"},
        {**DENSE, "registered_name": "evil>Dense"},
        {**DENSE, "class_name": "deserialize_keras_object", "module": "keras.saving"},
        {**DENSE, "class_name": "get_file", "module": "keras.utils", "config": {"origin": "http://x"}},
        {**DENSE, "config": {"units": 1e13}},
        {**DENSE, "config": {"units": 10**400}},
        {**DENSE, "config": {"units": float("nan")}},
        {
            **DENSE,
            "config": {
                "units": 10,
                "kernel_initializer": {"class_name": "__numpy__", "config": {"value": [], "dtype": "O"}},
            },
        },
        {
            **DENSE,
            "config": {
                "units": 10,
                "kernel_initializer": {"class_name": "Zeros", "module": "subprocess", "config": {}},
            },
        },
        {
            **DENSE,
            "inbound_nodes": [{"args": [{"class_name": "__tensor__", "config": {"value": [1], "dtype": "float32"}}]}],
        },
        {
            **DENSE,
            "inbound_nodes": [{"args": [], "kwargs": {"x": {"class_name": "__lambda__", "config": {"value": "x"}}}}],
        },
        {**DENSE, "inbound_nodes": [{"args": [[{"class_name": "Lambda", "config": {}}]]}]},
        {**DENSE, "inbound_nodes": [{"args": [{"class_name": "__keras_tensor__", "config": {"shape": [10**20]}}]}]},
        {**DENSE, "inbound_nodes": [[["in", 0, 0, {}]]]},
        {**DENSE, "spec_name": "x"},
        {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
        {"class_name": "StringLookup", "config": {"vocabulary": "file:///etc/passwd"}},
        {"class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}},
        {"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}},
        {"class_name": "Sequential", "config": {"layers": [], "evil": 1}},
        {"class_name": "TimeDistributed", "config": {"layer": {"class_name": "Lambda", "config": {}}}},
        {"class_name": "InputLayer", "config": {"batch_shape": [10**9, 8]}},
        {"class_name": "Dense"},
        {},
        [],
        None,
        "Dense",
    ],
)
def test_a_hostile_layer_of_a_keras_config_is_refused(layer: Any) -> None:
    faults = faults_with_keras_config(keras_config(layer))
    assert faults
    assert all(field.startswith("spec.model.keras_config") for field in faults), faults


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "nonsense",
        "[" * 500_000,
        '{"a":' * 100_000,
        '{"class_name": "Sequential", "class_name": "Functional", "config": {}}',
        keras_config(DENSE, class_name="Lambda"),
        keras_config(DENSE, class_name=["Sequential"]),
        keras_config(DENSE, module="os"),
        keras_config(DENSE, config=None),
        keras_config(DENSE, unknown=1),
        json.dumps({"class_name": "Sequential", "config": {"layers": [DENSE]}}),
        json.dumps(
            {
                "class_name": "Sequential",
                "config": {"layers": [{**DENSE, "config": {"name": f"d{i}", "units": 1}} for i in range(5000)]},
            }
        ),
        keras_config(DENSE, DENSE),
    ],
)
def test_a_hostile_keras_config_is_refused(text: str) -> None:
    faults = faults_with_keras_config(text)
    assert faults
    assert all(field.startswith("spec.model.keras_config") for field in faults), faults


def test_a_model_in_a_model_is_followed_only_so_deep() -> None:
    layer: dict[str, Any] = DENSE
    for depth in range(200):
        layer = {"class_name": "Sequential", "config": {"name": f"m{depth}", "layers": [layer]}}
    assert "levels deep" in "".join(faults_with_keras_config(keras_config(layer)).values())


def test_a_hundred_thousand_layers_are_one_fault() -> None:
    faults = faults_with("spec.model.layers", [{"type": "Flatten"}] * 90_000)
    assert faults == {"spec.model.layers": "must be at most 2000; got 90000"}


def test_more_than_a_mebibyte_of_spec_is_refused() -> None:
    assert "at most 1048576 bytes" in faults_with("spec.loss.config", {"name": "x" * (1 << 20)})["spec"]


def test_a_config_deeper_than_the_wire_allows_is_refused_unwalked() -> None:
    job = changed("spec.loss.config", {})
    struct = job.spec.loss.config
    for _ in range(400):
        struct = struct.fields["a"].struct_value
    struct.SetInParent()
    assert {fault.field for fault in faults_of(job)} == {"spec.loss.config"}


@pytest.mark.parametrize("kind", ["struct_value", "list_value"])
@pytest.mark.parametrize("levels", [MAX_STRUCT_DEPTH - 1, MAX_STRUCT_DEPTH, MAX_STRUCT_DEPTH + 1])
def test_a_config_may_be_as_deep_as_its_limit_and_no_deeper(kind: str, levels: int) -> None:
    value = struct_pb2.Value(number_value=1)
    for _ in range(levels):
        if kind == "struct_value":
            value = struct_pb2.Value(struct_value=struct_pb2.Struct(fields={"a": value}))
        else:
            value = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[value]))
    job = changed("spec.loss.config", {})
    job.spec.loss.config.fields["a"].CopyFrom(value)
    told = [fault.description for fault in faults_of(job) if "levels deep" in fault.description]
    assert bool(told) == (levels > MAX_STRUCT_DEPTH)


def test_many_unknown_names_cost_no_more_than_a_few() -> None:
    told = faults_with("spec.loss.config", {f"frm_logits{i}": 1 for i in range(20_000)})
    assert len(told) == 101
    assert sum("did you mean" in description for description in told.values()) == MAX_HINTS


@pytest.mark.parametrize("pattern", ["", "x" * 301])
def test_a_pattern_has_a_length(pattern: str) -> None:
    assert faults_with("spec.variable_groups.0.match", [pattern]).keys() == {"spec.variable_groups[0].match[0]"}


def test_names_are_shown_and_not_printed_raw() -> None:
    descriptions = "".join(faults_with("spec.model.layers.1.type", "\x1b[31m\u202e\n[red]").values())
    assert descriptions.isprintable()


_JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["Dense", "Lambda", "relu", "/etc/passwd", "L2", "float32", "__lambda__", "function", ""])
    | st.text(max_size=8).filter(lambda text: text.isprintable()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["class_name", "config", "module", "type", "layers", "name", "units", "inbound_nodes", "layer"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(_JUNK, st.sampled_from([f"{LAYER}.config.units", f"{LAYER}.config.kernel_initializer", f"{LAYER}.config.dtype"]))
def test_any_argument_is_accepted_or_refused_without_an_exception(value: Any, path: str) -> None:
    faults_of(changed(path, value))


@settings(max_examples=300, deadline=None)
@given(_JUNK)
def test_any_keras_config_is_accepted_or_refused_without_an_exception(value: Any) -> None:
    faults_with_keras_config(json.dumps(value))
    faults_with_keras_config(keras_config(value))


_STRINGS = st.sampled_from(
    [
        *(
            "",
            "a",
            "a:1",
            "a:99999",
            "val_loss",
            "loss",
            "**",
            "../x",
            "/etc/passwd",
            "fashion_mnist",
            "train",
            "x" * 400,
        ),
        *(
            "Input",
            "Dense",
            "gradloom>SparseMLP",
            "Adam",
            "ScheduleFreeAdamW",
            "CosineDecay",
            "\x1b[31m",
            "projects/a/jobs/b",
        ),
    ]
)
_VALUES = {
    FieldDescriptor.CPPTYPE_INT32: st.sampled_from([-(2**31), -1, 0, 1, 2, 3, 100, 2**31 - 1]),
    FieldDescriptor.CPPTYPE_INT64: st.sampled_from([-(2**63), -1, 0, 1, 2**31, 2**63 - 1]),
    FieldDescriptor.CPPTYPE_DOUBLE: st.sampled_from(
        [math.nan, math.inf, -math.inf, -1.0, 0.0, 5e-324, 0.5, 1.0, 1e308]
    ),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 2**31 - 1]),
    FieldDescriptor.CPPTYPE_STRING: _STRINGS,
}


def _filled(draw: st.DrawFn, message: Any) -> Any:
    """The message with some of its fields set to what is allowed on the wire, sensible or not."""
    if isinstance(message, struct_pb2.Struct):
        message.update({draw(_STRINGS): draw(st.sampled_from([1.0, "relu", [8.0], {"type": "CosineDecay"}, math.nan]))})
        return message
    for field in message.DESCRIPTOR.fields:
        if draw(st.integers(0, 2)) == 0:
            continue
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            parts = field.message_type.fields_by_name
            for _ in range(draw(st.integers(0, 2))):
                key = draw(_VALUES[parts["key"].cpp_type])
                if parts["value"].message_type is not None:
                    _filled(draw, value[key])
                else:
                    value[key] = draw(_VALUES[parts["value"].cpp_type])
        elif field.message_type is not None:
            for part in [value.add() for _ in range(draw(st.integers(0, 3)))] if field.is_repeated else [value]:
                part.SetInParent()
                _filled(draw, part)
        elif field.is_repeated:
            value.extend(draw(st.lists(_VALUES[field.cpp_type], max_size=3)))
        else:
            setattr(message, field.name, draw(_VALUES[field.cpp_type]))
    return message


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.composite(lambda draw: _filled(draw, spec_pb2.JobSpec()))())
def test_any_spec_is_accepted_or_refused_without_an_exception_and_has_defaults(spec: spec_pb2.JobSpec) -> None:
    faults = faults_of(job_pb2.Job(spec=spec), ("/data",))
    assert all(fault.field.startswith("spec") and fault.description.isprintable() for fault in faults)
    filled = with_defaults(spec, seed=1)
    assert with_defaults(filled, seed=2).SerializeToString(deterministic=True) == filled.SerializeToString(
        deterministic=True
    )


def test_tens_of_thousands_of_class_weights_transformations_or_outputs_cost_little_to_refuse() -> None:
    job = changed("spec.training.class_weights", {number: -1 for number in range(40_000)})
    assert len(faults_of(job)) == 101
    job = changed("spec.variable_groups.0.gradient_transformations", [{"type": "x"}] * 90_000)
    assert len(faults_of(job)) == 1
    job = changed("spec.outputs", {f"o{number}": {} for number in range(50_000)})
    assert "spec.outputs" in {fault.field for fault in faults_of(job)}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_message_is_accepted_or_refused_without_an_exception(data: bytes) -> None:
    job = job_pb2.Job()
    try:
        job.ParseFromString(data)
    except Exception:
        return
    check_job(job, CATALOGUE, (), ONE_CPU)


def test_the_name_of_an_output_reaches_no_message_as_it_is() -> None:
    spec = spec_pb2.JobSpec(training={"checkpoint": {"best": "a"}}, outputs={"\033[31m": {}}, model={"layers": [{}]})
    told = [fault.description for fault in check_job(job_pb2.Job(spec=spec), CATALOGUE, ("/data",), ONE_CPU)]
    assert told
    assert all(description.isprintable() for description in told)
