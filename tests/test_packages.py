"""How the server learns of installed packages: from another process, which a package may break in any way it likes."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom.api.installed import bring_in_packages
from gradloom.catalogue import Catalogue, Entry, fields_of
from gradloom.packages import packages_of_components
from tests.own_packages import own_catalogue, write_package

LEFT_OUT = "GRADLOOM_PACKAGES_LEFT_OUT"
SCALE = fields_of(Entry("layer", "acme>Scale", "Scales.", distribution="alpha"))


@pytest.fixture(autouse=True)
def two_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Two packages are installed; this process never imports them."""
    monkeypatch.setenv(LEFT_OUT, "")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("alpha", "beta"):
        write_package(tmp_path, name, "raise SystemError('imported by the server')\n")
    with own_catalogue():
        yield


def program(beta: str) -> tuple[str, ...]:
    """Stands for the trainer's side, which knows alpha's one layer and ends as `beta` says, unless that is left out."""
    source = f"""
import json, os, sys, time
def say(**fields):
    print(json.dumps(fields), flush=True)
left_out = os.environ["{LEFT_OUT}"].split(",")
say(begins="alpha")
say(package="alpha", version="1", problem="", entries=[{SCALE!r}])
if "beta" not in left_out:
    say(begins="beta")
    {beta}
"""
    return (sys.executable, "-S", "-c", source)


BROKEN = {
    "say(package='beta', version='1', problem='OSError: no disk', entries=[])": "OSError: no disk",
    "os._exit(7)": "its import ended its process with 7",
    "os.kill(os.getpid(), 11)": "its import ended its process with -11",
    "time.sleep(1000)": "its import took longer than 0.5 s",
    "print('}{', flush=True); time.sleep(1000)": "its import took longer than 0.5 s",
    "os.close(1); time.sleep(1000)": "its import took longer than 0.5 s",
}


@pytest.mark.parametrize(("beta", "problem"), BROKEN.items(), ids=BROKEN.values())
def test_a_package_that_breaks_is_named_and_left_out_and_the_others_serve(
    caplog: pytest.LogCaptureFixture, beta: str, problem: str
) -> None:
    with caplog.at_level(logging.INFO, logger="gradloom.api.installed"):
        bring_in_packages(program(beta), seconds=0.5)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", f"Package beta is left out: {problem}"),
        ("INFO", "Package alpha brings acme>Scale"),
    ]
    assert os.environ[LEFT_OUT] == "beta"
    assert list(packages_of_components()) == ["alpha"]
    entry = Catalogue.load().get("layer", "acme>Scale")
    assert entry is not None
    assert (entry.doc, entry.is_registered) == ("Scales.", True)


def test_without_tensorflow_the_server_starts_without_the_packages(caplog: pytest.LogCaptureFixture) -> None:
    bring_in_packages((sys.executable, "-S", "-c", "import tensorflow"))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert packages_of_components() == {}
    assert Catalogue.load().get("layer", "acme>Scale") is None


def test_without_packages_no_process_is_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(LEFT_OUT, "alpha,beta")
    bring_in_packages(("/does/not/exist",))
    assert caplog.records == [], "one that could not be started is an error in the log"
