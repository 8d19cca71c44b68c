"""What follows the training, all on the CPU once the devices are free: reference, export, proof."""

import logging
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np

from gradloom.attempt.v1 import attempt_pb2
from gradloom.spec.precision import policy_of
from gradloom.trainer import models
from gradloom.trainer.export import EXPORT_DIRECTORY, ExportPaths, manifest, put_in_place, write_export
from gradloom.trainer.proof import EXACT, MIXED, Proof, Prover, Tolerances
from gradloom.trainer.reference import prove_keras_file, reference_outputs
from gradloom.trainer.session import Session
from gradloom.trainer.targets import arranged
from gradloom.trainer.watchdog import Stage
from gradloom.v1 import job_pb2, spec_pb2

logger = logging.getLogger(__name__)


def deliver(
    session: Session,
    spec: spec_pb2.JobSpec,
    model: keras.Model,
    inputs: np.ndarray,
    clean_process: Callable[[], Prover],
) -> attempt_pb2.FinishAttemptRequest:
    """Exports the model and proves the export.

    Args:
        session: The attempt's.
        spec: With every default filled in.
        model: With its final weights.
        inputs: Examples of the proof [n, ...], as the model takes them.
        clean_process: Gives the process of the proof, which may have been started before.

    Raises:
        ExportDisagreedError: The export is not what was trained; the control plane removes what it has no record of.
    """
    attempt, name, stage = session.assignment.attempt, spec.model.name, session.watchdog.stage
    session.reporter.update(phase=job_pb2.Progress.EXPORTING)
    started = time.monotonic()
    with stage("the trained model's own run on the examples of the proof"):
        expected = reference_outputs(model, inputs)
    aside = ExportPaths(session.work / EXPORT_DIRECTORY, name, attempt)
    with stage("the export"):
        targets = arranged(models.build_targets(spec), models.output_names(model))
        write_export(aside, model, spec.export.formats, inputs, expected, targets)
    placed = ExportPaths(session.directory / EXPORT_DIRECTORY, name, attempt)
    with stage("putting the export in place"):
        artifacts = manifest(aside.root, attempt)
        put_in_place(aside.root, placed.root)
    size = sum(artifact.size_bytes for artifact in artifacts)
    logger.info("exported %d files, %.3g MiB, in %.1f s", len(artifacts), size / 2**20, time.monotonic() - started)
    session.reporter.update(phase=job_pb2.Progress.PROVING)
    tolerances = MIXED if policy_of(spec.training).startswith("mixed") else EXACT
    proof = _prove(placed, spec.export.formats, inputs, expected, tolerances, clean_process, stage)
    saved_model = spec_pb2.ExportSpec.SAVED_MODEL in spec.export.formats
    return attempt_pb2.FinishAttemptRequest(
        reason=job_pb2.Job.COMPLETED,
        message=f"the export agrees with the trained model on {proof.examples} examples; "
        f"largest difference {proof.largest_difference:.2g}",
        export=job_pb2.Export(
            model=name,
            version=attempt,
            path=str(placed.saved_model if saved_model else placed.root),
            proof_examples=proof.examples,
            largest_difference=proof.largest_difference,
            absolute_tolerance=tolerances.absolute,
            relative_tolerance=tolerances.relative,
        ),
        artifacts=artifacts,
    )


def _prove(
    placed: ExportPaths,
    formats: Sequence[int],
    inputs: np.ndarray,
    expected: Sequence[np.ndarray],
    tolerances: Tolerances,
    clean_process: Callable[[], Prover],
    stage: Stage,
) -> Proof:
    """Proves each format; the SavedModel's proof is the one on record where there is one."""
    proofs = []
    if spec_pb2.ExportSpec.SAVED_MODEL in formats:
        with stage("the proof of the SavedModel"), clean_process() as clean:
            proofs.append(clean.prove(placed.saved_model, placed.examples, tolerances))
        logger.info("proof of %s: %s", placed.saved_model, _found(proofs[-1]))
    if spec_pb2.ExportSpec.KERAS in formats:
        with stage("the proof of the .keras file"):
            proofs.append(prove_keras_file(placed.keras_file, inputs, expected, tolerances))
        logger.info("loaded back %s: %s", placed.keras_file, _found(proofs[-1]))
    return proofs[0]


def _found(proof: Proof) -> str:
    return f"agrees on {proof.examples} examples, largest difference {proof.largest_difference:.2g}"
