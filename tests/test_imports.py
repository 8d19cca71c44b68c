"""What each part loads when it is imported; import-linter holds the rules that can be read from the source."""

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "keras", "numpy", "sklearn", "scipy")
SERVER_ONLY = ("sqlalchemy", "alembic", "prometheus_client", "grpc_health", "grpc_reflection")


def loaded_by(module: str) -> set[str]:
    """The modules that a fresh interpreter holds after importing one."""
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "gradloom",
        "gradloom.__main__",
        "gradloom.api.server",
        "gradloom.jobs.scheduler",
        "gradloom.spec",
        "gradloom.client.cli",
    ],
)
def test_nothing_outside_the_data_plane_loads_tensorflow(module: str) -> None:
    assert loaded_by(module).isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["gradloom.client.cli", "gradloom.client", "gradloom.documents"])
def test_the_client_loads_nothing_of_the_server(module: str) -> None:
    assert loaded_by(module).isdisjoint(SERVER_ONLY)


def test_the_package_itself_loads_neither_grpc_nor_protobuf() -> None:
    assert loaded_by("gradloom").isdisjoint({"grpc", "google.protobuf"})


def test_the_supervisor_loads_only_the_standard_library() -> None:
    names = {name.split(".")[0] for name in loaded_by("gradloom.supervisor")}
    foreign = names - set(sys.stdlib_module_names) - {"gradloom", "__main__"}
    # What the interpreter's own start-up loads (editable installs, site hooks) is there without the supervisor too.
    assert foreign <= {name.split(".")[0] for name in loaded_by("sys")}


def test_no_part_of_gradloom_but_the_package_itself_comes_with_the_supervisor() -> None:
    ours = {name for name in loaded_by("gradloom.supervisor") if name.startswith("gradloom")}
    assert all(name in {"gradloom", "gradloom.version"} or name.startswith("gradloom.supervisor") for name in ours)
