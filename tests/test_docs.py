"""What the documents say is what the code does."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gradloom.__main__ import serve_command
from gradloom.catalogue import Catalogue
from gradloom.client.cli import cli
from gradloom.client.group import ExitCode
from gradloom.documents import read_job
from gradloom.errors import InvalidRequestError
from gradloom.settings import TABLE
from gradloom.spec import OwnedDevices, check_job, with_defaults
from gradloom.v1 import spec_pb2

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs/reference.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_tables_of_the_reference_are_those_of_the_code() -> None:
    code = "import sys; from tools.reference import fill; print(fill(sys.stdin.read()), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, input=REFERENCE, capture_output=True, text=True)
    assert done.stdout == REFERENCE, f"run `make reference`\n{done.stderr}"


def test_the_exit_codes_of_the_reference_are_those_of_the_command_line() -> None:
    table = REFERENCE.split("### Exit codes")[1].split("##")[0]
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", table, flags=re.M)] == [
        int(each) for each in ExitCode
    ]


def test_the_first_screen_of_the_readme_says_what_it_is_and_how_to_run_and_test_it() -> None:
    screen = "\n".join(README.splitlines()[:25])
    assert screen.index("training service for TensorFlow") < screen.index("$ make run") < screen.index("$ make test")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", document.read_text())
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", prose):
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{document.name}: {target}"
        if anchor:
            assert anchor[1:] in anchors(path), f"{document.name}: {target}{anchor}"


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_command_and_target_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text()
    settings = {setting.variable for setting in TABLE} | {"GRADLOOM_SERVER"}
    assert set(re.findall(r"\bGRADLOOM_[A-Z_]+\b", text)) <= settings
    listed = REFERENCE.split("## Command line")[1].split("### Exit codes")[0]
    commands = set(re.findall(r"^\| `gradloom ([a-z]+)", listed, flags=re.M))
    assert commands >= {"serve", "submit", "watch"}
    assert set(re.findall(r"(?:^\$ |`)gradloom ([a-z]+)", text, flags=re.M)) <= commands
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"(?:^\$ |`)make ([a-z]+)", text, flags=re.M)) <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_option_of_a_command_that_a_document_shows_exists(document: Path) -> None:
    for line in re.findall(r"^\$ gradloom (.+)$", document.read_text(), flags=re.M):
        name, *words = shlex.split(line, comments=True)
        command = serve_command() if name == "serve" else cli.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line


def test_what_a_shell_would_take_for_a_pattern_is_quoted_wherever_a_command_is_shown() -> None:
    options = [option for command in cli.commands.values() for option in command.params]
    helps = [option.help for option in options if isinstance(option, click.Option) and option.help]
    shown = [*(document.read_text() for document in DOCUMENTS), *helps]
    edits = [word for text in shown for word in re.findall(r"[^\s`(]+\[\d+\][^\s`]*=[^\s`]+", text)]
    assert len(edits) >= 3
    assert [edit for edit in edits if not re.match(r"'[^']+'", edit)] == [], "zsh refuses it, and bash may replace it"


JOB_FILES = re.findall(r"```yaml\n(.*?)```", README, flags=re.S)
"""Those of the README; the first is the one that its refusal is about."""


SPEC_FRAGMENTS = re.findall(r"```yaml\nspec:\n(.*?)```", (ROOT / "docs/jobs.md").read_text(), flags=re.S)


def faults(text: str) -> str:
    """What the server finds wrong with a job file without TensorFlow, as a user is told it."""
    owned = OwnedDevices(gpus=0, cpu_slots=1)
    return str(InvalidRequestError(check_job(read_job(text), Catalogue.load(), [], owned)))


@pytest.mark.parametrize("text", JOB_FILES, ids=lambda text: read_job(text).display_name)
def test_a_job_file_of_the_readme_is_accepted(text: str) -> None:
    assert faults(text).startswith("0 faults")


@pytest.mark.parametrize("fragment", SPEC_FRAGMENTS)
def test_a_part_of_a_spec_that_a_document_shows_is_accepted(fragment: str) -> None:
    assert faults(JOB_FILES[0] + fragment).startswith("0 faults")


def test_the_refusal_of_the_readme_is_what_a_user_is_told() -> None:
    wrong = JOB_FILES[0].replace("Dense, name: hidden", "Dens, name: hidden").replace("epochs: 5", "epochs: 0")
    assert f"refused: {faults(wrong)}" in README


def test_the_readme_s_defaults_of_training_are_those_that_are_filled_in() -> None:
    training = with_defaults(read_job(JOB_FILES[0]).spec, seed=1).training
    table = dict(re.findall(r"^\| `(\w+).*?` \| (.*?) \|", README, flags=re.M))
    seconds, kept = training.checkpoint.every_seconds, training.checkpoint.keep
    assert table["checkpoint"] == f"every {seconds:g} s, the newest {kept} and the best"
    assert table["precision"] == f"`{spec_pb2.TrainingSpec.Precision.Name(training.precision)}`"
    assert table["jit_compile"] == f"`{spec_pb2.TrainingSpec.JitCompile.Name(training.jit_compile)}`"
    assert table["step_timeout_seconds"] == f"{training.step_timeout_seconds:g}"
    assert table["stage_timeout_seconds"] == f"{training.stage_timeout_seconds:g}"
    assert (table["early_stopping"], training.HasField("early_stopping")) == ("none", False)
