"""What a server checks once: the task that jobs have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradloom.spec import SoundTasks, check_job, task
from gradloom.v1 import job_pb2
from tests.specs import CATALOGUE, ONE_CPU, changed

Check = Callable[..., dict[str, str]]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that were looked at."""
    looked: list[Any] = []
    check_model = task.check_model

    def counted(model: Any, checker: Any) -> None:
        looked.append(model)
        check_model(model, checker)

    monkeypatch.setattr(task, "check_model", counted)
    return looked


@pytest.fixture
def check() -> Check:
    """Checks a job as one server does; gives the faults by field."""
    tasks = SoundTasks()

    def check(job: job_pb2.Job, data_roots: tuple[str, ...] = ()) -> dict[str, str]:
        faults = check_job(job, CATALOGUE, data_roots, ONE_CPU, sound_tasks=tasks)
        return {fault.field: fault.description for fault in faults}

    return check


def test_jobs_that_differ_in_how_they_train_have_their_task_checked_once(check: Check, checks: list[Any]) -> None:
    assert check(changed("spec.training.epochs", 3)) == {}
    assert check(changed("spec.variable_groups.0.optimizer.config.learning_rate", 0.2)) == {}
    assert check(changed("display_name", "another")) == {}
    assert len(checks) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.model.layers.2.config.units", 5),
        ("spec.data.train.builtin.split", "test"),
        ("spec.loss.config.from_logits", False),
        ("spec.metrics.0.name", "right"),
        ("spec.training.precision", "FLOAT64"),
    ],
)
def test_another_task_is_checked(path: str, value: Any, check: Check, checks: list[Any]) -> None:
    check(changed("spec.training.epochs", 3))
    check(changed(path, value))
    assert len(checks) == 2


def test_a_type_that_fits_one_precision_is_refused_in_another(check: Check) -> None:
    half = changed("spec.model.layers.2.config.dtype", "float64")
    half.spec.training.precision = half.spec.training.FLOAT64
    assert check(half) == {}
    half.spec.training.precision = half.spec.training.FLOAT32
    assert check(half).keys() == {"spec.model.layers[2].config.dtype"}


def test_faults_of_a_task_are_told_each_time(check: Check) -> None:
    job = changed("spec.model.layers.2.config.units", "many")
    assert check(job) == check(job) != {}


def test_what_may_be_monitored_of_a_known_task_is_that_of_the_task(check: Check) -> None:
    assert check(changed("spec.training.epochs", 3)) == {}
    assert check(changed("spec.training.checkpoint.best", "accuracy")) == {}
    assert check(changed("spec.training.checkpoint.best", "val_loss")).keys() == {"spec.training.checkpoint.best"}


def test_a_path_that_was_sound_is_followed_again(check: Check, tmp_path: Path) -> None:
    within, outside = tmp_path / "data", tmp_path / "outside.npz"
    within.mkdir()
    outside.touch()
    (within / "train.npz").touch()
    job = changed("spec.data.train", {"npz": {"path": str(within / "train.npz")}})
    assert check(job, (str(within),)) == {}
    (within / "train.npz").unlink()
    (within / "train.npz").symlink_to(outside)
    assert check(job, (str(within),)).keys() == {"spec.data.train.npz.path"}


def test_of_many_tasks_few_are_remembered(check: Check, checks: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "MOST_TASKS", 2)
    for units in (1, 2, 3, 1):
        assert check(changed("spec.model.layers.2.config.units", units)) == {}
    assert len(checks) == 4
