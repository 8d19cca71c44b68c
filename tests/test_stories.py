"""The end of a log's story, in logs that real processes wrote."""

import subprocess
import sys
from pathlib import Path

from gradloom.jobs.stories import ENDING_LINES, MOST_CHARACTERS, STORY_LINES, beginning, last_words
from gradloom.supervisor import attempt_log

CRASH = """
import ctypes, faulthandler, threading, time
faulthandler.enable()
for _ in range(3):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("trains", flush=True)

def native_step():
    ctypes.string_at(0)

native_step()
"""


def test_of_a_crash_the_stack_of_the_thread_that_crashed_is_told(tmp_path: Path) -> None:
    log = tmp_path / "attempt.log"
    with log.open("wb") as file:
        subprocess.run([sys.executable, "-c", CRASH], stdout=file, stderr=file)
        file.write(b"[supervisor] the trainer was ended by SIGSEGV\n")
    lines = attempt_log.tail(log, STORY_LINES)
    told = last_words(lines, 10)
    assert told[0] == "Fatal Python error: Segmentation fault"
    assert any(line.endswith(" in native_step") for line in told)
    assert told[-1] == "[supervisor] the trainer was ended by SIGSEGV"
    assert len(told) <= 10
    assert attempt_log.read(log, beginning(lines), 18)[1] == b"Fatal Python error"


def test_any_other_end_is_told_by_the_last_lines_cut_to_a_length_that_can_be_read(tmp_path: Path) -> None:
    log = tmp_path / "attempt.log"
    log.write_text("".join(f"line {number}\n" for number in range(200)) + "x" * 5000)
    lines = attempt_log.tail(log, STORY_LINES)
    assert last_words(lines, 3) == ["line 198", "line 199", "x" * MOST_CHARACTERS + "..."]
    assert attempt_log.read(log, beginning(lines), 8)[1].decode() == f"line {200 + 1 - ENDING_LINES}"
