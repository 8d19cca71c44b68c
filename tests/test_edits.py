"""Changes to a job as people write them, as what RetryJob takes: the changed fields and the mask that names them."""

from typing import Any

import pytest

from gradloom.client.edits import Edit, edited, edits_of_document, parse_edits
from gradloom.documents import job_from_dict, job_to_dict
from gradloom.errors import InvalidRequestError
from gradloom.v1 import job_pb2

DOCUMENT: dict[str, Any] = {
    "display_name": "digits",
    "labels": {"team": "vision", "cost-center": "7"},
    "spec": {
        "model": {"layers": [{"type": "Input", "config": {"shape": [8, 8]}}, {"type": "Flatten"}]},
        "data": {"train": {"builtin": {"name": "digits"}, "range": {"to": 100}}},
        "loss": {"type": "SparseCategoricalCrossentropy", "config": {"from_logits": True}},
        "variable_groups": [
            {"name": "lower", "match": ["a/**"], "optimizer": {"type": "Adam", "config": {"learning_rate": 1e-4}}},
            {"name": "upper", "match": ["b/**"], "optimizer": {"type": "SGD"}},
        ],
        "training": {"epochs": 3, "steps_per_epoch": 10, "class_weights": {"0": 2.0}},
    },
}


def old_job() -> job_pb2.Job:
    job: job_pb2.Job = job_from_dict(DOCUMENT)
    job.name, job.state = "projects/default/jobs/old", job_pb2.Job.FAILED
    job.progress.scalars["loss"] = float("nan")
    return job


def written(*edits: str) -> tuple[dict[str, Any], list[str]]:
    """What is sent of the job, as a document, and the paths of its mask."""
    changed, mask = edited(old_job(), parse_edits(edits))
    return job_to_dict(changed), list(mask.paths)


@pytest.mark.parametrize(
    ("edit", "path", "sent"),
    [
        ("spec.training.epochs=5", "spec.training.epochs", {"spec": {"training": {"epochs": 5}}}),
        ("spec.training.early_stopping.patience=2", "spec.training.early_stopping.patience", None),
        ("display_name=other = name", "display_name", {"display_name": "other = name"}),
        ("priority=-3", "priority", {"priority": -3}),
        ("spec.training={epochs: 1}", "spec.training", {"spec": {"training": {"epochs": 1}}}),
        ("spec.scheduling.max_run_duration=90s", "spec.scheduling.max_run_duration", None),
    ],
    ids=str,
)
def test_an_edit_sends_its_field_alone(edit: str, path: str, sent: dict[str, Any] | None) -> None:
    document, paths = written(edit)
    assert paths == [path]
    if sent is None:
        *parents, leaf = path.split(".")
        for parent in parents:
            assert list(document) == [parent]
            document = document[parent]
        assert list(document) == [leaf]
    else:
        assert document == sent


def test_an_edit_below_a_list_sends_the_list_with_its_other_entries() -> None:
    document, paths = written("spec.variable_groups[0].optimizer.config.learning_rate=1e-3")
    lower, upper = DOCUMENT["spec"]["variable_groups"]
    changed = {**lower, "optimizer": {"type": "Adam", "config": {"learning_rate": 0.001}}}
    assert (document, paths) == ({"spec": {"variable_groups": [changed, upper]}}, ["spec.variable_groups"])


def test_edits_below_mappings_send_the_mapping() -> None:
    document, paths = written("labels.cost-center=9", 'labels["a.b/c"]=x', "spec.training.class_weights[1]=0.5")
    assert document == {
        "labels": {"team": "vision", "cost-center": "9", "a.b/c": "x"},
        "spec": {"training": {"class_weights": {"0": 2.0, "1": 0.5}}},
    }
    assert paths == ["labels", "spec.training.class_weights"]


def test_an_edit_below_a_config_keeps_its_other_keys() -> None:
    job = old_job()
    job.spec.loss.config["ignore_class"] = 3
    changed, mask = edited(job, [Edit("spec.loss.config.from_logits", False)])
    assert job_to_dict(changed) == {"spec": {"loss": {"config": {"from_logits": False, "ignore_class": 3}}}}
    assert list(mask.paths) == ["spec.loss.config"]


def test_a_text_is_taken_as_it_is_written() -> None:
    document, _ = written("display_name=7: # [x", "labels.team=true", "spec.model.name=null")
    assert document == {
        "display_name": "7: # [x",
        "labels": {"team": "true", "cost-center": "7"},
        "spec": {"model": {}},
    }


@pytest.mark.parametrize("edit", ["spec.training.steps_per_epoch=", "spec.training.steps_per_epoch=null"])
def test_an_edit_to_nothing_clears_the_field(edit: str) -> None:
    assert written(edit) == ({"spec": {"training": {}}}, ["spec.training.steps_per_epoch"])


def test_an_entry_of_a_mapping_is_removed() -> None:
    document, paths = written("labels.cost-center=")
    assert (document, paths) == ({"labels": {"team": "vision"}}, ["labels"])


def test_the_job_that_is_retried_stays_as_it_is() -> None:
    job, before = old_job(), old_job()
    edited(job, [Edit("spec.variable_groups[1].name", "x"), Edit("labels.team", None), Edit("spec.loss", None)])
    assert job.SerializeToString(deterministic=True) == before.SerializeToString(deterministic=True)


def test_every_path_that_leads_nowhere_is_told_at_once_with_the_nearest_name() -> None:
    lost = ("spec.variable_groups[2].name", "spec.training.epochs.x", "labels.team.x", "spec.trainin.epochs", "epochs")
    with pytest.raises(InvalidRequestError) as raised:
        edited(old_job(), [Edit(path, 1) for path in lost])
    faults = {fault.field: fault.description for fault in raised.value.faults}
    assert 'did you mean "training"?' in faults["spec.trainin"]
    assert "did you mean spec.training.epochs?" in faults["epochs"]
    assert "has 2 entries" in faults["spec.variable_groups[2]"]
    assert "no mapping" in faults["spec.training.epochs.x"]
    assert "no mapping" in faults["labels.team.x"]


def test_every_edit_that_cannot_be_read_is_told_at_once() -> None:
    with pytest.raises(InvalidRequestError) as raised:
        parse_edits(["spec.trainin.epochs=1", "spec.training.epochs=5", "5", "spec.training={epochs: ]"])
    assert [fault.field for fault in raised.value.faults] == ["spec.trainin", "set", "spec.training"]


@pytest.mark.parametrize(
    "edit", ["spec.training.epochs", "=5", "spec..epochs=1", "spec.[0]=1", ".spec=1", "[0]=1", "a b=1"]
)
def test_what_is_no_edit_is_refused(edit: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"must be PATH=VALUE|is no path"):
        written(edit)


def test_a_value_of_a_wrong_type_is_told_with_its_path() -> None:
    with pytest.raises(InvalidRequestError, match=r"spec\.training\.epochs: must be an integer; got \"many\""):
        written("spec.training.epochs=many")
    with pytest.raises(InvalidRequestError, match=r"spec\.training: is not YAML: line 1"):
        written("spec.training={epochs: ]")


def test_a_document_changes_its_fields_and_leaves_the_others() -> None:
    document = {
        "displayName": "again",
        "spec": {
            "training": {"epochs": 9, "steps_per_epoch": None},
            "loss": {"type": "MeanSquaredError"},
            "data": {"train": {"npz": {"path": "/data/x.npz"}}},
            "variable_groups": [{"name": "all", "match": ["**"], "optimizer": {"type": "SGD"}}],
        },
    }
    changed, mask = edited(old_job(), edits_of_document(document))
    assert list(mask.paths) == [
        "display_name",
        "spec.training.epochs",
        "spec.training.steps_per_epoch",
        "spec.loss",
        "spec.data.train",
        "spec.variable_groups",
    ]
    del document["spec"]["training"]["steps_per_epoch"]  # type: ignore[attr-defined]
    assert changed == job_from_dict(document)
