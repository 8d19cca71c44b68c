"""Whether examples fit the model, the loss and the metrics; asked before anything is traced."""

from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.faults import child, shown
from gradloom.object_config import whole_config
from gradloom.trainer import user_code
from gradloom.trainer.datasets import Arrays, DataUnavailable
from gradloom.trainer.library_messages import on_one_line, telling_line
from gradloom.trainer.registered import module_of
from gradloom.trainer.targets import Target

# Losses of Keras that compare labels and outputs element by element: shapes that only broadcast are a mistake in the
# spec.
_ELEMENTWISE = (
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
    keras.losses.CategoricalCrossentropy,
    keras.losses.CategoricalFocalCrossentropy,
    keras.losses.CategoricalHinge,
    keras.losses.CosineSimilarity,
    keras.losses.Hinge,
    keras.losses.Huber,
    keras.losses.KLDivergence,
    keras.losses.LogCosh,
    keras.losses.MeanAbsoluteError,
    keras.losses.MeanAbsolutePercentageError,
    keras.losses.MeanSquaredError,
    keras.losses.MeanSquaredLogarithmicError,
    keras.losses.Poisson,
    keras.losses.SquaredHinge,
)


def check_model(model: keras.Model, targets: Sequence[Target]) -> None:
    """Refuses models that cannot be trained, and metrics whose scalars would share a name.

    Raises:
        InvalidRequestError: All faults at once.
    """
    faults = []
    if len(model.inputs) != 1:
        faults.append(FieldFault("spec.model", f"must have one input, has {len(model.inputs)}"))
    else:
        faults += _inference_faults(model)
    faults += [*_type_faults(model), *_name_faults(targets)]
    if faults:
        raise InvalidRequestError(faults)


def _type_faults(model: keras.Model) -> Iterator[FieldFault]:
    """Trained weights have one type: their gradients are summed over the replicas, and clipped, together."""
    by_type: dict[str, str] = {}
    for variable in model.trainable_variables:
        by_type.setdefault(variable.dtype, variable.path)
    if len(by_type) > 1:
        shown = ", ".join(f"{path} is {kind}" for kind, path in by_type.items())
        yield FieldFault("spec.model", f"must keep the weights that are trained in one type, that of the job: {shown}")


def _name_faults(targets: Sequence[Target]) -> Iterator[FieldFault]:
    taken = {"loss": "the loss"} | {f"{target.name}_loss": f"{target.field}.loss" for target in targets if target.name}
    for target in targets:
        for index, metric in enumerate(target.metrics):
            scalar, where = target.prefix + metric.name, f"{target.field}.metrics[{index}]"
            if scalar in taken:
                yield FieldFault(f"{where}.name", f'"{scalar}" is taken by {taken[scalar]}; give it another name')
            taken.setdefault(scalar, where)


def _inference_faults(model: keras.Model) -> Iterator[FieldFault]:
    """What is wrong when the model infers: a layer may give other shapes then than in training (RandomCrop)."""
    (taken,) = model.inputs
    try:
        inference = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
        outputs = inference.get_concrete_function(tf.TensorSpec(taken.shape, taken.dtype)).structured_outputs
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        refused = f"is refused by Keras when it infers (training=False): {on_one_line(error)}"
        yield user_code.fault("spec.model", error, refused)
    else:
        if isinstance(outputs, dict) and len(outputs) == 1:
            yield FieldFault("spec.model", f"must give its output by itself, not by name; gives {sorted(outputs)}")


def check_fit(
    arrays: Arrays,
    field: str,
    model: keras.Model,
    targets: Sequence[Target],
) -> None:
    """Refuses examples that the model, the loss or a metric would refuse or misread, all faults at once.

    Tries two examples' labels of each output against 0; runs neither the model nor anything under a strategy.

    Args:
        arrays: The examples; arrays of zeros do where only shapes are known.
        field: Path of their source in the job, such as `spec.data.train`.
        model: Built, with one input and one output for each target.
        targets: The job's, in the order of the outputs; their metrics are left as they are.

    Raises:
        DataUnavailable: Naming shapes, types or values on both sides.
    """
    faults = list(_feature_faults(arrays.features, field, model))
    if not faults:
        outputs = _zero_outputs(model, arrays.features.shape[1:])
        for target, output in zip(targets, outputs, strict=True):
            labels = arrays.labels_of(target.name)
            refused = list(_label_faults(labels, field, output, target))
            if not refused and arrays.weights is not None and _is_one_number(labels, output, target.loss):
                rule = "must have no sample weights: it gives one number for a batch, not one for each example"
                faults.append(FieldFault(f"{target.field}.loss", f"{rule}; {field} has some"))
            faults += refused or _metric_faults(labels, field, output, target)
    if faults:
        raise DataUnavailable(faults)


def build_metrics(
    arrays: Arrays, model: keras.Model, targets: Sequence[Target], strategy: tf.distribute.Strategy
) -> None:
    """Makes the variables that metrics make with their first batch: a checkpoint may be restored into them.

    Args:
        arrays: Examples that fit.
        model: Built.
        targets: Of the model's outputs, in their order.
        strategy: Whose replicas the metrics count on.
    """
    outputs = _zero_outputs(model, arrays.features.shape[1:])
    for target, output in zip(targets, outputs, strict=True):
        labels = tf.constant(_two(arrays.labels_of(target.name)))
        for metric in filter(_may_lack_state, target.metrics):
            strategy.run(metric.update_state, (labels, output))
            metric.reset_state()


def _may_lack_state(metric: keras.metrics.Metric) -> bool:
    """Whether the first batch may make variables: Keras's metrics say so, of users' own nobody can tell."""
    if module_of(type(metric)) in ("keras", "gradloom"):
        return not (metric.variables and getattr(metric, "_built", True))
    return True


def _feature_faults(features: np.ndarray, field: str, model: keras.Model) -> Iterator[FieldFault]:
    wanted = model.inputs[0]
    own, takes = features.shape[1:], tuple(wanted.shape[1:])
    if len(own) != len(takes) or any(size not in (None, given) for size, given in zip(takes, own, strict=True)):
        yield FieldFault(field, f"examples have shape {list(own)}, but the model's input takes {_bracketed(takes)}")
    if np.issubdtype(features.dtype, np.floating) and np.issubdtype(np.dtype(wanted.dtype), np.integer):
        yield FieldFault(field, f"examples are {features.dtype}, but the model's input takes {wanted.dtype}")


def _zero_outputs(model: keras.Model, feature_shape: Sequence[int]) -> list[tf.Tensor]:
    outputs = model.compute_output_spec(keras.KerasTensor((2, *feature_shape), model.inputs[0].dtype))
    return [
        tf.zeros([1 if size is None else size for size in output.shape], output.dtype)
        for output in keras.tree.flatten(outputs)
    ]


def _label_faults(labels: np.ndarray, field: str, outputs: tf.Tensor, target: Target) -> Iterator[FieldFault]:
    loss = target.loss
    name = type(loss).__name__
    own, given = labels.shape[1:], tuple(outputs.shape[1:])
    output = f"output {shown(target.name)}" if target.name else "output"
    sides = f"labels have shape {list(own)}, the model's {output} {list(given)}"
    if type(loss) is keras.losses.SparseCategoricalCrossentropy:
        if own not in (given[:-1], (*given[:-1], 1)):
            yield FieldFault(field, f"{sides}; {name} takes one class number where the output has a row of scores")
            return
        yield from _class_faults(labels, field, output, given[-1], loss.get_config().get("ignore_class"))
        return
    if type(loss) in _ELEMENTWISE and _without_last_one(own) != _without_last_one(given):
        yield FieldFault(field, f"{sides}; {name} compares them element by element")
        return
    try:
        loss.call(tf.cast(_two(labels), loss.dtype), tf.cast(outputs, loss.dtype))
    except Exception as error:
        yield FieldFault(field, f"{sides}; {name} refuses them: {telling_line(str(error)) or type(error).__name__}")


def _is_one_number(labels: np.ndarray, outputs: tf.Tensor, loss: keras.losses.Loss) -> bool:
    """Whether a loss gives a single number before it reduces."""
    return not loss.call(tf.cast(_two(labels), loss.dtype), tf.cast(outputs, loss.dtype)).shape.rank


def check_class_weights(
    weights: Mapping[int, float], arrays: Arrays, field: str, model: keras.Model, targets: Sequence[Target]
) -> None:
    """Refuses weights of classes, by number, that the labels of the training data do not have.

    Args:
        weights: None are always fine.
        arrays: The training data; they fit the model.
        field: Path of their source in the job.
        model: With one output.
        targets: One, because weights of classes belong to one output.

    Raises:
        InvalidRequestError: Labels are neither class numbers nor one-hot, or have no such class.
    """
    if not weights:
        return
    where = "spec.training.class_weights"
    (target,) = targets
    labels = arrays.labels_of(target.name)
    (output,) = _zero_outputs(model, arrays.features.shape[1:])
    faults = []
    one_hot = labels.ndim == 2 and labels.shape[1] > 1
    if _is_one_number(labels, output, target.loss):
        faults.append(FieldFault(where, "must go with a loss of each example; this one gives one number for a batch"))
    elif not (_are_one_hot(labels) if one_hot else _are_class_numbers(labels)):
        kind = f"those of {field} have shape {list(labels.shape[1:])} and type {labels.dtype}"
        faults.append(FieldFault(where, f"must go with labels that are class numbers or one-hot; {kind}"))
    elif one_hot or type(target.loss) is keras.losses.SparseCategoricalCrossentropy:
        classes = labels.shape[1] if one_hot else output.shape[-1]
        faults += [
            FieldFault(child(where, number), f"must be the weight of a class, 0 to {classes - 1}; got {number}")
            for number in sorted(weights)
            if number >= classes
        ]
    if faults:
        raise InvalidRequestError(faults)


def _are_class_numbers(labels: np.ndarray) -> bool:
    return labels.shape[1:] in ((), (1,)) and np.array_equal(labels, np.floor(labels))


def _are_one_hot(labels: np.ndarray) -> bool:
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())


def _class_faults(
    labels: np.ndarray, field: str, output: str, classes: int, ignored: int | None
) -> Iterator[FieldFault]:
    counted = labels if ignored is None else labels[labels != ignored]
    if not counted.size:
        return
    if not np.issubdtype(labels.dtype, np.integer) and not np.array_equal(counted, np.floor(counted)):
        rule = "are not all whole numbers, as class numbers are"
        yield FieldFault(field, f"labels of the model's {output}, of type {labels.dtype}, {rule}")
        return
    low, high = counted.min(), counted.max()
    if low < 0 or high >= classes:
        yield FieldFault(
            field, f"labels go from {low} to {high}, but the model's {output} has {classes} classes, 0 to {classes - 1}"
        )


def _metric_faults(labels: np.ndarray, field: str, outputs: tf.Tensor, target: Target) -> Iterator[FieldFault]:
    for index, metric in enumerate(target.metrics):
        where = f"{target.field}.metrics[{index}]"
        try:
            trial = type(metric).from_config(whole_config(metric))
            trial.update_state(tf.constant(_two(labels)), outputs)
            result = trial.result()
        except Exception as error:
            sides = (
                f"labels of {field} have shape {list(labels.shape[1:])}, the model's output {list(outputs.shape[1:])}"
            )
            told = telling_line(str(error)) or type(error).__name__
            yield FieldFault(where, f"{type(metric).__name__} refuses the data: {told}; {sides}")
            continue
        values = result.values() if isinstance(result, dict) else [result]
        if any(tuple(value.shape) for value in values):
            yield FieldFault(
                where, f"{type(metric).__name__} gives several numbers; a scalar is one (see its averaging arguments)"
            )


def _two(labels: np.ndarray) -> np.ndarray:
    """Two examples' labels, the first ones."""
    return np.resize(labels[:2], (2, *labels.shape[1:]))


def _without_last_one(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:-1] if shape and shape[-1] == 1 else shape


def _bracketed(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
