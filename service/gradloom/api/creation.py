"""CreateJob before the store: every check that needs no TensorFlow, and the job as it will be kept."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gradloom.api.convert import digest_of, project_of, request_id_of
from gradloom.api.syntax import syntax_faults
from gradloom.api.validator import Validation
from gradloom.catalogue import Catalogue
from gradloom.errors import FieldFault
from gradloom.faults import MAX_FAULTS, Faults, collected, shown
from gradloom.job import DEFAULT_PROJECT, ID_PATTERN, ID_RULE, JobName
from gradloom.jobs.records import Retried, StoredCheckpoint
from gradloom.spec import OwnedDevices, SoundTasks, check_job, with_defaults
from gradloom.spec.unread import without_consequences
from gradloom.spec.user_code import FIELD as USER_CODE_FIELD
from gradloom.v1 import job_pb2, service_pb2, spec_pb2

SEEDS: Final = 1 << 31
LIGHT_BYTES: Final = 2048
"""The checks of the worst job of this size take tens of milliseconds, of a sound one less than a millisecond."""

_SUFFIX_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"

_random: Final = random.Random()
"""Begins from the system's; asking the system each time would let other threads take over in the middle of a check."""


@dataclass(frozen=True)
class NewJob:
    """A checked request: what the store takes."""

    name: JobName
    job: job_pb2.Job
    request_id: str | None
    request_digest: str
    retried: Retried | None = None
    """The job that it was made from."""


class Creation:
    """Checks requests against one server's catalogue, data roots, devices, checkpoints and what it allows."""

    def __init__(
        self,
        catalogue: Catalogue,
        data_roots: Sequence[str],
        owned: OwnedDevices,
        find_initial_weights: Callable[[str, str], StoredCheckpoint],
        allows_user_code: bool = False,
    ):
        """`find_initial_weights` is the store's: takes what a spec says and its project."""
        self._allows_user_code = allows_user_code
        self._catalogue = catalogue
        self._data_roots = data_roots
        self._owned = owned
        self._find_initial_weights = find_initial_weights
        self._sound_tasks = SoundTasks()

    def check(self, request: service_pb2.CreateJobRequest) -> NewJob:
        """Gives the job with every default and its seed; raises InvalidRequestError with every fault at once."""
        faults = Faults()
        project = collected(faults, lambda: project_of(request.parent)) or DEFAULT_PROJECT
        request_id = collected(faults, lambda: request_id_of(request))
        if request.job_id and not ID_PATTERN.fullmatch(request.job_id):
            faults.add("job_id", f"{ID_RULE}; got {shown(request.job_id)}")
        faults.extend(without_consequences(self._job_faults(request), request.unread_fields[:MAX_FAULTS]))
        if source := request.job.spec.model.initial_weights.job:
            collected(faults, lambda: self._find_initial_weights(source, project))
        if request.unread_fields:
            faults.add("unread_fields", f"must be empty for a job to be made; got {len(request.unread_fields)}")
        faults.raise_any()
        spec = with_defaults(request.job.spec, seed=_random.randrange(SEEDS))
        job = job_pb2.Job(
            display_name=request.job.display_name or spec.model.name,
            labels=request.job.labels,
            priority=request.job.priority,
            spec=spec,
        )
        name = JobName(project, request.job_id or _generated_id(spec.model.name))
        return NewJob(name, job, request_id, digest_of(request))

    def validation(self, new: NewJob) -> Validation:
        """What to ask TensorFlow about a job: its spec, and what it would be given here."""
        spec = new.job.spec
        kind, replicas = self.placement(spec)
        initial_weights = retry = None
        if spec.model.HasField("initial_weights"):
            source = self._find_initial_weights(spec.model.initial_weights.job, new.name.project)
            initial_weights = source.assigned()
        if new.retried is not None and new.retried.source is not None:
            retry = new.retried.source.assigned()
        return Validation(spec, kind, replicas, initial_weights, retry)

    def placement(self, spec: spec_pb2.JobSpec) -> tuple[int, int]:
        """The device kind and the number of replicas that a job is given here."""
        if spec.resources.HasField("gpus"):
            return spec_pb2.ResolvedSpec.GPU, spec.resources.gpus
        if spec.resources.HasField("cpu_replicas"):
            return spec_pb2.ResolvedSpec.CPU, spec.resources.cpu_replicas
        if self._owned.gpus:
            return spec_pb2.ResolvedSpec.GPU, self._owned.gpus
        return spec_pb2.ResolvedSpec.CPU, 1

    def _job_faults(self, request: service_pb2.CreateJobRequest) -> list[FieldFault]:
        if not request.HasField("job"):
            return [FieldFault("job", "required")]
        # Their paths are those of the file that a user wrote, which is the Job.
        faults = check_job(
            request.job, self._catalogue, self._data_roots, self._owned, self._allows_user_code, self._sound_tasks
        )
        source = request.job.spec.user_code.source
        if source and not any(fault.field.startswith(USER_CODE_FIELD) for fault in faults):
            faults.extend(syntax_faults(source))
        return faults


def is_light(request: service_pb2.CreateJobRequest) -> bool:
    """Whether `check` takes a moment and only computes: the job is small, and names no job, source or file.

    Layers and data sources alone name files, by absolute paths.
    """
    spec = request.job.spec
    if request.ByteSize() > LIGHT_BYTES or spec.HasField("user_code") or spec.model.HasField("initial_weights"):
        return False
    return not any(b"/" in part.SerializeToString() for part in (spec.model, spec.data))


def _generated_id(model: str) -> str:
    """An id that people can tell from others: the model's name and enough chance."""
    slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:24].rstrip("-")
    chance = "".join(_random.choices(_SUFFIX_ALPHABET, k=8))
    return f"{slug}-{chance}" if ID_PATTERN.fullmatch(slug) else f"job-{chance}"
