"""UpdateJob before the store: which fields the request takes from its job, and whether they may be so."""

from dataclasses import dataclass

from gradloom.api.convert import digest_of, job_name, request_id_of
from gradloom.faults import Faults, collected
from gradloom.job import JobName
from gradloom.jobs.editing import paths_of, taken_from
from gradloom.spec.details import check_details
from gradloom.v1 import job_pb2, service_pb2


@dataclass(frozen=True)
class JobUpdate:
    """A checked request: what the store takes."""

    name: JobName
    wanted: job_pb2.Job
    paths: list[str]
    request_id: str | None
    request_digest: str


def checked_update(request: service_pb2.UpdateJobRequest) -> JobUpdate:
    """Raises InvalidRequestError with every fault that can be told without the job."""
    faults = Faults()
    name = collected(faults, lambda: job_name(request.job.name, "job.name"))
    request_id = collected(faults, lambda: request_id_of(request))
    paths = paths_of(request.job, request.update_mask.paths, faults)
    check_details(taken_from(request.job, paths), faults)
    faults.raise_any()
    assert name is not None
    return JobUpdate(name, request.job, paths, request_id, digest_of(request))
