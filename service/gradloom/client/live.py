"""A job from live Keras objects: a model, losses, metrics and optimizers as a notebook has them.

Keras is never imported here: whoever holds such an object has imported it.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gradloom.errors import refusal
from gradloom.object_config import whole_config

HOW_TO_REGISTER: Final = '@keras.saving.register_keras_serializable(package="...")'


def spec_from_live(model: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a model, live or as a mapping, and further fields of the spec; None stands for one that is not given.

    Every Keras object in the fields, however deep, becomes `{type, config}`. Raises InvalidRequestError for what has no
    such form, saying what to do.
    """
    spec = {"model": dict(model) if isinstance(model, Mapping) else _model(model)}
    for name, value in fields.items():
        if value is not None:
            spec[name] = _plain(value, f"spec.{name}")
    return spec


def _model(model: Any) -> dict[str, Any]:
    keras: Any = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):
        raise refusal("model", f"must be a Keras 3 model or a mapping; got a {type(model).__name__}")
    if not type(model).__module__.startswith("keras."):
        return {"name": model.name, "builder": _component(model, "model")}
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise refusal("model", "has no input shape yet: begin it with keras.Input(shape)")
    if len(inputs) > 1:
        raise refusal("model", f"must have one input, as a data source has one array of features; has {len(inputs)}")
    if any(tensor.shape[0] is not None for tensor in inputs):
        raise refusal("model", f"has batches of {inputs[0].shape[0]} only: begin it with keras.Input(shape)")
    try:
        config = json.loads(model.to_json())
    except (TypeError, ValueError, NotImplementedError) as error:
        raise refusal("model", f"has a layer without a full get_config: {_first_line(error)}") from error
    # How to train it is the spec's to say.
    config.pop("compile_config", None)
    unregistered = sorted(set(_unregistered(config)))
    if unregistered:
        raise refusal("model", f"has classes that are not registered, {', '.join(unregistered)}: use {HOW_TO_REGISTER}")
    return {"name": model.name, "keras_config": json.dumps(config)}


def _unregistered(value: Any) -> Iterator[str]:
    """The classes and functions in a model's configuration that nobody could find by their name."""
    if isinstance(value, list):
        for entry in value:
            yield from _unregistered(entry)
    if not isinstance(value, dict):
        return
    module, name = value.get("module"), value.get("registered_name")
    if value.get("class_name") == "function":
        if ">" not in str(value.get("config")) and not hasattr(sys.modules["keras"].activations, str(value["config"])):
            yield str(value["config"])
    elif name is not None and ">" not in str(name) and not str(module).startswith("keras"):
        yield str(value.get("class_name"))
    for entry in value.values():
        yield from _unregistered(entry)


def _plain(value: Any, field: str) -> Any:
    """The value with every Keras object in it as a component."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, f"{field}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, f"{field}[{position}]") for position, entry in enumerate(value)]
    if callable(getattr(value, "tolist", None)):
        # NumPy's numbers and arrays.
        return value.tolist()
    return _component(value, field)


def _component(value: Any, field: str) -> dict[str, Any]:
    if callable(value) and not callable(getattr(value, "get_config", None)):
        return {"type": _type_of(value, field)}
    if isinstance(value, type) or not callable(getattr(value, "get_config", None)):
        raise refusal(field, f"must be a Keras object or plain values; got {_described(value)}")
    try:
        config = whole_config(value)
    except NotImplementedError as error:
        raise refusal(field, f"has no full get_config: {_first_line(error)}") from error
    return {"type": _type_of(type(value), field), "config": _plain(config, f"{field}.config")}


def _type_of(member: Any, field: str) -> str:
    """As a spec names a class or function: Keras's bare name, or the name that it is registered with."""
    name = str(sys.modules["keras"].saving.get_registered_name(member)) if "keras" in sys.modules else ""
    if ">" in name:
        return name
    if not str(member.__module__).startswith("keras."):
        raise refusal(field, f"is not registered, {member.__name__}: use {HOW_TO_REGISTER}")
    return str(member.__name__)


def _described(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
