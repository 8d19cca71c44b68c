"""What `make run` does, with the small example in place of Fashion-MNIST."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def example(file: str) -> Iterator[subprocess.Popen[str]]:
    """Runs the script; whatever happens, it is told to stop and has ended afterwards."""
    command = [sys.executable, "examples/run_example.py", file]
    # A session of its own stands for the terminal: its Ctrl-C reaches the whole group.
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def data_directory(text: str) -> Path:
    """Where the script said that the server's data lies."""
    match = re.search(r"its data lies in (\S+)", text)
    assert match, text
    return ROOT / match[1]


def processes_mentioning(text: str) -> list[str]:
    """Command lines of living processes that name the text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


def test_the_example_trains_proves_and_leaves_the_saved_model_and_no_process() -> None:
    with example("examples/digits_quickstart.yaml") as process:
        text, _ = process.communicate(timeout=240)
    directory = data_directory(text)
    assert process.returncode == 0, text
    saved = re.search(r"proven SavedModel +(\S+)", text)
    assert saved, text
    assert (Path(saved[1]) / "saved_model.pb").is_file()
    assert re.search(r"validation accuracy +0\.\d{4}$", text, flags=re.M)
    assert re.search(r"test accuracy +0\.\d{4}$", text, flags=re.M)
    assert 'gradloom_jobs{state="SUCCEEDED"} 1.0' in text
    assert not processes_mentioning(str(directory))
    shutil.rmtree(directory)


def test_an_interrupt_stops_the_service_and_its_trainers() -> None:
    with example("examples/fashion_mnist_nadam.yaml") as process:
        assert process.stdout
        text = ""
        for line in process.stdout:
            text += line
            if "STARTING" in line:
                os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130, text
    directory = data_directory(text)
    assert "interrupted" in text
    assert not processes_mentioning(str(directory))
    shutil.rmtree(directory)
