"""The random numbers of layers, drawn so that the number of replicas and of micro-batches does not change them.

A seed generator has the same state on every replica, so that Keras lets all of them draw the same dropout mask. Here a
draw whose first axis are the rows of the share is made for the whole global batch, and the share's rows are cut from
it: the result is that of one device. A draw whose shape does not depend on the rows is the same everywhere, as it would
be on one device. Any other is made from a seed of the share's own: never the same numbers twice, but they depend on how
the batch was split, and `Draws.dependent_layers` tells by which layers.

    draws = Draws(model)
    for rows in (9, 4):                        # eagerly, once
        with draws.watched(rows, training=True):
            model(features[:rows], training=True)
    with draws.of_share(share, training=True):     # in replica context, while a step is traced
        outputs = model(share.examples.features, training=True)

What a layer draws ends in `keras.src.backend.tensorflow.random`, whose functions are replaced for this process.
"""

import functools
import inspect
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, NamedTuple

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import random as backend_random
from keras.src.random.seed_generator import draw_seed

from gradloom.trainer.batches import Share

SHAPED: Final = ("normal", "uniform", "randint", "truncated_normal", "gamma", "binomial", "beta")
"""Functions that take the shape of what is drawn; beside them dropout, categorical and shuffle, which take a tensor."""
FUNCTIONS: Final = (*SHAPED, "dropout", "categorical", "shuffle")
SEED_STRIDE: Final = 1_000_003
"""Between the seeds of two shares, times the rows before them."""

Arguments = dict[str, Any]
Shape = tuple[int, ...] | None


class Kind(Enum):
    """How the shape of a draw follows from the number of rows."""

    ROWS = "its first axis are the rows"
    SAME = "it does not depend on the rows"
    OTHER = "otherwise"


class Key(NamedTuple):
    """Which draw of a pass: whose generator, and its how many-th."""

    layer: str
    number: int


class Draws:
    """What one model draws in a pass, and how it follows from the rows; watch two passes of different row counts."""

    def __init__(self, model: keras.Model):
        layers = (model, *model._flatten_layers(include_self=False))
        self._layers = {id(one): layer.path or layer.name for layer in layers for one in layer._seed_generators}
        self._watched: dict[bool, dict[int, dict[Key, Shape]]] = {True: {}, False: {}}

    @contextmanager
    def watched(self, rows: int, training: bool) -> Iterator[None]:
        """Within it a pass on `rows` rows draws as ever, and is taken down."""
        seen = self._watched[training][rows] = {}
        with _active(_Watching(self._layers, seen)):
            yield

    @contextmanager
    def of_share(self, share: Share, training: bool) -> Iterator[None]:
        """Within it, in replica context, a pass draws for the share."""
        with _active(_Sharing(self._layers, functools.partial(self._kind, training), share)):
            yield

    @property
    def dependent_layers(self) -> list[str]:
        """Paths of the layers whose numbers depend on how a batch is split."""
        keys = [(training, key) for training, passes in self._watched.items() for one in passes.values() for key in one]
        return list(dict.fromkeys(key.layer for training, key in keys if self._kind(training, key) is Kind.OTHER))

    def _kind(self, training: bool, key: Key) -> Kind:
        passes = self._watched[training]
        shapes = {rows: seen.get(key) for rows, seen in passes.items()}
        if len(shapes) < 2 or None in shapes.values():
            return Kind.OTHER
        if len(set(shapes.values())) == 1:
            return Kind.SAME
        if all(shape and shape[0] == rows for rows, shape in shapes.items()):
            return Kind.ROWS if len({shape[1:] for shape in shapes.values() if shape}) == 1 else Kind.OTHER
        return Kind.OTHER


class _Pass:
    """One pass of a model in one thread."""

    def __init__(self, layers: dict[int, str]):
        self._layers = layers
        self._counts: dict[str, int] = defaultdict(int)

    def key(self, seed: Any) -> Key:
        """The key of the next draw with this seed or generator."""
        if seed is None:
            raise ValueError(
                "a layer draws random numbers without a seed generator: give it one, self.seed_generator = "
                "keras.random.SeedGenerator(), and pass seed=self.seed_generator"
            )
        layer = self._layers.get(id(seed)) or str(getattr(seed, "name", f"seed {seed}"))
        self._counts[layer] += 1
        return Key(layer, self._counts[layer])

    def draw(self, name: str, original: Callable[..., Any], arguments: Arguments) -> Any:
        """Draws."""
        raise NotImplementedError


class _Watching(_Pass):
    def __init__(self, layers: dict[int, str], seen: dict[Key, Shape]):
        super().__init__(layers)
        self._seen = seen

    def draw(self, name: str, original: Callable[..., Any], arguments: Arguments) -> Any:
        """Draws as ever, and takes the shape down."""
        if not _draws_nothing(name, arguments):
            self._seen[self.key(arguments.get("seed"))] = _shape(name, arguments)
        return original(**arguments)


class _Sharing(_Pass):
    def __init__(self, layers: dict[int, str], kind: Callable[[Key], Kind], share: Share):
        super().__init__(layers)
        self._kind = kind
        self.share = share

    def draw(self, name: str, original: Callable[..., Any], arguments: Arguments) -> Any:
        """Draws what is the share's."""
        if _draws_nothing(name, arguments):
            return original(**arguments)
        kind, shape = self._kind(self.key(arguments.get("seed"))), _shape(name, arguments)
        if kind is Kind.ROWS and shape and shape[0] == self.share.examples.features.shape[0]:
            return self._rows_of_all(name, original, arguments, shape)
        if kind is Kind.SAME:
            return original(**arguments)
        seed = draw_seed(arguments["seed"])
        own = tf.cast(tf.stack([self.share.begin * SEED_STRIDE, 0]), seed.dtype)
        return original(**{**arguments, "seed": _Drawn(seed + own)})

    def _rows_of_all(
        self, name: str, original: Callable[..., Any], arguments: Arguments, shape: tuple[int, ...]
    ) -> Any:
        # A row that only stands in may lie behind the last one. In a batch that is run in parts it is a tensor.
        begin = tf.minimum(self.share.begin, self.share.total - shape[0])
        all_rows = (self.share.total, *shape[1:])

        def own(drawn: tf.Tensor) -> tf.Tensor:
            return tf.slice(drawn, [begin, *(0 for _ in shape[1:])], shape)

        if name == "dropout":
            ones = tf.ones(all_rows, arguments["inputs"].dtype)
            return arguments["inputs"] * own(original(ones, arguments["rate"], seed=arguments["seed"]))
        return own(original(**{**arguments, "shape": all_rows}))


class _Drawn(keras.random.SeedGenerator):
    """A seed that was drawn already, in the only form that Keras takes for one that is not a number."""

    def __init__(self, value: tf.Tensor):
        self._value = value

    def next(self, ordered: bool = True) -> tf.Tensor:
        """The seed."""
        return self._value


def _draws_nothing(name: str, arguments: Arguments) -> bool:
    return name == "dropout" and arguments["rate"] in (0.0, 1.0)


def _shape(name: str, arguments: Arguments) -> Shape:
    """The shape of what is drawn; None where it is not known, or where other arguments than the shape have rows."""
    if name == "categorical":
        # Drawn row by row from the logits of this share alone.
        return None
    if name == "shuffle":
        shape = tuple(arguments["x"].shape)
        return shape if arguments.get("axis", 0) != 0 else None
    if name == "dropout":
        inputs, noise = arguments["inputs"], arguments.get("noise_shape")
        if noise is None:
            return _static(inputs.shape)
        return _static([size if given is None else given for size, given in zip(inputs.shape, noise, strict=True)])
    parameters = [value for key, value in arguments.items() if key not in ("shape", "seed", "dtype")]
    if any(getattr(value, "shape", None) not in (None, ()) and value.shape[0] != 1 for value in parameters):
        return None
    return _static(arguments["shape"])


def _static(shape: Any) -> Shape:
    found = [tf.get_static_value(size) for size in ([shape] if isinstance(shape, tf.Tensor) else shape)]
    if isinstance(shape, tf.Tensor):
        found = [None] if found[0] is None else list(found[0])
    return None if None in found else tuple(int(size) for size in found)


_state = threading.local()


@contextmanager
def _active(one: _Pass) -> Iterator[None]:
    before = getattr(_state, "active", None)
    _state.active = one
    try:
        yield
    finally:
        _state.active = before


def share_in_work() -> Share | None:
    """The share that a pass in this thread computes; None where it is a whole batch."""
    active = getattr(_state, "active", None)
    return active.share if isinstance(active, _Sharing) else None


def _replaced(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def draw(*args: Any, **kwargs: Any) -> Any:
        active: _Pass | None = getattr(_state, "active", None)
        if active is None:
            return original(*args, **kwargs)
        return active.draw(name, original, signature.bind(*args, **kwargs).arguments)

    return draw


for _name in FUNCTIONS:
    setattr(backend_random, _name, _replaced(_name, getattr(backend_random, _name)))
