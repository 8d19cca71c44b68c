"""What an epoch's end decides, held to values worked out by hand."""

import math

import keras
import pytest

from gradloom.errors import InvalidRequestError
from gradloom.trainer.directions import Direction, direction_of
from gradloom.trainer.epoch_ends import EpochEnds
from gradloom.trainer.groups import Group
from gradloom.v1 import spec_pb2

DIRECTIONS = {"loss": Direction.DOWN, "val_loss": Direction.DOWN, "val_accuracy": Direction.UP, "val_odd": None}
PLATEAU = spec_pb2.ReduceOnPlateau(monitor="val_loss", factor=0.5, patience=2, min_learning_rate=0.15)


def group(name="all", rate=0.8, **options) -> Group:
    variable = keras.Variable(keras.ops.zeros(2), name="w")
    return Group(name, (variable,), keras.optimizers.SGD(rate), **options)


def ends(*groups, best="val_loss", **early_stopping) -> EpochEnds:
    training = spec_pb2.TrainingSpec(checkpoint=spec_pb2.CheckpointSpec(best=best))
    if early_stopping:
        filled = {"monitor": "val_loss", "patience": 1, "min_delta": 0.0, "restore_best": True, **early_stopping}
        training.early_stopping.CopyFrom(spec_pb2.EarlyStopping(**filled))
    wanted = [spec_pb2.VariableGroup(reduce_on_plateau=one.reduce_on_plateau) for one in groups]
    return EpochEnds(spec_pb2.JobSpec(training=training, variable_groups=wanted), groups, DIRECTIONS)


def follow(judge: EpochEnds, scalar: str, values: list[float]):
    """The epochs that were the best so far, and the last one that was trained."""
    best = []
    for epoch, value in enumerate(values, start=1):
        scalars = {"loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5, scalar: value}
        if judge.after(epoch, scalars).is_best:
            best.append(epoch)
        if judge.stopped:
            break
    return best, epoch


@pytest.mark.parametrize(
    ("scalar", "values", "best"),
    [
        ("val_loss", [3, 2, 2, 4, 1], [1, 2, 5]),
        ("val_accuracy", [0.1, 0.3, 0.2, 0.3, 0.4], [1, 2, 5]),
        ("val_loss", [math.nan, 5, math.nan, -math.inf], [2, 4]),
        ("val_loss", [math.nan, math.nan], []),
    ],
)
def test_the_best_epoch_is_the_first_of_those_with_the_best_value(scalar, values, best):
    assert follow(ends(best=scalar), scalar, values) == (best, len(values))


@pytest.mark.parametrize(
    ("values", "options", "last"),
    [
        ([5, 4, 4.5, 3, 2], {"patience": 1}, 3),
        ([5, 4, 4.5, 4.2, 3], {"patience": 2}, 4),
        ([5, 4.9, 4.7, 4.6], {"min_delta": 0.25, "patience": 1}, 2),
        ([5, 4.9, 4.7, 4.6], {"min_delta": 0.25, "patience": 2}, 4),
        ([math.nan, math.nan, 1], {"patience": 2}, 2),
    ],
)
def test_training_stops_after_epochs_without_an_improvement(values, options, last):
    judge = ends(**options)
    assert follow(judge, "val_loss", values)[1] == last
    assert judge.stopped or last == len(values)


def test_who_stops_says_since_when_and_at_which_value():
    judge = ends(patience=2)
    judge.after(1, {"val_loss": 0.25})
    judge.after(2, {"val_loss": 0.5})
    verdict = judge.after(3, {"val_loss": 0.5})
    assert verdict.notices == ["stopped early after epoch 3: val_loss has not improved since epoch 1 (0.25)"]


def test_a_rate_is_lowered_after_each_plateau_and_never_below_the_least():
    one = group(reduce_on_plateau=PLATEAU)
    judge = ends(one)
    rates, notices = [], []
    for epoch, value in enumerate([4, 5, 5, 5, 5, 3, 4, 4, 4, 4], start=1):
        notices += judge.after(epoch, {"val_loss": value}).notices
        rates.append(round(one.learning_rate(), 6))
    assert rates == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.2, 0.15, 0.15, 0.15]
    assert len(notices) == 3
    assert notices[0] == (
        "group 'all': the learning rate is 0.4 in place of 0.8, because val_loss has not improved since epoch 1"
    )


def test_a_group_that_thaws_later_has_no_plateau_before():
    one = group(reduce_on_plateau=PLATEAU, unfreeze_at_epoch=4)
    judge = ends(one)
    for epoch in range(1, 6):
        judge.after(epoch, {"val_loss": 1.0})
    assert one.learning_rate() == pytest.approx(0.8)
    judge.after(6, {"val_loss": 1.0})
    assert one.learning_rate() == pytest.approx(0.4)


def test_counters_go_on_where_they_were_saved():
    values = [4, 5, 3, 5, 5, 5]
    whole, first = (
        ends(group(reduce_on_plateau=PLATEAU), patience=3),
        ends(group(reduce_on_plateau=PLATEAU), patience=3),
    )
    for epoch, value in enumerate(values, start=1):
        whole.after(epoch, {"val_loss": value})
        resumed = ends(group(rate=first._plateaus["all"][0].learning_rate(), reduce_on_plateau=PLATEAU), patience=3)
        resumed.restore(first.saved())
        resumed.after(epoch, {"val_loss": value})
        first = resumed
        assert first.saved() == whole.saved()
    assert whole.stopped


@pytest.mark.parametrize(
    ("name", "metric", "direction"),
    [
        ("val_loss", None, Direction.DOWN),
        ("steering_mean_absolute_error", None, Direction.DOWN),
        ("accuracy", None, Direction.UP),
        ("val_f1_score", None, Direction.UP),
        ("top", keras.metrics.SparseTopKCategoricalAccuracy(), Direction.UP),
        ("anything", keras.metrics.MeanSquaredError(), Direction.DOWN),
        ("rows", keras.metrics.Sum(), None),
        ("accuracy_loss", None, None),
    ],
)
def test_a_metric_or_else_a_name_says_which_way_it_improves(name, metric, direction):
    assert direction_of(name, metric) is direction


def test_what_cannot_be_monitored_is_refused_with_every_field():
    with pytest.raises(InvalidRequestError) as refused:
        ends(group(reduce_on_plateau=spec_pb2.ReduceOnPlateau(monitor="val_acc")), best="val_odd")
    told = {fault.field: fault.description for fault in refused.value.faults}
    assert "must say by its name which way it improves" in told["spec.training.checkpoint.best"]
    assert told["spec.variable_groups[0].reduce_on_plateau.monitor"] == (
        'must be one of loss, val_loss, val_accuracy, val_odd; got "val_acc"'
    )


def test_a_scalar_that_is_the_best_s_because_early_stopping_names_it_is_refused_once():
    with pytest.raises(InvalidRequestError) as refused:
        ends(monitor="val_acc", best="val_acc")
    assert [fault.field for fault in refused.value.faults] == ["spec.training.early_stopping.monitor"]
