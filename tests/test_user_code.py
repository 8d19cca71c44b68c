"""User code before it runs: who may send it, what is told without running it, and what it changes in the checks."""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from gradloom import documents
from gradloom.api import syntax
from gradloom.api.syntax import syntax_faults
from gradloom.catalogue import Catalogue
from gradloom.spec import check_job
from gradloom.spec.user_code import MAX_SOURCE_BYTES
from gradloom.v1 import service_pb2
from tests.api_server import api_server, digits_job, refusal
from tests.own_packages import own_catalogue
from tests.specs import ONE_CPU, SOUND

SOURCE = "import keras\n"


def told(changes: dict[str, Any], allowed: bool = True, source: str | None = SOURCE) -> dict[str, str]:
    """The faults by field of the sound job with changes to its spec."""
    job = copy.deepcopy(SOUND)
    job["spec"].update(changes)
    if source is not None:
        job["spec"]["user_code"] = {"source": source}
    faults = check_job(documents.job_from_dict(job), Catalogue.load(), [], ONE_CPU, allowed)
    return {fault.field: fault.description for fault in faults}


def model_with(*layers: dict[str, Any]) -> dict[str, Any]:
    given = copy.deepcopy(SOUND["spec"]["model"])
    given["layers"][1:1] = layers
    return {"model": given}


def test_user_code_is_refused_with_the_setting_that_would_allow_it() -> None:
    assert told({}) == {}
    assert told({}, allowed=False) == {
        "spec.user_code": "is refused: this server runs no code that a job brings; it would with --user-code"
    }


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("", "is required"),
        (" \n", "is required"),
        ("#" * (MAX_SOURCE_BYTES + 1), "must be at most 262144 bytes; got 262145"),
        ("é" * (MAX_SOURCE_BYTES // 2 + 1), "must be at most 262144 bytes; got 262146"),
        ("x = 1\ny = '\0'\n", "line 2 holds a null character"),
    ],
)
def test_a_source_that_is_no_module_is_refused(source: str, rule: str) -> None:
    assert rule in told({}, source=source)["spec.user_code.source"]


def test_types_that_only_the_source_can_hold_are_let_through_with_whatever_they_take() -> None:
    inner = {"type": "Dense", "config": {"units": 3}}
    layer = {"type": "mine>Any", "config": {"anything": [1, {"deep": "x"}], "inner": inner, "twice": [inner]}}
    metrics = [{"type": "mine>Score", "name": "score", "config": {"beta": 2}}]
    dense = {"type": "Dense", "config": {"units": 3, "activation": "mine>f", "bias_constraint": {"type": "mine>C"}}}
    changes = {**model_with(layer, dense), "loss": {"type": "mine>Error"}, "metrics": metrics}
    assert told(changes) == {}
    refused = told(changes, source=None)
    assert refused.keys() == {
        "spec.model.layers[1].type",
        "spec.model.layers[2].config.activation",
        "spec.model.layers[2].config.bias_constraint.type",
        "spec.loss.type",
        "spec.metrics[0].type",
    }
    for description in refused.values():
        for way in ("install its package", "gradloom.components", "user_code", "a type of the catalogue"):
            assert way in description


def test_beside_user_code_everything_else_is_checked_as_always() -> None:
    layers = [
        {"type": "mine>Any", "config": {"inner": {"type": "Dense", "config": {"unit": 3}}}},
        {"type": "Dens", "config": {"units": 3}},
        {"type": "gradloom>Mine"},
        {"type": "keras>Mine"},
        {"type": "mine > Any"},
    ]
    assert told(model_with(*layers)).keys() == {
        "spec.model.layers[1].config.inner.config.unit",
        "spec.model.layers[1].config.inner.config.units",
        *(f"spec.model.layers[{position}].type" for position in (2, 3, 4, 5)),
    }


def test_a_syntax_error_is_told_with_its_line_and_nothing_is_run(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    source = f"open({str(proof)!r}, 'w').close()\nclass A:\n    def f(self:\n        pass\n"
    (fault,) = syntax_faults(source)
    assert fault.field == "spec.user_code.source"
    assert fault.description.startswith('must be Python; line 3, "def f(self:":')
    assert syntax_faults(source.replace("self:", "self):")) == []
    assert not proof.exists()
    assert "outside function" in syntax_faults("x = 1\nreturn x\n")[0].description


HOSTILE = {
    "parentheses": "x = " + "(" * 100_000,
    "balanced parentheses": "x = " + "(" * 5_000 + ")" * 5_000,
    "minuses": "x = " + "-" * 200_000 + "1",
    "a long sum": "x = " + "1+" * 100_000 + "1",
    "attributes": "x = a" + ".b" * 100_000,
    "indentation": "".join(" " * depth + "if x:\n" for depth in range(700)),
    "nested braces": "x = " + "{1:" * 10_000,
    "lambdas": "x = " + "lambda: " * 30_000 + "1",
    "a byte order mark": "\ufeffx = 1\n",
}
ODD = {
    "a power": "x = 9 ** 9 ** 9 ** 9",
    "strings that multiply": "x = ('a' * 1_000_000_000) * 1_000",
    "an encoding": "# -*- coding: utf-16 -*-\nx = 'é'\n",
    "an unknown encoding": "# -*- coding: nonsense -*-\nx = 1\n",
    "surrogates escaped": "x = '\\ud800'\n",
    "form feeds": "\f" * 100_000 + "x = 1",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_a_source_that_is_too_much_for_the_compiler_is_refused(source: str) -> None:
    (fault,) = syntax_faults(source)
    assert fault.description.startswith("must be Python; line ")


@pytest.mark.parametrize("source", ODD.values(), ids=ODD)
def test_a_source_that_only_looks_dangerous_is_python(source: str) -> None:
    assert syntax_faults(source) == []


def test_a_source_that_takes_the_compiler_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syntax, "SECONDS", 0.2)
    (fault,) = syntax_faults("class A: pass\n" * 15_000)
    assert fault.description == "must be Python that compiles within 5 s; this did not"


async def test_a_server_answers_a_hostile_source_and_goes_on(tmp_path: Path) -> None:
    async with api_server(tmp_path, allows_user_code=True) as api:
        job = digits_job()
        job.spec.user_code.source = HOSTILE["a long sum"]
        refused = await refusal(api.stub.CreateJob(service_pb2.CreateJobRequest(job=job)))
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["spec.user_code.source"])
        job.spec.user_code.source = SOURCE
        created = await api.stub.CreateJob(service_pb2.CreateJobRequest(job=job))
        assert created.spec.user_code.source == SOURCE


async def test_a_validation_says_what_it_could_not_check(tmp_path: Path) -> None:
    answer = json.dumps({"resolved_spec": ""})
    command = (sys.executable, "-c", f"import sys; sys.stdin.read(); print({answer!r})")
    async with api_server(tmp_path, validator=command, allows_user_code=True) as api:
        job = digits_job()
        request = service_pb2.CreateJobRequest(job=job, validate_only=True)
        assert (await api.stub.CreateJob(request)).state_message == ""
        request.job.spec.user_code.source = SOURCE
        unchecked = (await api.stub.CreateJob(request)).state_message
        assert "which group gets which variable" in unchecked
        assert "whether what is monitored is recorded" in unchecked


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with own_catalogue():
        yield
