"""What foreign code registers with Keras, as entries of the catalogue.

Keras has one registry a process. A package or a job's source may add to it, under a package name of its own; it may
neither replace what is there nor use Keras's names or ours.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import keras

from gradloom.catalogue import Entry, Parameter
from gradloom.faults import shown
from gradloom.spec.user_code import REGISTERED, RESERVED_PACKAGES
from gradloom.trainer import catalogue

MOST_DOC_CHARACTERS: Final = 300


class RegistrationError(Exception):
    """Code registered what it may not; nothing of it is registered now."""


def entries_registered_by(
    load: Callable[[], Any], distribution: str = "", owners: Mapping[str, str] | None = None
) -> tuple[Entry, ...]:
    """Runs `load` and gives an entry for each component that it registered, by name.

    Whatever it raises is passed on. Then, and when it registered what it may not (RegistrationError), the registry is
    as it was before.

    Args:
        load: Registers.
        distribution: The installed package that is loaded.
        owners: Packages by the top-level modules that are theirs alone, whoever imported them first.
    """
    registry = keras.saving.get_custom_objects()
    before = dict(registry)
    try:
        load()
        problems = list(_problems(before, registry))
        if problems:
            raise RegistrationError("; ".join(problems))
        found = {}
        for name, member in registry.items():
            owner = (owners or {}).get(module_of(member))
            if owner == distribution if owner is not None else name not in before:
                found[name] = member
        return tuple(_entries(found, distribution))
    except BaseException:
        registry.clear()
        registry.update(before)
        raise


def module_of(member: Any) -> str:
    """The top-level module that defines a class or function."""
    return str(getattr(member, "__module__", "")).partition(".")[0]


def _problems(before: dict[str, Any], registry: dict[str, Any]) -> Iterator[str]:
    for name, member in sorted(before.items()):
        if registry.get(name) is not member:
            yield f"{shown(name)} is registered already, and must stay as it is"
    for name in sorted(registry.keys() - before.keys()):
        if not REGISTERED.fullmatch(name):
            yield f'{shown(name)} must be registered as "package>Name", by keras.saving.register_keras_serializable'
        elif name.partition(">")[0] in RESERVED_PACKAGES:
            reserved = " and ".join(sorted(RESERVED_PACKAGES))
            yield f"{shown(name)} must be registered under a package of its own; {reserved} are taken"


def _entries(members: dict[str, Any], distribution: str) -> Iterator[Entry]:
    for name, member in sorted(members.items()):
        kind = catalogue.kind_of(member)
        # Registered for Keras's sake: no spec can name it, but a class of its package may need it.
        if kind is None:
            continue
        yield Entry(
            kind=kind,
            type=name,
            doc=_doc(member),
            parameters=tuple(_parameters(kind, member)) if inspect.isclass(member) else (),
            distribution=distribution,
        )


def _doc(member: Any) -> str:
    # inspect.getdoc would give a class without a docstring its base's.
    text = catalogue.doc_line(member) if member.__doc__ else f"{member.__name__}, without a docstring."
    return text if len(text) <= MOST_DOC_CHARACTERS else text[: MOST_DOC_CHARACTERS - 3] + "..."


def _parameters(kind: str, member: type) -> Iterator[Parameter]:
    """What the constructor takes; where it takes any keyword, also what the constructors of its bases take."""
    known: set[str] = set()
    for owner in member.__mro__:
        if owner in (keras.Layer, keras.Model):
            yield from (parameter for parameter in catalogue.BY_BASE[kind] if parameter.name not in known)
            return
        constructor = vars(owner).get("__init__")
        if constructor is None or constructor is object.__init__:
            continue
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        docs = catalogue.argument_docs(owner)
        for parameter in parameters:
            is_named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if is_named and parameter.name not in known:
                known.add(parameter.name)
                yield _parameter(parameter.name, parameter.default, docs.get(parameter.name, ""))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return


def _parameter(name: str, default: Any, doc: str) -> Parameter:
    if isinstance(default, float) and not math.isfinite(default):
        return Parameter(name, "float", None, floats=True)
    try:
        return catalogue.parameter_of(name, default, doc)
    except TypeError:
        # A default that JSON cannot show, such as a function: the constructor fills it in.
        return Parameter(name, "any", None)
