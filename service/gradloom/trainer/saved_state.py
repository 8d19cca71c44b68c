"""All state of a training between two steps: the variables, on every replica, and the place in the work.

Variables are enumerated by the project itself, under stable keys; TensorFlow's own way loses layers and slots in
silence. What is restored goes into the replicas' own copies, bit for bit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from gradloom.trainer.checkpoints import ForeignCheckpoint

MOST_NAMED: Final = 5


@dataclass(frozen=True)
class Place:
    """Where in its work a training is; with the number of steps and the variables, all that it needs to go on."""

    epoch: int = 1
    """The one in work, from 1."""
    evaluation: str = ""
    """Prefix of the evaluation in work, such as `val_`; empty while the epoch is trained."""
    batch: int = 0
    """The next one of that evaluation."""
    scalars: Mapping[str, float] = field(default_factory=dict)
    """Results of the epoch so far: those of its training while it is validated."""


@dataclass(frozen=True)
class State:
    """A copy of everything in host memory."""

    arrays: Mapping[str, np.ndarray]
    place: Place
    scalars: Mapping[str, float]
    """The newest of every scalar."""
    global_step: int
    averaged: Mapping[str, Mapping[str, float]]
    """The weights in whose place averages are exported, by key: the sum that each is, as factors by key."""


class SavedVariables:
    """The variables of a training by key; read and restored in cross-replica context, eagerly.

    The copies that replicas have of a variable are equal more often than not. Those that differ from the first
    replica's (a metric's counts, statistics that are not synchronized) have keys of their own: `<key>@<replica>`.
    """

    def __init__(self, strategy: tf.distribute.Strategy, variables: Mapping[str, Any]):
        self._copies = {key: _copies(strategy, variable) for key, variable in variables.items()}
        self._others = {
            f"{key}@{replica}": copy
            for key, copies in self._copies.items()
            for replica, copy in enumerate(copies)
            if replica
        }

    def read(self) -> dict[str, np.ndarray]:
        """Copies of all values, in host memory."""
        arrays = {}
        for key, (first, *others) in self._copies.items():
            arrays[key] = first.numpy()
            for replica, other in enumerate(others, start=1):
                value = other.numpy()
                if not _same_bits(value, arrays[key]):
                    arrays[f"{key}@{replica}"] = value
        return arrays

    def require_fit(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Raises ForeignCheckpoint unless the arrays are those of exactly these variables."""
        mine = {key: copies[0] for key, copies in self._copies.items()} | self._others
        lacking, unknown = self._copies.keys() - arrays.keys(), arrays.keys() - mine.keys()
        differences = [*_listed("lacks", lacking), *_listed("has also", unknown)]
        unlike = [
            f"{key} is {_kind(array)} there, {_kind(mine[key])} here"
            for key, array in arrays.items()
            if key in mine and _kind(array) != _kind(mine[key])
        ]
        if differences or unlike:
            raise ForeignCheckpoint("; ".join([*differences, *unlike[:MOST_NAMED]]))

    def restore(self, arrays: Mapping[str, np.ndarray], prefixes: Sequence[str] = ("",)) -> None:
        """Gives the variables whose keys begin with one of the prefixes the values that `read` gave, on every replica.

        Raises:
            ForeignCheckpoint: They are not those of exactly these variables; none was changed.
        """
        self.require_fit(arrays)
        for key, copies in self._copies.items():
            if key.startswith(tuple(prefixes)):
                for replica, copy in enumerate(copies):
                    # A copy of its own: TensorFlow may go on using the memory that it is given.
                    copy.assign(np.array(arrays.get(f"{key}@{replica}", arrays[key])))


def variable_key(key: str) -> str:
    """The key of the variable that an array was read from: without the replica."""
    name, _, replica = key.rpartition("@")
    return name if name and replica.isdecimal() else key


def _copies(strategy: tf.distribute.Strategy, variable: Any) -> tuple[tf.Variable, ...]:
    inner = variable.value if isinstance(variable, keras.Variable) else variable
    return tuple(strategy.experimental_local_results(inner))


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one.reshape(-1).view(np.uint8), other.reshape(-1).view(np.uint8))


def _listed(verb: str, keys: set[str]) -> Iterator[str]:
    if keys:
        more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
        yield f"{verb} {', '.join(sorted(keys)[:MOST_NAMED])}{more}"


def _kind(value: Any) -> str:
    return f"{tf.as_dtype(value.dtype).name} {list(value.shape)}"
