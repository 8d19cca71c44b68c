"""The public service: each method decodes, makes one call, encodes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf import empty_pb2

from gradloom.api.components import list_components
from gradloom.api.convert import digest_of, job_name, project_of, request_id_of, view_of
from gradloom.api.creation import Creation, NewJob, is_light
from gradloom.api.downloads import download_artifact
from gradloom.api.logs import stream_logs
from gradloom.api.looks import Looks
from gradloom.api.metrics import stream_metrics
from gradloom.api.offload import Offload
from gradloom.api.retries import RetryRequests
from gradloom.api.updates import checked_update
from gradloom.api.validator import Validator
from gradloom.api.watch import watch_job
from gradloom.catalogue import Catalogue
from gradloom.errors import AlreadyExistsError, NotFoundError, ServerUnavailableError
from gradloom.job import TERMINAL_STATES, JobName
from gradloom.jobs.explain import Explainer
from gradloom.jobs.instruments import Instruments
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2, service_pb2, service_pb2_grpc

M = TypeVar("M")

MOST_PAGE_BYTES = 3 << 20
"""A page of whole specs is cut to fit a client's default limit of 4 MiB a message."""

UNCHECKED = (
    "Not checked, because user code runs in a job's trainer alone: what it registers, the model as a whole, which "
    "group gets which variable, and whether what is monitored is recorded."
)


class TrainingServicer(service_pb2_grpc.TrainingServiceServicer):
    """Jobs, over one store."""

    def __init__(
        self,
        store: Store,
        offload: Offload,
        creation: Creation,
        validator: Validator,
        catalogue: Catalogue,
        instruments: Instruments,
        explainer: Explainer,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._store = store
        self._offload = offload
        self._creation = creation
        self._retries = RetryRequests(store, creation)
        self._validator = validator
        self._catalogue = catalogue
        self._instruments = instruments
        self._explainer = explainer
        self._clock = clock
        self._draining = asyncio.Event()
        self._looks = Looks(store.hub, offload)

    def drain(self) -> None:
        """Refuses new jobs and ends every stream, from now on."""
        self._draining.set()
        self._store.hub.wake_all()

    async def CreateJob(self, request: service_pb2.CreateJobRequest, context: Any) -> job_pb2.Job:
        """Checks a job and queues it."""
        self._refuse_when_draining()
        # To hand it to a thread and back would cost as much again.
        check = self._creation.check
        new = check(request) if is_light(request) else await self._offload.read(check, request)
        if request.validate_only:
            return await self._validated(new)
        return await self._stored(new)

    async def RetryJob(self, request: service_pb2.RetryJobRequest, context: Any) -> job_pb2.Job:
        """Makes a new job from one that has ended, and queues it."""
        self._refuse_when_draining()
        new = await self._offload.read(self._retries.check, request)
        if isinstance(new, job_pb2.Job):
            return new
        if request.validate_only:
            return await self._validated(new)
        return await self._stored(new)

    async def GetJob(self, request: service_pb2.GetJobRequest, context: Any) -> job_pb2.Job:
        """Gives one job."""
        view = view_of(request.view, service_pb2.JobView.FULL)
        return await self._offload.read(self._store.get_job, job_name(request.name), view)

    async def ListJobs(self, request: service_pb2.ListJobsRequest, context: Any) -> service_pb2.ListJobsResponse:
        """Gives a page of jobs."""
        return await self._offload.read(self._page_of_jobs, request)

    async def CancelJob(self, request: service_pb2.CancelJobRequest, context: Any) -> job_pb2.Job:
        """Ends a job."""
        return await self._offload.write(self._cancelled, request)

    async def UpdateJob(self, request: service_pb2.UpdateJobRequest, context: Any) -> job_pb2.Job:
        """Changes what people say of a job."""
        return await self._offload.write(self._updated, request)

    async def PauseJob(self, request: service_pb2.PauseJobRequest, context: Any) -> job_pb2.Job:
        """Has a job give its devices back, or wait no more."""
        return await self._offload.write(self._paused, request)

    async def ResumeJob(self, request: service_pb2.ResumeJobRequest, context: Any) -> job_pb2.Job:
        """Puts a paused job back into the queue."""
        return await self._offload.write(self._resumed, request)

    async def DeleteJob(self, request: service_pb2.DeleteJobRequest, context: Any) -> empty_pb2.Empty:
        """Deletes a job with all that it left."""
        await self._offload.write(self._delete, request)
        return empty_pb2.Empty()

    async def ExplainJob(self, request: service_pb2.ExplainJobRequest, context: Any) -> service_pb2.ExplainJobResponse:
        """Says why a job is where it is."""
        return await self._offload.read(self._explainer.explain, job_name(request.name))

    async def ListAttempts(
        self, request: service_pb2.ListAttemptsRequest, context: Any
    ) -> service_pb2.ListAttemptsResponse:
        """Gives a page of a job's attempts."""
        name = job_name(request.parent, "parent")
        attempts, token = await self._offload.read(
            self._store.list_attempts, name, request.page_size, request.page_token
        )
        return service_pb2.ListAttemptsResponse(attempts=attempts, next_page_token=token)

    async def ListArtifacts(
        self, request: service_pb2.ListArtifactsRequest, context: Any
    ) -> service_pb2.ListArtifactsResponse:
        """Gives a page of a job's files."""
        name = job_name(request.parent, "parent")
        artifacts, token = await self._offload.read(
            self._store.list_artifacts, name, request.page_size, request.page_token
        )
        return service_pb2.ListArtifactsResponse(artifacts=artifacts, next_page_token=token)

    async def ListCheckpoints(
        self, request: service_pb2.ListCheckpointsRequest, context: Any
    ) -> service_pb2.ListCheckpointsResponse:
        """Gives a page of a job's checkpoints."""
        name = job_name(request.parent, "parent")
        checkpoints, token = await self._offload.read(
            self._store.list_checkpoints, name, request.page_size, request.page_token
        )
        return service_pb2.ListCheckpointsResponse(checkpoints=checkpoints, next_page_token=token)

    async def ListComponents(
        self, request: service_pb2.ListComponentsRequest, context: Any
    ) -> service_pb2.ListComponentsResponse:
        """Gives a page of the catalogue."""
        return await self._offload.read(list_components, self._catalogue, request)

    def WatchJob(
        self, request: service_pb2.WatchJobRequest, context: Any
    ) -> AsyncGenerator[service_pb2.WatchJobResponse, None]:
        """Follows a job."""
        self._refuse_when_draining()
        return watch_job(self._store, self._offload, self._looks, request, self._draining.is_set)

    def StreamLogs(
        self, request: service_pb2.StreamLogsRequest, context: Any
    ) -> AsyncGenerator[service_pb2.StreamLogsResponse, None]:
        """Gives the lines of logs."""
        return self._until_drained(stream_logs(self._store, self._offload, request))

    def StreamMetrics(
        self, request: service_pb2.StreamMetricsRequest, context: Any
    ) -> AsyncGenerator[service_pb2.StreamMetricsResponse, None]:
        """Gives scalars by step."""
        return self._until_drained(stream_metrics(self._store, self._offload, self._looks, request))

    def DownloadArtifact(
        self, request: service_pb2.DownloadArtifactRequest, context: Any
    ) -> AsyncGenerator[service_pb2.DownloadArtifactResponse, None]:
        """Gives one file."""
        return self._until_drained(download_artifact(self._store, self._offload, request))

    def _refuse_when_draining(self) -> None:
        if self._draining.is_set():
            raise ServerUnavailableError("the server is stopping")

    async def _stored(self, new: NewJob) -> job_pb2.Job:
        now = self._clock()
        job = await self._offload.write_together(
            self._store.create_job, new.name, new.job, new.request_id, new.request_digest, now, new.retried
        )
        is_repeat = new.request_id is not None and job.create_time.ToDatetime(UTC) != now
        if not is_repeat:
            self._instruments.job_created()
        return job

    async def _validated(self, new: NewJob) -> job_pb2.Job:
        """The job as create would return it, with what TensorFlow makes of its spec; nothing is stored."""
        await self._offload.read(self._refuse_taken, new.name)
        resolved = await self._validator.resolve(await self._offload.read(self._creation.validation, new))
        job = job_pb2.Job(name=str(new.name), state=job_pb2.Job.QUEUED, resolved_spec=resolved, attempt_count=0)
        job.MergeFrom(new.job)
        job.create_time.FromDatetime(self._clock())
        if job.spec.HasField("user_code"):
            job.state_message = UNCHECKED
        return job

    def _refuse_taken(self, name: JobName) -> None:
        try:
            self._store.get_job(name, service_pb2.JobView.BASIC)
        except NotFoundError:
            return
        raise AlreadyExistsError(f"{name} exists already", str(name))

    def _cancelled(self, request: service_pb2.CancelJobRequest) -> job_pb2.Job:
        name, now = job_name(request.name), self._clock()
        job = self._store.cancel_job(name, request_id_of(request), digest_of(request), now)
        if job.state in TERMINAL_STATES and job.end_time.ToDatetime(UTC) == now:
            # It waited, so that no attempt's end will be counted.
            self._instruments.job_finished(job.uid, job.state, job.state_reason)
        return job

    def _updated(self, request: service_pb2.UpdateJobRequest) -> job_pb2.Job:
        update = checked_update(request)
        return self._store.update_job(
            update.name, update.wanted, update.paths, update.request_id, update.request_digest, self._clock()
        )

    def _paused(self, request: service_pb2.PauseJobRequest) -> job_pb2.Job:
        name, request_id = job_name(request.name), request_id_of(request)
        return self._store.pause_job(name, request.etag, request_id, digest_of(request), self._clock())

    def _resumed(self, request: service_pb2.ResumeJobRequest) -> job_pb2.Job:
        name, request_id = job_name(request.name), request_id_of(request)
        return self._store.resume_job(name, request.etag, request_id, digest_of(request), self._clock())

    def _delete(self, request: service_pb2.DeleteJobRequest) -> None:
        name = job_name(request.name)
        deleted = self._store.delete_job(
            name,
            request.etag,
            force=request.force,
            allow_missing=request.allow_missing,
            request_id=request_id_of(request),
            request_digest=digest_of(request),
            now=self._clock(),
        )
        if deleted.job is None:
            return
        if deleted.ended:
            # It waited, so that no attempt's end will be counted.
            self._instruments.job_finished(deleted.job.uid, job_pb2.Job.CANCELLED, job_pb2.Job.CANCELLED_BY_USER)
        self._instruments.job_deleted(deleted.job.uid)

    def _page_of_jobs(self, request: service_pb2.ListJobsRequest) -> service_pb2.ListJobsResponse:
        """A page; a smaller one than asked for when the jobs are too large together."""
        jobs, token = self._store.list_jobs(
            project_of(request.parent),
            request.page_size,
            request.page_token,
            view_of(request.view, service_pb2.JobView.BASIC),
            request.filter,
            request.order_by,
            MOST_PAGE_BYTES,
        )
        return service_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)

    async def _until_drained(self, messages: AsyncGenerator[M, None]) -> AsyncGenerator[M, None]:
        """Passes messages on until the server drains: then the stream ends UNAVAILABLE; its cursors stay good."""
        self._refuse_when_draining()
        draining = asyncio.ensure_future(self._draining.wait())
        following: asyncio.Task[M] | None = None
        try:
            while True:
                following = asyncio.ensure_future(anext(messages))
                await asyncio.wait((following, draining), return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    raise ServerUnavailableError("the server is stopping; go on from the last cursor")
                try:
                    message = following.result()
                except StopAsyncIteration:
                    return
                yield message
        finally:
            draining.cancel()
            if following is not None:
                following.cancel()
                # Also takes what it raised when the caller left in the same moment, so that nobody logs it.
                await asyncio.gather(following, return_exceptions=True)
            await messages.aclose()
