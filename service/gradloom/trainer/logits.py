"""Whether a loss takes an output for what it is: scores of any size (logits), or probabilities."""

from collections.abc import Sequence
from typing import Any, Final

import keras

from gradloom.faults import shown
from gradloom.trainer.targets import Target

_PROBABILITIES: Final = {"softmax": keras.activations.softmax, "sigmoid": keras.activations.sigmoid}


def contradictions(model: keras.Model, targets: Sequence[Target]) -> list[str]:
    """What to tell of each output whose activation contradicts its loss's `from_logits`; such a model trains badly.

    Only what can be seen is told: the last layer's activation.

    Args:
        model: Built.
        targets: In the order of its outputs.
    """
    told = []
    for output, target in zip(model.outputs, targets, strict=True):
        from_logits = getattr(target.loss, "from_logits", None)
        layer = _giving(output)
        activation = keras.activations.softmax if isinstance(layer, keras.layers.Softmax) else _activation(layer)
        what = f"{target.field}.loss: {type(target.loss).__name__}"
        name = next((name for name, function in _PROBABILITIES.items() if function is activation), None)
        if from_logits is True and name is not None:
            told.append(f"{what} has from_logits true, but {shown(layer.name)} gives probabilities ({name})")
        elif from_logits is False and activation is keras.activations.linear:
            told.append(
                f"{what} has from_logits false, but {shown(layer.name)} gives scores of any size (no activation)"
            )
    return told


def _giving(output: keras.KerasTensor) -> keras.layers.Layer:
    """The layer that gives a tensor; within a nested model that is a graph, the one that gives it there."""
    operation, _, index = output._keras_history
    inner = getattr(operation, "outputs", None) if isinstance(operation, keras.Model) else None
    return _giving(inner[index]) if inner else operation


def _activation(layer: keras.layers.Layer) -> Any:
    """The function, `linear` for a layer that could have an activation and has none; None where that is not known."""
    if not hasattr(layer, "activation"):
        return None
    return keras.activations.linear if layer.activation is None else layer.activation
