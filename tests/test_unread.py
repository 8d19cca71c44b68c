"""A file with fields that cannot be read: all else is checked, and nobody is told what only follows from them."""

import copy
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gradloom import documents
from gradloom.errors import FieldFault
from gradloom.faults import child
from gradloom.spec import OwnedDevices
from gradloom.spec.unread import without_consequences
from tests.specs import SOUND, faults_of

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.yaml"))
MAPS = ("labels", "outputs", "class_weights", "config")
"""Their keys are the user's own."""
BEYOND = 1 << 60
"""No number of a config, where all else can be read."""

# Every part that is judged by another one.
GRAPH: dict[str, Any] = {
    "display_name": "two outputs",
    "labels": {"team": "vision"},
    "priority": 3,
    "spec": {
        "user_code": {"source": "import keras"},
        "model": {
            "name": "graph",
            "layers": [
                {"type": "Input", "config": {"shape": [4]}},
                {"type": "Dense", "name": "left", "config": {"units": 3, "dtype": "mixed_bfloat16"}},
                {"type": "acme>Twist", "name": "right", "inputs": ["left"]},
                {"type": "Add", "name": "sum", "inputs": ["left", "right"]},
                {"type": "Dense", "name": "head", "inputs": ["sum"], "config": {"units": 1}},
            ],
            "outputs": ["head", "sum"],
        },
        "data": {
            "train": {"npz": {"path": "/data/a.npz", "features": "x", "labels": {"head": "a", "sum": "b"}}},
            "validation": {
                "npz": {"path": "/data/b.npz", "features": "x", "labels": {"head": "a", "sum": "b"}},
                "range": {"from": 10, "to": 20},
            },
        },
        "outputs": {
            "head": {"loss": {"type": "MeanSquaredError"}, "weight": 1.0, "metrics": [{"type": "MeanAbsoluteError"}]},
            "sum": {"loss": {"type": "MeanSquaredError"}, "weight": 0.0},
        },
        "variable_groups": [
            {
                "name": "left",
                "match": ["left/**"],
                "optimizer": {"type": "SGD"},
                "learning_rate": {
                    "type": "CosineDecay",
                    "config": {"initial_learning_rate": 0.1, "decay_steps": 100},
                },
                "unfreeze_at_epoch": 7,
                "clip_norm": 1.0,
            },
            {"name": "right", "match": ["right/**"], "frozen": True},
            {
                "name": "head",
                "match": ["head/**"],
                "optimizer": {"type": "Adam", "config": {"learning_rate": 0.01}},
                "reduce_on_plateau": {"monitor": "val_loss", "factor": 0.5},
                "ema_momentum": 0.9,
            },
        ],
        "training": {
            "epochs": 9,
            "global_batch_size": 64,
            "gradient_accumulation_steps": 48,
            "precision": "MIXED_BFLOAT16",
            "early_stopping": {"monitor": "val_head_loss", "patience": 2},
            "checkpoint": {"every_steps": 10, "best": "head_loss"},
        },
        "resources": {"cpu_replicas": 2},
        "retry": {"max_attempts": 2, "backoff": {"initial_duration": "0.5s", "max_duration": "0.8s"}},
        "export": {"formats": ["SAVED_MODEL"]},
    },
}
CLASSES = copy.deepcopy(SOUND)
CLASSES["spec"]["training"] = {"class_weights": {"7": 2.0}, "early_stopping": {"monitor": "val_accuracy"}}
CLASSES["spec"]["data"] = {
    "train": {"builtin": {"name": "mnist", "split": "train"}, "range": {"from": 50_000, "to": 60_000}},
    "validation": {"builtin": {"name": "digits", "split": "test"}},
}
BUILDER = copy.deepcopy(SOUND)
BUILDER["spec"]["model"] = {"builder": {"type": "gradloom>SparseMLP", "config": {"units": 4, "hidden_units": [8]}}}
KNOWN = copy.deepcopy(GRAPH)
"""Without types of the user's own, which could have scalars that only the trainer knows."""
KNOWN["spec"]["model"]["layers"][2]["type"] = "Activation"
KNOWN["spec"]["model"]["layers"][2]["config"] = {"activation": "relu"}
OWN = copy.deepcopy(SOUND)
"""A layer with a metric of its own, and the one output's loss among `outputs`."""
OWN["spec"]["user_code"] = {"source": "import keras"}
OWN["spec"]["model"]["layers"][1]["type"] = "acme>Twist"
OWN["spec"]["outputs"] = {"classifier": {"loss": OWN["spec"].pop("loss"), "metrics": OWN["spec"].pop("metrics")}}
OWN["spec"]["training"] = {"checkpoint": {"best": "twist"}}
OWN["spec"]["data"] = {"train": {"npz": {"path": "/data/a.npz", "features": "label", "label": "features"}}}
DOCUMENTS = {"graph": GRAPH, "known": KNOWN, "own": OWN, "classes": CLASSES, "builder": BUILDER}
DOCUMENTS |= {path.stem: documents.job_to_dict(documents.read_job(path.read_text())) for path in EXAMPLES}


def told(document: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The fields of the faults that are told of a document: those that cannot be read, and those of the rest."""
    draft = documents.draft_from_dict(document)
    owned = OwnedDevices(gpus=0, cpu_slots=1)
    found = faults_of(draft.job, data_roots=("/data",), owned=owned, allows_user_code=True)
    return [fault.field for fault in draft.faults], [fault.field for fault in without_consequences(found, draft.unread)]


def misread(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The document with each value in turn of a type that cannot be read, and with each name of a field misspelt."""
    for *parents, last in _places(document, ()):
        changed, within = _copy(document, parents)
        value = within[last]
        within[last] = BEYOND if "config" in parents else 7 if isinstance(value, list | dict) else [value]
        yield f"type of {_path(*parents, last)}", changed
        if _is_field(*parents, last):
            changed, within = _copy(document, parents)
            within[last + last[-1]] = within.pop(last)
            yield f"name of {_path(*parents, last)}", changed


def with_twins(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The document with one key more, in turn beside each field, whose name it misspells."""
    for *parents, last in _places(document, ()):
        if _is_field(*parents, last):
            changed, within = _copy(document, parents)
            within[last + last[-1]] = {"a": 1}
            yield _path(*parents, last), changed


def _copy(document: dict[str, Any], place: Iterable[str | int]) -> tuple[dict[str, Any], Any]:
    """A copy of the document, and what it has at the place."""
    within: Any = (changed := copy.deepcopy(document))
    for key in place:
        within = within[key]
    return changed, within


def _path(*place: str | int) -> str:
    return functools.reduce(child, place, "")


def _is_field(*place: str | int) -> bool:
    *parents, last = place
    return isinstance(last, str) and "config" not in parents and not (parents and parents[-1] in MAPS)


def _places(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(entry, (*path, key))


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_of_a_sound_job_nothing_but_the_field_that_cannot_be_read_is_told(document: dict[str, Any]) -> None:
    assert told(document) == ([], [])
    found = {case: told(changed) for case, changed in misread(document)}
    assert len(found) > 40
    assert [case for case, (unread, _) in found.items() if len(unread) != 1] == []
    assert {case: others for case, (_, others) in found.items() if others} == {}


def faulty() -> dict[str, Any]:
    """A job with a fault in nearly every part, all of fields that it gives."""
    document = copy.deepcopy(GRAPH)
    spec = document["spec"]
    spec["model"]["layers"][4]["config"]["unitz"] = 0
    spec["outputs"]["sum"]["loss"]["type"] = "MeanSquaredEror"
    spec["variable_groups"][0]["clip_norm"] = -1.0
    spec["variable_groups"][2]["reduce_on_plateau"]["factor"] = 2.0
    spec["training"] |= {"epochs": 0, "global_batch_size": 0, "seed": -1}
    spec["retry"]["max_attempts"] = 0
    return document


def test_what_can_be_read_is_told_beside_what_cannot() -> None:
    document = faulty()
    del document["spec"]["model"]["layers"][1]["name"]
    document["spec"]["model"]["layers"][1]["nmae"] = "left"
    document["spec"]["training"]["epochs"] = "nine"
    assert told(document) == (
        ["spec.model.layers[1].nmae", "spec.training.epochs"],
        [
            "spec.model.layers[4].config.unitz",
            "spec.outputs.sum.loss.type",
            "spec.variable_groups[0].clip_norm",
            "spec.variable_groups[2].reduce_on_plateau.factor",
            "spec.training.global_batch_size",
            "spec.training.seed",
            "spec.retry.max_attempts",
        ],
    )


def test_a_key_like_one_that_is_given_hides_no_fault() -> None:
    document = faulty()
    certain = told(document)[1]
    assert len(certain) == 8
    found = {case: told(changed) for case, changed in with_twins(document)}
    assert len(found) > 80
    assert {case: others for case, (_, others) in found.items() if others != certain} == {}


def test_a_field_that_is_nobody_s_and_near_none_takes_the_place_of_none() -> None:
    document = {"spec": {"zzz": 1, **{key: value for key, value in SOUND["spec"].items() if key != "data"}}}
    assert told(document) == (["spec.zzz"], ["spec.data"])


def test_a_key_that_is_nobody_s_hides_nothing_below_its_parent() -> None:
    document = faulty()
    certain = told(document)[1]
    spec = document["spec"]
    for part in (document, spec, spec["model"], spec["variable_groups"][0], spec["training"], spec["retry"]):
        part["zzz"] = 1
        part[7] = 1
    unread, others = told(document)
    assert len(unread) == 12
    assert others == certain


def test_an_empty_path_hides_no_fault_also_not_one_of_the_whole_job() -> None:
    faults = [FieldFault(field, "is wrong") for field in ("job", "labels", "spec", "spec.training.epochs")]
    assert without_consequences(faults, [""]) == faults
