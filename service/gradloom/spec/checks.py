"""The rules of a job, checked without TensorFlow, every fault at once.

What only constructing can tell (values, shapes, which variables there are) is the trainer's to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gradloom.catalogue import Catalogue
from gradloom.errors import FieldFault
from gradloom.faults import Faults
from gradloom.spec.components import ComponentChecker
from gradloom.spec.defaults import DEFAULT_EPOCHS
from gradloom.spec.details import check_details
from gradloom.spec.groups import check_groups
from gradloom.spec.keras_config import with_models
from gradloom.spec.limits import between, is_nested_too_deeply, known_number
from gradloom.spec.options import check_training
from gradloom.spec.precision import policy_of
from gradloom.spec.retention import check_retention
from gradloom.spec.scheduling import check_retry, check_scheduling
from gradloom.spec.task import SoundTasks
from gradloom.spec.user_code import check_user_code
from gradloom.v1 import job_pb2, spec_pb2

MAX_SPEC_BYTES: Final = 1 << 20
MAX_CPU_REPLICAS: Final = 16


@dataclass(frozen=True)
class OwnedDevices:
    """The devices of the server, in use or not."""

    gpus: int
    cpu_slots: int


def check_job(
    job: job_pb2.Job,
    catalogue: Catalogue,
    data_roots: Sequence[str],
    owned: OwnedDevices,
    allows_user_code: bool = False,
    sound_tasks: SoundTasks | None = None,
) -> list[FieldFault]:
    """Every fault of a job as it was sent, in the order of its fields; an empty list when it is sound.

    Calls for one catalogue and the same data roots may share `sound_tasks`, so that a task is checked once.
    Does no I/O but resolving symlinks of paths that the spec names. Of user code only the frame is checked: whether it
    is Python is for a process with limits to say.
    """
    faults = Faults()
    check_details(job, faults)
    if not job.HasField("spec"):
        faults.add("spec", "is required")
    elif job.spec.ByteSize() > MAX_SPEC_BYTES:
        faults.add("spec", f"must be at most {MAX_SPEC_BYTES} bytes; got {job.spec.ByteSize()}")
    elif is_nested_too_deeply(job.spec, faults):
        pass
    else:
        has_user_code = job.spec.HasField("user_code")
        policy = policy_of(job.spec.training)
        checker = with_models(ComponentChecker(catalogue, data_roots, faults, policy, has_user_code))
        _check_spec(job.spec, checker, owned, SoundTasks() if sound_tasks is None else sound_tasks)
        if has_user_code:
            check_user_code(job.spec.user_code, allows_user_code, faults)
    return faults.told()


def _check_spec(
    spec: spec_pb2.JobSpec, checker: ComponentChecker, owned: OwnedDevices, sound_tasks: SoundTasks
) -> None:
    faults = checker.faults
    monitors = sound_tasks.check(spec, checker)
    epochs = spec.training.epochs if spec.training.HasField("epochs") else DEFAULT_EPOCHS
    check_groups(spec.variable_groups, epochs, monitors, checker)
    check_training(spec, monitors, checker)
    if spec.HasField("export"):
        _check_export(spec.export, faults)
    _check_resources(spec.resources, owned, faults)
    check_retry(spec.retry, faults)
    check_scheduling(spec.scheduling, faults)
    check_retention(spec.retention, faults)


def _check_export(export: spec_pb2.ExportSpec, faults: Faults) -> None:
    field = "spec.export.formats"
    if not export.formats:
        faults.add(
            field, "must name a format at least; leave out `export` for the default, a SavedModel and a .keras file"
        )
    for position, number in enumerate(export.formats):
        is_known = known_number(spec_pb2.ExportSpec.Format, number, f"{field}[{position}]", faults)
        if is_known and number in export.formats[:position]:
            name = spec_pb2.ExportSpec.Format.Name(number)
            faults.add(f"{field}[{position}]", f"must be named once only; {name} is there already")
        if position > len(spec_pb2.ExportSpec.Format.values()):
            return


def _check_resources(resources: spec_pb2.ResourceSpec, owned: OwnedDevices, faults: Faults) -> None:
    field = "spec.resources"
    if resources.HasField("gpus") and resources.HasField("cpu_replicas"):
        faults.add(field, f"must not ask for both; got gpus {resources.gpus} and cpu_replicas {resources.cpu_replicas}")
        return
    between(resources, "gpus", 1, None, field, faults)
    between(resources, "cpu_replicas", 1, MAX_CPU_REPLICAS, field, faults)
    if resources.gpus > owned.gpus:
        owns = f"{owned.gpus} GPU{'' if owned.gpus == 1 else 's'}"
        faults.add(f"{field}.gpus", f"must be at most what the server owns, {owns}; got {resources.gpus}")
    on_cpu = resources.HasField("cpu_replicas") or (not resources.HasField("gpus") and owned.gpus == 0)
    if on_cpu and owned.cpu_slots < 1:
        faults.add(f"{field}.cpu_replicas", "needs a CPU slot; the server has none (--cpu-slots)")
