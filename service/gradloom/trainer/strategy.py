"""Devices, threads and the distribution strategy of one attempt.

One process trains one attempt: the devices are configured once, before TensorFlow initialises them.

    configure(device_kind, replicas, threads)           # before anything else touches TensorFlow
    strategy = make_strategy(device_kind, replicas)
    with strategy.scope():
        model = build_model(spec)
"""

from dataclasses import dataclass

import tensorflow as tf

from gradloom.v1 import spec_pb2

CPU = spec_pb2.ResolvedSpec.CPU
GPU = spec_pb2.ResolvedSpec.GPU


@dataclass(frozen=True)
class Threads:
    """How TensorFlow uses the CPU: threads inside one operation, operations at a time; 0 leaves it to TensorFlow."""

    intra_op: int
    inter_op: int


def configure(device_kind: int, replicas: int, threads: Threads | None = None, deterministic: bool = False) -> None:
    """Sets up the process's devices; must come before the first operation, and once.

    Args:
        device_kind: `ResolvedSpec.CPU` or `ResolvedSpec.GPU`.
        replicas: On the CPU the number of logical devices it is split into; on GPUs how many of them are used.
        threads: Those of the job; by default what suits small models, and `set_threads` may still change them.
        deterministic: Bit-equal runs on GPUs too. The CPU gives the same bits anyway, so it does not pay for it there.

    Raises:
        RuntimeError: TensorFlow has been initialised already, or sees fewer GPUs than asked for.
    """
    small = Threads(intra_op=1, inter_op=replicas) if device_kind == CPU else Threads(intra_op=0, inter_op=0)
    set_threads(threads or small)
    if device_kind == CPU:
        tf.config.set_visible_devices([], "GPU")
        logical = [tf.config.LogicalDeviceConfiguration() for _ in range(replicas)]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)
        return
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) < replicas:
        raise RuntimeError(f"the job has {replicas} GPUs, but TensorFlow sees {len(gpus)}")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def set_threads(threads: Threads) -> None:
    """Sets the process's threads; RuntimeError once TensorFlow has been initialised."""
    tf.config.threading.set_intra_op_parallelism_threads(threads.intra_op)
    tf.config.threading.set_inter_op_parallelism_threads(threads.inter_op)


def threads_in_use() -> Threads:
    """The process's threads."""
    threading = tf.config.threading
    return Threads(threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads())


def is_configurable() -> bool:
    """Whether `configure` can still be called: nothing has used TensorFlow's devices yet."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads + 1)
    except RuntimeError:
        return False
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    return True


def make_strategy(device_kind: int, replicas: int) -> tf.distribute.Strategy:
    """Returns a MirroredStrategy over the first `replicas` devices of the kind, also when there is only one."""
    if device_kind == GPU:
        return tf.distribute.MirroredStrategy([f"GPU:{index}" for index in range(replicas)])
    # The default on CPUs is a ring of collectives, which takes 1.4 to 1.5 times as long a step as adding up on one
    # device.
    return tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(replicas)], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
