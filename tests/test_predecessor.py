"""What a job takes over from the one that it goes on from, and how that stands under its own spec."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.documents import job_from_dict
from gradloom.errors import InvalidRequestError
from gradloom.spec import with_defaults
from gradloom.trainer import checkpoints, strategy
from gradloom.trainer.checkpoints import Header
from gradloom.trainer.datasets import Arrays, DataUnavailable
from gradloom.trainer.groups import Group
from gradloom.trainer.loop import Training
from gradloom.trainer.predecessor import Left, Predecessor
from gradloom.trainer.resolved import EnvironmentChangedError, spec_digest
from gradloom.trainer.saved_state import Place
from gradloom.trainer.strategy import Threads
from gradloom.trainer.targets import Target
from gradloom.v1 import spec_pb2

JOB = "projects/default/jobs/old"
CHANCE = np.random.default_rng(5)
EXAMPLES = Arrays(CHANCE.normal(size=(8, 4)).astype(np.float32), CHANCE.integers(0, 3, 8))
SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.8, 10, 0.5)
TREND = {"best": 0.5, "best_epoch": 2, "waited": 1}
NO_TREND = {"best": None, "best_epoch": 0, "waited": 0}


# Learning rates


def a_training(rate: Any, units: int = 3) -> Training:
    """One whose epochs are one step each."""
    distribution = strategy.make_strategy(strategy.CPU, 1)
    keras.utils.set_random_seed(2)
    with distribution.scope():
        model = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(units, activation="softmax", name="last")], name="net"
        )
        groups = [Group("all", tuple(model.trainable_variables), keras.optimizers.SGD(rate, name="sgd"))]
        target = Target("", keras.losses.SparseCategoricalCrossentropy())
    options = spec_pb2.TrainingSpec(global_batch_size=8, seed=4)
    return Training(model, [target], groups, options, EXAMPLES, None, distribution)


def a_spec(rate: Any = 0.05, **training: Any) -> spec_pb2.JobSpec:
    """As a_training's, as far as it matters."""
    config = {"initial_learning_rate": 0.8, "decay_steps": 10, "decay_rate": 0.5}
    scheduled = rate is SCHEDULE
    group = {"name": "all", "match": ["**"], "optimizer": {"type": "SGD"}}
    group |= {"learning_rate": {"type": "ExponentialDecay", "config": config}} if scheduled else {}
    group["optimizer"] |= {} if scheduled else {"config": {"learning_rate": rate}}
    spec = {"variable_groups": [group], "training": {"epochs": 4, **training}}
    return with_defaults(job_from_dict({"spec": spec}).spec, seed=4)


def moved(training: Training) -> np.ndarray:
    """How far the next step moves the kernel."""
    before = training.model.get_weights()[0]
    training.run_epoch(training.place.epoch)
    return training.model.get_weights()[0] - before


def gone_on(directory: Path, before: Any, after: Any) -> tuple[Training, Training]:
    """A training after its first step with a learning rate, and one that goes on from there with another."""
    old, new = a_training(before), a_training(after)
    old.run_epoch(1)
    state = old.state()
    predecessor = saved(directory, a_spec(before), arrays=state.arrays, place=vars(state.place))
    predecessor.restore(new, a_spec(after), predecessor.left(a_spec(after)))
    assert new.place == Place(2)
    np.testing.assert_array_equal(old.model.get_weights()[0], new.model.get_weights()[0])
    return old, new


def test_the_next_step_goes_as_much_further_as_the_learning_rate_is_larger(tmp_path):
    old, new = gone_on(tmp_path, 0.05, 0.5)
    np.testing.assert_allclose(moved(new), 10 * moved(old), rtol=1e-4)


def test_an_unchanged_group_goes_on_with_the_rate_that_it_had_come_to(tmp_path):
    old, new = a_training(0.05), a_training(0.05)
    old.groups[0].set_learning_rate(0.005)
    predecessor = saved(tmp_path, a_spec(), arrays=old.state().arrays)
    predecessor.restore(new, a_spec(clip_norm=9.0), predecessor.left(a_spec()))
    assert new.groups[0].learning_rate() == pytest.approx(0.005)


@pytest.mark.parametrize(("before", "after", "rate"), [(0.05, SCHEDULE, 0.8 * 0.5**0.1), (SCHEDULE, 0.05, 0.05)])
def test_a_schedule_takes_the_place_of_a_rate_and_the_other_way_round(tmp_path, before, after, rate):
    _, new = gone_on(tmp_path, before, after)
    assert new.groups[0].learning_rate() == pytest.approx(rate)
    at_first = a_training(1.0)
    at_first.model.set_weights(new.model.get_weights())
    np.testing.assert_allclose(moved(new), rate * moved(at_first), rtol=1e-4)


# The state as it stands


def saved(
    directory: Path, spec: spec_pb2.JobSpec, arrays: dict[str, np.ndarray] | None = None, **state: Any
) -> Predecessor:
    """A predecessor of that spec with a checkpoint of this state."""
    resolved = spec_pb2.ResolvedSpec(spec=spec, device_kind=strategy.CPU, replicas=1, versions={"keras": "3.14"})
    whole = {
        "place": vars(Place(3)),
        "scalars": {"loss": 0.5, "test_loss": 0.25},
        "ends": {"best": TREND, "stopping": TREND, "stopped": False, "plateaus": {"all": TREND}},
        "finished": False,
        **state,
    }
    path = directory / "checkpoints" / "20.ckpt"
    header = Header("0ld", spec_digest(resolved), attempt=1, global_step=20, epoch=3, state=whole)
    written = checkpoints.write(path, directory / "aside", header, arrays or {"global_step": np.array(20)})
    checkpoint = attempt_pb2.Checkpoint(
        path=str(path), sha256=written.sha256, job=JOB, job_uid="0ld", name=f"{JOB}/checkpoints/1-20"
    )
    return Predecessor(attempt_pb2.Retry(checkpoint=checkpoint, resolved_spec=resolved))


def left(directory: Path, before: spec_pb2.JobSpec, after: spec_pb2.JobSpec, **state: Any) -> Left:
    return saved(directory, before, **state).left(after)


def ends(stopped: bool) -> dict[str, Any]:
    return {"best": TREND, "stopping": TREND, "stopped": stopped, "plateaus": {}}


END = {"place": vars(Place(5)), "finished": True}
STOPPED = {"place": vars(Place(3)), "finished": True, "ends": ends(stopped=True)}
TESTING = {"place": vars(Place(5, "test_", 7))}


@pytest.mark.parametrize(
    ("state", "finished", "place"),
    [(END, True, Place(5)), (STOPPED, True, Place(3)), (TESTING, False, Place(5, "test_", 7))],
)
def test_with_nothing_changed_all_stands_as_it_was_saved(tmp_path, state, finished, place):
    spec = a_spec(early_stopping={"patience": 3})
    found = left(tmp_path, spec, spec, **state)
    assert (found.finished, found.place) == (finished, place)
    assert found.ends["stopped"] == (state is STOPPED)
    assert found.scalars == {"loss": 0.5, "test_loss": 0.25}


@pytest.mark.parametrize(("state", "place"), [(END, Place(5)), (STOPPED, Place(3)), (TESTING, Place(5))])
def test_with_more_epochs_a_training_that_had_ended_goes_on(tmp_path, state, place):
    before, after = (a_spec(epochs=epochs, early_stopping={"patience": 3}) for epochs in (4, 6))
    found = left(tmp_path, before, after, **state)
    assert (found.finished, found.place, found.ends["stopped"]) == (False, place, False)
    assert found.scalars == {"loss": 0.5}, "the test is still to come"


def test_with_other_early_stopping_a_training_that_had_stopped_goes_on(tmp_path):
    before, after = a_spec(early_stopping={"patience": 3}), a_spec(early_stopping={"patience": 9})
    found = left(tmp_path, before, after, **STOPPED)
    assert (found.finished, found.ends["stopped"], found.ends["stopping"]) == (False, False, TREND)
    assert not left(tmp_path, before, a_spec(), **STOPPED).finished


def test_what_another_scalar_had_come_to_is_forgotten(tmp_path):
    before, after = (a_spec(early_stopping={"monitor": name}) for name in ("loss", "val_loss"))
    assert left(tmp_path, before, after).ends["stopping"] == NO_TREND
    for spec, monitor in ((before, "loss"), (after, "val_loss")):
        spec.variable_groups[0].reduce_on_plateau.monitor = monitor
    assert left(tmp_path, before, before).ends["plateaus"] == {"all": TREND}
    assert left(tmp_path, before, after).ends["plateaus"] == {}
    assert left(tmp_path, before, a_spec()).ends["plateaus"] == {}


# What settles the bits


def test_the_threads_stay_those_of_the_first_job_as_long_as_the_kind_of_device_does():
    resolved = spec_pb2.ResolvedSpec(device_kind=strategy.CPU, intra_op_threads=5, inter_op_threads=3)
    predecessor = Predecessor(attempt_pb2.Retry(resolved_spec=resolved))
    assert predecessor.threads(strategy.CPU) == Threads(5, 3)
    assert predecessor.threads(strategy.GPU) is None


# Refused


def test_a_checkpoint_that_is_damaged_is_refused_by_its_name(tmp_path):
    predecessor = saved(tmp_path, a_spec())
    Path(predecessor.checkpoint.path).write_bytes(b"gradloom")
    with pytest.raises(
        DataUnavailable, match=f"retry_checkpoint: must be whole: .*; {JOB}/checkpoints/1-20, .* truncated"
    ):
        predecessor.left(a_spec())
    Path(predecessor.checkpoint.path).unlink()
    with pytest.raises(DataUnavailable, match="No such file"):
        predecessor.left(a_spec())


def test_a_checkpoint_of_another_job_is_refused(tmp_path):
    predecessor = saved(tmp_path, a_spec())
    predecessor.checkpoint.job_uid = "another"
    with pytest.raises(DataUnavailable, match="is of job 0ld, not of another"):
        predecessor.left(a_spec())


def test_a_state_of_other_variables_is_refused_and_changes_nothing(tmp_path):
    predecessor = saved(tmp_path, a_spec(), arrays=a_training(0.05, units=5).state().arrays)
    training = a_training(0.05)
    before = training.model.get_weights()[0]
    with pytest.raises(InvalidRequestError, match=r"retry_checkpoint: must fit the spec; .*kernel is float32 \[4, 5\]"):
        predecessor.restore(training, a_spec(), predecessor.left(a_spec()))
    np.testing.assert_array_equal(training.model.get_weights()[0], before)


def test_other_data_are_refused_and_another_kind_of_device_and_other_versions_are_told(tmp_path):
    predecessor = saved(tmp_path, a_spec())
    found = spec_pb2.ResolvedSpec(
        spec=a_spec(epochs=9), device_kind=strategy.GPU, replicas=1, versions={"keras": "3.15"}
    )
    assert predecessor.require_same(found) == ["device_kind was CPU, is GPU", 'versions.keras was "3.14", is "3.15"']
    found.replicas = 2
    with pytest.raises(EnvironmentChangedError, match=f"what {JOB}, .* resolved has changed: replicas was 1, is 2"):
        predecessor.require_same(found)
