"""Components from their descriptions: types through the catalogue alone, values by constructing."""

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import keras
import tensorflow as tf

from gradloom import components
from gradloom.catalogue import Catalogue, Entry, Parameter
from gradloom.errors import InvalidRequestError, refusal
from gradloom.faults import child, did_you_mean, shown, with_article
from gradloom.spec.components import is_model, kind_named_by, name_within
from gradloom.spec.keras_config import rewritten_part
from gradloom.spec.numbers import struct_to_config
from gradloom.spec.paths import resolve_within
from gradloom.spec.user_code import hint_for
from gradloom.trainer import user_code
from gradloom.trainer.library_messages import on_one_line
from gradloom.trainer.plain_loss import PlainLoss
from gradloom.v1 import spec_pb2

_NO_CONSTRUCTOR_NAME: Final = frozenset(
    {"initializer", "regularizer", "constraint", "activation", "dtype_policy", "gradient_transformation"}
)
_MAY_BE_FUNCTIONS: Final = frozenset({"activation", "loss"})


def build_component(kind: str, component: spec_pb2.Component, field: str, data_roots: tuple[str, ...] = ()) -> Any:
    """Constructs a component of a spec.

    `field` is where it stands, such as `spec.loss`; `data_roots` are where its path parameters may point to.
    Raises InvalidRequestError with the field when the type is not one of that kind or the constructor refuses.
    """
    entry = resolve(kind, component.type, child(field, "type"))
    config = struct_to_config(component.config, entry)
    if kind == "loss" and _is_function(entry):
        return PlainLoss(construct(entry, config, field), component.name)
    if component.name and kind not in _NO_CONSTRUCTOR_NAME:
        config["name"] = component.name
    return construct(entry, config, field, data_roots)


def resolve(kind: str, name: str, field: str) -> Entry:
    """The catalogue's entry; raises InvalidRequestError when there is none."""
    catalogue = Catalogue.load()
    entry = catalogue.get(kind, name)
    if entry is None:
        hint = hint_for(name, catalogue.names(kind), did_you_mean)
        words = with_article(kind.replace("_", " "))
        raise refusal(field, f"must be {words} of the catalogue; got {shown(name)}{hint}")
    return entry


def construct(entry: Entry, config: Mapping[str, Any], field: str, data_roots: tuple[str, ...] = ()) -> Any:
    """Constructs an entry's object from Python values, nested components first; a plain function is its own object.

    By arguments, not by `from_config`: that wants every key in some classes (Rescaling) and imports what it reads in
    others.
    """
    config_field = child(field, "config")
    arguments: dict[str, Any] = {}
    for key, value in config.items():
        parameter = entry.by_name.get(key)
        if parameter is None:
            hint = did_you_mean(key, entry.by_name)
            if key == "name" and entry.is_registered:
                hint = ": let its constructor take **kwargs and pass them to its base, which has a name"
            raise refusal(child(config_field, key), f"is not a parameter of {entry.type}{hint}")
        if entry.is_registered and parameter.value_type in ("any", "list"):
            arguments[key] = _of_custom_class(value, child(config_field, key), data_roots)
            continue
        arguments[key] = _argument(value, parameter, child(config_field, key), data_roots)
    found = _found(entry)
    if _is_function(entry):
        return found
    with refusing(field):
        return found(**arguments)


def _argument(value: Any, parameter: Parameter, field: str, data_roots: tuple[str, ...]) -> Any:
    kind = parameter.component_kind
    if parameter.is_path and isinstance(value, str):
        resolved = resolve_within(value, data_roots)
        if isinstance(resolved, str):
            raise refusal(field, resolved)
        return os.fspath(resolved)
    if kind is None:
        if isinstance(value, dict) and ("class_name" in value or "type" in value):
            raise refusal(field, f"takes no component; got {shown(value)}")
        return value
    if isinstance(value, list):
        return [_nested(kind, entry, child(field, position), data_roots) for position, entry in enumerate(value)]
    return _nested(kind, value, field, data_roots)


def _of_custom_class(value: Any, field: str, data_roots: tuple[str, ...]) -> Any:
    """What a class of the user's own takes: plain values, mappings of them, and components of any kind."""
    if isinstance(value, list):
        return [_of_custom_class(entry, child(field, i), data_roots) for i, entry in enumerate(value)]
    if isinstance(value, dict) and ("class_name" in value or "type" in value):
        return _nested(kind_named_by(value, Catalogue.load()), value, field, data_roots)
    if isinstance(value, dict):
        return {key: _of_custom_class(entry, child(field, key), data_roots) for key, entry in value.items()}
    return value


def _nested(kind: str, value: Any, field: str, data_roots: tuple[str, ...]) -> Any:
    """A nested component `{type, config}` or `{class_name, config}`, or a name such as `relu`; numbers as they are."""
    if kind == "layer" and is_model(value):
        with refusing(field):
            policy = keras.config.dtype_policy().name
            return keras.saving.deserialize_keras_object(rewritten_part(value, data_roots, policy, field))
    if isinstance(value, dict):
        key, name = name_within(value)
        # An activation may be a layer with parameters, such as LeakyReLU, and a layer a whole model.
        kinds = (kind, *{"activation": ("layer",), "layer": ("model",)}.get(kind, ()))
        if kind == "dtype_policy":
            # By name: a layer without a get_config of its own (ELU, Identity) keeps plain arguments only.
            resolve(kind, name, child(field, key))
            return (value.get("config") or {}).get("name")
        found = next((k for k in kinds if Catalogue.load().get(k, name) is not None), kind)
        entry = resolve(found, name, child(field, key))
        config = {} if key == "config" else dict(value.get("config") or {})
        if entry.kind == "activation":
            if config:
                raise refusal(child(field, "config"), f"takes no config: {entry.type} is a plain function")
            return _found(entry)
        if value.get("name") is not None:
            config["name"] = value["name"]
        return construct(entry, config, field, data_roots)
    if isinstance(value, str) and kind == "activation":
        return _found(resolve(kind, value, field))
    if isinstance(value, str) and kind not in ("dtype_policy", "schedule"):
        return construct(resolve(kind, value, field), {}, field, data_roots)
    return value


def _found(entry: Entry) -> Any:
    """The class or function, by the catalogue's own origin: `keras.layers.Dense`, `gradloom.components.Linear`.

    What a package or user code has registered is in Keras's registry.
    """
    if entry.is_registered:
        return keras.saving.get_registered_object(entry.type)
    package, *path = entry.origin.removeprefix("gradloom.").split(".")
    found: Any = {"keras": keras, "components": components}[package]
    for name in path:
        found = getattr(found, name)
    return found


def _is_function(entry: Entry) -> bool:
    return entry.kind in _MAY_BE_FUNCTIONS and not inspect.isclass(_found(entry))


@contextmanager
def refusing(field: str) -> Iterator[None]:
    """Turns whatever Keras raises for a bad value into an InvalidRequestError at this field."""
    try:
        yield
    except (InvalidRequestError, MemoryError, tf.errors.ResourceExhaustedError):
        # Memory that ran out says nothing about the spec: another job may hold it.
        raise
    except Exception as error:
        told = user_code.fault(field, error, f"is refused by Keras: {on_one_line(error)}")
        raise InvalidRequestError([told]) from error
