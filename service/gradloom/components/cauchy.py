"""A loss that is a plain function."""

from typing import Any

import keras
from keras import ops

from gradloom.components.elementwise import aligned, mean_of_each


def cauchy(y_true: Any, y_pred: Any) -> Any:
    """The Cauchy (or Lorentzian) loss `log(1 + error^2 / 2)`, under which far outliers hardly pull at all.

    Takes labels and outputs of one shape [b, ..., size] and returns [b, ...], the mean over the last axis. See Barron,
    "A General and Adaptive Robust Loss Function", CVPR 2019, equation 6.
    """
    labels, outputs = aligned(y_true, y_pred)
    return mean_of_each(ops.log1p(0.5 * ops.square(labels - outputs)))


keras.saving.register_keras_serializable(package="gradloom")(cauchy)
