"""What a spec may name: every component with its parameters, and every data set.

The table is generated on the trainer's side (`python -m gradloom.trainer catalogue`), committed beside this file by
Keras version, and checked fresh by a test, so that the control plane can check names and keys without importing Keras.
Types resolve through it alone: what is not listed (Lambda, layers that load files or foreign code) does not exist for a
spec. What a process knows besides, such as installed packages of components, it adds once, when it starts.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import Any, Final

from gradloom.faults import nearest

KERAS_VERSION: Final = "3.15"
FILE_NAME: Final = f"keras-{KERAS_VERSION}.json"

KINDS: Final = (
    "layer",
    "loss",
    "metric",
    "optimizer",
    "schedule",
    "initializer",
    "regularizer",
    "constraint",
    "activation",
    "dataset",
    "dtype_policy",
    "model",
    "gradient_transformation",
)
"""The kinds of `ComponentInfo.Kind`, in lower case and in its order."""

VALUE_TYPES: Final = ("float", "int", "bool", "string", "list", "component", "any")


@dataclass(frozen=True)
class Parameter:
    """One key that a component's `config` may hold."""

    name: str
    value_type: str
    """One of VALUE_TYPES; null is accepted besides where the default is null."""
    default: Any = None
    required: bool = False
    is_path: bool = False
    """Whether Keras opens a string given here as a file."""
    floats: bool = False
    """Whether every number given here, also within lists, is a float to Keras: 1 in a spec then means 1.0."""
    component_kind: str | None = None
    """The kind of the nested component (or, with `list`, of each entry) that may be given here."""


@dataclass(frozen=True)
class Dataset:
    """A data set known by name; one example has these shapes and types."""

    feature_shape: tuple[int, ...]
    feature_dtype: str
    label_dtype: str
    classes: int | None
    """None where labels are no class numbers."""
    splits: Mapping[str, int]
    """Examples by split."""


@dataclass(frozen=True)
class Entry:
    """One component, or one data set."""

    kind: str
    type: str
    """As a spec says it: a Keras class name or `package>Name`."""
    doc: str = ""
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()
    """Other names that Keras knows it by, such as `glorot_uniform` or `AvgPool2D`."""
    origin: str = ""
    """Where the trainer finds it, such as `keras.layers.Dense`; never taken from a spec."""
    dataset: Dataset | None = None
    distribution: str = ""
    """The installed package that brings it; empty for Keras's, for our own and for user code's."""
    is_open: bool = False
    """Whether its parameters are not known here, so that any are let through."""

    @property
    def is_registered(self) -> bool:
        """Whether it is found by its name in Keras's registry: it is of a package of components or of user code."""
        return ">" in self.type and not self.origin

    @cached_property
    def by_name(self) -> Mapping[str, Parameter]:
        """The parameters by name."""
        return {parameter.name: parameter for parameter in self.parameters}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The names of the parameters that must be given."""
        return tuple(parameter.name for parameter in self.parameters if parameter.required)


@dataclass(frozen=True)
class Catalogue:
    """Entries by kind and type."""

    _entries: tuple[Entry, ...]
    _by_name: Mapping[tuple[str, str], Entry] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names: dict[tuple[str, str], Entry] = {}
        for entry in self._entries:
            for alias in entry.aliases:
                names.setdefault((entry.kind, alias), entry)
        names.update({(entry.kind, entry.type): entry for entry in self._entries})
        object.__setattr__(self, "_by_name", names)

    @staticmethod
    @cache
    def load() -> "Catalogue":
        """The committed catalogue, read once, and what this process has added."""
        return Catalogue.parse(resources.files(__package__).joinpath(FILE_NAME).read_text("utf-8"), _added)

    @staticmethod
    def add(entries: Iterable["Entry"]) -> None:
        """Makes more entries known to this process, for good; those that `load` gave before stay as they are."""
        _added.extend(entries)
        Catalogue.load.cache_clear()

    @classmethod
    def parse(cls, text: str, more: Iterable["Entry"] = ()) -> "Catalogue":
        """A catalogue from the generator's text, and more entries."""
        entries = (*(entry_of(fields) for fields in json.loads(text)["entries"]), *more)
        return cls(tuple(sorted(entries, key=lambda entry: (KINDS.index(entry.kind), entry.type))))

    def get(self, kind: str, type: str) -> Entry | None:
        """The entry of that type or alias, or None."""
        return self._by_name.get((kind, type))

    def entries(self, kind: str | None = None) -> tuple[Entry, ...]:
        """Every entry, or those of one kind, by kind and type."""
        return self._entries if kind is None else tuple(entry for entry in self._entries if entry.kind == kind)

    def names(self, kind: str) -> list[str]:
        """Every type of a kind, for messages; without aliases."""
        return [entry.type for entry in self._entries if entry.kind == kind]

    def nearest(self, kind: str, name: str) -> str | None:
        """The type of that kind that `name` most likely meant, or None."""
        return nearest(name, self.names(kind))


_added: list[Entry] = []


def entry_of(fields: Mapping[str, Any]) -> Entry:
    """The entry that `fields_of` wrote."""
    dataset = fields.get("dataset")
    return Entry(
        kind=fields["kind"],
        type=fields["type"],
        doc=fields["doc"],
        parameters=tuple(_parameter(parameter) for parameter in fields.get("parameters", ())),
        aliases=tuple(fields.get("aliases", ())),
        origin=fields.get("origin", ""),
        dataset=dataset and Dataset(**{**dataset, "feature_shape": tuple(dataset["feature_shape"])}),
        distribution=fields.get("distribution", ""),
    )


def _parameter(fields: Mapping[str, Any]) -> Parameter:
    return Parameter(
        name=fields["name"],
        value_type=fields["value_type"],
        default=fields.get("default"),
        required="default" not in fields,
        is_path=fields.get("is_path", False),
        floats=fields.get("floats", fields["value_type"] == "float"),
        component_kind=fields.get("component_kind"),
    )


def serialized(entries: Iterable[Entry], keras_version: str) -> str:
    """The text of a catalogue file: one line per parameter, sorted, so that a change reads well in a diff."""
    ordered = sorted(entries, key=lambda entry: (KINDS.index(entry.kind), entry.type))
    document = {"keras": keras_version, "entries": [fields_of(entry) for entry in ordered]}
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def fields_of(entry: Entry) -> dict[str, Any]:
    """The entry as JSON has it."""
    fields: dict[str, Any] = {"kind": entry.kind, "type": entry.type, "doc": entry.doc}
    if entry.origin:
        fields["origin"] = entry.origin
    if entry.aliases:
        fields["aliases"] = list(entry.aliases)
    if entry.parameters:
        fields["parameters"] = [_parameter_fields(parameter) for parameter in entry.parameters]
    if entry.distribution:
        fields["distribution"] = entry.distribution
    if entry.dataset is not None:
        fields["dataset"] = {**vars(entry.dataset), "feature_shape": list(entry.dataset.feature_shape)}
    return fields


def _parameter_fields(parameter: Parameter) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": parameter.name, "value_type": parameter.value_type}
    if not parameter.required:
        fields["default"] = parameter.default
    if parameter.floats and parameter.value_type != "float":
        fields["floats"] = True
    if parameter.is_path:
        fields["is_path"] = True
    if parameter.component_kind is not None:
        fields["component_kind"] = parameter.component_kind
    return fields
