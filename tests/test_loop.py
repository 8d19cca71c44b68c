"""The training loop: what an epoch sees, what can be seen of it meanwhile, and how it ends."""

import math
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradloom.trainer import strategy
from gradloom.trainer.batches import permutation, share_bounds
from gradloom.trainer.datasets import Arrays
from gradloom.trainer.fitness import build_metrics
from gradloom.trainer.groups import Group
from gradloom.trainer.interrupt import StopRequested
from gradloom.trainer.loop import Training
from gradloom.trainer.step import NotFiniteError
from gradloom.trainer.targets import Target
from gradloom.v1 import spec_pb2

CHANCE = np.random.default_rng(5)


def examples(count):
    return Arrays(CHANCE.integers(0, 256, (count, 6), np.uint8), CHANCE.integers(0, 3, count).astype(np.uint8))


class Both(keras.metrics.Metric):
    """Gives two scalars, one of them a variable itself."""

    def __init__(self):
        super().__init__(name="both")
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, labels, scores, sample_weight=None):
        self.total.assign_add(keras.ops.sum(scores[:, 0]))

    def result(self):
        return {"first": self.total, "second": self.total * 3}


def build(train, validation=None, rate=0.05, dropout=0.0, metrics=(), **options):
    distribution = strategy.make_strategy(strategy.CPU, 1)
    keras.utils.set_random_seed(2)
    with distribution.scope():
        layers = [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(3, activation="softmax"),
        ]
        model = keras.Sequential([keras.Input((6,)), *layers], name="model")
        groups = [Group("all", tuple(model.trainable_variables), keras.optimizers.SGD(rate))]
        accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        target = Target("", keras.losses.SparseCategoricalCrossentropy(), metrics=(accuracy, *metrics))
    options = spec_pb2.TrainingSpec(**{"global_batch_size": 8, "seed": 4, **options})
    return Training(model, [target], groups, options, train, validation, distribution)


def points_of(training):
    """What is recorded of a training from now on: step, epoch and scalars."""
    points = []
    training.record_with(lambda *point: points.append(point))
    return points


def mean_loss_and_accuracy(model, arrays):
    scores = model.predict(arrays.features.astype(np.float32), verbose=0)
    chosen = scores[np.arange(len(arrays)), arrays.labels]
    return -np.log(chosen).mean(), (scores.argmax(axis=1) == arrays.labels).mean()


@pytest.mark.parametrize("count", [8, 29, 32, 3])
def test_an_epoch_at_a_standstill_has_the_loss_of_all_examples_once(count):
    arrays = examples(count)
    training = build(arrays, rate=0.0)
    loss, accuracy = mean_loss_and_accuracy(training.model, arrays)
    assert training.run_epoch(1) == pytest.approx({"loss": loss, "accuracy": accuracy}, rel=1e-5)
    assert training.steps_per_epoch == -(-count // 8)


def test_validation_has_the_loss_of_the_weights_at_the_epochs_end_and_leaves_them_alone():
    validation = examples(21)
    training = build(examples(29), validation)
    scalars = training.run_epoch(1)
    weights = training.model.get_weights()
    loss, accuracy = mean_loss_and_accuracy(training.model, validation)
    assert scalars["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert scalars["val_accuracy"] == pytest.approx(accuracy)
    test = training.evaluate(validation, "test_")
    assert test == pytest.approx({"test_loss": loss, "test_accuracy": accuracy}, rel=1e-5)
    np.testing.assert_array_equal(weights[0], training.model.get_weights()[0])


def test_the_order_of_an_epoch_follows_from_seed_and_epoch_alone():
    first, again, next_epoch, other_seed = (
        permutation(500, seed, tf.constant(epoch)).numpy() for seed, epoch in ((1, 1), (1, 1), (1, 2), (2, 1))
    )
    assert sorted(first) == list(range(500))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, next_epoch)[0, 1]) < 0.2
    assert abs(np.corrcoef(first, other_seed)[0, 1]) < 0.2


@pytest.mark.parametrize("steps_per_loop", [1, 3, 1000])
def test_looks_change_no_bit_of_the_result(steps_per_loop):
    train = examples(61)
    plain = build(train, dropout=0.3)
    recorded = build(train, dropout=0.3, scalars_every_steps=3)
    looked_at = build(train, dropout=0.3, scalars_every_steps=3, steps_per_loop=steps_per_loop)
    points = {training: points_of(training) for training in (recorded, looked_at)}
    done = threading.Event()

    def look():
        while not done.is_set():
            looked_at.snapshot()

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        results = [
            (plain.run_epoch(epoch), recorded.run_epoch(epoch), looked_at.run_epoch(epoch)) for epoch in (1, 2, 3)
        ]
    finally:
        done.set()
        watcher.join()
    for expected, *found in results:
        assert found == [expected, expected]
    for training in (recorded, looked_at):
        for expected, found in zip(plain.model.get_weights(), training.model.get_weights(), strict=True):
            np.testing.assert_array_equal(expected, found)
    assert points[recorded] == points[looked_at]
    assert [(step, epoch) for step, epoch, _ in points[recorded]] == [
        (step, 1 + (step - 1) // 8) for step in range(3, 25, 3)
    ]
    # Of an epoch's last step, what its end gives.
    assert points[recorded][-1][2] == results[-1][0]


def test_a_snapshot_counts_steps_and_examples_while_an_epoch_runs():
    train = examples(80_004)
    training = build(train, examples(8))
    before = training.snapshot()
    assert (before.epoch, before.global_step, before.first_step_time, before.groups) == (0, 0, None, {})
    seen = []
    done = threading.Event()

    def look():
        while not done.wait(0.01):
            seen.append(training.snapshot())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        scalars = training.run_epoch(1)
    finally:
        done.set()
        watcher.join()
    within = [live for live in seen if 0 < live.global_step < 10_001]
    assert len({live.global_step for live in within}) > 1
    assert all(live.examples == 8 * live.global_step for live in within)
    assert all(live.epoch == 1 for live in within)
    assert {"loss", "accuracy"} <= within[-1].scalars.keys()
    after = training.snapshot()
    assert (after.global_step, after.examples) == (10_001, 80_004)
    assert after.scalars == scalars
    assert after.groups["all"].learning_rate == pytest.approx(0.05)
    assert after.first_step_time is not None
    assert after.training_seconds > 0


def test_a_request_to_stop_ends_the_epoch_between_two_steps():
    training = build(examples(800_000))
    stopped = []

    def run():
        with pytest.raises(StopRequested) as raised:
            training.run_epoch(1)
        stopped.append(raised.value)

    trainer = threading.Thread(target=run)
    trainer.start()
    deadline = time.monotonic() + 60
    while training.snapshot().global_step < 2_000:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    training.request_stop()
    trainer.join(60)
    assert stopped
    assert 2_000 <= training.snapshot().global_step < 100_000
    with pytest.raises(StopRequested):
        training.evaluate(examples(16), "test_")


def test_shares_hold_every_row_once_and_differ_by_one_at_most():
    for rows in range(1, 40):
        for replicas in (1, 2, 3, 4, 16):
            bounds = share_bounds(rows, replicas)
            assert [row for begin, end in bounds for row in range(begin, end)] == list(range(rows))
            sizes = [end - begin for begin, end in bounds]
            assert max(sizes) - min(sizes) <= 1


def test_epochs_of_any_length_go_on_where_the_pass_before_ended():
    arrays = examples(29)
    passes, shorter = build(arrays, dropout=0.3), build(arrays, dropout=0.3, steps_per_epoch=3)
    for epoch in (1, 2, 3):
        passes.run_epoch(epoch)
    for epoch in (1, 2, 3, 4):
        shorter.run_epoch(epoch)
    assert passes.snapshot().global_step == shorter.snapshot().global_step == 12
    assert passes.snapshot().examples == shorter.snapshot().examples == 3 * 29
    for expected, found in zip(passes.model.get_weights(), shorter.model.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, found)


def test_the_scalars_of_an_epoch_are_means_over_its_own_steps():
    arrays = examples(29)
    training = build(arrays, rate=0.0, steps_per_epoch=3)
    loss, accuracy = mean_loss_and_accuracy(training.model, arrays)
    parts = [training.run_epoch(epoch) for epoch in (1, 2, 3, 4)]
    counts = [24, 21, 21, 21]
    for name, expected in (("loss", loss), ("accuracy", accuracy)):
        mean = sum(count * part[name] for count, part in zip(counts, parts, strict=True)) / (3 * 29)
        assert mean == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_what_is_recorded_at_a_step_are_the_means_over_its_epochs_examples_so_far(every):
    arrays = examples(29)
    training = build(arrays, rate=0.0, scalars_every_steps=every)
    points = points_of(training)
    for epoch in (1, 2, 3):
        training.run_epoch(epoch)
    assert [step for step, _, _ in points] == list(range(every, 13, every))
    scores = training.model.predict(arrays.features.astype(np.float32), verbose=0)
    losses, hits = -np.log(scores[np.arange(29), arrays.labels]), scores.argmax(axis=1) == arrays.labels
    for step, epoch, scalars in points:
        seen = permutation(29, 4, tf.constant(epoch)).numpy()[: 8 * (step - 4 * (epoch - 1))]
        assert scalars == pytest.approx({"loss": losses[seen].mean(), "accuracy": hits[seen].mean()}, rel=1e-5)


def test_metrics_of_every_kind_are_recorded_as_an_epochs_end_reads_them():
    metrics = (Both(), keras.metrics.MeanIoU(3, sparse_y_pred=False, name="iou"))
    training = build(examples(32), metrics=metrics, scalars_every_steps=2)
    points = points_of(training)
    ends = [training.run_epoch(epoch) for epoch in (1, 2)]
    assert ends[0].keys() == {"loss", "accuracy", "first", "second", "iou"}
    assert [scalars for step, _, scalars in points if step in (4, 8)] == ends


def test_what_came_before_a_step_that_is_not_finite_is_recorded_and_so_is_that_step():
    features = CHANCE.normal(size=(80, 6)).astype(np.float32)
    features[permutation(80, 4, tf.constant(1)).numpy()[43]] = math.nan
    training = build(Arrays(features, CHANCE.integers(0, 3, 80).astype(np.uint8)), scalars_every_steps=1)
    points = points_of(training)
    with pytest.raises(NotFiniteError, match="at step 6"):
        training.run_epoch(1)
    assert [(step, math.isfinite(scalars["loss"])) for step, _, scalars in points] == [
        *((step, True) for step in range(1, 6)),
        (6, False),
    ]


def test_epochs_are_trained_one_after_the_other():
    training = build(examples(8))
    with pytest.raises(ValueError, match="epoch 1 is the one in work, not 2"):
        training.run_epoch(2)


def test_a_metric_that_waits_for_its_first_batch_has_all_its_state_before_it():
    metrics = (
        keras.metrics.F1Score(name="f1"),
        keras.metrics.AUC(multi_label=True, name="auc"),
        keras.metrics.R2Score(name="r2"),
    )
    distribution = strategy.make_strategy(strategy.CPU, 1)
    with distribution.scope():
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, activation="softmax")])
    arrays = Arrays(np.ones((5, 6), np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]])
    target = Target("", keras.losses.CategoricalCrossentropy(), metrics=metrics)
    before = [len(metric.variables) for metric in metrics]
    build_metrics(arrays, model, [target], distribution)
    for metric, count in zip(metrics, before, strict=True):
        assert len(metric.variables) > count
        assert not any(np.any(variable.numpy()) for variable in metric.variables)
