"""Updates by TensorFlow's fused kernels, where there is one with the same formula as the Keras optimizer.

A kernel reads and writes each slot once, where Keras's own update is a dozen operations. It works on Keras's own slots
and settings, so that learning rates, schedules, checkpoints and exports know nothing of it. Results differ from Keras's
by rounding alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import keras
import tensorflow as tf

Update = Callable[[Sequence[tf.Tensor], Sequence[keras.Variable]], None]
"""Applies reduced gradients to variables; runs in replica context."""

# How far Keras's epsilon below the root may be from a kernel that has none, relative to what is below it.
_NEGLIGIBLE: Final = 1e-6


def update_of(optimizer: keras.optimizers.Optimizer) -> Update:
    """The fastest update that does what the optimizer, which is built, does."""
    kernel = _KERNELS.get(type(optimizer))
    if kernel is None or not _has_kernel(optimizer):
        return optimizer.apply
    return _Fused(optimizer, kernel)


class _Numbers:
    """Settings of an optimizer as tensors of one type; each is made once, because small models feel each operation."""

    def __init__(self, kind: tf.DType, rate: tf.Tensor, step: tf.Tensor):
        self.kind = kind
        self.rate = tf.cast(rate, kind)
        self._step = tf.cast(step, kind)
        self._powers: dict[float, tf.Tensor] = {}

    def exact(self, value: float) -> tf.Tensor:
        """The number itself."""
        return tf.constant(value, self.kind)

    def single(self, value: float) -> tf.Tensor:
        """The number as a float32: what `keras.ops.cast` makes of it, for float64 too."""
        return tf.cast(tf.constant(value, tf.float32), self.kind)

    def power(self, base: float) -> tf.Tensor:
        """`base` to the number of this update, from 1."""
        if base not in self._powers:
            self._powers[base] = tf.pow(self.single(base), self._step)
        return self._powers[base]


class _Fused:
    """`Optimizer.apply` with a kernel in place of `update_step`."""

    def __init__(self, optimizer: Any, kernel: "_Kernel"):
        self._optimizer = optimizer
        self._kernel = kernel

    def __call__(self, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]) -> None:
        optimizer = self._optimizer
        rate = tf.convert_to_tensor(optimizer.learning_rate)
        step = tf.convert_to_tensor(optimizer.iterations) + 1
        optimizer._apply_weight_decay(variables)
        kinds = {variable.value.dtype for variable in variables}
        numbers = {kind: _Numbers(kind, rate, step) for kind in kinds}
        for gradient, variable in zip(gradients, variables, strict=True):
            own = numbers[variable.value.dtype]
            apply, settings = self._kernel(optimizer, optimizer._get_variable_index(variable), own)
            apply(var=variable.value.handle, lr=own.rate, grad=tf.cast(gradient, own.kind), **settings)
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
        optimizer.iterations.assign_add(1)


_Kernel = Callable[[Any, int, _Numbers], tuple[Callable[..., Any], dict[str, Any]]]
"""Which kernel updates a variable, by its position in the optimizer, and its arguments but `var`, `lr` and `grad`."""


def _has_kernel(optimizer: Any) -> bool:
    """Whether the kernel's formula is that of the optimizer as it is configured."""
    match type(optimizer):
        case keras.optimizers.Adam | keras.optimizers.AdamW:
            return not optimizer.amsgrad
        case keras.optimizers.RMSprop:
            # Without momentum Keras has no slot for what the kernel keeps.
            return optimizer.momentum > 0
        case keras.optimizers.Adagrad:
            # The kernel has no epsilon below the root.
            singles = all(slot.dtype == "float32" for slot in optimizer._accumulators)
            return singles and optimizer.epsilon <= _NEGLIGIBLE * optimizer.initial_accumulator_value
        case keras.optimizers.Ftrl:
            # The kernel refuses a rate of 0, which a schedule may come to, and reads it on the host.
            return isinstance(optimizer._learning_rate, keras.Variable) and not tf.config.get_visible_devices("GPU")
        case _:
            return True


def _sgd(optimizer: Any, index: int, numbers: _Numbers) -> Any:
    if not optimizer.momentum:
        return _gradient_descent, {}
    return tf.raw_ops.ResourceApplyKerasMomentum, {
        "accum": optimizer.momentums[index].value.handle,
        "momentum": numbers.single(optimizer.momentum),
        "use_nesterov": optimizer.nesterov,
    }


def _gradient_descent(var: tf.Tensor, lr: tf.Tensor, grad: tf.Tensor) -> None:
    tf.raw_ops.ResourceApplyGradientDescent(var=var, alpha=lr, delta=grad)


def _adam(optimizer: Any, index: int, numbers: _Numbers) -> Any:
    return tf.raw_ops.ResourceApplyAdam, {
        "m": optimizer._momentums[index].value.handle,
        "v": optimizer._velocities[index].value.handle,
        "beta1_power": numbers.power(optimizer.beta_1),
        "beta2_power": numbers.power(optimizer.beta_2),
        "beta1": numbers.exact(optimizer.beta_1),
        "beta2": numbers.exact(optimizer.beta_2),
        "epsilon": numbers.exact(optimizer.epsilon),
    }


def _adamax(optimizer: Any, index: int, numbers: _Numbers) -> Any:
    return tf.raw_ops.ResourceApplyAdaMax, {
        "m": optimizer._m[index].value.handle,
        "v": optimizer._u[index].value.handle,
        "beta1_power": numbers.power(optimizer.beta_1),
        "beta1": numbers.exact(optimizer.beta_1),
        "beta2": numbers.exact(optimizer.beta_2),
        "epsilon": numbers.exact(optimizer.epsilon),
    }


def _adadelta(optimizer: Any, index: int, numbers: _Numbers) -> Any:
    return tf.raw_ops.ResourceApplyAdadelta, {
        "accum": optimizer._accumulated_grads[index].value.handle,
        "accum_update": optimizer._accumulated_delta_vars[index].value.handle,
        "rho": numbers.exact(optimizer.rho),
        "epsilon": numbers.exact(optimizer.epsilon),
    }


def _adagrad(optimizer: Any, index: int, numbers: _Numbers) -> Any:
    return tf.raw_ops.ResourceApplyAdagrad, {"accum": optimizer._accumulators[index].value.handle}


def _rmsprop(optimizer: Any, index: int, numbers: _Numbers) -> Any:
    settings = {
        "ms": optimizer._velocities[index].value.handle,
        "mom": optimizer._momentums[index].value.handle,
        "rho": numbers.exact(optimizer.rho),
        "momentum": numbers.exact(optimizer.momentum),
        "epsilon": numbers.exact(optimizer.epsilon),
    }
    if not optimizer.centered:
        return tf.raw_ops.ResourceApplyRMSProp, settings
    return tf.raw_ops.ResourceApplyCenteredRMSProp, {
        **settings,
        "mg": optimizer._average_gradients[index].value.handle,
    }


def _ftrl(optimizer: Any, index: int, numbers: _Numbers) -> Any:
    return tf.raw_ops.ResourceApplyFtrlV2, {
        "accum": optimizer._accumulators[index].value.handle,
        "linear": optimizer._linears[index].value.handle,
        "l1": numbers.exact(optimizer.l1_regularization_strength),
        "l2": numbers.exact(optimizer.l2_regularization_strength) + numbers.exact(optimizer.beta) / (2 * numbers.rate),
        "l2_shrinkage": numbers.exact(optimizer.l2_shrinkage_regularization_strength),
        "lr_power": numbers.exact(optimizer.learning_rate_power),
    }


_KERNELS: Final[dict[type, _Kernel]] = {
    keras.optimizers.SGD: _sgd,
    keras.optimizers.Adam: _adam,
    keras.optimizers.AdamW: _adam,
    keras.optimizers.Adamax: _adamax,
    keras.optimizers.Adadelta: _adadelta,
    keras.optimizers.Adagrad: _adagrad,
    keras.optimizers.RMSprop: _rmsprop,
    keras.optimizers.Ftrl: _ftrl,
}
