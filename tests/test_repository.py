"""What a newcomer and CI rely on: the targets, the locks, the versions and the licence."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from gradloom import __version__

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
LOCKS = [
    "requirements.lock",
    "docker/requirements.lock",
    "docker/build.lock",
    "proto/requirements.lock",
    "tests/lowest.lock",
]


def versions(lock: str) -> dict[str, set[str]]:
    """The versions that a lock holds, by package."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9.-]+)==([\w.]+)", (ROOT / lock).read_text(), flags=re.M):
        found.setdefault(name, set()).add(version)
    return found


def normalized(requirement: str) -> str:
    """The package of a requirement, as locks write it."""
    name = re.match(r"[\w.-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_the_version_is_the_same_everywhere() -> None:
    assert PYPROJECT["project"]["version"] == __version__


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_a_digest_for_every_package_and_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]
    assert packages
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in text
    assert "--index-url" not in text


def test_the_lock_holds_every_dependency_that_the_package_names() -> None:
    project = PYPROJECT["project"]
    named = [*project["dependencies"], *(each for group in project["optional-dependencies"].values() for each in group)]
    missing = {normalized(requirement) for requirement in named} - versions("requirements.lock").keys() - {"gradloom"}
    assert not missing, f"run `make lock`: {missing}"


def test_the_image_has_the_versions_of_the_lock_and_no_development_tools() -> None:
    everything, image = versions("requirements.lock"), versions("docker/requirements.lock")
    assert all(everything[name] == found for name, found in image.items())
    assert image.keys().isdisjoint({"pytest", "mypy", "ruff", "hypothesis", "uv"})


def test_every_target_is_explained_and_none_is_a_file() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, flags=re.M)
    assert phony
    targets = re.findall(r"^([a-z]+):", MAKEFILE, flags=re.M)
    assert set(targets) == set(phony[1].split())
    told = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [target for target in targets if f"make {target} " not in told] == []


def test_a_second_run_installs_nothing_and_a_new_lock_does(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for path in ("requirements.lock", "pyproject.toml", "proto/requirements.lock", "tests/lowest.lock"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
        os.utime(tmp_path / path, (1_000, 1_000))
    assert "tools/environment dev" in planned(tmp_path)
    for environment in (".venv", ".venv-proto", ".venv-lowest"):
        (tmp_path / environment).mkdir()
        (tmp_path / environment / ".ready").touch()
    assert "tools/environment" not in planned(tmp_path)
    (tmp_path / "requirements.lock").touch()
    os.utime(tmp_path / ".venv/.ready", (2_000, 2_000))
    assert "tools/environment dev" in planned(tmp_path)


def planned(directory: Path) -> str:
    """What `make test` would run."""
    done = subprocess.run(["make", "--dry-run", "test"], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout


def test_ci_runs_check_and_check_runs_the_test_command_of_the_readme() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "exec make check"
    prerequisites = re.search(r"^check: ([a-z ]+?)  ##", MAKEFILE, flags=re.M)
    assert prerequisites
    assert "test" in prerequisites[1].split()
    assert "$ make test" in (ROOT / "README.md").read_text()


def test_a_python_that_is_too_old_or_missing_is_told_what_to_install(tmp_path: Path) -> None:
    shell = ROOT / "tools/environment"
    copy = tmp_path / "tools/environment"
    copy.parent.mkdir()
    copy.write_text(shell.read_text())
    copy.chmod(0o755)
    (tmp_path / "requirements.lock").write_text("")
    done = subprocess.run(
        [copy, "dev"],
        env={**os.environ, "PYTHON": "/nonexistent/python3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_licence_is_apache() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PYPROJECT["project"]["license"] == "Apache-2.0"


def test_the_changelog_has_a_place_for_what_comes() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in text
    assert "Keep a Changelog" in text


def test_every_dependency_is_justified_in_contributing() -> None:
    project = PYPROJECT["project"]
    named = [*project["dependencies"], *(each for group in project["optional-dependencies"].values() for each in group)]
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = set(re.findall(r"^\| `([\w.-]+)` \|", text, flags=re.M))
    expected = {re.match(r"[\w.-]+", each)[0] for each in named} - {"gradloom"}  # type: ignore[index]
    assert table == expected


def test_the_vendored_schemas_name_their_licence() -> None:
    schemas = json.loads((ROOT / "tests/kubernetes/schemas-1.37.json").read_text())
    assert "Apache-2.0" in schemas["$comment"]
