"""Which way a scalar improves: a metric of Keras says it itself, of any other its name has to tell."""

import re
from enum import Enum
from typing import Any, Final


class Direction(Enum):
    """Whether less or more of a scalar is better; the values are Keras's."""

    DOWN = "down"
    UP = "up"


_LESS: Final = "loss error divergence entropy crossentropy perplexity hinge distance poisson mae mape mse msle rmse"
_MORE: Final = "accuracy acc auc precision recall f1 fbeta iou r2 score similarity correlation sensitivity specificity"
_WORDS: Final = {Direction.DOWN: frozenset(_LESS.split()), Direction.UP: frozenset(_MORE.split())}


def direction_of(name: str, metric: Any = None) -> Direction | None:
    """Which way a scalar improves; None when neither the metric that it comes from nor its name tells.

    `val_` and an output's name before it change nothing.
    """
    said = getattr(metric, "_direction", None)
    if said is not None:
        return Direction(said)
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    found = [direction for direction, telling in _WORDS.items() if words & telling]
    return found[0] if len(found) == 1 else None
