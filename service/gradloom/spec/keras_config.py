"""`model.keras_config`: Keras's JSON of a model, checked and rewritten to hold only what the catalogue resolves.

Keras's own reader imports the `module` of every class, makes lambdas, type specifications, tensors and slices of
special class names, and compiles. Here each class is looked up by name, its config checked like any component's, and
written anew; whatever is not understood is refused.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from gradloom.catalogue import Catalogue
from gradloom.faults import Faults, child, shown
from gradloom.spec.components import (
    MAX_INTEGER,
    MAX_NESTING,
    NAME_PATTERN,
    NAME_RULE,
    ComponentChecker,
)

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 200_000
MAX_MODEL_LAYERS: Final = 2000

_MODELS: Final = {"Sequential": "keras", "Functional": "keras.src.models.functional", "Model": "keras"}
_MODEL_CONFIG_KEYS: Final = {
    "Sequential": frozenset({"name", "trainable", "dtype", "layers", "build_input_shape"}),
    "Functional": frozenset({"name", "trainable", "dtype", "layers", "input_layers", "output_layers"}),
}
_LAYER_KEYS: Final = frozenset(
    # build_config and compile_config are dropped: layers are built by their inputs, and the spec says how to train.
    {"module", "class_name", "config", "registered_name", "name", "inbound_nodes", "build_config", "compile_config"}
)


def rewritten(text: str, data_roots: Sequence[str], policy: str, field: str) -> dict[str, Any]:
    """The model's configuration for `keras.saving.deserialize_keras_object`; raises InvalidRequestError.

    Args:
        text: As a spec has it.
        data_roots: Where path parameters may point to.
        policy: The dtype policy of the job's precision, under which the model will be built.
        field: The path of the text in the spec.
    """
    faults = Faults()
    config = check_keras_config(text, ComponentChecker(Catalogue.load(), data_roots, faults, policy), field)
    faults.raise_any()
    assert config is not None
    return config


def rewritten_part(value: Mapping[str, Any], data_roots: Sequence[str], policy: str, field: str) -> dict[str, Any]:
    """As `rewritten`, of a model that stands where a layer may stand."""
    faults = Faults()
    config = _Walk(ComponentChecker(Catalogue.load(), data_roots, faults, policy)).model(value, field, 0)
    faults.raise_any()
    assert config is not None
    return config


def with_models(checker: ComponentChecker) -> ComponentChecker:
    """A checker that takes a whole model where a layer may stand."""
    return _Walk(checker).checker


def check_keras_config(text: str, checker: ComponentChecker, field: str) -> dict[str, Any] | None:
    """Checks the JSON; returns it rewritten, or None when there are faults that leave nothing to write."""
    faults = checker.faults
    try:
        document = json.loads(text, object_pairs_hook=_without_duplicates)
    except RecursionError:
        faults.add(field, f"must be nested at most {MAX_DEPTH} levels deep")
        return None
    except ValueError as error:
        faults.add(field, f"must be JSON as model.to_json() gives it: {str(error)[:200]}")
        return None
    if not _is_bounded(document, faults, field):
        return None
    if not isinstance(document, dict):
        faults.add(field, f"must be a mapping with class_name and config; got {shown(document)}")
        return None
    if _floating_types(document) == {"float32"}:
        _leave_types_to_the_job(document)
    walk = _Walk(checker)
    model = walk.model(document, field, 0)
    if walk.inputs == 0 and not faults:
        faults.add(field, "must have an input: begin it with an InputLayer")
    return model


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is given twice")
    return result


def _is_bounded(document: Any, faults: Faults, field: str) -> bool:
    values = 0
    pending = [(document, 1)]
    while pending:
        value, depth = pending.pop()
        values += 1
        if depth > MAX_DEPTH or values > MAX_VALUES:
            faults.add(field, f"must be nested at most {MAX_DEPTH} levels deep and hold at most {MAX_VALUES} values")
            return False
        if isinstance(value, float) and not math.isfinite(value):
            faults.add(field, f"must hold finite numbers only; got {value}")
            return False
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            faults.add(field, f"must hold Unicode text only; got {shown(value)}")
            return False
        if isinstance(value, dict | list):
            pending.extend((entry, depth + 1) for entry in (value.values() if isinstance(value, dict) else value))
    return True


def _floating_types(document: Any) -> set[str]:
    """The floating-point types and policies that layers have."""
    types = (_type_of(config["dtype"]) for config in _layer_configs(document))
    return {name for name in types if "float" in name}


def _leave_types_to_the_job(document: Any) -> None:
    """Takes the float32 away that Keras writes for every layer of a model for which nobody asked for a type."""
    for config in _layer_configs(document):
        if _type_of(config["dtype"]) == "float32":
            del config["dtype"]


def _layer_configs(document: Any) -> list[dict[str, Any]]:
    """The configs of layers that name a type; those of other objects have no name."""
    found, pending = [], [document]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            pending.extend(value.values())
            if "name" in value and "dtype" in value:
                found.append(value)
    return found


def _type_of(dtype: Any) -> str:
    """The name of a type, or of a policy as Keras writes it."""
    if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
        dtype = dtype["config"].get("name")
    return dtype if isinstance(dtype, str) else ""


class _Walk:
    """One walk over a model's configuration."""

    def __init__(self, checker: ComponentChecker):
        self.checker = replace(checker, model=self.model)
        self.faults = checker.faults
        self.inputs = 0
        self.layers = 0

    def model(self, value: Mapping[str, Any], field: str, depth: int) -> dict[str, Any] | None:
        """Checks `{class_name, config}` of a model."""
        class_name = value.get("class_name")
        if not isinstance(class_name, str) or class_name not in _MODELS:
            self.faults.add(
                child(field, "class_name"), f"must be Sequential, Functional or Model; got {shown(class_name)}"
            )
            return None
        config = self._envelope(value, field)
        if config is None or depth > MAX_NESTING or not self.checker.module(value, field):
            return None
        config_field = child(field, "config")
        family = "Sequential" if class_name == "Sequential" else "Functional"
        for key in config:
            if key not in _MODEL_CONFIG_KEYS[family]:
                hint = self.faults.did_you_mean(key, _MODEL_CONFIG_KEYS[family])
                self.faults.add(child(config_field, key), f"is not a key of a {family} model{hint}")
        checked = {key: entry for key, entry in config.items() if key in _MODEL_CONFIG_KEYS[family] and key != "dtype"}
        self._name(config.get("name"), child(config_field, "name"))
        if not isinstance(config.get("trainable", True), bool):
            self.faults.add(
                child(config_field, "trainable"), f"must be true or false; got {shown(config['trainable'])}"
            )
        for key in ("input_layers", "output_layers", "build_input_shape"):
            if key in config:
                self._plain(config[key], child(config_field, key))
        checked["layers"] = self._layers(config.get("layers"), child(config_field, "layers"), depth)
        return {
            "module": _MODELS[class_name],
            "class_name": class_name,
            "config": checked,
            "registered_name": None,
        } | self._place(value, field)

    def _layers(self, layers: Any, field: str, depth: int) -> list[Any]:
        if not isinstance(layers, list) or not layers:
            self.faults.add(field, f"must be a list with a layer at least; got {shown(layers)}")
            return []
        self.layers += len(layers)
        if self.layers > MAX_MODEL_LAYERS:
            self.faults.add(field, f"must hold at most {MAX_MODEL_LAYERS} layers in all; got {self.layers}")
            return []
        names: set[str] = set()
        checked = []
        for position, layer in enumerate(layers):
            layer_field = child(field, position)
            if not isinstance(layer, dict):
                self.faults.add(layer_field, f"must be a mapping with class_name and config; got {shown(layer)}")
                continue
            config = layer.get("config")
            name = config.get("name") if isinstance(config, dict) else None
            if isinstance(name, str) and name in names:
                self.faults.add(layer_field, f"must have a name of its own; {shown(name)} is taken")
            names.add(str(name))
            checked.append(self._layer(layer, layer_field, depth))
        return checked

    def _layer(self, value: Mapping[str, Any], field: str, depth: int) -> dict[str, Any] | None:
        class_name = value.get("class_name")
        if isinstance(class_name, str) and class_name in _MODELS:
            return self.model(value, field, depth + 1)
        config = self._envelope(value, field)
        if config is None:
            return None
        self._name(config.get("name"), child(child(field, "config"), "name"))
        place = self._place(value, field)
        named = {key: entry for key, entry in value.items() if key != "name"} | {"config": config}
        checked = self.checker.nested("layer", named, field)
        if not checked:
            return None
        if checked["class_name"] == "InputLayer":
            self.inputs += 1
            if checked["config"].get("batch_shape", [None])[:1] not in ([None], [[]]):
                self.faults.add(child(child(field, "config"), "batch_shape[0]"), "must be null: batches vary")
        return checked | place

    def _envelope(self, value: Mapping[str, Any], field: str) -> dict[str, Any] | None:
        for key in value:
            if key not in _LAYER_KEYS:
                self.faults.add(
                    child(field, key),
                    f"is not a key that model.to_json() gives{self.faults.did_you_mean(key, _LAYER_KEYS)}",
                )
        config = value.get("config")
        if not isinstance(config, dict):
            self.faults.add(child(field, "config"), f"must be a mapping; got {shown(config)}")
            return None
        return config

    def _name(self, name: Any, field: str) -> None:
        if name is not None and (not isinstance(name, str) or not NAME_PATTERN.fullmatch(name)):
            self.faults.add(field, f"{NAME_RULE}; got {shown(name)}")

    def _place(self, value: Mapping[str, Any], field: str) -> dict[str, Any]:
        """A layer's place in a functional model: its name and the nodes that feed it."""
        place: dict[str, Any] = {}
        if "name" in value:
            self._name(value["name"], child(field, "name"))
            place["name"] = value["name"]
        if "inbound_nodes" in value:
            nodes = value["inbound_nodes"]
            nodes_field = child(field, "inbound_nodes")
            if isinstance(nodes, list) and all(isinstance(n, dict) and n.keys() <= {"args", "kwargs"} for n in nodes):
                place["inbound_nodes"] = [
                    {
                        "args": self._plain(n.get("args", []), f"{nodes_field}[{i}].args"),
                        "kwargs": self._plain(n.get("kwargs", {}), f"{nodes_field}[{i}].kwargs"),
                    }
                    for i, n in enumerate(nodes)
                ]
            else:
                self.faults.add(nodes_field, "must be a list of {args, kwargs}, as Keras 3 writes it")
        return place

    def _plain(self, value: Any, field: str) -> Any:
        """Arguments of a call: numbers, strings, lists, mappings and Keras tensors."""
        if isinstance(value, list):
            return [self._plain(entry, child(field, position)) for position, entry in enumerate(value)]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INTEGER:
            self.faults.add(field, f"must lie between -(2^31 - 1) and 2^31 - 1; got {shown(value)}")
        if not isinstance(value, dict):
            return value
        if "class_name" not in value:
            return {key: self._plain(entry, child(field, key)) for key, entry in value.items()}
        if value["class_name"] == "__keras_tensor__" and value.keys() <= {"class_name", "config"}:
            return self._tensor(value, field)
        self.faults.add(
            field, f"may hold Keras tensors, numbers and strings only; got class_name {shown(value['class_name'])}"
        )
        return None

    def _tensor(self, value: Mapping[str, Any], field: str) -> Any:
        match value.get("config"):
            case {"shape": [*shape], "dtype": str(), "keras_history": [str(), int(), int()]} if all(
                entry is None or (isinstance(entry, int) and 0 <= entry <= MAX_INTEGER) for entry in shape
            ):
                return dict(value)
        self.faults.add(field, "must hold shape, dtype and keras_history, as model.to_json() gives them")
        return None
