"""Spec to Keras objects: the model, its loss, its metrics, the optimizers and their schedules.

Everything is named, so that variable paths do not depend on what else the process has built.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
from keras.src.utils import naming

from gradloom.errors import InvalidRequestError, refusal
from gradloom.faults import Faults, child, did_you_mean, shown
from gradloom.spec.defaults import with_defaults
from gradloom.spec.numbers import struct_to_config
from gradloom.trainer.construction import build_component, construct, refusing, resolve
from gradloom.trainer.precision import set_precision
from gradloom.trainer.serialized_models import model_from_json
from gradloom.trainer.targets import Target
from gradloom.v1 import spec_pb2

__all__ = [
    "build_component",
    "build_layer",
    "build_learning_rate",
    "build_model",
    "build_optimizer",
    "build_targets",
    "output_names",
    "variable_paths",
]

MAX_RECURSION: Final = 10_000


class BuiltModel(keras.Model):
    """What is trained of a builder: a graph of one input, of the shape of the data, and the builder's model.

    Attributes:
        inner: The builder's own, by the same name; what a `.keras` file holds.
    """

    def __init__(self, inner: keras.Model, feature_shape: Sequence[int]):
        # Precision is the process's policy by now: an input keeps what a weight would.
        inputs = keras.Input(tuple(feature_shape), dtype=keras.config.dtype_policy().variable_dtype)
        super().__init__(inputs, inner(inputs), name=inner.name)
        self.inner = inner


def build_model(
    spec: spec_pb2.JobSpec,
    data_roots: Sequence[str] = (),
    feature_shape: Callable[[], Sequence[int]] | None = None,
) -> keras.Model:
    """Builds the model of a spec, with its variables, from the spec's seed; call it under the strategy's scope.

    Sets the process's random seed, dtype policy and image data format, so that neither a `keras.json` on the machine
    nor what was built before changes the result. Raises InvalidRequestError with the field of what Keras refuses.

    Args:
        spec: Defaults are filled in.
        data_roots: Where path parameters may point to.
        feature_shape: Gives the shape of one training example's features; asked for a `builder` alone, which needs it.
    """
    spec = with_defaults(spec, seed=0)
    set_precision(spec.training)
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(spec.training.seed)
    # Keras numbers what nobody named (a seed generator, a wrapped layer) over the whole process; paths hold the number.
    naming.reset_uids()
    # Keras walks back from the output one layer a call or two; the limit of 1,000 would end that in a deep network.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_RECURSION))
    if spec.model.keras_config:
        return model_from_json(spec.model, tuple(data_roots))
    if spec.model.HasField("builder"):
        assert feature_shape is not None
        return _model_from_builder(spec.model, tuple(data_roots), feature_shape())
    return _model_from_layers(spec.model, tuple(data_roots))


def _model_from_builder(
    model: spec_pb2.ModelSpec, data_roots: tuple[str, ...], feature_shape: Sequence[int]
) -> BuiltModel:
    field = "spec.model.builder"
    entry = resolve("model", model.builder.type, child(field, "type"))
    config = struct_to_config(model.builder.config, entry) | {"name": model.name}
    inner = construct(entry, config, field, data_roots)
    with refusing(field):
        return BuiltModel(inner, feature_shape)


def _model_from_layers(model: spec_pb2.ModelSpec, data_roots: tuple[str, ...]) -> keras.Model:
    faults = Faults()
    layers = []
    for position, layer in enumerate(model.layers):
        field = child("spec.model.layers", position)
        try:
            layers.append(build_layer(layer, field, data_roots))
        except InvalidRequestError as error:
            faults.extend(error.faults)
    faults.raise_any()
    tensors: dict[str, Any] = {}
    inputs = []
    previous = None
    for position, (layer, built) in enumerate(zip(model.layers, layers, strict=True)):
        field = child("spec.model.layers", position)
        if _is_input(layer):
            inputs.append(built)
            tensors[layer.name] = built
        else:
            given = _call(built, layer, previous, tensors, field)
            tensors[layer.name] = given[0]
            tensors |= {f"{layer.name}:{index}": tensor for index, tensor in enumerate(given)}
        previous = layer.name
    outputs = [_tensor(name, tensors, child("spec.model.outputs", i)) for i, name in enumerate(model.outputs)]
    with refusing("spec.model"):
        return keras.Model(
            inputs[0] if len(inputs) == 1 else inputs, outputs[0] if len(outputs) == 1 else outputs, name=model.name
        )


def _is_input(layer: spec_pb2.LayerSpec) -> bool:
    return layer.type in ("Input", "InputLayer")


def build_layer(layer: spec_pb2.LayerSpec, field: str, data_roots: tuple[str, ...]) -> Any:
    """One layer, fed by nothing yet, or the tensor of an Input."""
    entry = resolve("layer", layer.type, child(field, "type"))
    config = struct_to_config(layer.config, entry)
    config["name"] = layer.name
    if _is_input(layer) and config.get("batch_shape") is not None:
        config["shape"] = config.pop("batch_shape")[1:]
    return construct(entry, config, field, data_roots)


def _call(
    built: Any, layer: spec_pb2.LayerSpec, previous: str | None, tensors: dict[str, Any], field: str
) -> Sequence[Any]:
    """The tensors that a layer gives, one or several."""
    if layer.inputs:
        names = list(layer.inputs)
    elif previous is not None:
        names = [previous]
    else:
        raise refusal(field, "must be an Input: it is the first layer")
    arguments = [_tensor(name, tensors, child(child(field, "inputs"), i)) for i, name in enumerate(names)]
    with refusing(field):
        outputs = built(arguments[0] if len(arguments) == 1 else arguments)
    given = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
    if not given or not all(isinstance(output, keras.KerasTensor) for output in given):
        raise refusal(field, f"must give a tensor or a list of them; {layer.type} as configured does not")
    return given


def _tensor(name: str, tensors: dict[str, Any], field: str) -> Any:
    if name not in tensors:
        layer = name.partition(":")[0]
        count = sum(other.startswith(f"{layer}:") for other in tensors)
        if count:
            raise refusal(field, f"must name an output of {shown(layer)}, which has {count}, from 0; got {shown(name)}")
        raise refusal(field, f"must name a layer before this one; got {shown(name)}{did_you_mean(name, tensors)}")
    return tensors[name]


def build_targets(spec: spec_pb2.JobSpec) -> tuple[Target, ...]:
    """New losses and metrics of the model's outputs, all faults at once.

    In the order of `spec.model.outputs` where that names them, else in that of their names.
    """
    if not spec.outputs:
        wanted = [("", "spec", spec_pb2.OutputSpec(loss=spec.loss, metrics=spec.metrics))]
    else:
        ordered = dict.fromkeys([*spec.model.outputs, *sorted(spec.outputs)])
        wanted = [(name, child("spec.outputs", name), spec.outputs[name]) for name in ordered if name in spec.outputs]
    faults = Faults()
    targets = []
    for name, field, output in wanted:
        try:
            loss = build_component("loss", output.loss, f"{field}.loss")
            metrics = _build_metrics(output.metrics, f"{field}.metrics")
        except InvalidRequestError as error:
            faults.extend(error.faults)
        else:
            targets.append(Target(name, loss, output.weight if output.HasField("weight") else 1.0, metrics))
    faults.raise_any()
    return tuple(targets)


def _build_metrics(wanted: Sequence[spec_pb2.Component], field: str) -> tuple[Any, ...]:
    """In the spec's order; raises InvalidRequestError when two have one name."""
    metrics: list[Any] = []
    for position, component in enumerate(wanted):
        where = child(field, position)
        metric = build_component("metric", component, where)
        if metric.name in [other.name for other in metrics]:
            raise refusal(where, f"must have a name of its own; {shown(metric.name)} is taken: give it a `name`")
        metrics.append(metric)
    return tuple(metrics)


def build_optimizer(group: spec_pb2.VariableGroup, field: str) -> Any:
    """The optimizer of a group that is not frozen, with the group's learning-rate schedule where it has one.

    `field` is the group's, such as `spec.variable_groups[0]`. The optimizer has no variables yet.
    """
    component = spec_pb2.Component()
    component.CopyFrom(group.optimizer)
    entry = resolve("optimizer", component.type, f"{field}.optimizer.type")
    config = struct_to_config(component.config, entry)
    if component.name:
        config["name"] = component.name
    # Keras names slots after the optimizer: two Adams of two groups must differ.
    config.setdefault("name", f"{group.name}_{entry.type}".lower())
    if group.HasField("learning_rate"):
        config["learning_rate"] = build_learning_rate(group.learning_rate, f"{field}.learning_rate")
    return construct(entry, config, f"{field}.optimizer")


def build_learning_rate(component: spec_pb2.Component, field: str) -> Any:
    """A learning-rate schedule; called with the number of updates made so far."""
    return build_component("schedule", component, field)


def variable_paths(model: keras.Model) -> list[tuple[str, Any]]:
    """Every variable of the model, in its order, with its path below the model's name.

    Keras puts the model's name before the path or not, depending on how the model was made; and two layers of two
    nested models may share a path, as far as Keras is concerned. Here a path starts with the name of the model's own
    layer.
    """
    whole = exported_model(model)
    owners = {id(variable): layer for layer in whole.layers for variable in layer.variables}
    return [(_relative_path(whole, owners.get(id(variable)), variable), variable) for variable in model.variables]


def output_names(model: keras.Model) -> list[str]:
    """The names of the model's outputs, in its order.

    A model that gives them by name has named them; else they are named after the layers that give them, `name:1` the
    second output of a layer with several. A builder's model is such a layer.
    """
    by_name = getattr(model, "_outputs_struct", None)
    if isinstance(by_name, dict):
        return sorted(by_name)
    histories = [tensor._keras_history for tensor in model.outputs]
    return [one.operation.name + (f":{one.tensor_index}" if one.tensor_index else "") for one in histories]


def exported_model(model: keras.Model) -> keras.Model:
    """What a `.keras` file holds: the builder's own model where there is one, else the model itself."""
    return model.inner if isinstance(model, BuiltModel) else model


def _relative_path(model: keras.Model, layer: Any, variable: Any) -> str:
    path = str(variable.path)
    if layer is None:
        return path.removeprefix(f"{model.name}/")
    if path.startswith(f"{model.name}/{layer.name}/"):
        path = path.removeprefix(f"{model.name}/")
    return path if path.startswith(f"{layer.name}/") else f"{layer.name}/{path}"
