"""What changes a group's gradients before its optimizer sees them."""

from collections.abc import Sequence
from typing import Any, Self


class GradientTransformation:
    """Changes the reduced gradients of one variable group, before the group's clipping; a base class.

    A transformation has no state: what it gives follows from its arguments alone. It is called in the graph, in replica
    context, on the gradients of the whole global batch, which are the same on every replica.

    A subclass passes each constructor argument on in `get_config`, and is registered:

        @keras.saving.register_keras_serializable(package="team")
        class HalveGradient(GradientTransformation):
            def __call__(self, gradients, variables):
                return [gradient / 2 for gradient in gradients]
    """

    def __call__(self, gradients: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
        """Returns the changed gradients, in the order, the shapes and the dtypes of those given.

        Args:
            gradients: One dense tensor for each variable, never None.
            variables: The group's Keras variables.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how it changes gradients")

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The transformation of a `get_config`."""
        return cls(**config)
