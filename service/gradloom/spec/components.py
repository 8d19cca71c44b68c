"""A component's type, keys and values against the catalogue; nothing here constructs anything.

The walk also gives back the value with every nested component rewritten to what the catalogue says of it, which is how
`keras_config` reaches Keras: a `module` of the spec's own never does.
"""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gradloom.catalogue import KINDS, Catalogue, Entry, Parameter
from gradloom.faults import Faults, child, shown, with_article
from gradloom.spec.numbers import struct_to_config
from gradloom.spec.paths import resolve_within
from gradloom.spec.precision import dtype_rule
from gradloom.spec.user_code import hint_for, may_be_of_user_code
from gradloom.v1 import spec_pb2

MAX_INTEGER: Final = 2**31 - 1
"""Sizes, counts and seeds beyond it are refused: no layer can be so large."""
MAX_EXACT: Final = 2**53
MAX_NESTING: Final = 24

NAME_PATTERN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
NAME_RULE: Final = "must match [A-Za-z][A-Za-z0-9_]{0,63}"

MODEL_CLASSES: Final = ("Sequential", "Functional", "Model")
FUNCTION: Final = "function"
"""What Keras writes for the class of a plain function; its config is the function's name."""

_COMPONENT_KEYS: Final = frozenset({"type", "class_name", "config", "module", "registered_name", "name"})
# By kind, the number that would climb the loss if it were negative; Keras takes any.
_LEARNING_RATES: Final = {"optimizer": "learning_rate", "schedule": "initial_learning_rate"}
# What Keras writes beside a component and nothing of ours reads.
_IGNORED_KEYS: Final = frozenset({"build_config", "compile_config", "shared_object_id", "inbound_nodes"})
_PYTHON_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "float": (int, float),
    "int": (int,),
    "bool": (bool,),
    "string": (str,),
    "list": (list,),
}
_TYPE_RULES: Final = {
    "float": "a number",
    "int": "an integer",
    "bool": "true or false",
    "string": "a string",
    "list": "a list",
}


@dataclass(frozen=True)
class ComponentChecker:
    """Checks components against a catalogue; notes what it finds in `faults`."""

    catalogue: Catalogue
    data_roots: Sequence[str]
    faults: Faults
    policy: str = "float32"
    """Keras's dtype policy of the job's precision."""
    has_user_code: bool = False
    """Whether source comes with the spec: types that nobody knows here may be in it, and only the trainer can tell."""
    model: Callable[[Mapping[str, Any], str, int], dict[str, Any] | None] | None = None
    """Checks a whole model, as Keras writes it, where a layer may stand; see `keras_config`."""

    def entry(self, kind: str, name: str, field: str) -> Entry | None:
        """The catalogue's entry, or None after noting that there is none."""
        entry = self.catalogue.get(kind, name)
        if entry is None and self._is_of_user_code(name):
            return Entry(kind, name, is_open=True)
        if entry is None:
            words = kind.replace("_", " ")
            if not name:
                self.faults.add(field, f"is required: the {words}'s type")
            else:
                hint = hint_for(name, self.catalogue.names(kind), self.faults.did_you_mean)
                self.faults.add(field, f"must be {with_article(words)} of the catalogue; got {shown(name)}{hint}")
        return entry

    def component(self, kind: str, component: spec_pb2.Component, field: str) -> tuple[Entry | None, Mapping[str, Any]]:
        """Checks a component of the spec; returns its entry, None where there is none, and its config."""
        entry = self.entry(kind, component.type, f"{field}.type")
        if entry is None:
            return None, {}
        if component.HasField("name") and not NAME_PATTERN.fullmatch(component.name):
            self.faults.add(f"{field}.name", f"{NAME_RULE}; got {shown(component.name)}")
        config = struct_to_config(component.config, entry)
        self.config(entry, config, f"{field}.config")
        self.name_in_config(config, component.name, f"{field}.config")
        return entry, config

    def name_in_config(self, config: Mapping[str, Any], name: str, field: str) -> None:
        """Checks a name that is given, as `get_config` does, among the constructor's arguments."""
        given = config.get("name")
        if isinstance(given, str) and name and given != name:
            self.faults.add(
                f"{field}.name", f"must be the component's name or be left out; got {shown(given)} and {shown(name)}"
            )

    def _is_of_user_code(self, name: str) -> bool:
        """Whether only the trainer can know the type, because it must be in the source that comes with the spec."""
        is_known = any(self.catalogue.get(kind, name) is not None for kind in KINDS)
        return self.has_user_code and may_be_of_user_code(name) and not is_known

    def config(self, entry: Entry, config: Mapping[str, Any], field: str, depth: int = 0) -> dict[str, Any]:
        """Checks a component's config; returns it with nested components rewritten."""
        checked: dict[str, Any] = {}
        for key, value in config.items():
            parameter = entry.by_name.get(key)
            if entry.is_open:
                checked[key] = self._of_custom_class(value, child(field, key), depth)
            elif parameter is None:
                hint = self.faults.did_you_mean(key, entry.by_name)
                self.faults.add(child(field, key), f"is not a parameter of {entry.type}{hint}")
            elif entry.is_registered and parameter.value_type in ("any", "list") and value is not None:
                checked[key] = self._of_custom_class(value, child(field, key), depth)
            else:
                checked[key] = self._value(parameter, value, child(field, key), depth)
                if key == _LEARNING_RATES.get(entry.kind):
                    self._at_least_zero(value, child(field, key))
        for name in entry.required:
            if name not in config:
                self.faults.add(child(field, name), f"is required by {entry.type}")
        return checked

    def nested(self, kind: str, value: Mapping[str, Any], field: str, depth: int = 0) -> dict[str, Any]:
        """Checks a nested `{type, config}` or `{class_name, config}`; returns it as Keras would have written it."""
        if depth > MAX_NESTING:
            self.faults.add(field, f"must hold at most {MAX_NESTING} components within each other")
            return {}
        for key in value:
            if key not in _COMPONENT_KEYS and key not in _IGNORED_KEYS:
                hint = self.faults.did_you_mean(key, ["type", "config"])
                self.faults.add(child(field, key), f"is not a key of a component, which has type and config{hint}")
        entry = self._named_entry(kind, value, field)
        config = None if value.get("class_name") == FUNCTION else value.get("config")
        if config is not None and not isinstance(config, Mapping):
            self.faults.add(child(field, "config"), f"must be a mapping; got {shown(config)}")
            return {}
        if entry is None:
            return {}
        if entry.kind == "activation" and config:
            self.faults.add(
                child(field, "config"), f"takes no config: {entry.type} is a plain function; got {shown(dict(config))}"
            )
            return {}
        if value.get("name") is not None and kind != "layer":
            self.faults.add(child(field, "name"), f"must be left out: a nested {entry.type} has no name")
        elif value.get("name") is not None:
            self._name(value["name"], child(field, "name"))
        return serialized(entry, self.config(entry, config or {}, child(field, "config"), depth + 1))

    def _named_entry(self, kind: str, value: Mapping[str, Any], field: str) -> Entry | None:
        key, name = name_within(value)
        if not isinstance(name, str):
            self.faults.add(child(field, key), f"must be a string; got {shown(name)}")
            return None
        # A registered name alone says which class it is; Keras writes the module it was made in all the same.
        if ">" not in name and not self.module(value, field):
            return None
        return self.entry(self._kind_of(kind, name), name, child(field, key))

    def _kind_of(self, kind: str, name: str) -> str:
        """The kind to look for: an activation may be a layer, such as LeakyReLU, and a layer a whole model."""
        others = {"activation": "layer", "layer": "model"}
        other = others.get(kind)
        if other is not None and self.catalogue.get(kind, name) is None and self.catalogue.get(other, name):
            return other
        return kind

    def module(self, value: Mapping[str, Any], field: str) -> bool:
        """Checks the `module` beside a class that is not registered; returns whether it is sound."""
        module = value.get("module")
        if module is None or is_known_module(module):
            return True
        if isinstance(module, str) and module.startswith("keras.src.ops"):
            operation = shown(value.get("class_name"))
            self.faults.add(
                field,
                f"must be a layer; {operation} is an operation on tensors: put it into one, such as Rescaling, Add or "
                "a layer of your own",
            )
            return False
        self.faults.add(
            child(field, "module"),
            "must be left out or Keras's own: nothing in a spec names a module to import, a class of your own is found "
            f'by the name "package>Name" that it is registered with; got {shown(module)}',
        )
        return False

    def _value(self, parameter: Parameter, value: Any, field: str, depth: int) -> Any:
        if value is None:
            if parameter.required or parameter.default is not None:
                self.faults.add(field, "must not be null")
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and not self._number(value, field):
            return value
        if parameter.component_kind is not None:
            return self._component(parameter, value, field, depth)
        expected = _PYTHON_TYPES.get(parameter.value_type)
        is_bool = isinstance(value, bool)
        if expected is not None and (not isinstance(value, expected) or (is_bool and bool not in expected)):
            self.faults.add(field, f"must be {_TYPE_RULES[parameter.value_type]}; got {shown(value)}")
            return value
        if parameter.name == "name":
            self._name(value, field)
        if parameter.is_path and isinstance(value, str):
            return self._path(value, field)
        self._entries(value, field)
        return value

    def _of_custom_class(self, value: Any, field: str, depth: int) -> Any:
        """What a class of the user's own takes: plain values, mappings of them, and components of any kind."""
        if isinstance(value, list):
            return [self._of_custom_class(entry, child(field, i), depth) for i, entry in enumerate(value)]
        if isinstance(value, Mapping) and "class_name" not in value and "type" not in value:
            return {key: self._of_custom_class(entry, child(field, key), depth) for key, entry in value.items()}
        if isinstance(value, Mapping):
            return self._one(kind_named_by(value, self.catalogue), value, field, depth)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._number(value, field)
        return value

    def _name(self, name: Any, field: str) -> None:
        if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
            self.faults.add(field, f"{NAME_RULE}; got {shown(name)}")

    def _number(self, value: float, field: str) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            self.faults.add(field, f"must be a finite number; got {value}")
            return False
        if isinstance(value, int) and abs(value) > MAX_EXACT:
            self.faults.add(field, f"must lie between -2^53 and 2^53; got {shown(value)}")
            return False
        return True

    def _at_least_zero(self, value: Any, field: str) -> None:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value < 0:
            self.faults.add(field, f"must be at least 0; got {value:g}")

    def _entries(self, value: Any, field: str) -> None:
        """Checks a value that is no component, and every entry of a list, however deep."""
        pending = [(value, field)]
        while pending:
            value, field = pending.pop()
            if isinstance(value, Mapping):
                self.faults.add(field, f"takes no component and no mapping; got {shown(dict(value))}")
            elif isinstance(value, list):
                pending.extend((entry, child(field, position)) for position, entry in reversed(list(enumerate(value))))
            elif isinstance(value, bool) or not isinstance(value, int | float):
                continue
            elif self._number(value, field) and isinstance(value, int) and abs(value) > MAX_INTEGER:
                self.faults.add(field, f"must lie between -(2^31 - 1) and 2^31 - 1; got {shown(value)}")

    def _path(self, value: str, field: str) -> str:
        resolved = resolve_within(value, self.data_roots)
        if isinstance(resolved, str):
            self.faults.add(field, resolved)
            return value
        return os.fspath(resolved)

    def _component(self, parameter: Parameter, value: Any, field: str, depth: int) -> Any:
        kind = parameter.component_kind
        assert kind is not None
        if parameter.value_type == "list":
            if not isinstance(value, list):
                self.faults.add(field, f"must be a list of {kind}s; got {shown(value)}")
                return value
            return [self._one(kind, entry, child(field, i), depth) for i, entry in enumerate(value)]
        if parameter.value_type == "float" and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        return self._one(kind, value, field, depth)

    def _one(self, kind: str, value: Any, field: str, depth: int) -> Any:
        if kind == "layer" and self.model is not None and is_model(value):
            return self.model(value, field, depth + 1)
        if isinstance(value, Mapping):
            rewritten = self.nested(kind, value, field, depth)
            if kind == "dtype_policy" and rewritten:
                name = rewritten["config"].get("name")
                self.dtype(name, child(child(field, "config"), "name"))
            if rewritten and rewritten["module"] == "keras.activations":
                # Keras deserializes a plain function from its name alone; as a component it would be called.
                return rewritten["class_name"]
            return rewritten
        if kind == "dtype_policy" and isinstance(value, str):
            self.dtype(value, field)
        elif isinstance(value, str) and kind not in ("schedule", "layer"):
            entry = self.entry(kind, value, field)
            if entry is not None and ">" in entry.type:
                # Keras finds only its own objects by their name alone.
                return serialized(entry, self.config(entry, {}, field, depth + 1))
        else:
            number = "a number or " if kind == "schedule" else ""
            named = "" if kind in ("schedule", "layer") else " or its name"
            words = kind.replace("_", " ")
            self.faults.add(
                field, f"must be {number}a component {{type, config}} of kind {words}{named}; got {shown(value)}"
            )
        return value

    def dtype(self, name: Any, field: str) -> None:
        """Checks the name of a dtype."""
        rule = dtype_rule(name, self.policy)
        if rule is not None:
            self.faults.add(field, f"{rule}; got {shown(name)}")


def is_model(value: Any) -> bool:
    """Whether a value is a whole model of Keras's own classes, as Keras writes it."""
    return isinstance(value, Mapping) and value.get("class_name") in MODEL_CLASSES


def name_within(value: Mapping[str, Any]) -> tuple[str, Any]:
    """The key of a nested component that says its type, and what it says, which may be anything.

    Keras writes a class's registered name beside its bare one, and a function's name in place of its config.
    """
    registered = value.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        return "registered_name", registered
    if value.get("class_name") == FUNCTION:
        return "config", value.get("config")
    key = "type" if "type" in value else "class_name"
    return key, value.get(key, "")


def kind_named_by(value: Mapping[str, Any], catalogue: Catalogue) -> str:
    """The kind of a component that stands where any may stand: that of its type; the `module` decides between two.

    A layer where nothing says more.
    """
    _, name = name_within(value)
    kinds = [k for k in KINDS if k != "dataset" and isinstance(name, str) and catalogue.get(k, name) is not None]
    within = str(value.get("module")).split(".")
    return next((kind for kind in kinds if f"{kind}s" in within or f"{kind}es" in within), (*kinds, "layer")[0])


def is_known_module(module: Any) -> bool:
    """Whether a `module` key is one that Keras or we would have written for a class; it is never imported."""
    if not isinstance(module, str):
        return False
    # Keras's operations have names of layers but other arguments.
    ours = module == "keras" or module.startswith(("keras.", "gradloom.components"))
    return (ours and not module.startswith("keras.src.ops")) or module == "builtins"


def serialized(entry: Entry, config: Mapping[str, Any]) -> dict[str, Any]:
    """A component as Keras writes it, by the catalogue's own words."""
    package, _, name = entry.type.rpartition(">")
    if package and entry.kind == "activation":
        return {"module": "builtins", "class_name": FUNCTION, "config": entry.type, "registered_name": "function"}
    if package:
        return {"module": None, "class_name": name, "config": dict(config), "registered_name": entry.type}
    module, _, name = entry.origin.rpartition(".")
    if name == "Input":
        name = "InputLayer"
    return {"module": module, "class_name": name, "config": dict(config), "registered_name": None}
