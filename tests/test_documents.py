"""Job files: what is read, and how faults are told."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom import documents
from gradloom.errors import InvalidRequestError
from gradloom.faults import MAX_FAULTS, MAX_HINTS
from gradloom.v1 import spec_pb2
from tests.specs import SOUND

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.yaml"))


def faults_in(text: str) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        documents.read_job(text)
    return {fault.field: fault.description for fault in caught.value.faults}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_survives_the_way_to_plain_values_and_back(path: Path) -> None:
    job = documents.read_job(path.read_text())
    assert documents.job_from_dict(documents.job_to_dict(job)) == job
    assert documents.read_job(json.dumps(documents.job_to_dict(job))) == job


def test_yaml_is_read_by_version_1_2() -> None:
    job = documents.read_job(
        "labels: {a: on, b: no, c: 2026-01-01, d: '5', e: 1:30}\n"
        "spec: {loss: {type: x, config: {a: 1e-4, b: 0o17, c: 0x1F, d: ~, e: true, f: .5, g: off}}}"
    )
    assert job.labels == {"a": "on", "b": "no", "c": "2026-01-01", "d": "5", "e": "1:30"}
    config = documents.job_to_dict(job)["spec"]["loss"]["config"]
    assert config == {"a": 1e-4, "b": 15, "c": 31, "d": None, "e": True, "f": 0.5, "g": "off"}


def test_the_keys_of_class_weights_are_numbers_as_yaml_and_as_json_write_them() -> None:
    job = documents.read_job("spec: {training: {class_weights: {0: 1, '7': 2.5, 0x9: .5}}}")
    assert job.spec.training.class_weights == {0: 1.0, 7: 2.5, 9: 0.5}
    assert documents.read_job(json.dumps(documents.job_to_dict(job))) == job


def test_outputs_are_messages_by_name_and_enums_names() -> None:
    job = documents.read_job(
        "spec: {outputs: {a: {weight: 2, loss: {type: Huber}}, 'b:1': {}}, data: {train: {npz: {labels: {a: x}}}},"
        " training: {precision: MIXED_FLOAT16, jit_compile: AUTO}}"
    )
    assert job.spec.outputs["a"] == spec_pb2.OutputSpec(weight=2, loss=spec_pb2.Component(type="Huber"))
    assert job.spec.outputs.keys() == {"a", "b:1"}
    assert job.spec.data.train.npz.labels == {"a": "x"}
    assert job.spec.training.precision == spec_pb2.TrainingSpec.MIXED_FLOAT16
    assert documents.read_job(json.dumps(documents.job_to_dict(job))) == job


def test_faults_within_maps_are_told_at_once_with_their_paths() -> None:
    faults = faults_in("""
spec:
  outputs: {a: {wieght: 1, loss: [], metrics: {}}, b: 3, c: null, 7: {}}
  data: {train: {npz: {labels: {a: 5, b: null, c: [x]}}}}
  training:
    class_weights: {0: heavy, 1: null, cat: 1, 2: [1], 3: 1, "3": 2, 4.5: 1, 99999999999: 1}
    precision: FLOAT23
    early_stopping: {monitor: 5, patience: many, restore_best: 1, min_dela: 0}
    checkpoint: 30
""")
    assert sorted(faults) == [
        *("spec.data.train.npz.labels.a", "spec.data.train.npz.labels.b", "spec.data.train.npz.labels.c"),
        *("spec.outputs", "spec.outputs.a.loss", "spec.outputs.a.metrics", "spec.outputs.a.wieght", "spec.outputs.b"),
        *("spec.outputs.c", "spec.training.checkpoint", "spec.training.class_weights"),
        *(f"spec.training.class_weights[{number}]" for number in (0, 1, 2, 3)),
        *(f"spec.training.early_stopping.{name}" for name in ("min_dela", "monitor", "patience", "restore_best")),
        "spec.training.precision",
    ]
    assert 'did you mean "FLOAT32"?' in faults["spec.training.precision"]


def test_field_names_are_snake_case_or_lower_camel_case() -> None:
    job = documents.read_job(
        '{"displayName": "x", "spec": {"variableGroups": [{"name": "a"}], "model": {"name": "m"}}}'
    )
    assert (job.display_name, job.spec.variable_groups[0].name) == ("x", "a")


def test_every_fault_is_told_at_once_with_its_path() -> None:
    assert faults_in("""
labels: {size: 5}
spec:
  modle: {}
  model: {layers: [{type: Dense, config: {units: 18014398509481984}, name: 7}]}
  variable_groups: [{name: a, optimiser: {type: SGD}}]
  training: {epochs: three, seed: 99999999999999999999, deterministic: 1, clip_norm: high}
  export: {formats: [SAVEDMODEL]}
  training: {}
""").keys() == {
        "labels.size",
        "spec.modle",
        "spec.model.layers[0].config.units",
        "spec.model.layers[0].name",
        "spec.variable_groups[0].optimiser",
        "spec.training.epochs",
        "spec.training.seed",
        "spec.training.deterministic",
        "spec.training.clip_norm",
        "spec.export.formats[0]",
        "spec.training",
    }


def test_an_unknown_field_comes_with_the_nearest_known_one() -> None:
    assert 'did you mean "variable_groups"?' in faults_in("spec: {variablegroup: []}")["spec.variablegroup"]
    assert (
        'did you mean "SAVED_MODEL"?' in faults_in("spec: {export: {formats: [SAVEDMODEL]}}")["spec.export.formats[0]"]
    )


def test_a_field_that_stands_elsewhere_comes_with_its_place() -> None:
    faults = faults_in("spec: {epochs: 3, optimizer: {type: SGD}, name: x, monitor: loss, nothing: 1}\nbuiltin: {}")
    assert {field: text.partition("; ")[2] for field, text in faults.items()} == {
        "spec.epochs": "did you mean spec.training.epochs?",
        "spec.optimizer": "did you mean spec.variable_groups[0].optimizer?",
        "spec.name": "",
        "spec.monitor": "did you mean spec.variable_groups[0].reduce_on_plateau.monitor or "
        "spec.training.early_stopping.monitor?",
        "spec.nothing": "",
        "builtin": "",
    }


@pytest.mark.parametrize(
    ("text", "field", "hint"),
    [
        ("optimizer: adam", "variable_groups[0].optimizer", "; write {type: Adam}"),
        ("learning_rate: 0.1", "variable_groups[0].learning_rate", "a number goes into optimizer.config.learning_rate"),
        ("learning_rate: cosine", "variable_groups[0].learning_rate", "; write {type: CosineDecay, config: {...}}"),
        (
            "gradient_transformations: center",
            "variable_groups[0].gradient_transformations",
            "; write [{type: gradloom>CentralizeGradient}]",
        ),
        ("outputs: {a: {loss: mse}}", "outputs.a.loss", "; write {type: MeanSquaredError}"),
        ("loss: mse", "loss", "; write {type: MeanSquaredError}"),
        ("metrics: accuracy", "metrics", "; write [{type: SparseCategoricalAccuracy}]"),
        ("metrics: [accuracy]", "metrics[0]", "; write {type: SparseCategoricalAccuracy}"),
    ],
)
def test_a_component_in_short_form_comes_with_the_long_one(text: str, field: str, hint: str) -> None:
    within = f"{{variable_groups: [{{{text}}}]}}" if field.startswith("variable") else f"{{{text}}}"
    faults = faults_in(f"spec: {within}")
    assert faults.keys() == {f"spec.{field}"}
    assert faults[f"spec.{field}"].endswith(hint)


def test_a_spec_without_its_job_is_explained() -> None:
    faults = faults_in("model: {}\ndata: {}\ntraning: {}")
    assert "write `spec:`" in faults["spec"]
    assert 'did you mean "training"?' in faults["spec.traning"]


def test_near_names_are_told_of_the_first_unknown_fields_and_of_values_alike_within_one_limit() -> None:
    layers = [{"type": "Dense", "nam": "x"}] * (MAX_HINTS - 1)
    document = {"spec": {"model": {"layers": layers}, "training": {"jit_compile": "AUT", "epoch": 1}}}
    told = [" did you mean " in description for description in faults_in(json.dumps(document)).values()]
    assert told == [True] * MAX_HINTS + [False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("[1, 2]", "must be a mapping"),
        ("--- {}\n--- {}", "must be one document"),
        ("a: [1", "is not YAML: line 1"),
        ("\0", "is not YAML"),
        ("a: &x [*x]", "no anchor"),
        ("a: *nowhere", "no anchor"),
        ("[" * 100_000, "at most 100 levels"),
        ("{" * 100_000, "at most 100 levels"),
        ('{"a":' * 50_000, "at most 100 levels"),
        ("- " * 400_000, "at most 100 levels"),
        ("x" * (1 << 21), "at most 1048576 bytes"),
        ("&a " * 1000 + "x", "is not YAML"),
    ],
)
def test_a_text_that_is_no_job_file_is_one_fault(text: str, expected: str) -> None:
    (description,) = faults_in(text).values()
    assert expected in description


def test_an_alias_bomb_is_refused_before_it_is_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert "at most 200000 values" in "".join(faults_in("\n".join(lines)).values())


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!binary", "!!timestamp", "!mine", "!!set"])
def test_tags_make_no_objects(tag: str) -> None:
    assert "tag" in faults_in(f"labels: {{a: {tag} 'x'}}")["labels.a"]


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1e999"])
def test_a_config_holds_finite_numbers_only(number: str) -> None:
    assert "finite" in faults_in(f"spec: {{loss: {{config: {{x: [{number}]}}}}}}")["spec.loss.config.x[0]"]


@pytest.mark.parametrize("text", ['{"display_name": "\\ud800"}', '{"spec": {"loss": {"config": {"x": "\\udfff"}}}}'])
def test_a_lone_surrogate_is_no_text(text: str) -> None:
    assert len(faults_in(text)) == 1


def test_a_config_may_be_nested_only_as_deeply_as_a_message_can_be_sent() -> None:
    nested: object = 1
    for _ in range(24):
        nested = {"a": nested}
    document = {"spec": {"loss": {"type": "x", "config": {"a": nested}}}}
    job = documents.job_from_dict(document)
    assert spec_pb2.JobSpec.FromString(job.spec.SerializeToString()) == job.spec
    document["spec"]["loss"]["config"]["a"] = {"a": nested}
    with pytest.raises(InvalidRequestError, match="at most 24 levels"):
        documents.job_from_dict(document)


def test_a_thousand_faults_are_counted_and_not_all_told() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        documents.job_from_dict({"spec": {f"x{i}": 1 for i in range(1000)}})
    assert len(caught.value.faults) == 101
    assert "900 more" in caught.value.faults[-1].description


_KEYS = st.text(max_size=5) | st.integers() | st.sampled_from(["type", "loss", "monitor", "labels", "job", "0"])
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)
_OPTIONS = [field.name for field in spec_pb2.TrainingSpec.DESCRIPTOR.fields]
_GROUP_OPTIONS = [field.name for field in spec_pb2.VariableGroup.DESCRIPTOR.fields]


@settings(max_examples=300, deadline=None)
@given(_PLAIN, st.sampled_from(["labels", "spec", "model", "layers", "config", "training", "outputs", "group", "npz"]))
def test_any_document_is_a_job_or_is_refused(value: object, where: str) -> None:
    document: dict[str, object] = {
        "labels": {"labels": value},
        "spec": {"spec": value},
        "model": {"spec": {"model": value}},
        "layers": {"spec": {"model": {"layers": [value]}}},
        "config": {"spec": {"loss": {"config": value}}},
        "training": {"spec": {"training": dict.fromkeys(_OPTIONS, value)}},
        "outputs": {"spec": {"outputs": {"outputs": value}, "user_code": value}},
        "group": {"spec": {"variable_groups": [dict.fromkeys(_GROUP_OPTIONS, value)]}},
        "npz": {"spec": {"data": {"train": {"npz": {"labels": value, "sample_weight": value}}}}},
    }[where]  # type: ignore[assignment]
    with suppress(InvalidRequestError):
        documents.job_from_dict(document)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        documents.read_job(text + "\nlables: 1")


def test_the_sound_job_of_the_tests_is_read() -> None:
    assert documents.job_from_dict(SOUND).spec.model.layers[2].name == "hidden"


@pytest.mark.parametrize(
    ("text", "unread"),
    [
        ("spce: {}", ["spec"]),
        ("spec: {modle: {}}", ["spec.model"]),
        ("spec: {modle: {}, model: null}", ["spec.model"]),
        ("spec: {modle: {}, model: {}}", []),
        ("spec: {training: {globalBatchSize: 8, global_batch_sise: 9}}", []),
        ("spec: {model: {layers: [{tpye: Dense}, {tpye: Dense, type: Dense}]}}", ["spec.model.layers[0].type"]),
        ("spec: {outputs: {a: {los: {}}, b: {los: {}, loss: {}}}}", ["spec.outputs.a.loss"]),
        # Near to a field that is given, and to one that is not.
        (
            "spec: {training: {step_timeout_seconds: 5, step_timeout_second: 6}}",
            ["spec.training.stage_timeout_seconds"],
        ),
        ("spec: {zzz: 1, training: {7: 1}}", []),
    ],
)
def test_an_unknown_key_may_be_meant_for_the_nearest_field_that_is_not_given(text: str, unread: list[str]) -> None:
    draft = documents.read_draft(text)
    assert draft.faults
    assert draft.unread == unread


def test_every_misspelt_name_takes_its_field_s_place_as_long_as_all_faults_are_told() -> None:
    layers = [{"tpye": "Dense"}] * (MAX_FAULTS + 10)
    draft = documents.draft_from_dict({"spec": {"model": {"layers": layers}}})
    assert draft.unread == [f"spec.model.layers[{position}].type" for position in range(MAX_FAULTS)]
