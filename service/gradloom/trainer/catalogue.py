"""Writes the catalogue: what Keras and `gradloom.components` offer, read from their signatures and docstrings.

A parameter's type is what its default and its line of the docstring's `Args:` agree on; where they leave room for
several types it is `any`, and the trainer finds out by constructing.
"""

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import keras
from keras.src import activations, constraints, initializers, regularizers

from gradloom import components
from gradloom.catalogue import KERAS_VERSION, Dataset, Entry, Parameter, serialized

EXCLUDED: Final[Mapping[str, frozenset[str]]] = {
    "layer": frozenset(
        {
            # Run code or load files that a spec brings along.
            *("Lambda", "FlaxLayer", "JaxLayer", "TorchModuleWrapper", "TFSMLayer"),
            # To be subclassed or no layers; Input and InputLayer have an entry of their own.
            *("Layer", "Wrapper", "InputSpec", "InputLayer"),
        }
    ),
    "loss": frozenset({"Loss"}),
    # Besides the abstract ones: do not take labels and predictions, or take a function.
    "metric": frozenset({"Metric", "Mean", "Sum", "MeanMetricWrapper"}),
    # Groups are ours; loss scaling is a matter of precision.
    "optimizer": frozenset({"Optimizer", "MultiOptimizer", "OptimizerMap", "LossScaleOptimizer"}),
    "schedule": frozenset({"LearningRateSchedule"}),
    "initializer": frozenset({"Initializer"}),
    "regularizer": frozenset({"Regularizer"}),
    "constraint": frozenset({"Constraint"}),
    "dtype_policy": frozenset(
        {
            *("AWQDTypePolicy", "DTypePolicyMap", "GPTQDTypePolicy", "Int4DTypePolicy"),
            *("QuantizedDTypePolicy", "QuantizedFloat8DTypePolicy"),
        }
    ),
}

_MODULES: Final[Mapping[str, tuple[str, Any, Mapping[str, Any]]]] = {
    "layer": ("keras.layers", keras.layers, {}),
    "loss": ("keras.losses", keras.losses, {}),
    "metric": ("keras.metrics", keras.metrics, {}),
    "optimizer": ("keras.optimizers", keras.optimizers, {}),
    "schedule": ("keras.optimizers.schedules", keras.optimizers.schedules, {}),
    "initializer": ("keras.initializers", keras.initializers, initializers.ALL_OBJECTS_DICT),
    "regularizer": ("keras.regularizers", keras.regularizers, regularizers.ALL_OBJECTS_DICT),
    "constraint": ("keras.constraints", keras.constraints, constraints.ALL_OBJECTS_DICT),
    "dtype_policy": ("keras.dtype_policies", keras.dtype_policies, {}),
}

_PATHS: Final = frozenset({"vocabulary", "filepath", "file", "path", "filename"})
"""Parameters for which Keras opens a string as a file."""

_COMPONENT_KINDS: Final = (
    (re.compile(r"(.*_)?initializer"), "component", "initializer"),
    (re.compile(r"(.*_)?regularizer"), "component", "regularizer"),
    (re.compile(r"(.*_)?constraint"), "component", "constraint"),
    (re.compile(r"(.*_)?activation"), "component", "activation"),
    (re.compile(r"layer|backward_layer|cell"), "component", "layer"),
    (re.compile(r"cells|layers"), "list", "layer"),
    (re.compile(r"learning_rate"), "float", "schedule"),
    (re.compile(r"dtype"), "component", "dtype_policy"),
)

_SETTLED: Final = (
    (re.compile(r"name|padding|interpolation|fill_mode|encoding|data_format|window|equation"), "string"),
    (re.compile(r"filters|depth_multiplier|num_heads|key_dim|value_dim|head_dim|num_\w+_heads|seed|max_tokens"), "int"),
    (re.compile(r"num_(bins|tokens|classes|oov_indices|ops|chains|labels|thresholds)|max_number|chain_depth"), "int"),
    (re.compile(r"rate|l1|l2|fill_value|decay_rate|initial_learning_rate|warmup_target"), "float"),
    (re.compile(r"(\w+_)?factor|sigma|max_value|max_freq|side|output_size|pool_size|kernel_size|strides|size"), "any"),
    (re.compile(r"values|boundaries"), "list"),
)
"""Parameters whose documentation says their type in a way of its own."""
_FLOATS: Final = re.compile(r"(\w+_)?factor|sigma|values")
"""Parameters that are a float, a pair of floats or a list of them."""

_DATA_FORMAT: Final = Parameter("data_format", "string", None)
_SEED: Final = Parameter("seed", "int", None)
_QUANTIZATION: Final = Parameter("quantization_config", "any", None)
_ZERO_OUTPUT: Final = Parameter("zero_output_for_mask", "bool", False)
_UNROLL: Final = Parameter("unroll", "bool", False)
_VOCABULARY_SIZE: Final = Parameter("vocabulary_size", "int", None)
_BY_KEYWORDS: Final[Mapping[str, tuple[Parameter, ...]]] = {
    "AdditiveAttention": (_SEED,),
    "AutoContrast": (_DATA_FORMAT,),
    "ConvLSTM1D": (_UNROLL, _ZERO_OUTPUT),
    "ConvLSTM2D": (_UNROLL, _ZERO_OUTPUT),
    "ConvLSTM3D": (_UNROLL, _ZERO_OUTPUT),
    "GRU": (_ZERO_OUTPUT,),
    "IntegerLookup": (_VOCABULARY_SIZE,),
    "LSTM": (_ZERO_OUTPUT,),
    "LayerNormalization": (Parameter("rms_scaling", "bool", False),),
    "MaxNumBoundingBoxes": (_DATA_FORMAT,),
    "RandomBrightness": (_DATA_FORMAT,),
    "RandomContrast": (_DATA_FORMAT,),
    "ReversibleEmbedding": (_QUANTIZATION,),
    "SimpleRNN": (_ZERO_OUTPUT,),
    "Solarization": (_DATA_FORMAT,),
    "StringLookup": (_VOCABULARY_SIZE, Parameter("oov_method", "string", "floormod")),
    "TextVectorization": (_VOCABULARY_SIZE,),
}
"""What `get_config` of a Keras layer gives and its constructor takes among its other keywords."""

_MODEL_BASE: Final = (
    Parameter("name", "string", None),
    Parameter("trainable", "bool", True),
    Parameter("dtype", "component", None, component_kind="dtype_policy"),
)
_LAYER_BASE: Final = (*_MODEL_BASE, Parameter("activity_regularizer", "component", None, component_kind="regularizer"))
BY_BASE: Final[Mapping[str, tuple[Parameter, ...]]] = {"layer": _LAYER_BASE, "model": _MODEL_BASE}
"""What the base class of a kind takes as further keywords."""

_INPUT: Final = Entry(
    kind="layer",
    type="Input",
    doc="The model's input: one example of this shape, batched.",
    aliases=("InputLayer",),
    origin="keras.layers.Input",
    parameters=(
        Parameter("shape", "list", None),
        Parameter("dtype", "string", None),
        Parameter("name", "string", None),
        Parameter("batch_shape", "list", None),
        Parameter("batch_size", "int", None),
        Parameter("sparse", "bool", None),
        Parameter("ragged", "bool", None),
        Parameter("optional", "bool", False),
    ),
)

_DATASETS: Final = (
    (
        "breast_cancer",
        "Tumours, malignant (0) or benign (1), by 30 measurements of their cells, from scikit-learn.",
        Dataset((30,), "float32", "int64", 2, {"train": 455, "test": 114}),
    ),
    (
        "cifar10",
        "Small colour photographs in ten classes.",
        Dataset((32, 32, 3), "uint8", "uint8", 10, {"train": 50000, "test": 10000}),
    ),
    (
        "diabetes",
        "How far diabetes has progressed, 25 to 346, by 10 measurements a year before, from scikit-learn.",
        Dataset((10,), "float32", "float32", None, {"train": 353, "test": 89}),
    ),
    (
        "digits",
        "Handwritten digits, 8 by 8 in 17 shades, from scikit-learn.",
        Dataset((8, 8), "float32", "int64", 10, {"train": 1437, "test": 360}),
    ),
    (
        "fashion_mnist",
        "Zalando's articles of clothing in ten classes.",
        Dataset((28, 28, 1), "uint8", "uint8", 10, {"train": 60000, "test": 10000}),
    ),
    (
        "iris",
        "Irises of three species by the size of their petals and sepals, from scikit-learn.",
        Dataset((4,), "float32", "int64", 3, {"train": 120, "test": 30}),
    ),
    ("mnist", "Handwritten digits.", Dataset((28, 28, 1), "uint8", "uint8", 10, {"train": 60000, "test": 10000})),
    (
        "wine",
        "Wines of three growers by 13 measurements of what is in them, from scikit-learn.",
        Dataset((13,), "float32", "int64", 3, {"train": 142, "test": 36}),
    ),
)


def generate() -> str:
    """The text of the catalogue file for the Keras that is installed.

    Raises RuntimeError when that is not the version that the file is named after.
    """
    if not keras.__version__.startswith(f"{KERAS_VERSION}."):
        raise RuntimeError(f"the catalogue is that of Keras {KERAS_VERSION}; installed is {keras.__version__}")
    entries = [_INPUT]
    for kind in _MODULES:
        entries.extend(_classes(kind))
    entries.extend(_activations())
    entries.extend(_own_components())
    entries.extend(Entry("dataset", name, doc, dataset=dataset) for name, doc, dataset in _DATASETS)
    return serialized(entries, KERAS_VERSION)


def _classes(kind: str) -> Iterator[Entry]:
    prefix, module, by_alias = _MODULES[kind]
    names: dict[type, set[str]] = {}
    for name, member in [*vars(module).items(), *by_alias.items()]:
        if inspect.isclass(member) and not name.startswith("_"):
            names.setdefault(member, set()).add(name)
    for member, aliases in names.items():
        public = {alias for alias in aliases if hasattr(module, alias)}
        name = member.__name__ if member.__name__ in public else min(public)
        if name not in EXCLUDED[kind]:
            yield Entry(
                kind=kind,
                type=name,
                doc=doc_line(member),
                parameters=_parameters(kind, member),
                aliases=tuple(sorted(aliases - {name})),
                origin=f"{prefix}.{name}",
            )


def _activations() -> Iterator[Entry]:
    names: dict[Callable[..., Any], list[str]] = {}
    for name, function in activations.ALL_OBJECTS_DICT.items():
        if name is not None and hasattr(keras.activations, function.__name__):
            names.setdefault(function, []).append(name)
    for function, aliases in names.items():
        name = function.__name__
        others = tuple(sorted(set(aliases) - {name}))
        yield Entry("activation", name, doc_line(function), aliases=others, origin=f"keras.activations.{name}")


_BASES: Final[Mapping[str, type]] = {
    # A model is a layer too.
    "model": keras.Model,
    "layer": keras.Layer,
    "loss": keras.Loss,
    "metric": keras.Metric,
    "optimizer": keras.Optimizer,
    "schedule": keras.optimizers.schedules.LearningRateSchedule,
    "initializer": keras.Initializer,
    "regularizer": keras.Regularizer,
    "constraint": keras.constraints.Constraint,
    "gradient_transformation": components.GradientTransformation,
}


def kind_of(member: Any) -> str | None:
    """The kind of a custom class or plain function; None for what is no component.

    A function of labels and outputs is a loss, one of a single tensor an activation.
    """
    if inspect.isclass(member):
        return next((kind for kind, base in _BASES.items() if issubclass(member, base)), None)
    if not inspect.isfunction(member):
        return None
    parameters = inspect.signature(member).parameters.values()
    required = sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    return {1: "activation", 2: "loss"}.get(required)


def _own_components() -> Iterator[Entry]:
    for name in components.__all__:
        member = getattr(components, name)
        kind = kind_of(member)
        if kind is None:
            raise TypeError(f"gradloom.components.{name} is no component")
        if member in _BASES.values():
            continue
        yield Entry(
            kind=kind,
            type=keras.saving.get_registered_name(member),
            doc=doc_line(member),
            parameters=_parameters(kind, member) if inspect.isclass(member) else (),
            origin=f"gradloom.components.{name}",
        )


def doc_line(member: Any) -> str:
    """The first paragraph of the docstring as plain text."""
    paragraph = (inspect.getdoc(member) or "").split("\n\n")[0]
    return " ".join(paragraph.replace("`", "").split())


def _parameters(kind: str, member: type) -> tuple[Parameter, ...]:
    constructor = vars(member).get("__init__") or inspect.getattr_static(member, "__init__")
    signature = [] if constructor is object.__init__ else list(inspect.signature(constructor).parameters.values())[1:]
    docs = argument_docs(member)
    named = [p for p in signature if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    parameters = [parameter_of(p.name, p.default, docs.get(p.name, "")) for p in named]
    takes_more = any(p.kind is p.VAR_KEYWORD for p in signature)
    if kind in BY_BASE and takes_more:
        known = {parameter.name for parameter in parameters}
        more = _BY_KEYWORDS.get(member.__name__, ()) if member.__module__.startswith("keras.") else ()
        parameters.extend(parameter for parameter in (*more, *BY_BASE[kind]) if parameter.name not in known)
    return tuple(parameters)


def parameter_of(name: str, default: Any, doc: str) -> Parameter:
    """What the catalogue says of an argument; raises TypeError for a default that JSON cannot hold."""
    required = default is inspect.Parameter.empty
    plain = None if required else _plain(default)
    if name == "scale" and "float or a tuple" in doc:
        return Parameter(name, "any", plain, required, floats=True)
    for pattern, value_type, component_kind in _COMPONENT_KINDS:
        if pattern.fullmatch(name):
            floats = value_type == "float"
            return Parameter(name, value_type, plain, required, floats=floats, component_kind=component_kind)
    settled = next((value_type for pattern, value_type in _SETTLED if pattern.fullmatch(name)), None)
    fits = settled is not None and (plain is None or settled == "any" or isinstance(plain, _PYTHON_TYPES[settled]))
    value_type = settled if settled is not None and fits else _value_type(plain, doc)
    floats = value_type == "float" or _holds_floats(plain) or bool(_FLOATS.fullmatch(name))
    return Parameter(name, value_type, plain, required, is_path=name in _PATHS, floats=floats)


_PYTHON_TYPES: Final = {"string": str, "int": int, "float": float, "list": list}


def _holds_floats(default: Any) -> bool:
    return isinstance(default, float) or (isinstance(default, list) and any(_holds_floats(entry) for entry in default))


def _plain(default: Any) -> Any:
    if isinstance(default, Sequence) and not isinstance(default, str):
        return [_plain(entry) for entry in default]
    if default is None or isinstance(default, bool | int | float | str):
        return default
    raise TypeError(f"the default {default!r} has no JSON form: exclude the component or say its form here")


_DOC_TYPES: Final = (
    ("bool", re.compile(r"bool(ean)?\b")),
    ("float", re.compile(r"(optional |positive |a |non-negative |scalar |the )*float\b")),
    ("int", re.compile(r"(optional |positive |python |an? |non-negative |scalar )*int(eger)?\b(?!s)")),
    ("string", re.compile(r"(optional |a |the |one of )*str(ing)?\b")),
)
_SEVERAL_TYPES: Final = re.compile(
    r"\b(or|tuple|list|either|sequence|callable|tensor|array|dict|range|function)\b"
    r"|/|, (float|int|str|bool)|\[|\(|scalar",
    re.IGNORECASE,
)


def _value_type(default: Any, doc: str) -> str:
    """The one type that default and documentation leave, else `any`."""
    if isinstance(default, bool):
        return "bool"
    sentence = re.split(r"\.(\s|$)|;", doc.replace("`", ""), maxsplit=1)[0]
    documented = next((name for name, pattern in _DOC_TYPES if pattern.match(sentence.lower())), None)
    several = _SEVERAL_TYPES.search(
        re.sub(
            r"\bor None\b|\bbetween\b.*|\bin the range\b.*|, one of.*|one of [\[({].*",
            "",
            sentence,
            flags=re.IGNORECASE,
        )
    )
    if isinstance(default, float):
        return "any" if several and documented is None else "float"
    if isinstance(default, list):
        return "any" if documented else "list"
    if several or documented is None:
        return "any"
    if isinstance(default, str):
        return "string" if documented == "string" else "any"
    if isinstance(default, int):
        return "int" if documented == "int" else "any"
    return documented


def argument_docs(member: type) -> dict[str, str]:
    """By argument, what the docstring's `Args:` (or `Arguments:`) says."""
    docs: dict[str, str] = {}
    text = inspect.getdoc(member) or ""
    section = re.search(r"^( *)(?:Args|Arguments):\n(.*?)(?=^\1\S|\Z)", text, re.MULTILINE | re.DOTALL)
    current = None
    for line in textwrap.dedent(section[2]).splitlines() if section else ():
        if head := re.match(r"(\w+)( \([^)]*\))?: ?(.*)", line):
            current = head[1]
            docs[current] = head[3]
        elif current is not None:
            docs[current] += " " + line.strip()
    return docs
