"""Every example, by the real trainer in a small way: it is accepted, learns, and its exports are what was trained."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradloom import components, documents
from gradloom.catalogue import Catalogue
from gradloom.spec import OwnedDevices, check_job

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `example_trials.py` found, in a process of its own: devices are set before the first operation."""
    command = [sys.executable, Path(__file__).with_name("example_trials.py"), tmp_path_factory.mktemp("examples")]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*command, *FILES], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return {name: told for line in done.stdout.splitlines() for name, told in json.loads(line).items()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_accepted_and_begins_with_what_it_shows(file):
    text = file.read_text()
    faults = check_job(documents.read_job(text), Catalogue.load(), [], OwnedDevices(gpus=0, cpu_slots=1))
    assert faults == []
    assert text.startswith("# ")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_an_example_learns_and_its_exports_agree_with_it(found, name):
    told = found[name]
    first, last = told["epochs"][0], told["epochs"][-1]
    assert last["loss"] < first["loss"]
    assert {f"val_{scalar}" for scalar in first if not scalar.startswith("val_")} <= first.keys()
    assert told["test"].keys() == {scalar.replace("val_", "test_") for scalar in first if scalar.startswith("val_")}
    assert told["writes"] == []
    # The outputs of some are scores of up to 350.
    assert max(told["saved_model"], told["keras"]) < 1e-3


def test_every_object_of_ours_is_in_an_example():
    named = "".join(file.read_text() for file in FILES)
    to_be_subclassed = {"GradientTransformation"}
    own = set(components.__all__) - to_be_subclassed
    assert [name for name in sorted(own) if f"gradloom>{name}" not in named] == []


def test_the_examples_readme_has_a_line_for_every_example():
    readme = (ROOT / "examples/README.md").read_text()
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.yaml\) .* \| .+\d.* \| .+\d.* \|$", readme, flags=re.M)
    assert sorted(listed) == [(file.stem, file.stem) for file in FILES]
