"""What a step minimises, written as shares that replicas can add up.

The loss of a global batch is the weighted sum of the targets' losses over all of its examples, plus what layers add
with `add_loss` (activity regularizers too), plus the regularizers of the trained variables, once. Each replica computes
its share of that from its own rows; the sum of the shares is the loss, and the sum of their gradients its gradient,
whatever the number of replicas and however uneven their rows.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.trainer.batches import Examples, Share
from gradloom.trainer.class_weights import ClassWeights
from gradloom.trainer.draws import Draws
from gradloom.trainer.precision import computing_as_weights_are
from gradloom.trainer.targets import Target, by_target


class Kind(Enum):
    """How a loss of a batch follows from those of its parts."""

    ADDITIVE = "additive"
    MEAN = "mean"


@dataclass(frozen=True)
class Entry:
    """One scalar that a layer gave to `add_loss` in a forward pass."""

    layer: str
    value: tf.Tensor


class Ledger:
    """Takes down what the layers of a model add with `add_loss`, in a list of its own for each thread.

    Keras keeps one list a layer and clears it when the model is called. Replicas are traced in threads that take turns
    in the middle of a forward pass (at every collective, such as synchronized BatchNormalization), so that one would
    clear the other's entries.
    """

    def __init__(self, model: keras.Model):
        self._open = threading.local()
        for layer in (model, *model._flatten_layers(include_self=False)):
            layer.add_loss = partial(self._add, layer.path or layer.name)

    def _add(self, layer: str, loss: Any) -> None:
        entries = getattr(self._open, "entries", None)
        if entries is not None:
            entries.extend(Entry(layer, tf.convert_to_tensor(value)) for value in tf.nest.flatten(loss))

    def collect(self, forward: Callable[[], Any]) -> tuple[Any, list[Entry]]:
        """Runs a forward pass; returns its result and what was added in it."""
        entries: list[Entry] = []
        self._open.entries = entries
        try:
            return forward(), entries
        finally:
            self._open.entries = None


class Found(NamedTuple):
    """What a forward pass gives."""

    loss: tf.Tensor
    """This replica's share of the loss of a global batch; the sum over the replicas is the loss."""
    losses: list[tf.Tensor]
    """By target, this replica's share of its own loss, which is not multiplied with the target's weight."""
    outputs: list[tf.Tensor]
    """By target."""


class Objective:
    """The loss of one model as shares of replicas; called in replica context.

    Args:
        model: Built; its layers' `add_loss` is taken over.
        targets: One for each output, in the model's order; losses have any reduction but none.
        trained: The variables whose regularizers count.
        replicas: Replicas that the shares are added up over.
        class_weights: By class number, what the loss of an example counts while training; of a model with one output.

    Raises:
        InvalidRequestError: A loss gives no single number.
    """

    def __init__(
        self,
        model: keras.Model,
        targets: Sequence[Target],
        trained: Sequence[keras.Variable],
        replicas: int,
        class_weights: Mapping[int, float] | None = None,
    ):
        faults = [
            FieldFault(
                f"{target.field}.loss.config.reduction", "must give one number to minimise, not one for each example"
            )
            for target in targets
            if target.loss.reduction in (None, "none")
        ]
        if faults:
            raise InvalidRequestError(faults)
        self.model = model
        self.losses = len(targets)
        self.loss_dtype = targets[0].loss.dtype
        self._targets = tuple(targets)
        self._regularized = [variable for variable in trained if variable.regularizer is not None]
        self._replicas = replicas
        self._class_weights = ClassWeights(class_weights, self.loss_dtype) if class_weights else None
        self._ledger = Ledger(model)
        self.draws = Draws(model)
        # By target, of losses that give one number for a whole batch.
        self._loss_kinds: list[Kind | None] = [None] * len(targets)
        self._entry_kinds: dict[bool, list[Kind]] = {}

    def __call__(self, share: Share, training: bool, trained: Sequence[keras.Variable] | None = None) -> Found:
        """Runs the model on this replica's share of a global batch.

        Takes the examples with a static number of rows. Of the regularizers those of the variables `trained` count, by
        default of all that are ever trained.
        """
        rows, total = share.rows, share.total
        outputs, entries = self._forward_share(share, training)
        losses = [self._loss_share(index, share, output, training) for index, output in enumerate(outputs)]
        loss = _weighted_sum(losses, [target.weight for target in self._targets])
        kinds = self._entry_kinds.get(training, [Kind.MEAN] * len(entries))
        for entry, kind in zip(entries, kinds, strict=True):
            loss += tf.cast(_part(entry.value, kind, rows, total), loss.dtype)
        for variable in self._regularized if trained is None else [one for one in trained if one.regularizer]:
            loss += tf.cast(variable.regularizer(variable), loss.dtype) / (self._replicas * share.parts)
        return Found(loss, losses, outputs)

    def _forward(self, examples: Examples, training: bool) -> tuple[list[tf.Tensor], list[Entry]]:
        """The outputs by target, and what the layers add."""
        outputs, entries = self._ledger.collect(lambda: self.model(examples.features, training=training))
        return keras.tree.flatten(outputs), entries

    def _forward_share(self, share: Share, training: bool) -> tuple[list[tf.Tensor], list[Entry]]:
        if share.rows == share.total:
            return self._forward(share.examples, training)
        with self.draws.of_share(share, training):
            return self._forward(share.examples, training)

    def counts(self, share: Share) -> tf.Tensor:
        """What this replica's share adds to what the losses divide by, [losses]; in replica context.

        That is how many values count, or their weights; 0 for a loss that divides by the number of examples.

        A batch that is run in parts needs to know it of all of them before the first, see `Share.counts`.
        """
        outputs, _ = self._forward_share(share, training=False)
        return tf.stack([self._count(index, share, output) for index, output in enumerate(outputs)])

    def _count(self, index: int, share: Share, output: tf.Tensor) -> tf.Tensor:
        values, mask = self._values(index, share.examples, output)
        if values.shape.rank == 0:
            return tf.zeros([], self.loss_dtype)
        divisor = self._divisor(index, mask, self._weights(share.examples, values, training=True))
        if divisor is None:
            return tf.zeros([], self.loss_dtype)
        return tf.cast(tf.reduce_sum(_counting(divisor, share.rows)), self.loss_dtype)

    def _loss_share(self, index: int, share: Share, output: tf.Tensor, training: bool) -> tf.Tensor:
        values, mask = self._values(index, share.examples, output)
        if values.shape.rank == 0:
            return _part(values, self._loss_kinds[index] or Kind.MEAN, share.rows, share.total)
        weights = self._weights(share.examples, values, training)
        for factor in (mask, weights):
            values = values if factor is None else values * factor
        values = _counting(values, share.rows)
        summed = tf.reduce_sum(values)
        if self._targets[index].loss.reduction == "sum":
            return summed
        divisor = self._divisor(index, mask, weights)
        if divisor is None:
            # Multiplied, because the gradient of a division takes five operations.
            return summed * (1 / (share.total * _elements_per_row(values)))
        divisor = _counting(divisor, share.rows)
        count = self._count_of_all(index, divisor, share) * _elements_per_row(values) / _elements_per_row(divisor)
        return tf.math.divide_no_nan(summed, count)

    def _values(self, index: int, examples: Examples, output: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """A target's loss of each example, as `Loss.__call__` finds it before it reduces, and 1 for those that count.

        The latter has as many dimensions as the former, some of size 1; it is None where all count.
        """
        loss, labels = self._targets[index].loss, by_target(examples.labels)[index]
        masks = [getattr(output, "_keras_mask", None)]
        values = loss.call(tf.cast(labels, loss.dtype), tf.cast(output, loss.dtype))
        masks.append(getattr(values, "_keras_mask", None))
        found = [tf.cast(mask, "bool") for mask in masks if mask is not None]
        if not found:
            return values, None
        mask = found[0] if len(found) == 1 else found[0] & found[1]
        return values, None if values.shape.rank == 0 else _broadcastable(mask, values)

    def _weights(self, examples: Examples, values: tf.Tensor, training: bool) -> tf.Tensor | None:
        """What the values of each example are multiplied with; as many dimensions as they have, but for the first of 1.

        As in Keras, the divisor stays the number of examples unless the loss says that it is the sum of the weights.
        """
        weights = None if examples.weights is None else tf.cast(examples.weights, values.dtype)
        if training and self._class_weights is not None:
            (labels,) = by_target(examples.labels)
            of_classes = tf.cast(self._class_weights.of(labels), values.dtype)
            weights = of_classes if weights is None else weights * of_classes
        return None if weights is None else _broadcastable(weights, values)

    def _divisor(self, index: int, mask: tf.Tensor | None, weights: tf.Tensor | None) -> tf.Tensor | None:
        """What a target's loss divides by, once it is summed over the global batch; None for the number of values."""
        if self._targets[index].loss.reduction == "mean_with_sample_weight" and weights is not None:
            return weights if mask is None else weights * mask
        return mask

    def _count_of_all(self, index: int, divisor: tf.Tensor, share: Share) -> tf.Tensor:
        """The sum of a divisor over the global batch."""
        if share.counts is not None:
            return tf.cast(share.counts[index], divisor.dtype)
        count = tf.reduce_sum(divisor)
        return count if self._replicas == 1 else tf.distribute.get_replica_context().all_reduce("SUM", count)

    def settle_kinds(self, examples: Examples) -> None:
        """Finds out how what is one number for a whole batch, or random, follows from the parts; runs eagerly.

        Needed where a batch is split, over replicas or into micro-batches. Compares a batch with its two uneven parts,
        and leaves the model's state as it was.

        Args:
            examples: Features as the model takes them; at least 3 rows.

        Raises:
            InvalidRequestError: One is neither additive nor a mean, so that its value would depend on the number of
                replicas.
        """
        state = [(variable, tf.identity(variable.value)) for variable in self.model.non_trainable_variables]
        with computing_as_weights_are(self.model):
            passes = {training: self._compare(examples, training) for training in (False, True)}
        for variable, value in state:
            variable.assign(value)
        calm, active = passes[False], passes[True]
        # Random layers make a pass in training mode differ from its parts: such a pass decides only what the other one
        # lacks.
        if [probe.name for probe in calm] == [probe.name for probe in active]:
            active = calm
        faults = [
            FieldFault(
                probe.where,
                f"{probe.name} gives a loss for a whole batch that is neither the sum nor the mean over its "
                "examples; it would depend on the number of replicas, so it needs cpu_replicas or gpus 1, "
                "and no gradient_accumulation_steps",
            )
            for probe in dict.fromkeys((*calm, *active))
            if probe.kind is None
        ]
        if faults:
            raise InvalidRequestError(faults)
        for training, probes in ((False, calm), (True, active)):
            self._entry_kinds[training] = [probe.kind for probe in probes if probe.kind and probe.target is None]
            for probe in probes:
                if probe.target is not None:
                    self._loss_kinds[probe.target] = probe.kind

    def _compare(self, examples: Examples, training: bool) -> list["_Probe"]:
        rows = examples.features.shape[0]
        cut = max(1, rows // 3)
        whole, first, second = (
            self._batch_losses(examples.map(lambda tensor, part=part: tensor[part]), training)  # type: ignore[misc]
            for part in (slice(0, rows), slice(0, cut), slice(cut, rows))
        )
        return [
            replace(probe, kind=_kind(float(probe.value), float(one.value), float(other.value), cut / rows))
            for probe, one, other in zip(whole, first, second, strict=True)
        ]

    def _batch_losses(self, examples: Examples, training: bool) -> list["_Probe"]:
        with self.draws.watched(examples.features.shape[0], training):
            outputs, entries = self._forward(examples, training)
        found = [_Probe(f"layer {entry.layer!r}", "spec.model", entry.value) for entry in entries]
        for index, (target, output) in enumerate(zip(self._targets, outputs, strict=True)):
            values, _ = self._values(index, examples, output)
            if values.shape.rank == 0:
                found.append(_Probe(f"loss {target.loss.name!r}", f"{target.field}.loss", values, index))
        return found


@dataclass(frozen=True)
class _Probe:
    """One number that stands for a whole batch."""

    name: str
    where: str
    value: tf.Tensor = field(compare=False)
    target: int | None = None
    """Which one's loss it is; None for what a layer adds."""
    kind: Kind | None = None


def _weighted_sum(losses: Sequence[tf.Tensor], weights: Sequence[float]) -> tf.Tensor:
    """In the type of the first loss."""
    weighted = [loss if weight == 1 else loss * weight for loss, weight in zip(losses, weights, strict=True)]
    return weighted[0] if len(weighted) == 1 else tf.add_n([tf.cast(loss, weighted[0].dtype) for loss in weighted])


def _kind(whole: float, first: float, second: float, share: float) -> Kind | None:
    """The kind of a value that is `whole` for a batch, and `first` and `second` for its parts."""
    tolerance = 1e-4 * max(abs(whole), abs(first), abs(second))
    # What is 0 everywhere is a mean: Keras divides activity regularizers, the usual case, by the number of examples.
    if abs(whole - (share * first + (1 - share) * second)) <= tolerance:
        return Kind.MEAN
    if abs(whole - (first + second)) <= tolerance:
        return Kind.ADDITIVE
    return None


def _part(value: tf.Tensor, kind: Kind, rows: int, total: int) -> tf.Tensor:
    """What a replica with `rows` of `total` examples adds to a loss that is one number for a batch."""
    share = rows / total if kind is Kind.MEAN else float(rows > 0)
    # A mean over no rows is not a number.
    return value if share == 1 else tf.math.multiply_no_nan(value, tf.constant(share, value.dtype))


def _elements_per_row(values: tf.Tensor) -> tf.Tensor | int:
    """How many elements a row of [rows, ...] has, also when there is no row."""
    per_row = values.shape[1:].num_elements()
    return tf.cast(tf.reduce_prod(tf.shape(values)[1:]), values.dtype) if per_row is None else per_row


def _broadcastable(factor: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """A mask or weights as numbers, with as many dimensions as the values."""
    shape = tf.concat([tf.shape(factor), tf.ones([values.shape.rank - factor.shape.rank], "int32")], 0)
    return tf.reshape(tf.cast(factor, values.dtype), shape)


def _counting(values: tf.Tensor, rows: int) -> tf.Tensor:
    """The first `rows` rows: without one that stands in."""
    return values if values.shape[0] == rows else values[:rows]
