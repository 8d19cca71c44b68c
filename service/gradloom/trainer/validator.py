"""`python -m gradloom.trainer validate`: what only TensorFlow can tell about a spec, without devices or training.

Reads one JSON document from stdin until its end:
    {"spec": base64 of a serialized gradloom.v1.JobSpec with its seed,
     "data_roots": [absolute paths], "dataset_directories": [absolute paths],
     "device_kind": "CPU" | "GPU", "replicas": int,                 what the job would be given; default one CPU
     "initial_weights": base64 of a serialized gradloom.attempt.v1.Checkpoint,      default: none
     "retry": base64 of a serialized gradloom.attempt.v1.Retry}                     default: none
and writes one JSON document to stdout, exactly one of
    {"resolved_spec": base64 of a serialized gradloom.v1.ResolvedSpec}
    {"faults": [{"field": "spec....", "description": "..."}, ...]}
    {"error": {"exception_type": "...", "message": "..."}}          neither: not the spec's fault as far as can be told
then exits 0. Source that a job brings never runs here: its resolved spec holds the data alone. What libraries print
goes to stderr. The caller bounds memory and time.
"""

import base64
import json
import os
import sys
from typing import Any

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import InvalidRequestError
from gradloom.v1 import job_pb2, spec_pb2


def main() -> int:
    """Answers one question; returns the exit code."""
    # The answer has a descriptor of its own: native code prints to 1 whatever Python does.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with answers:
        json.dump(answer(json.load(sys.stdin)), answers)
    return 0


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """The answer to one question, in a process that has not used TensorFlow before."""
    from gradloom.spec import with_defaults
    from gradloom.trainer import outcome
    from gradloom.trainer.datasets import DataUnavailable
    from gradloom.trainer.predecessor import Predecessor
    from gradloom.trainer.prepare import Given, prepare, rehearse_without_user_code

    spec = with_defaults(spec_pb2.JobSpec.FromString(base64.b64decode(question["spec"])), seed=0)
    encoded = question.get("initial_weights")
    given = Given(
        spec_pb2.ResolvedSpec.DeviceKind.Value(question.get("device_kind", "CPU")),
        question.get("replicas", 1),
        question.get("data_roots", ()),
        question.get("dataset_directories", ()),
        attempt_pb2.Checkpoint.FromString(base64.b64decode(encoded)) if encoded else None,
    )
    try:
        if spec.HasField("user_code"):
            resolved = rehearse_without_user_code(spec, given)
        else:
            prepared = prepare(spec, given, rehearsal=True)
            resolved = prepared.resolved
            if retry := question.get("retry"):
                predecessor = Predecessor(attempt_pb2.Retry.FromString(base64.b64decode(retry)))
                predecessor.require_same(resolved)
                predecessor.restore(prepared.training, spec, predecessor.left(spec))
    except (InvalidRequestError, DataUnavailable) as error:
        return {"faults": [{"field": fault.field, "description": fault.description} for fault in error.faults]}
    except Exception as error:
        finish = outcome.failure(error, before_first_step=True)
        if finish.reason in (job_pb2.Job.SPEC_REFUSED, job_pb2.Job.USER_CODE_RAISED):
            return {"faults": [{"field": "spec", "description": finish.message}]}
        if finish.reason == job_pb2.Job.OUT_OF_HOST_MEMORY:
            return {"out_of_memory": True}
        return {"error": {"exception_type": finish.error.exception_type, "message": finish.error.message}}
    return {"resolved_spec": base64.b64encode(resolved.SerializeToString()).decode()}
