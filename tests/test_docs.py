"""What the documents say is what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradloom.catalogue import Catalogue
from gradloom.client.group import ExitCode
from gradloom.documents import read_job
from gradloom.errors import InvalidRequestError
from gradloom.settings import TABLE
from gradloom.spec import OwnedDevices, check_job

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


def job_file() -> str:
    """The job file of the README."""
    (text,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.S)
    return text


def faults(text: str) -> str:
    """What the server finds wrong with a job file without TensorFlow, as a user is told it."""
    owned = OwnedDevices(gpus=0, cpu_slots=1)
    return str(InvalidRequestError(check_job(read_job(text), Catalogue.load(), [], owned)))


def test_the_job_file_of_the_readme_is_accepted() -> None:
    assert faults(job_file()).startswith("0 faults")


def test_the_refusal_of_the_readme_is_what_a_user_is_told() -> None:
    wrong = job_file().replace("Dense, name: hidden", "Dens, name: hidden").replace("epochs: 5", "epochs: 0")
    assert f"refused: {faults(wrong)}" in README
