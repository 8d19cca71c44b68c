"""The command line as a shell, a pipe and a person at a terminal meet it."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom.client import text
from gradloom.errors import FieldFault, InvalidRequestError, LimitExceededError
from gradloom.v1 import job_pb2, service_pb2, spec_pb2
from tests.training_service import LOST, Played, Serving, Watch, serve

NAME = "projects/default/jobs/digits"
PROGRAM = (sys.executable, "-c", "from gradloom.client.cli import cli; cli(prog_name='gradloom')")
JOB_FILE = "display_name: digits\nspec:\n  training: {epochs: 2}\n"


@pytest.fixture
def serving() -> Iterator[Serving]:
    running = serve(Played())
    running.played.held.set()
    yield running
    running.stop()


@pytest.fixture
def played(serving: Serving) -> Played:
    return serving.played


def gradloom(serving: Serving | None, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process of its own, its output piped."""
    server = serving.address if serving else "127.0.0.1:1"
    environment = os.environ | {"GRADLOOM_SERVER": server, "TZ": "UTC", "PYTHONWARNINGS": "error"}
    settings: dict[str, object] = {"capture_output": True, "text": True, "env": environment, "timeout": 60} | options
    return subprocess.run([*PROGRAM, *arguments], check=False, **settings)  # type: ignore[call-overload,no-any-return]


class Terminal:
    """A command at a pseudo-terminal of 110 columns."""

    def __init__(self, serving: Serving, *arguments: str, **environment: str):
        self._controller, device = pty.openpty()
        variables = {"GRADLOOM_SERVER": serving.address, "TERM": "xterm", "COLUMNS": "110", "TZ": "UTC"} | environment
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments], stdin=device, stdout=device, stderr=device, env=os.environ | variables
        )
        os.close(device)
        self.shown = ""

    def read_until(self, wanted: str) -> str:
        """Reads until `wanted` is on the screen; fails when the command ends before."""
        while wanted not in self.shown:
            assert self._read(), f"{wanted!r} never came: {self.shown!r}"
        return self.shown

    def type(self, keys: str) -> None:
        """Types at the terminal."""
        os.write(self._controller, keys.encode())

    def read_to_end(self) -> str:
        """Reads everything until the command has ended."""
        while self._read():
            pass
        self.process.wait(30)
        os.close(self._controller)
        return self.shown

    def _read(self) -> bool:
        try:
            read = os.read(self._controller, 4096)
        except OSError:  # EIO: the command has ended.
            return False
        self.shown += read.decode()
        return bool(read)


def job(state: int = job_pb2.Job.QUEUED, **fields: object) -> job_pb2.Job:
    made = job_pb2.Job(name=NAME, uid="u-1", display_name="digits, small", state=state, **fields)
    made.create_time.FromSeconds(1_790_000_000)
    made.update_time.FromSeconds(1_790_000_000)
    return made


def training(**scalars: float) -> job_pb2.Progress:
    return job_pb2.Progress(
        phase=job_pb2.Progress.TRAINING,
        attempt=1,
        epoch=1,
        epochs=2,
        global_step=50,
        total_steps=100,
        examples_per_second=12345.6,
        scalars=scalars,
    )


def failed_job() -> job_pb2.Job:
    error = job_pb2.JobError(
        exception_type="gradloom.errors.InvalidRequestError",
        message="1 fault:\n  spec.loss.type: unknown",
        field_faults=[job_pb2.FieldFault(field="spec.loss.type", description='unknown: "Crossentropy"')],
        log_lines=["building the model", "Traceback: \x1b[2Jboom"],
    )
    return job(
        job_pb2.Job.FAILED, state_reason=job_pb2.Job.SPEC_REFUSED, state_message="the trainer refused it", error=error
    )


def succeeded_job() -> job_pb2.Job:
    export = job_pb2.Export(
        model="m", version=1, path="/data/m/1", proof_examples=64, largest_difference=4.8e-7, absolute_tolerance=1e-5
    )
    return job(job_pb2.Job.SUCCEEDED, export=export, progress=training(val_accuracy=0.91, loss=0.25))


def life(last: job_pb2.Job) -> list[Watch]:
    """What WatchJob tells of a job of one reported epoch."""
    running = job(job_pb2.Job.RUNNING, progress=training(loss=0.5, accuracy=0.8))
    messages = [Watch(job=job(), cursor="1"), Watch(job=running, cursor="2"), Watch(job=running, cursor="2")]
    events = (
        job_pb2.Event(number=2, kind=job_pb2.Event.STATE_CHANGED, state=job_pb2.Job.RUNNING),
        job_pb2.Event(number=3, kind=job_pb2.Event.EPOCH_ENDED, epoch=1, scalars={"val_loss": 0.4, "loss": 0.5}),
        job_pb2.Event(number=4, kind=job_pb2.Event.STATE_CHANGED, state=last.state, reason=last.state_reason),
    )
    messages += [Watch(job=running, event=event, cursor=str(event.number)) for event in events]
    messages[-1].job.CopyFrom(last)
    return messages


def explanation(said: str) -> service_pb2.ExplainJobResponse:
    """A job that waits for its second attempt, with `said` in every place where words may come from others."""
    explained = service_pb2.ExplainJobResponse(
        job=job_pb2.Job(name=NAME, display_name=said, state=job_pb2.Job.QUEUED), summary=said, hint=said
    )
    waiting = explained.waiting
    waiting.position, waiting.demand, waiting.missing = 2, said, said
    waiting.waited_duration.FromSeconds(185)
    waiting.backoff_duration.FromSeconds(4)
    for others in (waiting.ahead, waiting.holders):
        big = others.add(name="projects/default/jobs/big", display_name=said, priority=5, devices=said, progress=said)
        big.state = job_pb2.Job.QUEUED
    explained.running.attempt = 2
    explained.running.devices.append(said)
    explained.attempts.add(
        attempt=1,
        reason=job_pb2.Job.OUT_OF_HOST_MEMORY,
        message=said,
        exception_type=said,
        log_cursor="1:77",
        log_lines=[said],
        hint=f"smaller {said}",
        counted=True,
        consequence=said,
    )
    return explained


def test_version_and_help_import_nothing_heavy() -> None:
    code = (
        "import sys; from gradloom.client.cli import cli; cli(sys.argv[1:], standalone_mode=False);"
        "print([m for m in ('grpc', 'google.protobuf', 'rich', 'ruamel.yaml') if m in sys.modules])"
    )
    for argument in ("version", "--help"):
        done = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_submit_prints_the_name_to_the_pipe_and_the_next_steps_to_the_person(serving: Serving, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB_FILE)
    done = gradloom(serving, "submit", str(tmp_path / "job.yaml"), "--job-id", "digits")
    assert (done.returncode, done.stdout) == (0, f"{NAME}\n")
    for command in ("watch", "explain", "logs -f", "cancel"):
        assert f"gradloom {command} digits" in done.stderr


def test_submit_sends_the_source_of_a_file_with_the_job(serving: Serving, played: Played, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB_FILE)
    (tmp_path / "own.py").write_text("import keras\n")
    files = (str(tmp_path / "job.yaml"), "--user-code", str(tmp_path / "own.py"))
    for command in (["submit"], ["validate"]):
        assert gradloom(serving, *command, *files).returncode == 0
    requests = played.of(service_pb2.CreateJobRequest)
    assert [request.job.spec.user_code.source for request in requests] == ["import keras\n"] * 2
    done = gradloom(serving, "submit", str(tmp_path / "job.yaml"), "--user-code", str(tmp_path / "none.py"))
    assert done.returncode == 2
    assert "none.py" in done.stderr


def test_submit_reads_stdin_and_prints_one_job_as_json(serving: Serving) -> None:
    done = gradloom(serving, "submit", "-", "-o", "json", input=JOB_FILE)
    printed = json.loads(done.stdout)
    assert printed["name"] == "projects/default/jobs/generated"
    assert printed["display_name"] == "digits"
    assert printed["state"] == "QUEUED"


def test_a_refused_spec_is_told_with_every_fault_and_exits_2(serving: Serving, played: Played, tmp_path: Path) -> None:
    played.failures = [InvalidRequestError([FieldFault("spec.loss", "required"), FieldFault("spec.data", "required")])]
    (tmp_path / "job.yaml").write_text(JOB_FILE)
    done = gradloom(serving, "submit", str(tmp_path / "job.yaml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "refused: 2 faults:\n  spec.loss: required\n  spec.data: required\n"


def test_a_mistyped_file_is_refused_without_a_server(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("spec: {trainin: {epochs: 2}, los: {}}\n")
    done = gradloom(None, "submit", str(tmp_path / "job.yaml"))
    assert done.returncode == 2
    assert "spec.trainin" in done.stderr
    assert "spec.los" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list"], 3, "gradloom serve"),
        (["submit", "no-such-file.yaml"], 2, "no-such-file.yaml"),
        (["list", "--server", "nonsense"], 2, "HOST:PORT"),
        (["frobnicate"], 2, "No such command"),
        (["--server", "127.0.0.1:1", "list"], 2, "--server goes behind the command"),
        (["--frobnicate", "list"], 2, "No such option"),
        (["get"], 2, "Missing argument"),
        (["components", "--kind", "lawyer"], 2, "LAYER"),
    ],
    ids=str,
)
def test_exit_codes_without_a_server(arguments: list[str], code: int, said: str) -> None:
    done = gradloom(None, *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_busy_server_says_when_to_try_again(serving: Serving, played: Played) -> None:
    played.failures = [LimitExceededError("8 validations wait", retry_after_seconds=12)]
    done = gradloom(serving, "validate", "-", input=JOB_FILE)
    assert (done.returncode, done.stderr) == (4, "gradloom: 8 validations wait\nTry again in 12 s.\n")


def test_who_is_refused_for_good_is_not_told_to_try_again(serving: Serving, played: Played) -> None:
    played.failures = [LimitExceededError("the disk is full", retry_after_seconds=None)]
    done = gradloom(serving, "get", "digits")
    assert (done.returncode, done.stderr) == (4, "gradloom: the disk is full\n")


def test_a_server_that_drains_is_not_taken_for_one_that_is_not_there(serving: Serving, played: Played) -> None:
    played.failures = [LOST] * 20  # More than the retries of UNAVAILABLE.
    done = gradloom(serving, "get", "digits")
    told = f"gradloom: {serving.address} is unavailable: the server is being stopped\n"
    assert (done.returncode, done.stderr) == (3, told)


def test_an_unknown_job_exits_4(serving: Serving) -> None:
    done = gradloom(serving, "get", "nope")
    assert (done.returncode, done.stderr) == (4, "gradloom: no job projects/default/jobs/nope\n")


def test_validate_shows_which_group_trains_which_variable(serving: Serving, played: Played, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB_FILE)
    for command in (["validate"], ["submit", "--validate-only"]):
        done = gradloom(serving, *command, str(tmp_path / "job.yaml"))
        assert done.returncode == 0
        assert done.stdout.splitlines() == [
            "VARIABLE     GROUP  SHAPE  DTYPE    TRAINED",
            "head/kernel  head   64x10  float32  yes",
        ]
    assert played.jobs == {}


def test_watch_in_a_pipe_is_one_plain_line_an_event_and_exits_by_the_state(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = succeeded_job()
    played.watches = [life(succeeded_job())]
    environment = os.environ | {"GRADLOOM_SERVER": serving.address, "FORCE_COLOR": "1"}
    done = gradloom(serving, "watch", "digits", env=environment)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    lines = [line.partition("  ")[2] for line in done.stdout.splitlines()[:4]]
    assert lines == ["QUEUED", "RUNNING", "epoch 1/2  loss 0.5  val_loss 0.4", "SUCCEEDED"]
    assert "SUCCEEDED digits\n" in done.stdout
    assert "loss 0.25  val_accuracy 0.91" in done.stdout
    assert "largest difference 4.8e-07" in done.stdout


def test_a_failed_job_is_told_with_reason_faults_and_log_and_exits_1(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = failed_job()
    played.watches = [life(failed_job())]
    done = gradloom(serving, "watch", "digits")
    assert done.returncode == 1
    assert done.stdout.endswith(
        "FAILED digits: SPEC_REFUSED\n"
        "message   the trainer refused it\n"
        "raised    gradloom.errors.InvalidRequestError: 1 fault:\n"
        '  spec.loss.type: unknown: "Crossentropy"\n'
        "last lines of the log:\n"
        "  | building the model\n"
        "  | Traceback: \\x1b[2Jboom\n"
    )


@pytest.mark.parametrize(
    ("state", "told"),
    [("RUNNING", "step 50 of 100, checkpoint at step 40"), ("QUEUED", "checkpoint at step 40"), ("SUCCEEDED", None)],
)
def test_get_tells_where_a_job_would_go_on(serving: Serving, played: Played, state: str, told: str | None) -> None:
    job = job_pb2.Job(name=NAME, state=state, progress=job_pb2.Progress(checkpoint_step=40))
    if state != "QUEUED":
        job.progress.global_step, job.progress.total_steps = 50, 100
    played.jobs[NAME] = job
    shown = gradloom(serving, "get", "digits").stdout
    assert "checkpoint" not in shown if told is None else told in shown


@pytest.mark.parametrize("state", ["QUEUED", "PAUSED"])
@pytest.mark.parametrize(
    ("place", "told", "listed"),
    [
        (
            {"epoch": 2, "epochs": 3, "global_step": 40, "total_steps": 100},
            "will go on from epoch 2 of 3, step 40 of 100",
            "2/3",
        ),
        ({"epoch": 2, "global_step": 40}, "will go on from epoch 2, step 40", "-"),
        ({"epoch": 0, "epochs": 3, "global_step": 0, "total_steps": 100}, "will begin anew", "0/3"),
    ],
)
def test_a_job_that_waits_for_another_attempt_is_shown_with_where_it_goes_on(
    serving: Serving, played: Played, state: str, place: dict[str, int], told: str, listed: str
) -> None:
    played.jobs[NAME] = job_pb2.Job(name=NAME, state=state, progress=job_pb2.Progress(**place))
    assert f"progress  {told}\n" in gradloom(serving, "get", "digits").stdout
    assert gradloom(serving, "list").stdout.splitlines()[1].split()[4] == listed


def test_watch_with_json_prints_one_message_a_line(serving: Serving, played: Played) -> None:
    played.watches = [life(failed_job())]
    done = gradloom(serving, "watch", "digits", "-o", "json")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [message["cursor"] for message in messages] == ["1", "2", "2", "2", "3", "4"]
    assert messages[-1]["job"]["state_reason"] == "SPEC_REFUSED"


def test_submit_and_watch_with_json_prints_the_job_as_it_ended(
    serving: Serving, played: Played, tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text(JOB_FILE)
    played.watches = [life(succeeded_job())]
    done = gradloom(serving, "submit", str(tmp_path / "job.yaml"), "--job-id", "digits", "--watch", "-o", "json")
    assert json.loads(done.stdout)["name"] == NAME
    # The played server keeps the job as it was submitted: not succeeded.
    assert done.returncode == 1


def test_a_server_lost_while_watching_is_told_once_and_asked_again(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = succeeded_job()
    whole = life(succeeded_job())
    played.watches = [[*whole[:3], LOST], [LOST], whole[3:]]
    done = gradloom(serving, "watch", "digits")
    assert done.returncode == 0
    assert done.stderr.count("trying again for 2 minutes") == 1


def test_a_watch_that_ends_before_its_job_says_how_to_go_on(serving: Serving, played: Played) -> None:
    played.watches = [life(succeeded_job())[:3]]
    done = gradloom(serving, "watch", "digits")
    assert done.returncode == 3
    assert "Watch it again: gradloom watch digits" in done.stderr


def test_ctrl_c_leaves_the_job_running_and_says_how_to_cancel(serving: Serving, played: Played) -> None:
    played.held.clear()
    played.watches = [life(succeeded_job())[:5]]
    terminal = Terminal(serving, "watch", "digits")
    terminal.read_until("epoch 1/2")
    terminal.process.send_signal(signal.SIGINT)
    shown = terminal.read_to_end()
    assert terminal.process.returncode == 130
    assert "the job goes on. Cancel it: gradloom cancel digits" in shown
    assert "Traceback" not in shown
    assert played.of(service_pb2.CancelJobRequest) == []


def test_a_terminal_of_80_columns_shows_epoch_step_speed_scalars_and_trouble(serving: Serving, played: Played) -> None:
    played.held.clear()
    played.watches = [life(succeeded_job())[:5]]
    for message in played.watches[0]:
        message.job.progress.trouble = "no room for a checkpoint"
    terminal = Terminal(serving, "watch", "digits", COLUMNS="80")
    shown = terminal.read_until("no room for a checkpoint")
    for part in ("training", "epoch 1/2", "step 50/100", "12,346 examples/s", "loss 0.5  accuracy 0.8"):
        assert part in shown
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_to_end()


def test_a_dumb_terminal_gets_plain_lines(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = succeeded_job()
    played.watches = [life(succeeded_job())]
    assert "\x1b" not in Terminal(serving, "watch", "digits", TERM="dumb").read_to_end()


def test_names_and_messages_cannot_drive_the_terminal(serving: Serving, played: Played, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07[red]x[bold]\x9b31m\u202e:smile:"
    mean = failed_job()
    mean.display_name = mean.state_message = mean.error.message = evil
    mean.labels["k"] = evil
    played.jobs[NAME] = mean
    played.watches = [life(mean)]
    played.watches[0][-1].event.message = evil
    played.components = [service_pb2.ComponentInfo(type=evil, kind=1, doc=evil)]
    played.attempts = [job_pb2.Attempt(number=1, message=evil, devices=[evil])]
    played.artifacts = [job_pb2.Artifact(path=evil, attempt=1, kind=job_pb2.Artifact.EXPORT)]
    played.checkpoints = [job_pb2.Checkpoint(name=f"{NAME}/checkpoints/{evil}")]
    played.metrics_streams = [[service_pb2.StreamMetricsResponse(points=[job_pb2.ScalarsPoint(scalars={evil: 1})])]]
    played.explained = explanation(evil)
    commands = ["list", "get digits", "watch digits", "components", "attempts digits", "artifacts digits"]
    commands += ["checkpoints digits", "metrics digits", "explain digits"]
    for command in [*(line.split() for line in commands), ["components", evil], ["download", "digits", str(tmp_path)]]:
        shown = Terminal(serving, *command).read_to_end()
        for hazard in ("\x1b]", "\x07", "\x9b", "\u202e"):
            assert hazard not in shown, command
        if command[0] != "download":
            assert "[red]x[bold]" in shown.replace("\r\n", ""), command


def test_log_bytes_are_whole_in_a_pipe_and_harmless_on_a_terminal(serving: Serving, played: Played) -> None:
    lines = ["plain", "tab\tgrün", "\x1b[31mred\x1b[0m"]
    stream = [service_pb2.StreamLogsResponse(attempt=1, lines=lines, cursor="1")]
    played.log_streams = [stream, stream, stream]
    assert gradloom(serving, "logs", "digits").stdout == "".join(f"{line}\n" for line in lines)
    shown = Terminal(serving, "logs", "digits").read_to_end()
    assert "\\x1b[31mred" in shown
    assert "\x1b" not in shown
    done = gradloom(serving, "logs", "digits", "-o", "json", "--attempt", "1", "--follow")
    assert json.loads(done.stdout) == {"attempt": 1, "lines": lines, "cursor": "1"}
    assert played.requests[-1].attempt == 1
    assert played.requests[-1].follow


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (job_pb2.Job.RUNNING, "The log is empty so far; -f waits for it.\n"),
        (job_pb2.Job.FAILED, "The log is empty, or its files are gone; the job has ended.\n"),
    ],
)
def test_an_empty_log_is_not_waited_for_once_the_job_has_ended(
    serving: Serving, played: Played, state: int, said: str
) -> None:
    played.jobs[NAME] = job(state)
    played.log_streams = [[]]
    done = gradloom(serving, "logs", "digits")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)


def test_a_name_in_any_script_is_no_reason_to_fail(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = job()
    played.jobs[NAME].display_name = "größe 数字"
    environment = os.environ | {"GRADLOOM_SERVER": serving.address, "PYTHONIOENCODING": "ascii"}
    done = gradloom(serving, "list", env=environment)
    assert done.returncode == 0
    assert "gr\\xf6\\xdfe" in done.stdout


def test_lines_of_a_pipe_come_when_they_are_written(serving: Serving, played: Played) -> None:
    played.held.clear()
    played.watches = [life(succeeded_job())[:1]]
    command = [*PROGRAM, "watch", "digits", "--server", serving.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "QUEUED" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_a_reader_that_goes_away_is_no_error(serving: Serving, played: Played) -> None:
    lines = ["x" * 1000] * 200
    played.log_streams = [[service_pb2.StreamLogsResponse(attempt=1, lines=lines)]]
    command = [*PROGRAM, "logs", "digits", "--server", serving.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 141


def test_lists_are_tables_or_json(serving: Serving, played: Played) -> None:
    empty = gradloom(serving, "list", "-o", "json")
    assert json.loads(empty.stdout) == {"jobs": []}
    assert "No jobs yet" in gradloom(serving, "list").stderr
    played.jobs[NAME] = failed_job()
    for number in range(2):
        played.jobs[f"j{number}"] = job_pb2.Job(name=f"projects/other/jobs/j{number}", state=job_pb2.Job.RUNNING)
    header, first, second, _ = gradloom(serving, "list").stdout.splitlines()
    assert header.split() == ["JOB", "STATE", "REASON", "PRIORITY", "EPOCH", "AGE", "NAME"]
    assert first.split()[:3] == ["digits", "FAILED", "SPEC_REFUSED"]
    assert second.split()[0] == "projects/other/jobs/j0"
    assert len(json.loads(gradloom(serving, "list", "--limit", "2", "-o", "json").stdout)["jobs"]) == 2


def test_a_list_for_people_ends_and_says_that_there_is_more(serving: Serving, played: Played) -> None:
    for number in range(101):
        played.jobs[f"j{number}"] = job_pb2.Job(name=f"projects/default/jobs/j{number}")
    done = gradloom(serving, "list")
    assert len(done.stdout.splitlines()) == 1 + 100
    assert done.stderr.startswith("There are more than these 100: ")
    assert len(gradloom(serving, "list", "--limit", "101").stdout.splitlines()) == 1 + 101
    assert len(json.loads(gradloom(serving, "list", "-o", "json").stdout)["jobs"]) == 101


def test_get_shows_the_groups_and_the_outcome(serving: Serving, played: Played) -> None:
    done_job = succeeded_job()
    for path, group, shape in (("a/kernel", "lower", [3, 4]), ("a/bias", "lower", [4]), ("n/mean", "", [4])):
        done_job.resolved_spec.variables.add(path=path, group=group, shape=shape, dtype="float32", trained=bool(group))
    played.jobs[NAME] = done_job
    shown = gradloom(serving, "get", "digits").stdout
    assert "group     lower: 2 variables, 16 parameters\n" in shown
    assert "(no group): 1 variable, 4 parameters, not trained\n" in shown
    assert "export    /data/m/1\n" in shown
    assert "a/kernel" in gradloom(serving, "get", "digits", "--variables").stdout
    assert json.loads(gradloom(serving, "get", "digits", "-o", "json").stdout)["state"] == "SUCCEEDED"


def test_get_shows_how_a_job_runs(serving: Serving, played: Played) -> None:
    job = succeeded_job()
    resolved = job.resolved_spec
    resolved.device_kind, resolved.replicas, resolved.jit_compiled = spec_pb2.ResolvedSpec.CPU, 2, True
    resolved.spec.training.precision = spec_pb2.TrainingSpec.MIXED_BFLOAT16
    group = resolved.spec.variable_groups.add(name="head", update_every_steps=4, unfreeze_at_epoch=3, ema_momentum=0.9)
    group.optimizer.type = "Adam"
    resolved.variables.add(path="head/kernel", group="head", shape=[64, 10], dtype="float32", trained=True)
    resolved.synchronized_layers.append("bn")
    resolved.replica_dependent_layers.extend(f"crop{number}" for number in range(12))
    resolved.initial_weights.CopyFrom(
        spec_pb2.ResolvedWeights(
            job="projects/default/jobs/a",
            global_step=50,
            loaded=["head/kernel"],
            not_loaded=["head/bias: is not there"],
        )
    )
    played.jobs[NAME] = job
    job.progress.trouble = "no room for a checkpoint"
    shown = gradloom(serving, "get", "digits").stdout
    assert "trouble   no room for a checkpoint\n" in shown
    assert "runs on   2 CPU replicas, MIXED_BFLOAT16, compiled by XLA\n" in shown
    assert "group     head: 1 variable, 640 parameters, Adam, one update in 4 steps, from epoch 3, averaged\n" in shown
    assert "weights   from projects/default/jobs/a at step 50: 1 loaded, 1 not\n" in shown
    assert "synced    statistics over all replicas: bn\n" in shown
    assert "crop9 and 2 more\n" in shown


def test_explain_answers_first_and_then_shows_why(serving: Serving, played: Played) -> None:
    played.explained = explanation("so it is")
    played.explained.ClearField("running")
    played.explained.waiting.missing = "the only slot"
    ended = played.explained.attempts
    ended[0].message = "it was too big"
    ended.add(
        attempt=0, reason=job_pb2.Job.PAUSED_BY_USER, message="so it", hint="gradloom resume", log_lines=["saved"]
    )
    ended[1].consequence = "it goes on"
    assert gradloom(serving, "explain", "digits").stdout.splitlines() == [
        "QUEUED  digits  so it is",
        "so it is",
        "what to do: so it is",
        "",
        "waits for so it is",
        "since     3 min 5 s",
        "position  2",
        "backoff   4.0 s",
        "missing   the only slot",
        "",
        "ahead in the queue:",
        "  JOB  STATE   PRIORITY  DEVICES   PROGRESS  NAME",
        "  big  QUEUED  5         so it is  so it is  so it is",
        "",
        "holding the devices:",
        "  JOB  STATE   PRIORITY  DEVICES   PROGRESS  NAME",
        "  big  QUEUED  5         so it is  so it is  so it is",
        "",
        "attempt 1 ended OUT_OF_HOST_MEMORY",
        "  it was too big",
        "  raised so it is",
        "  | so it is",
        "  what to do: smaller so it is",
        "  then: so it is",
        "  the log from there: gradloom logs digits --cursor 1:77",
        "",
        "attempt 0 ended PAUSED_BY_USER",
        "  then: it goes on",
    ]
    assert json.loads(gradloom(serving, "explain", "digits", "-o", "json").stdout)["waiting"]["position"] == 2


def test_explain_of_a_running_job_tells_when_its_trainer_last_reported(serving: Serving, played: Played) -> None:
    running = service_pb2.ExplainJobResponse.Running(
        attempt=2, devices=["CPU:0"], stopping_reason=job_pb2.Job.PREEMPTED
    )
    running.running_duration.FromSeconds(61)
    played.explained = service_pb2.ExplainJobResponse(
        job=job(job_pb2.Job.RUNNING), summary="It trains.", running=running
    )
    lines = gradloom(serving, "explain", "digits").stdout.splitlines()
    assert lines[1:] == [
        "It trains.",
        "",
        "attempt   2 on CPU:0 for 1 min 1 s",
        "report    none yet: the trainer has not told how far it is",
        "ending    PREEMPTED",
    ]
    played.explained.running.silent_duration.FromSeconds(2)
    assert "report    2.0 s ago" in gradloom(serving, "explain", "digits").stdout


def test_metrics_are_one_line_a_point_or_one_message_a_line(serving: Serving, played: Played) -> None:
    points = [
        job_pb2.ScalarsPoint(number=1, epoch=1, global_step=50, scalars={"loss": 0.5, "accuracy": 0.8}),
        job_pb2.ScalarsPoint(
            number=2, epoch=1, global_step=90, epoch_end=True, scalars={"val_loss": 0.4, "loss": 0.45}
        ),
    ]
    stream = [service_pb2.StreamMetricsResponse(points=points, cursor="2")]
    played.metrics_streams = [stream, stream, []]
    assert gradloom(serving, "metrics", "digits").stdout.splitlines() == [
        "epoch 1  step 50  loss 0.5  accuracy 0.8",
        "end of epoch 1  step 90  loss 0.45  val_loss 0.4",
    ]
    done = gradloom(serving, "metrics", "digits", "-f", "--scalar", "loss", "--cursor", "1", "-o", "json")
    assert json.loads(done.stdout)["points"][1]["global_step"] == 90
    request = played.requests[-1]
    assert (request.follow, list(request.scalars), request.cursor) == (True, ["loss"], "1")
    assert gradloom(serving, "metrics", "digits").stderr == "Nothing is recorded so far.\n"


@pytest.mark.parametrize(("command", "field"), [("metrics", "points"), ("logs", "lines")])
def test_of_a_stream_without_messages_json_has_the_empty_list(
    serving: Serving, played: Played, command: str, field: str
) -> None:
    played.metrics_streams = played.log_streams = [[]]
    done = gradloom(serving, command, "digits", "-o", "json")
    assert (json.loads(done.stdout), done.stderr) == ({field: []}, "")


def test_a_retry_is_told_where_it_goes_on_and_sends_what_is_set(
    serving: Serving, played: Played, tmp_path: Path
) -> None:
    played.jobs[NAME] = failed_job()
    played.jobs[NAME].spec.variable_groups.add(name="all").optimizer.type = "Adam"
    (tmp_path / "changes.yaml").write_text("spec:\n  training: {epochs: 4, seed: 1}\n")
    (tmp_path / "own.py").write_text("import keras\n")
    rate = "spec.variable_groups[0].optimizer.config.learning_rate=1e-4"
    files = (str(tmp_path / "changes.yaml"), "--user-code", str(tmp_path / "own.py"))
    done = gradloom(
        serving, "retry", "digits", *files, "--set", "spec.training.epochs=7", "--set", rate, "--from", "1-c"
    )
    assert (done.returncode, done.stdout) == (0, f"{NAME}-again\n")
    assert f"goes on from {NAME}/checkpoints/1-c\n" in done.stderr
    (request,) = played.of(service_pb2.RetryJobRequest)
    spec = request.job.spec
    assert (spec.training.epochs, spec.training.seed, spec.user_code.source) == (7, 1, "import keras\n")
    assert spec.variable_groups[0].optimizer.type == "Adam"
    assert spec.variable_groups[0].optimizer.config["learning_rate"] == 1e-4
    refused = gradloom(serving, "retry", "digits", "--set", "spec.training.epoch=7")
    assert refused.returncode == 2
    assert 'did you mean "epochs"?' in refused.stderr


def test_a_person_is_asked_before_a_job_is_deleted_and_a_script_is_not(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = succeeded_job()
    for answer, code, left in (("n\n", 130, True), ("y\n", 0, False)):
        terminal = Terminal(serving, "delete", "digits")
        terminal.read_until("for good? [y/N]")
        assert f"{NAME} (SUCCEEDED" in terminal.shown
        terminal.type(answer)
        terminal.read_to_end()
        assert (terminal.process.returncode, NAME in played.jobs) == (code, left)
    for options in ((), ("--yes",)):
        played.jobs[NAME] = succeeded_job()
        if options:
            assert "deleted digits" in Terminal(serving, "delete", "digits", *options).read_to_end()
        else:
            assert gradloom(serving, "delete", "digits").stdout == "deleted digits\n"
        assert NAME not in played.jobs


def test_a_person_is_asked_once_about_several_jobs_that_are_all_named(serving: Serving, played: Played) -> None:
    other = f"{NAME}-2"
    played.jobs[NAME], played.jobs[other] = succeeded_job(), succeeded_job()
    played.jobs[other].name = other
    terminal = Terminal(serving, "delete", "digits", "none", "digits-2")
    terminal.read_until("Delete these 2 jobs with their checkpoints, exports and logs, for good? [y/N]")
    assert f"{NAME} (SUCCEEDED" in terminal.shown
    assert f"{other} (SUCCEEDED" in terminal.shown
    terminal.type("y\n")
    assert "deleted digits-2" in terminal.read_to_end()
    assert (terminal.process.returncode, played.jobs) == (4, {}), "one was not there"


def test_without_a_server_no_other_job_is_tried() -> None:
    done = gradloom(None, "cancel", "a", "b")
    assert (done.returncode, done.stdout, done.stderr.count("gradloom: ")) == (3, "", 1)


def test_a_failed_job_that_was_watched_says_what_can_be_done_next(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = failed_job()
    played.watches = [life(failed_job())]
    told = gradloom(serving, "watch", "digits").stderr
    assert "gradloom explain digits" in told
    assert "gradloom retry digits" in told


def test_a_job_that_has_ended_is_watched_from_its_first_event(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = succeeded_job()
    played.watches = [[Watch(job=succeeded_job(), cursor="0"), *life(succeeded_job())[3:]]]
    done = gradloom(serving, "watch", "digits", "--from-start")
    assert [line.partition("  ")[2] for line in done.stdout.splitlines()[:2]] == [
        "RUNNING",
        "epoch 1/2  loss 0.5  val_loss 0.4",
    ]
    assert played.requests[0].from_start


def test_cancel_prints_the_state(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = job(job_pb2.Job.RUNNING)
    assert gradloom(serving, "cancel", "digits").stdout == f"CANCELLING {NAME}\n"


def test_components_are_listed_and_explained_and_a_wrong_one_gets_its_nearest(serving: Serving, played: Played) -> None:
    dense = service_pb2.ComponentInfo(type="Dense", kind=service_pb2.ComponentInfo.LAYER, doc="A layer.")
    dense.parameters.add(name="units", value_type="int", required=True)
    dense.parameters.add(name="use_bias", value_type="bool").default_value.bool_value = True
    dense.parameters.add(name="sizes", value_type="list").default_value.list_value.append(30)
    dense.parameters.add(name="factor", value_type="float").default_value.number_value = 1
    kernel = dense.parameters.add(name="kernel", value_type="component")
    kernel.component_kind, kernel.default_value.string_value = service_pb2.ComponentInfo.INITIALIZER, "zeros"
    rate = dense.parameters.add(name="rate", value_type="float", required=True)
    rate.component_kind = service_pb2.ComponentInfo.SCHEDULE
    data = service_pb2.DatasetInfo(feature_shape=[8, 8], feature_dtype="float32", label_dtype="int64", classes=10)
    data.splits["train"] = 1437
    played.components = [
        dense,
        service_pb2.ComponentInfo(type="digits", kind=service_pb2.ComponentInfo.DATASET, dataset=data),
    ]
    assert gradloom(serving, "components").stdout.splitlines()[1].split() == ["Dense", "layer", "A", "layer."]
    shown = gradloom(serving, "components", "Dense").stdout
    assert [line.split(maxsplit=1) for line in shown.splitlines()[-6:]] == [
        ["units", "int                required"],
        ["use_bias", "bool               true"],
        ["sizes", "list               [30]"],
        ["factor", "float              1.0"],
        ["kernel", 'initializer        "zeros"'],
        ["rate", "float or schedule  required"],
    ]
    assert "1,437 examples" in gradloom(serving, "components", "digits").stdout
    wrong = gradloom(serving, "components", "Dens")
    assert (wrong.returncode, wrong.stderr) == (4, "gradloom: no component of type 'Dens'; near it: Dense\n")


def test_attempts_and_artifacts_are_tables(serving: Serving, played: Played) -> None:
    assert gradloom(serving, "attempts", "digits").stderr == "No attempt has been started.\n"
    assert gradloom(serving, "artifacts", "digits").stderr == "It has left no files so far.\n"
    played.attempts = [
        job_pb2.Attempt(number=1, state=job_pb2.Attempt.ENDED, reason=job_pb2.Job.KILLED_BY_SIGNAL, signal=9),
        job_pb2.Attempt(number=2, state=job_pb2.Attempt.ENDED, exit_code=0, peak_memory_bytes=3 << 20),
    ]
    shown = gradloom(serving, "attempts", "digits").stdout
    assert "signal 9" in shown
    assert "3.0 MiB" in shown
    played.add_file("export/m/1/saved_model.pb", b"x" * 2048)
    assert "2.0 KiB" in gradloom(serving, "artifacts", "digits").stdout
    assert json.loads(gradloom(serving, "artifacts", "digits", "-o", "json").stdout)["artifacts"][0]["attempt"] == 1


def test_download_prints_what_it_wrote_and_refuses_a_hostile_server(
    serving: Serving, played: Played, tmp_path: Path
) -> None:
    assert "no files of this kind" in gradloom(serving, "download", "digits", str(tmp_path)).stderr
    played.add_file("export/m/1/saved_model.pb", b"x" * 2048)
    done = gradloom(serving, "download", "digits", str(tmp_path / "out"))
    assert done.stdout == f"{tmp_path}/out/export/m/1/saved_model.pb\n"
    (tmp_path / "out/export/m/1/saved_model.pb").write_bytes(b"mine")
    refused = gradloom(serving, "download", "digits", str(tmp_path / "out"))
    assert refused.returncode == 4
    assert "or overwrite" in refused.stderr
    played.add_file("../evil", b"x")
    hostile = gradloom(serving, "download", "digits", str(tmp_path / "out"))
    assert (hostile.returncode, (tmp_path / "evil").exists()) == (4, False)


def test_text_of_people_is_short_and_lines_up() -> None:
    assert [text.span(seconds) for seconds in (0.44, 12, 185, 7620)] == ["0.4 s", "12 s", "3 min 5 s", "2 h 7 min"]
    assert [text.size(count) for count in (0, 1536, 5 << 30, 3 << 40)] == ["0 B", "1.5 KiB", "5.0 GiB", "3.0 TiB"]
    assert text.scalars({"val_loss": 1, "accuracy": 0.5, "test_loss": 2, "loss": float("nan")}) == (
        "loss nan  accuracy 0.5  val_loss 1  test_loss 2"
    )
    assert text.columns(("A", "B"), [("数", "x\ny"), ("a", "z")]) == ["A   B", "数  x y", "a   z"]
