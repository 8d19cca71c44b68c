"""The committed stubs are those of proto/, and run with the oldest versions that a client may have."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOWEST = ROOT / ".venv-lowest/bin/python"


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Runs a command and returns what it printed; fails with all of it."""
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def lowest() -> Path:
    """A Python with the client's dependencies at their lower bounds, and nothing else."""
    run("tools/environment", "lowest")
    return LOWEST


def test_the_committed_stubs_are_those_of_the_proto_files(tmp_path: Path) -> None:
    run("tools/proto", tmp_path)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*_pb2*")}
    committed = {
        path.relative_to(ROOT / "service"): path.read_text()
        for path in (ROOT / "service/gradloom").rglob("*_pb2*")
        if "__pycache__" not in path.parts
    }
    assert made.keys() == committed.keys()
    stale = [str(path) for path in made if made[path] != committed[path]]
    assert not stale, f"stale stubs, run `make proto`: {stale}"


def test_the_lowest_versions_are_the_bounds_of_the_package(lowest: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(re.match(r"([\w.-]+)>=([\d.]+)", line).groups() for line in project["dependencies"])  # type: ignore[union-attr]
    code = f"from importlib.metadata import version; print([version(name) for name in {list(bounds)!r}])"
    installed = eval(run(lowest, "-c", code))
    assert [parts(version) for version in installed] == [parts(bound) for bound in bounds.values()]


def parts(version: str) -> tuple[int, ...]:
    """The numbers of a version, to three places."""
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (3 - len(numbers)))


@pytest.mark.parametrize(
    "arguments", [["version"], ["--help"], ["submit", "--help"], ["validate", "--help"]], ids=" ".join
)
def test_the_command_line_runs_with_the_lowest_versions(lowest: Path, arguments: list[str]) -> None:
    code = f"""
import sys
sys.path.insert(0, "service")
sys.argv[1:] = {arguments!r}
from gradloom.__main__ import main
main()
"""
    assert run(lowest, "-W", "error", "-c", code)


def test_the_client_and_its_stubs_import_with_the_lowest_versions(lowest: Path) -> None:
    code = """
import sys
sys.path.insert(0, "service")
from gradloom import Client
from gradloom.v1 import service_pb2, service_pb2_grpc
from gradloom.documents import read_job
with open("examples/digits_quickstart.yaml") as file:
    job = read_job(file.read())
with Client("127.0.0.1:1") as client:
    print(type(client).__name__, job.spec.model.layers[0].type)
"""
    assert run(lowest, "-W", "error", "-c", code).strip() == "Client Input"


def test_the_stubs_need_no_newer_runtime_than_the_client_allows() -> None:
    text = (ROOT / "service/gradloom/v1/service_pb2_grpc.py").read_text()
    generated = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", text)
    assert generated
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"grpcio>={generated[1]}" in dependencies


def test_this_environment_runs_the_locked_grpc() -> None:
    locked = dict(re.findall(r"^([\w.-]+)==([\d.]+)", (ROOT / "requirements.lock").read_text(), flags=re.M))
    code = "from importlib.metadata import version; print(version('grpcio'), version('protobuf'))"
    assert run(sys.executable, "-c", code).split() == [locked["grpcio"], locked["protobuf"]]
