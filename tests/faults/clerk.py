"""A client that goes on with its work whatever becomes of the server, and remembers what it was told."""

import random
import sys
import threading
import uuid
from typing import Any

import grpc

from gradloom import documents
from gradloom.job import state_name
from gradloom.v1 import job_pb2, service_pb2
from tests.e2e.server import digits_job
from tests.faults.witness import AWAY, CALL_SECONDS, Witness

Job = job_pb2.Job
_PAUSE_SECONDS = 0.5


class Clerk(threading.Thread):
    """A client that hands in jobs and cancels them, whatever becomes of the server meanwhile.

    What it was told is true for good: a job whose creation was acknowledged is there, once, also when the request had
    to be made again.
    """

    def __init__(self, witness: Witness, draw: random.Random):
        super().__init__(daemon=True)
        self._witness = witness
        self._draw = draw
        self._stopping = threading.Event()
        self._abandoning = threading.Event()

    def stop(self) -> None:
        """Ends what is under way, for which a server must be there, and returns."""
        self._stopping.set()
        if self.is_alive():
            self.join(120)

    def abandon(self) -> None:
        """Gives up what is under way, and returns."""
        self._stopping.set()
        self._abandoning.set()
        if self.is_alive():
            self.join(CALL_SECONDS + 1)

    def run(self) -> None:
        job, number = documents.job_from_dict(digits_job()), 0
        while not self._stopping.wait(self._draw.uniform(0.0, 2 * _PAUSE_SECONDS)):
            number += 1
            create = service_pb2.CreateJobRequest(job=job, job_id=f"clerk-{number}", request_id=self._request_id())
            created = self._call(self._witness.stub.CreateJob, create)
            self._witness.acknowledged(created, end=Job.CANCELLED)
            cancel = service_pb2.CancelJobRequest(name=created.name, request_id=self._request_id())
            cancelled = self._call(self._witness.stub.CancelJob, cancel)
            if cancelled.state not in (Job.CANCELLING, Job.CANCELLED):
                self._witness.faults.append(f"{created.name}: cancelled, and is {state_name(cancelled.state)}")

    def _request_id(self) -> str:
        return str(uuid.UUID(int=self._draw.getrandbits(128), version=4))

    def _call(self, method: Any, request: Any) -> Any:
        """Asks until it is answered; with the request's id it happens once."""
        while True:
            try:
                return method(request, timeout=CALL_SECONDS)
            except grpc.RpcError as error:
                if error.code() not in (*AWAY, grpc.StatusCode.RESOURCE_EXHAUSTED):
                    self._witness.faults.append(f"{request}: {error.code().name}, {error.details()}")
                    raise
                if self._abandoning.wait(0.05):
                    sys.exit()
