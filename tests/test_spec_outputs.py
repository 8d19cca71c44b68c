"""The rules of models with several outputs: losses, metrics, labels and weights of each."""

import copy
from typing import Any

import pytest

from gradloom import documents
from gradloom.spec import with_defaults
from tests.specs import SOUND, faults_of

LOSS = {"type": "MeanSquaredError"}
TWO_OUTPUTS: dict[str, Any] = {
    "spec": {
        **copy.deepcopy(SOUND["spec"]),
        "model": {
            "layers": [*SOUND["spec"]["model"]["layers"], {"type": "Dense", "name": "size", "config": {"units": 1}}],
            "outputs": ["classifier", "size"],
        },
        "data": {"train": {"npz": {"path": "/data/x.npz", "labels": {"classifier": "class", "size": "size"}}}},
        "outputs": {
            "classifier": {"loss": SOUND["spec"]["loss"], "metrics": SOUND["spec"]["metrics"]},
            "size": {"loss": LOSS, "weight": 0.5, "metrics": [{"type": "MeanAbsoluteError"}]},
        },
    }
}
del TWO_OUTPUTS["spec"]["loss"], TWO_OUTPUTS["spec"]["metrics"]


def faults(**changes: Any) -> dict[str, str]:
    """What the control plane says of the job with two outputs, after changes below `spec`; None takes a field away."""
    document = copy.deepcopy(TWO_OUTPUTS)
    document["spec"].update(changes)
    job = documents.job_from_dict(document)
    return {fault.field: fault.description for fault in faults_of(job, ("/data",))}


def outputs(**changes: Any) -> dict[str, Any]:
    both = copy.deepcopy(TWO_OUTPUTS["spec"]["outputs"])
    return {name: output for name, output in {**both, **changes}.items() if output is not None}


def npz(**changes: Any) -> dict[str, Any]:
    return {"train": {"npz": {**TWO_OUTPUTS["spec"]["data"]["train"]["npz"], **changes}}}


def test_a_model_with_two_outputs_is_accepted() -> None:
    assert faults() == {}
    assert faults(training={"early_stopping": {"monitor": "size_mean_absolute_error"}}) == {}
    assert faults(data={"train": {"builtin": {"name": "digits"}}}) == {}
    assert faults(data=npz(labels={}, label="both", sample_weight="weight")) == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"loss": LOSS}, "spec.loss"),
        ({"metrics": [{"type": "Accuracy"}]}, "spec.metrics"),
        ({"outputs": {}, "data": {"train": {"builtin": {"name": "digits"}}}}, "spec.outputs"),
        ({"outputs": outputs(size=None), "data": npz(labels={"classifier": "class"})}, "spec.outputs"),
        ({"outputs": outputs(hidden={"loss": LOSS}), "data": npz(labels={}, label="x")}, "spec.outputs.hidden"),
        ({"outputs": outputs(size={})}, "spec.outputs.size.loss"),
        ({"outputs": outputs(size={"loss": {"type": "Adam"}})}, "spec.outputs.size.loss.type"),
        ({"outputs": outputs(size={"loss": LOSS, "weight": -1})}, "spec.outputs.size.weight"),
        ({"outputs": outputs(size={"loss": LOSS, "weight": "Infinity"})}, "spec.outputs.size.weight"),
        ({"outputs": {name: {"loss": LOSS, "weight": 0} for name in ("classifier", "size")}}, "spec.outputs"),
        (
            {"outputs": outputs(size={"loss": {**LOSS, "config": {"reduction": "sum"}}})},
            "spec.outputs.size.loss.config.reduction",
        ),
        (
            {"outputs": outputs(size={"loss": LOSS, "metrics": [{"type": "MeanAbsoluteError", "name": "loss"}]})},
            "spec.outputs.size.metrics[0].name",
        ),
        (
            {"outputs": outputs(size={"loss": LOSS, "metrics": [{"type": "MeanAbsoluteError"}] * 2})},
            "spec.outputs.size.metrics[1].name",
        ),
        ({"data": npz(labels={"classifier": "class"})}, "spec.data.train.npz.labels"),
        ({"data": npz(labels={"classifier": "a", "size": ""})}, "spec.data.train.npz.labels.size"),
        ({"data": npz(labels={"classifier": "a", "size": "b", "siez": "c"})}, "spec.data.train.npz.labels.siez"),
        ({"data": npz(label="x")}, "spec.data.train.npz.labels"),
        ({"data": npz(sample_weight="")}, "spec.data.train.npz.sample_weight"),
        ({"training": {"class_weights": {0: 2}}}, "spec.training.class_weights"),
        ({"training": {"early_stopping": {"monitor": "accuracy"}}}, "spec.training.early_stopping.monitor"),
    ],
)
def test_a_broken_rule_of_outputs_is_told_at_its_field_and_nothing_else_is(changes: Any, field: str) -> None:
    assert list(faults(**changes)) == [field]


def test_labels_by_output_need_outputs() -> None:
    document = copy.deepcopy(SOUND)
    document["spec"]["data"] = npz()
    told = faults_of(documents.job_from_dict(document), ("/data",))
    assert [fault.field for fault in told] == ["spec.data.train.npz.labels"]


def test_scalars_of_different_outputs_that_would_have_one_name_are_refused() -> None:
    model = {"layers": [*SOUND["spec"]["model"]["layers"], {"type": "Dense", "name": "a_b", "config": {"units": 1}}]}
    model["layers"][3] = {"type": "Dense", "name": "a", "config": {"units": 1}}
    by_name = {"a": {"loss": LOSS, "metrics": [{"type": "MeanAbsoluteError", "name": "b_loss"}]}, "a_b": {"loss": LOSS}}
    told = faults(model={**model, "outputs": ["a", "a_b"]}, outputs=by_name, data=npz(labels={}, label="x"))
    assert told == {
        "spec.outputs.a_b": 'must give a scalar of its own; "a_b_loss" is that of spec.outputs.a.metrics[0]'
    }


def test_an_output_may_not_be_named_so_that_its_loss_reads_as_that_of_the_validation_data() -> None:
    layers = [*SOUND["spec"]["model"]["layers"][:3], {"type": "Dense", "name": "val", "config": {"units": 1}}]
    told = faults(
        model={"layers": layers, "outputs": ["hidden", "val"]},
        outputs={"hidden": {"loss": LOSS}, "val": {"loss": LOSS}},
        data=npz(labels={}, label="x"),
    )
    assert list(told) == ["spec.outputs.val"]


def test_one_layer_may_give_several_outputs() -> None:
    layers = [*SOUND["spec"]["model"]["layers"][:2], {"type": "LSTM", "name": "lstm", "config": {"units": 3}}]
    layers[1] = {"type": "Reshape", "config": {"target_shape": [8, 8]}}
    layers[2]["config"]["return_state"] = True
    layers.append({"type": "Dense", "name": "head", "inputs": ["lstm:2"], "config": {"units": 1}})
    told = faults(
        model={"layers": layers, "outputs": ["lstm", "lstm:1", "head"]},
        outputs={name: {"loss": LOSS} for name in ("lstm", "lstm:1", "head")},
        data=npz(labels={}, label="x"),
    )
    assert told == {}


def test_an_output_is_named_once_however_it_is_written() -> None:
    named = {name: {"loss": LOSS} for name in ("classifier", "size", "size:0")}
    model = {**TWO_OUTPUTS["spec"]["model"], "outputs": list(named)}
    assert list(faults(model=model, outputs=named, data=npz(labels={}, label="x"))) == ["spec.model.outputs[2]"]


def test_outputs_of_a_builder_are_for_the_trainer_to_know() -> None:
    model = {"builder": {"type": "gradloom>SparseMLP", "config": {"units": 4, "hidden_units": [8]}}}
    named = {name: {"loss": LOSS} for name in ("one", "two:1")}
    assert faults(model=model, outputs=named, data=npz(labels={}, label="x")) == {}
    told = faults(model=model, outputs={**named, "not a name": {"loss": LOSS}}, data=npz(labels={}, label="x"))
    assert list(told) == ['spec.outputs["not a name"]']


def test_every_output_weighs_one_and_its_metrics_have_names_by_default() -> None:
    filled = with_defaults(documents.job_from_dict(TWO_OUTPUTS).spec, seed=1)
    assert filled.outputs["classifier"].weight == 1
    assert filled.outputs["size"].weight == 0.5
    assert filled.outputs["size"].metrics[0].name == "mean_absolute_error"
    assert not filled.data.train.npz.HasField("label")
    assert with_defaults(filled, seed=2) == filled


def test_an_autoencoder_may_name_its_features_as_its_labels() -> None:
    document = copy.deepcopy(SOUND)
    document["spec"]["data"] = {"train": {"npz": {"path": "/data/x.npz", "features": "x", "label": "x"}}}
    assert faults_of(documents.job_from_dict(document), ("/data",)) == []
    document["spec"]["data"]["train"]["npz"] = {"path": "/data/x.npz", "features": "label"}
    (fault,) = faults_of(documents.job_from_dict(document), ("/data",))
    assert fault.field == "spec.data.train.npz.features"
