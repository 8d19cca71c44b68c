"""Edits of a job: by a mask, else by what is set."""

import pytest
from google.protobuf import field_mask_pb2

from gradloom.documents import job_from_dict
from gradloom.errors import InvalidRequestError
from gradloom.field_masks import MAX_PATHS, edited
from gradloom.v1 import job_pb2

OLD = {
    "display_name": "old",
    "labels": {"team": "vision", "a.b": "1"},
    "spec": {
        "loss": {"type": "MeanSquaredError", "config": {"reduction": "sum", "name": "mse"}},
        "metrics": [{"type": "MeanAbsoluteError"}, {"type": "MeanSquaredError"}],
        "training": {"epochs": 3, "global_batch_size": 16, "early_stopping": {"patience": 4, "min_delta": 0.5}},
    },
}


def after(changes: dict, *paths: str) -> job_pb2.Job:
    mask = field_mask_pb2.FieldMask(paths=paths) if paths else None
    return edited(job_from_dict(OLD), job_from_dict(changes), mask)


def wanted(**fields) -> job_pb2.Job:
    return job_from_dict(OLD | fields)


def with_training(**fields) -> job_pb2.Job:
    return wanted(spec=OLD["spec"] | {"training": OLD["spec"]["training"] | fields})


def test_without_a_mask_what_is_set_is_taken_and_all_else_stays():
    assert after({}) == wanted()
    assert after({"spec": {"training": {"epochs": 5}}}) == with_training(epochs=5)
    assert after({"display_name": "new"}) == wanted(display_name="new")


def test_without_a_mask_lists_maps_and_configs_are_taken_as_a_whole():
    assert after({"labels": {"x": "y"}}) == wanted(labels={"x": "y"})
    metrics = [{"type": "Accuracy"}]
    assert after({"spec": {"metrics": metrics}}) == wanted(spec=OLD["spec"] | {"metrics": metrics})
    loss = {"config": {"name": "other"}}
    assert after({"spec": {"loss": loss}}) == wanted(spec=OLD["spec"] | {"loss": OLD["spec"]["loss"] | loss})


def test_a_message_that_is_set_and_empty_is_there_afterwards_and_as_it_was_if_it_was():
    assert after({"spec": {"training": {"early_stopping": {}}}}) == wanted()
    assert after({"spec": {"retry": {}}}).spec.HasField("retry")


def test_a_mask_takes_its_fields_alone():
    changes = {"display_name": "new", "labels": {"x": "y"}, "spec": {"training": {"epochs": 5, "seed": 1}}}
    assert after(changes, "spec.training.epochs") == with_training(epochs=5)
    assert after(changes, "display_name", "labels") == wanted(display_name="new", labels={"x": "y"})
    assert after(changes, "*") == job_from_dict(changes)
    assert after(changes, "spec") == wanted(spec=changes["spec"])


def test_a_field_of_the_mask_that_is_unset_is_cleared():
    without = {name: value for name, value in OLD["spec"]["training"].items() if name != "early_stopping"}
    assert after({}, "spec.training.early_stopping") == wanted(spec=OLD["spec"] | {"training": without})
    assert after({}, "labels", "display_name") == job_from_dict({"spec": OLD["spec"]})
    assert not after({}, "spec.training.early_stopping.patience").spec.training.early_stopping.HasField("patience")
    assert after({}, "spec.retry.max_attempts", "spec.resources.gpus") == wanted(), "nothing is made to be cleared"


def test_a_key_of_a_map_is_taken_or_cleared_by_itself():
    changes = {"labels": {"team": "speech", "new": "1"}}
    assert after(changes, "labels.team") == wanted(labels=OLD["labels"] | {"team": "speech"})
    assert after(changes, "labels.a.b", "labels.new", "labels.none") == wanted(labels={"team": "vision", "new": "1"})
    outputs = {"spec": {"outputs": {"a": {"loss": {"type": "Huber"}}, "b": {"loss": {"type": "Huber"}}}}}
    assert list(after(outputs, "spec.outputs.a").spec.outputs) == ["a"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("state", "must begin with one of display_name, labels, priority, spec"),
        ("uid", "must begin with one of"),
        ("", "must begin with one of"),
        ("*", "or be * alone"),
        ("labels.", "must name a key of labels, which matches [a-z]("),
        ("labels.Team", 'must name a key of labels, which matches [a-z]([-_a-z0-9./]{0,62}); got "labels.Team"'),
        ("labels.`team`", "must name a key of labels"),
        ("labels.a b", "must name a key of labels"),
        ("labels.team ", "must name a key of labels"),
        (f"labels.{'a' * 64}", "must name a key of labels"),
        ("spec.outputs.", "must name a key of spec.outputs"),
        ("spce.training", 'did you mean "spec"'),
        ("spec.training.epoch", 'TrainingSpec has no "epoch"; did you mean "epochs"'),
        ("spec.", 'JobSpec has no ""'),
        ("spec.variable_groups[0]", "JobSpec has no"),
        ("spec.variable_groups.0.optimizer", "must name spec.variable_groups as a whole"),
        ("spec.loss.config.name", "must name spec.loss.config as a whole"),
        ("spec.training.epochs.x", "must name spec.training.epochs as a whole"),
        ("spec.training.class_weights.3", "must name spec.training.class_weights as a whole"),
        ("display_name.x", "must name display_name as a whole"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_the_rule(path, told):
    with pytest.raises(InvalidRequestError) as refusal:
        after({}, "labels", path)
    (fault,) = refusal.value.faults
    assert fault.field == "update_mask.paths[1]"
    assert told in fault.description


def test_a_mask_of_very_many_paths_is_refused():
    with pytest.raises(InvalidRequestError, match=f"at most {MAX_PATHS} paths"):
        after({}, *["spec"] * (MAX_PATHS + 1))
