"""RetryJob before the store: the old job with its edits, checked as CreateJob checks, and where the new one goes on."""

from dataclasses import replace

from gradloom.api.convert import checkpoint_id_of, digest_of, job_name, request_id_of
from gradloom.api.creation import Creation, NewJob
from gradloom.errors import InvalidRequestError, WrongStateError
from gradloom.faults import Faults, collected
from gradloom.field_masks import edited
from gradloom.job import TERMINAL_STATES, JobName, state_name
from gradloom.jobs.records import Retried
from gradloom.jobs.store import Store
from gradloom.spec import without_derived_defaults
from gradloom.spec.retries import Source, retry_faults
from gradloom.v1 import job_pb2, service_pb2


class RetryRequests:
    """Makes new jobs of old ones."""

    def __init__(self, store: Store, creation: Creation):
        self._store = store
        self._creation = creation

    def check(self, request: service_pb2.RetryJobRequest) -> NewJob | job_pb2.Job:
        """Gives the new job as `Creation.check` does, or what was stored at an earlier request of the same id.

        Raises NotFoundError, WrongStateError for a job that has not ended, InvalidRequestError with the faults.
        """
        name = job_name(request.name)
        request_id, digest = request_id_of(request), digest_of(request)
        if request_id is not None and not request.validate_only:
            first = self._store.retried_before(request_id, digest)
            if first is not None:
                return first
        old = self._store.get_job(name)
        if old.state not in TERMINAL_STATES:
            told = f"{name} is {state_name(old.state)}; only a job that has ended is retried: cancel it first"
            raise WrongStateError(str(name), told)
        faults = Faults()
        retried = collected(faults, lambda: self._retried(request, name))
        job = _edited(old, request, goes_on=bool(request.checkpoint))
        creation = service_pb2.CreateJobRequest(parent=f"projects/{name.project}", job_id=request.job_id, job=job)
        new = collected(faults, lambda: self._creation.check(creation))
        if retried is None or new is None:
            raise InvalidRequestError(faults.told())
        self._refuse_what_does_not_fit(name, old, retried, new)
        new.job.retry_of = str(name)
        if retried.source is not None:
            new.job.retry_checkpoint = retried.source.checkpoint.resource_name
        return replace(new, request_id=request_id, request_digest=digest, retried=retried)

    def _retried(self, request: service_pb2.RetryJobRequest, name: JobName) -> Retried:
        return self._store.find_retried(
            name, checkpoint_id_of(request.checkpoint, name) if request.checkpoint else None
        )

    def _refuse_what_does_not_fit(self, name: JobName, old: job_pb2.Job, retried: Retried, new: NewJob) -> None:
        if retried.source is None:
            return
        checkpoint = retried.source.checkpoint.checkpoint
        source = Source(
            job=str(name),
            spec=old.spec,
            replicas=retried.source.resolved_spec.replicas,
            epoch=checkpoint.epoch,
            final=checkpoint.final,
            has_best=retried.source.best is not None,
        )
        _, replicas = self._creation.placement(new.job.spec)
        faults = retry_faults(source, new.job.spec, replicas)
        if faults:
            raise InvalidRequestError(faults)


def _edited(old: job_pb2.Job, request: service_pb2.RetryJobRequest, goes_on: bool) -> job_pb2.Job:
    """The job as a user would have written it: what follows from what is edited follows from the edits."""
    written = job_pb2.Job()
    written.CopyFrom(old)
    written.spec.CopyFrom(without_derived_defaults(old.spec))
    if goes_on:
        # The checkpoint has every weight, and the job that the first ones came from may be gone.
        written.spec.model.ClearField("initial_weights")
    return edited(written, request.job, request.update_mask if request.HasField("update_mask") else None)
