"""A small sound job as plain values, for tests that change one thing about it."""

import copy
from typing import Any

from gradloom import documents
from gradloom.catalogue import Catalogue
from gradloom.errors import FieldFault
from gradloom.spec import OwnedDevices, SoundTasks, check_job
from gradloom.v1 import job_pb2

CATALOGUE = Catalogue.load()
ONE_CPU = OwnedDevices(gpus=0, cpu_slots=1)

_TASKS: dict[tuple[int, tuple[str, ...]], tuple[Catalogue, SoundTasks]] = {}
"""By catalogue, which is kept so that its id stays its own, and data roots."""

SOUND: dict[str, Any] = {
    "spec": {
        "model": {
            "name": "small",
            "layers": [
                {"type": "Input", "config": {"shape": [8, 8]}},
                {"type": "Flatten"},
                {"type": "Dense", "name": "hidden", "config": {"units": 4, "activation": "relu"}},
                {"type": "Dense", "name": "classifier", "config": {"units": 10}},
            ],
        },
        "data": {"train": {"builtin": {"name": "digits"}}},
        "loss": {"type": "SparseCategoricalCrossentropy", "config": {"from_logits": True}},
        "metrics": [{"type": "SparseCategoricalAccuracy", "name": "accuracy"}],
        "variable_groups": [
            {"name": "all", "match": ["**"], "optimizer": {"type": "SGD", "config": {"learning_rate": 0.1}}}
        ],
    }
}


def changed(path: str, value: Any) -> job_pb2.Job:
    """The sound job with `value` at a path such as `spec.model.layers.2.config`."""
    document = copy.deepcopy(SOUND)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    target: Any = document
    for key in parents:
        target = target[key] if isinstance(target, list) else target.setdefault(key, {})
    target[last] = value
    return documents.job_from_dict(document)


def faults_of(
    job: job_pb2.Job,
    data_roots: tuple[str, ...] = (),
    owned: OwnedDevices = ONE_CPU,
    catalogue: Catalogue = CATALOGUE,
    allows_user_code: bool = False,
) -> list[FieldFault]:
    """What the control plane says of a job, which is the same whatever it has checked before."""
    faults = check_job(job, catalogue, data_roots, owned, allows_user_code)
    _, tasks = _TASKS.setdefault((id(catalogue), data_roots), (catalogue, SoundTasks()))
    assert check_job(job, catalogue, data_roots, owned, allows_user_code, tasks) == faults
    return faults


def faults_with(path: str, value: Any, data_roots: tuple[str, ...] = ()) -> dict[str, str]:
    """What the control plane says of the sound job with one change, by field."""
    return {fault.field: fault.description for fault in faults_of(changed(path, value), data_roots)}
