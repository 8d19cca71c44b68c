"""An optimizer that Keras does not have."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gradloom")
class AdaBelief(keras.optimizers.Optimizer):
    """Adam, but for steps scaled by how far gradients stray from their mean instead of by how large they are.

    Where gradients agree, steps are long, also where the gradients are large. After Zhuang et al., "AdaBelief
    Optimizer: Adapting Stepsizes by the Belief in Observed Gradients", NeurIPS 2020, algorithm 2.

    Args:
        learning_rate: Float or a schedule.
        beta_1: Float, how much of the mean of the gradients is kept; at least 0, below 1.
        beta_2: Float, how much of the mean of the squared deviations is kept; at least 0, below 1.
        epsilon: Float, added to the deviations before and after the root; above 0.
        weight_decay: Float, as in every Keras optimizer.
        clipnorm: Float, as in every Keras optimizer.
        clipvalue: Float, as in every Keras optimizer.
        global_clipnorm: Float, as in every Keras optimizer.
        use_ema: Boolean, as in every Keras optimizer.
        ema_momentum: Float, as in every Keras optimizer.
        ema_overwrite_frequency: Integer, as in every Keras optimizer.
        loss_scale_factor: Float, as in every Keras optimizer.
        gradient_accumulation_steps: Integer, as in every Keras optimizer.
        name: String.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-12,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "ada_belief",
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **kwargs,
        )
        for key, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{key} must be at least 0 and below 1; got {beta}")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be above 0; got {epsilon}")
        self.beta_1 = float(beta_1)
        self.beta_2 = float(beta_2)
        self.epsilon = float(epsilon)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates two slots for each variable."""
        if self.built:
            return
        super().build(variables)
        self._means, self._deviations = self.add_optimizer_variables(variables, ["mean", "deviation"])

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Updates one variable from its gradient [...], of the variable's shape."""
        gradient = ops.cast(gradient, variable.dtype)
        index = self._get_variable_index(variable)
        mean, deviation = self._means[index], self._deviations[index]
        step = ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(mean, (1 - self.beta_1) * (gradient - mean))
        self.assign_add(deviation, (1 - self.beta_2) * (ops.square(gradient - mean) - deviation) + self.epsilon)
        direction = mean / (1 - _power(self.beta_1, step))
        scale = ops.sqrt(deviation / (1 - _power(self.beta_2, step))) + self.epsilon
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * direction / scale)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


def _power(base: float, exponent: Any) -> Any:
    # Not ops.cast of a Python number, which rounds it to float32 on its way to float64.
    return ops.power(ops.convert_to_tensor(base, exponent.dtype), exponent)
