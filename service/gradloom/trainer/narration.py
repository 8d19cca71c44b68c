"""What an attempt's log says to the person who reads it."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from gradloom.trainer.python_state import Finding
from gradloom.v1 import spec_pb2

MOST_VARIABLES: Final = 200

logger = logging.getLogger(__name__)


def tell_resolved(resolved: spec_pb2.ResolvedSpec) -> None:
    """Says what will run: devices, data, and which group trains which variable how."""
    kind = spec_pb2.ResolvedSpec.DeviceKind.Name(resolved.device_kind)
    training = resolved.spec.training
    logger.info(
        "model %s on %d %s replica%s, %d epochs of %d steps, global batch %d, seed %d",
        resolved.spec.model.name,
        resolved.replicas,
        kind,
        "" if resolved.replicas == 1 else "s",
        training.epochs,
        resolved.steps_per_epoch,
        training.global_batch_size,
        training.seed,
    )
    for data in resolved.data:
        logger.info(
            "data %s: %d examples, features %s %s, labels %s",
            data.source,
            data.examples,
            data.feature_dtype,
            list(data.feature_shape),
            f"{data.label_dtype} {list(data.label_shape)}" if data.label_dtype else "by output",
        )
    for group in resolved.spec.variable_groups:
        logger.info("group %s: %s", group.name, "frozen" if group.frozen else group.optimizer.type)
    width = max((len(variable.path) for variable in resolved.variables), default=0)
    for variable in resolved.variables[:MOST_VARIABLES]:
        logger.info(
            "    %-*s  %-24s %s", width, variable.path, list(variable.shape), variable.group or "(not by gradients)"
        )
    if len(resolved.variables) > MOST_VARIABLES:
        logger.info("    and %d more", len(resolved.variables) - MOST_VARIABLES)
    if resolved.synchronized_layers:
        logger.info("synchronized over the replicas: %s", ", ".join(resolved.synchronized_layers))
    if resolved.replica_dependent_layers:
        told = "the random numbers of these layers depend on the number of replicas, and so does the result: %s"
        logger.warning(told, ", ".join(resolved.replica_dependent_layers))


def tell_python_state(found: Sequence[Finding]) -> None:
    """Warns of each place where user code keeps state that a traced step does not see."""
    for finding in found:
        logger.warning("Python-side state: %s", finding)


def python_state_notice(found: Sequence[Finding]) -> str:
    """The same for the job's events, in a sentence."""
    owners = ", ".join(dict.fromkeys(finding.owner for finding in found))
    places = "1 place" if len(found) == 1 else f"{len(found)} places"
    return f"user code keeps Python-side state in {places} ({owners}), where a traced step runs once; the log has each"


def tell_epoch(epoch: int, epochs: int, scalars: Mapping[str, float], seconds: float) -> None:
    """Says how an epoch ended."""
    logger.info("epoch %d/%d in %.1f s: %s", epoch, epochs, seconds, shown(scalars))


def tell_test(scalars: Mapping[str, float]) -> None:
    """Says what the test data gave."""
    logger.info("test data, the weights that are exported: %s", shown(scalars))


def shown(scalars: Mapping[str, float]) -> str:
    """`loss 0.3712  accuracy 0.8634`."""
    return "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
