"""validate_only asks one bounded process; whatever that process does, the caller gets an answer it can use."""

import asyncio
import base64
import json
import os
import sys
from pathlib import Path

import grpc
import pytest

from gradloom.api.validator import MOST_WAITING, Validation, Validator
from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import InvalidRequestError, LimitExceededError, ServerFaultError, WrongStateError
from gradloom.v1 import job_pb2, service_pb2, spec_pb2
from tests.api_server import api_server, digits_job, refusal

QUESTION = Validation(spec_pb2.JobSpec(), spec_pb2.ResolvedSpec.CPU, 2)


def validator(program: str, timeout_seconds: float = 20.0) -> Validator:
    """A validator that runs a program in the real one's place."""
    return Validator((Path("/data"),), (), timeout_seconds, (sys.executable, "-c", program))


def answers(document: object) -> str:
    return f"import sys; sys.stdin.read(); print({json.dumps(document)!r})"


async def test_the_process_is_told_spec_devices_roots_and_initial_weights() -> None:
    program = """
import base64, json, sys
question = json.load(sys.stdin)
assert question["data_roots"] == ["/data"] and question["device_kind"] == "CPU" and question["replicas"] == 2
from gradloom.attempt.v1 import attempt_pb2
from gradloom.v1 import spec_pb2
assert attempt_pb2.Checkpoint.FromString(base64.b64decode(question["initial_weights"])).path == "/70.ckpt"
resolved = spec_pb2.ResolvedSpec(spec=spec_pb2.JobSpec.FromString(base64.b64decode(question["spec"])), replicas=2)
print(json.dumps({"resolved_spec": base64.b64encode(resolved.SerializeToString()).decode()}))
"""
    source = attempt_pb2.Checkpoint(path="/70.ckpt")
    asked = Validation(spec_pb2.JobSpec(model=spec_pb2.ModelSpec(name="m")), spec_pb2.ResolvedSpec.CPU, 2, source)
    resolved = await validator(program).resolve(asked)
    assert (resolved.spec.model.name, resolved.replicas) == ("m", 2)


async def test_faults_come_back_as_such() -> None:
    faults = [{"field": "spec.loss", "description": "does not fit"}, {"field": "spec.model", "description": "odd"}]
    with pytest.raises(InvalidRequestError) as caught:
        await validator(answers({"faults": faults})).resolve(QUESTION)
    assert [fault.field for fault in caught.value.faults] == ["spec.loss", "spec.model"]


async def test_what_the_machine_lacks_is_a_failed_precondition_with_its_text() -> None:
    error = {"error": {"exception_type": "DataUnavailable", "message": "no fashion_mnist here"}}
    with pytest.raises(WrongStateError, match="no fashion_mnist here"):
        await validator(answers(error)).resolve(QUESTION)


@pytest.mark.parametrize("output", ["", "nonsense", "[]", '{"faults": []}', '{"resolved_spec": 3}'])
async def test_an_answer_that_is_none_is_the_servers_fault(output: str) -> None:
    with pytest.raises(ServerFaultError):
        await validator(f"print({output!r})").resolve(QUESTION)


async def test_a_validation_that_takes_too_long_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = f"""
import os, subprocess, time
child = subprocess.Popen(["sleep", "1000"])
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(1000)
"""
    with pytest.raises(LimitExceededError, match="longer than 1 s"):
        await validator(program, 1.0).resolve(QUESTION)
    await are_gone([int(pid) for pid in pids.read_text().split()])


async def test_a_validation_whose_caller_goes_away_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    program = f"import os, time; open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(1000)"
    asking = asyncio.create_task(validator(program).resolve(QUESTION))
    while not (pids.exists() and pids.read_text()):
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await are_gone([int(pids.read_text())])


async def test_memory_beyond_the_limit_is_the_callers_limit() -> None:
    with pytest.raises(LimitExceededError, match="memory"):
        await validator("x = bytearray(8 << 30)").resolve(QUESTION)
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(LimitExceededError, match="memory"):
        await validator(killed).resolve(QUESTION)


async def test_only_so_many_may_wait() -> None:
    slow = validator("import time; time.sleep(1000)")
    running = [asyncio.create_task(slow.resolve(QUESTION)) for _ in range(1 + MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(LimitExceededError) as caught:
        await slow.resolve(QUESTION)
    assert caught.value.retry_after_seconds > 0
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_validate_only_returns_what_create_would_and_stores_nothing(tmp_path: Path) -> None:
    resolved = base64.b64encode(spec_pb2.ResolvedSpec(replicas=1).SerializeToString()).decode()
    command = (sys.executable, "-c", answers({"resolved_spec": resolved}))
    async with api_server(tmp_path, validator=command) as api:
        job = await api.stub.CreateJob(
            service_pb2.CreateJobRequest(job=digits_job(), job_id="digits", validate_only=True)
        )
        assert (job.name, job.state, job.resolved_spec.replicas) == (
            "projects/default/jobs/digits",
            job_pb2.Job.QUEUED,
            1,
        )
        assert job.spec.training.HasField("seed")
        assert not (await api.stub.ListJobs(service_pb2.ListJobsRequest())).jobs


async def test_the_control_planes_checks_come_first(tmp_path: Path) -> None:
    async with api_server(tmp_path, validator=("/does/not/exist",)) as api:
        job = digits_job()
        job.spec.loss.type = "Nonsense"
        refused = await refusal(api.stub.CreateJob(service_pb2.CreateJobRequest(job=job, validate_only=True)))
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["spec.loss.type"])


async def are_gone(pids: list[int]) -> None:
    async with asyncio.timeout(10):
        while any(os.path.exists(f"/proc/{pid}") for pid in pids):
            await asyncio.sleep(0.01)
