"""The SDK against a real gRPC server that plays what a test asks for."""

import contextlib
import hashlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from gradloom import Client, errors
from gradloom.api.status import STATUS_CODES
from gradloom.client.names import full_job_name, server_address
from gradloom.client.reconnect import Patience, is_away
from gradloom.documents import job_from_dict
from gradloom.errors import FieldFault, GradloomError, InvalidRequestError
from gradloom.v1 import job_pb2, service_pb2
from tests.training_service import LOST, Played, Serving, Watch, serve

NAME = "projects/default/jobs/digits"
DOCUMENT = {"display_name": "digits", "spec": {"training": {"epochs": 2}}}


@pytest.fixture
def serving() -> Iterator[Serving]:
    running = serve(Played())
    # A stream that a test does not hold on purpose ends when it has been played.
    running.played.held.set()
    yield running
    running.stop()


@pytest.fixture
def played(serving: Serving) -> Played:
    return serving.played


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with Client(serving.address, reconnect_seconds=10) as client:
        yield client


def watch(state: int, number: int = 0, cursor: str = "", **job: object) -> Watch:
    message = Watch(job=job_pb2.Job(name=NAME, state=state, **job), cursor=cursor or str(number))
    if number:
        message.event.number = number
        message.event.kind = job_pb2.Event.STATE_CHANGED
        message.event.state = state
    return message


@pytest.mark.parametrize("form", ["dict", "text", "path", "proto"])
def test_a_job_is_submitted_from_every_form(client: Client, played: Played, tmp_path: Path, form: str) -> None:
    text = "display_name: digits\nspec:\n  training: {epochs: 2}\n"
    (tmp_path / "job.yaml").write_text(text)
    forms = {"dict": DOCUMENT, "text": text, "path": tmp_path / "job.yaml", "proto": job_from_dict(DOCUMENT)}
    created = client.submit(forms[form], job_id="digits")
    assert created.name == NAME
    assert created.spec.training.epochs == 2
    (request,) = played.of(service_pb2.CreateJobRequest)
    assert request.parent == "projects/default"
    assert re.fullmatch(r"[0-9a-f-]{36}", request.request_id)


UNREADABLE = {"spec": {"modle": {}, "training": {"epochs": 0, "seed": "x"}}}


def test_what_cannot_be_read_is_told_together_with_what_the_server_finds(client: Client, played: Played) -> None:
    found = FieldFault("spec.training.epochs", "must be at least 1; got 0")
    played.failures = [InvalidRequestError([found, FieldFault("unread_fields", "must be empty; got 2")])]
    with pytest.raises(InvalidRequestError) as refusal:
        client.submit(UNREADABLE)
    assert [fault.field for fault in refusal.value.faults] == ["spec.modle", "spec.training.seed", found.field]
    assert refusal.value.faults[2] == found
    (request,) = played.of(service_pb2.CreateJobRequest)
    assert list(request.unread_fields) == ["spec.model", "spec.training.seed"]
    assert request.validate_only, "a server that does not know the field makes no job either"
    assert request.job.spec.training.HasField("epochs")


def test_a_file_whose_every_field_could_be_read_is_not_sent_as_one_without_faults(
    client: Client, played: Played
) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        client.submit({"spec": {"training": {"epochs": 3, "epoch": 2}}})
    assert [fault.field for fault in refusal.value.faults] == ["spec.training.epoch"]
    (request,) = played.of(service_pb2.CreateJobRequest)
    assert list(request.unread_fields) == [""]


def test_of_a_file_with_more_faults_than_are_told_the_rest_is_not_asked_for(client: Client, played: Played) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        client.submit({"spec": {f"zzz{number}": 1 for number in range(101)}})
    assert len(refusal.value.faults) == 101
    assert played.of(service_pb2.CreateJobRequest) == []


def test_what_cannot_be_read_is_told_also_while_the_server_is_away() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(InvalidRequestError) as refusal:
        client.submit(UNREADABLE)
    *told, rest = refusal.value.faults
    assert [fault.field for fault in told] == ["spec.modle", "spec.training.seed"]
    assert rest.description.startswith("was not checked any further: cannot reach 127.0.0.1:1")


def test_a_path_given_as_a_text_is_refused_with_the_remedy(client: Client) -> None:
    with pytest.raises(InvalidRequestError, match=r"pass pathlib.Path\('job.yaml'\)"):
        client.submit("job.yaml")


def test_a_file_that_is_not_utf_8_or_too_long_is_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"display_name: caf\xe9\n")
    with pytest.raises(InvalidRequestError, match="must be UTF-8"):
        client.submit(tmp_path / "latin.yaml")
    with pytest.raises(InvalidRequestError, match="must be at most"):
        client.submit(Path("/dev/zero"))


def test_user_code_goes_with_any_form_of_a_job(client: Client, played: Played, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_bytes(b"\xef\xbb\xbfimport keras\n")
    job = job_from_dict(DOCUMENT)
    assert client.submit(job, user_code=tmp_path / "own.py").spec.user_code.source == "import keras\n"
    assert not job.spec.HasField("user_code"), "the caller's own job is not changed"
    created = client.submit(model={"name": "m"}, training={"epochs": 2}, user_code="x = 1")
    assert (created.spec.user_code.source, created.spec.training.epochs) == ("x = 1", 2)
    with pytest.raises(InvalidRequestError, match="must be given once"):
        client.submit(created, user_code="x = 2")
    with pytest.raises(InvalidRequestError, match=r"pass pathlib.Path\('own.py'\)"):
        client.submit(DOCUMENT, user_code="own.py")
    (tmp_path / "own.py").write_bytes(b"x = '\xe9'\n")
    with pytest.raises(InvalidRequestError, match="must be UTF-8"):
        client.submit(DOCUMENT, user_code=tmp_path / "own.py")
    with pytest.raises(InvalidRequestError, match="must be at most"):
        client.submit(DOCUMENT, user_code=Path("/dev/zero"))


@pytest.mark.parametrize("size", [4 << 20, 65 << 20])
def test_a_request_that_no_server_takes_is_refused_before_it_is_sent(client: Client, played: Played, size: int) -> None:
    with pytest.raises(InvalidRequestError, match=r"request: must be at most 4,194,304 bytes; got \d+,\d+"):
        client.pause("digits", etag="x" * size)
    assert played.requests == []


def test_a_server_that_takes_a_second_to_answer_a_connection_is_reached(serving: Serving, played: Played) -> None:
    played.jobs[NAME] = job_pb2.Job(name=NAME)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def carry(source: socket.socket, target: socket.socket) -> None:
            with source, contextlib.suppress(OSError):
                while part := source.recv(1 << 16):
                    target.sendall(part)

        def pass_on() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = listener.accept()
                    time.sleep(1.0)
                    host, port = serving.address.rsplit(":", 1)
                    far = socket.create_connection((host, int(port)))
                    for ends in ((near, far), (far, near)):
                        threading.Thread(target=carry, args=ends, daemon=True).start()

        threading.Thread(target=pass_on, daemon=True).start()
        with Client(f"127.0.0.1:{listener.getsockname()[1]}") as client:
            assert client.get("digits").name == NAME


def test_a_call_that_ends_unavailable_is_made_again_with_its_request_id(client: Client, played: Played) -> None:
    played.failures = [LOST, LOST]
    assert client.submit(DOCUMENT).name == "projects/default/jobs/generated"
    requests = played.of(service_pb2.CreateJobRequest)
    assert len(requests) == 3
    assert len({request.request_id for request in requests}) == 1


FAULTS = (
    FieldFault("spec.model.layers[1].type", 'unknown: "Dens"; did you mean "Dense"?'),
    FieldFault("spec.loss", "—"),
)
ERRORS = {
    InvalidRequestError: InvalidRequestError(FAULTS),
    errors.WrongStateError: errors.WrongStateError(NAME, "the job has ended"),
    errors.NotFoundError: errors.NotFoundError("no such job", NAME),
    errors.AlreadyExistsError: errors.AlreadyExistsError("it is there", NAME),
    errors.DataLossError: errors.DataLossError("another digest", f"{NAME}/artifacts/a1-0"),
    errors.CursorExpiredError: errors.CursorExpiredError("beyond the file", "offset_bytes"),
    errors.EtagMismatchError: errors.EtagMismatchError(NAME, "the job has changed"),
    errors.LimitExceededError: errors.LimitExceededError("too many", "validations", 7.5),
}


@pytest.mark.parametrize("kind", STATUS_CODES, ids=lambda kind: kind.__name__)
def test_every_error_of_the_server_is_raised_as_itself(
    client: Client, played: Played, kind: type[GradloomError]
) -> None:
    error = ERRORS.get(kind) or kind("because")
    played.failures = [error] * 20  # More than the retries of UNAVAILABLE.
    with pytest.raises(GradloomError) as raised:
        client.get("digits")
    assert type(raised.value) is kind
    if kind is errors.ServerFaultError:
        assert "INTERNAL" in str(raised.value)
    else:
        assert str(error) in str(raised.value)
    for attribute in ("faults", "subject", "retry_after_seconds", "resource", "field"):
        assert getattr(raised.value, attribute, None) == getattr(error, attribute, None)


def test_faults_that_did_not_fit_the_status_are_counted(client: Client, played: Played) -> None:
    played.failures = [InvalidRequestError([FieldFault(f"spec.f[{n}]", "x" * 400) for n in range(50)])]
    with pytest.raises(InvalidRequestError) as raised:
        client.get("digits")
    *shown, rest = raised.value.faults
    assert rest.description == f"{50 - len(shown)} more faults are told once these are mended"


def test_nobody_at_the_address_is_told_within_seconds() -> None:
    with (
        Client("127.0.0.1:1") as client,
        pytest.raises(errors.ServerUnavailableError, match=r"cannot reach 127\.0\.0\.1:1"),
    ):
        client.get("digits")
    with Client("127.0.0.1:1") as client, pytest.raises(errors.ServerUnavailableError, match="Connection refused"):
        next(client.watch("digits"))


@pytest.mark.parametrize(
    "address", ["localhost", "127.0.0.1:0", "http://localhost:50051", "a b:1", ":50051", "h:70000"]
)
def test_an_address_without_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequestError, match="HOST:PORT"):
        Client(address)


def test_the_address_comes_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLOOM_SERVER", "box:1234")
    assert server_address(None) == "box:1234"
    assert server_address("[::1]:7") == "[::1]:7"
    monkeypatch.delenv("GRADLOOM_SERVER")
    assert server_address(None) == "127.0.0.1:50051"


def test_a_proxy_of_the_environment_does_not_come_between_a_local_server(
    monkeypatch: pytest.MonkeyPatch, serving: Serving
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(serving.address) as client:
        assert list(client.list()) == []


def test_jobs_are_meant_by_id_by_name_and_by_message(client: Client, played: Played) -> None:
    played.jobs[NAME] = job_pb2.Job(name=NAME, uid="u")
    assert {client.get(reference).uid for reference in ("digits", NAME, played.jobs[NAME])} == {"u"}
    for wrong in ("", "a/b", "projects/x/jobs/"):
        with pytest.raises(InvalidRequestError, match="must be a job's id or"):
            full_job_name(wrong)


def test_lists_go_through_every_page(client: Client, played: Played) -> None:
    for number in range(5):
        played.jobs[f"j{number}"] = job_pb2.Job(name=f"j{number}")
        played.attempts.append(job_pb2.Attempt(number=number + 1))
        played.components.append(service_pb2.ComponentInfo(type=f"T{number}", kind=1 + number % 2))
    assert [job.name for job in client.list()] == ["j0", "j1", "j2", "j3", "j4"]
    assert [attempt.number for attempt in client.attempts("digits")] == [1, 2, 3, 4, 5]
    assert [component.type for component in client.components(kind="loss")] == ["T1", "T3"]
    with pytest.raises(InvalidRequestError, match="must be one of LAYER, LOSS"):
        client.components(kind="lawyer")


def test_a_watch_goes_on_at_its_cursor_and_tells_no_event_twice(client: Client, played: Played) -> None:
    queued, starting, running, done = (
        job_pb2.Job.QUEUED,
        job_pb2.Job.STARTING,
        job_pb2.Job.RUNNING,
        job_pb2.Job.SUCCEEDED,
    )
    played.watches = [
        [watch(queued), watch(starting, 2), watch(running, 3), LOST],
        [LOST],
        [watch(running, cursor="3"), watch(running, 3), watch(done, 4)],
    ]
    events = [message.event.number for message in client.watch("digits") if message.HasField("event")]
    assert events == [2, 3, 4]
    assert [request.cursor for request in played.of(service_pb2.WatchJobRequest)] == ["", "3", "3"]


def test_a_watch_from_the_start_goes_on_at_its_cursor(client: Client, played: Played) -> None:
    done = job_pb2.Job.SUCCEEDED
    played.watches = [[watch(done, cursor="0"), watch(done, 1), LOST], [watch(done, cursor="1"), watch(done, 2)]]
    assert [message.event.number for message in client.watch("digits", from_start=True)] == [0, 1, 0, 2]
    first, second = played.of(service_pb2.WatchJobRequest)
    assert (first.from_start, first.cursor) == (True, "")
    assert (second.from_start, second.cursor) == (False, "1")


def test_a_watch_survives_a_restart_of_the_server() -> None:
    played = Played()
    first = serve(played)
    told: list[GradloomError] = []
    played.watches = [[watch(job_pb2.Job.RUNNING, 2)], [watch(job_pb2.Job.SUCCEEDED, 3)]]
    with Client(first.address, reconnect_seconds=20, on_reconnect=told.append) as client:
        messages = client.watch("digits")
        assert next(messages).event.number == 2
        first.stop()
        restarted: list[Serving] = []
        later = threading.Timer(0.5, lambda: restarted.append(serve(played, first.address)))
        later.start()
        assert next(messages).event.number == 3
        later.join()
        assert played.of(service_pb2.WatchJobRequest)[-1].cursor == "2"
        assert told
        restarted[0].stop()


def test_a_server_that_does_not_come_back_is_given_up() -> None:
    played = Played()
    running = serve(played)
    played.watches = [[watch(job_pb2.Job.RUNNING, 2)]]
    with Client(running.address, reconnect_seconds=0.3) as client:
        messages = client.watch("digits")
        next(messages)
        running.stop()
        with pytest.raises(errors.ServerUnavailableError):
            next(messages)


def test_patience_waits_longer_each_time_and_no_longer_than_told() -> None:
    now = 0.0
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        waits.append(seconds)

    patience = Patience(5.0, lambda: now, sleep)
    while patience.wait():
        pass
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 1.9])
    patience.renew(1.0)
    assert patience.wait()
    assert waits[-1] == pytest.approx(0.1)


class CallError(grpc.RpcError):
    """As gRPC raises it for a call that ended so."""

    def __init__(self, code: grpc.StatusCode, details: str):
        self.code = lambda: code
        self.details = lambda: details


@pytest.mark.parametrize(
    ("code", "details", "away"),
    [
        (grpc.StatusCode.UNAVAILABLE, "the server is stopping", True),
        (grpc.StatusCode.CANCELLED, "CANCELLED", True),
        (grpc.StatusCode.CANCELLED, "Channel closed!", False),
        (grpc.StatusCode.CANCELLED, "Locally cancelled by application!", False),
        (grpc.StatusCode.INTERNAL, "CANCELLED", False),
    ],
)
def test_a_server_that_closes_in_the_moment_of_a_call_is_away_and_a_call_that_was_cancelled_here_is_over(
    code: grpc.StatusCode, details: str, away: bool
) -> None:
    assert is_away(CallError(code, details)) is away


def test_a_stream_that_ends_before_its_job_is_an_error(client: Client, played: Played) -> None:
    played.watches = [[watch(job_pb2.Job.RUNNING, 2)]]
    with pytest.raises(errors.ServerUnavailableError, match="before the job had ended"):
        list(client.watch("digits"))


def test_wait_returns_the_job_as_it_ended_or_times_out(client: Client, played: Played) -> None:
    played.jobs[NAME] = job_pb2.Job(name=NAME, state=job_pb2.Job.FAILED)
    played.watches = [[watch(job_pb2.Job.RUNNING, 2), watch(job_pb2.Job.FAILED, 3)]]
    assert client.wait("digits").state == job_pb2.Job.FAILED
    played.held.clear()
    played.watches = [[watch(job_pb2.Job.RUNNING, 2)]]
    with pytest.raises(TimeoutError, match=r"still going on after 0.3 s"):
        client.wait("digits", timeout=0.3)


def test_logs_go_on_at_their_cursor(client: Client, played: Played) -> None:
    def lines(cursor: str, *texts: str) -> service_pb2.StreamLogsResponse:
        return service_pb2.StreamLogsResponse(attempt=1, lines=texts, cursor=cursor)

    played.log_streams = [[lines("c1", "one", "two"), LOST], [lines("c2", "three")]]
    assert [line.text for line in client.logs("digits", follow=True)] == ["one", "two", "three"]
    assert [request.cursor for request in played.of(service_pb2.StreamLogsRequest)] == ["", "c1"]


def test_metrics_go_on_at_their_cursor(client: Client, played: Played) -> None:
    def points(cursor: str, *steps: int) -> service_pb2.StreamMetricsResponse:
        return service_pb2.StreamMetricsResponse(
            points=[job_pb2.ScalarsPoint(number=step, global_step=step) for step in steps], cursor=cursor
        )

    played.metrics_streams = [[points("c2", 1, 2), LOST], [points("c3", 3)]]
    points_seen = client.metrics("digits", scalars=["loss"], follow=True, cursor="c0")
    assert [point.global_step for point in points_seen] == [1, 2, 3]
    requests = played.of(service_pb2.StreamMetricsRequest)
    assert [request.cursor for request in requests] == ["c0", "c2"]
    assert [list(request.scalars) for request in requests] == [["loss"], ["loss"]]


def test_a_retry_goes_on_from_the_checkpoint_that_is_meant(client: Client, played: Played) -> None:
    def known(checkpoint_id: str, **facts: bool) -> job_pb2.Checkpoint:
        return job_pb2.Checkpoint(name=f"{NAME}/checkpoints/{checkpoint_id}", **facts)

    played.checkpoints = [known("2-b", final=True), known("1-c"), known("1-a", best=True)]
    meant = {"newest": "2-b", "best": "1-a", "1-c": "1-c", f"{NAME}/checkpoints/1-c": "1-c"}
    for given, checkpoint_id in meant.items():
        assert client.retry("digits", checkpoint=given).retry_checkpoint == f"{NAME}/checkpoints/{checkpoint_id}"
    assert client.retry("digits", checkpoint=played.checkpoints[1]).retry_checkpoint.endswith("/1-c")
    assert client.retry("digits").retry_checkpoint == ""
    played.checkpoints = [known("1-c")]
    with pytest.raises(errors.NotFoundError, match="has no checkpoint of a best epoch"):
        client.retry("digits", checkpoint="best")
    played.checkpoints = []
    with pytest.raises(errors.NotFoundError, match="has no checkpoint; without one a retry starts from scratch"):
        client.retry("digits", checkpoint="newest")


def test_a_retry_without_changes_sends_none_and_one_with_sends_them_alone(
    client: Client, played: Played, tmp_path: Path
) -> None:
    old = job_from_dict(DOCUMENT)
    old.name = NAME
    played.jobs[NAME] = old
    (tmp_path / "own.py").write_text("import keras\n")
    client.retry("digits")
    client.retry(old, {"display_name": "again"}, edits={"spec.training.epochs": 7}, user_code=tmp_path / "own.py")
    client.retry("digits", "spec:\n  training: {steps_per_epoch: 3}\n", job_id="next", validate_only=True)
    plain, changed, checked = played.of(service_pb2.RetryJobRequest)
    assert not plain.HasField("job")
    assert not plain.HasField("update_mask")
    assert list(changed.update_mask.paths) == ["display_name", "spec.training.epochs", "spec.user_code.source"]
    assert changed.job.spec.user_code.source == "import keras\n"
    assert changed.job.spec.training.epochs == 7
    assert checked.job == job_from_dict({"spec": {"training": {"steps_per_epoch": 3}}})
    assert (checked.job_id, checked.validate_only) == ("next", True)
    assert len({request.request_id for request in (plain, changed, checked)}) == 3


def test_a_call_that_an_older_server_does_not_know_is_told_as_such(client: Client) -> None:
    with pytest.raises(errors.UnknownMethodError, match="is it older than this client"):
        client.pause("digits")


def test_a_download_is_whole_and_lies_at_its_path(client: Client, played: Played, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40
    played.add_file("export/m/1/saved_model.pb", content)
    played.add_file("export/m/1/empty", b"")
    for attempt in (1, 2):
        played.add_file("log/attempt.log", b"a log", kind=job_pb2.Artifact.LOG, attempt=attempt)
    seen: list[tuple[int, int]] = []
    paths = client.download("digits", tmp_path / "new", on_bytes=lambda done, total: seen.append((done, total)))
    assert paths == (tmp_path / "new/export/m/1/saved_model.pb", tmp_path / "new/export/m/1/empty")
    assert paths[0].read_bytes() == content
    assert seen[-1] == (len(content), len(content))
    logs = client.download("digits", tmp_path, kind="log")
    assert logs == tuple(tmp_path / f"attempts/{attempt}/log/attempt.log" for attempt in (1, 2))


def test_a_download_goes_on_at_the_byte_where_it_was_lost(client: Client, played: Played, tmp_path: Path) -> None:
    content = hashlib.sha256(b"x").digest() * 200
    played.add_file("export/m", content)
    played.lost_after_bytes = [2500, 0, 1000]
    (path,) = client.download("digits", tmp_path)
    assert path.read_bytes() == content
    offsets = [request.offset_bytes for request in played.of(service_pb2.DownloadArtifactRequest)]
    assert offsets == [0, 2500, 2500, 3500]


@pytest.mark.parametrize(
    "record", [{"sha256": "0" * 64}, {"sha256": "short"}, {"size_bytes": 3}, {"size_bytes": 9}], ids=str
)
def test_contents_other_than_recorded_leave_nothing(
    client: Client, played: Played, tmp_path: Path, record: dict[str, object]
) -> None:
    played.add_file("export/m", b"content", **record)
    with pytest.raises(errors.DataLossError, match="export/m"):
        client.download("digits", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/x", "a/../../x", "a/../x", "", ".", "./x", "a//x", "a/", "..", "x\n", "\x1b[2Jx", "a\0b", "\u202ex"],
    ids=ascii,
)
def test_a_path_out_of_the_destination_is_refused_before_anything_is_fetched(
    client: Client, played: Played, tmp_path: Path, path: str
) -> None:
    played.add_file("fine", b"x")
    played.add_file(path, b"x")
    with pytest.raises(errors.ServerFaultError, match="the server named"):
        client.download("digits", tmp_path / "dest")
    assert list(tmp_path.iterdir()) == []


def test_a_symlink_out_of_the_destination_is_not_followed(client: Client, played: Played, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest/export").symlink_to(tmp_path / "out")
    played.add_file("export/m", b"x")
    with pytest.raises(errors.ServerFaultError, match="leads out of"):
        client.download("digits", tmp_path / "dest")
    (tmp_path / "dest/export").unlink()
    (tmp_path / "dest/export").mkdir()
    (tmp_path / "dest/export/m").symlink_to(tmp_path / "out/m")
    with pytest.raises(errors.ServerFaultError, match="leads out of"):
        client.download("digits", tmp_path / "dest")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_path_named_twice_is_refused(client: Client, played: Played, tmp_path: Path) -> None:
    played.add_file("export/m", b"x")
    played.add_file("export/m", b"y")
    with pytest.raises(errors.ServerFaultError, match="twice"):
        client.download("digits", tmp_path)


def test_what_is_there_is_not_fetched_again_and_other_contents_are_not_replaced_unasked(
    client: Client, played: Played, tmp_path: Path
) -> None:
    played.add_file("same", b"same")
    played.add_file("other", b"other")
    (tmp_path / "same").write_bytes(b"same")
    (tmp_path / "other").write_bytes(b"mine!")
    with pytest.raises(FileExistsError, match="other"):
        client.download("digits", tmp_path)
    assert (tmp_path / "other").read_bytes() == b"mine!"
    client.download("digits", tmp_path, overwrite=True)
    assert (tmp_path / "other").read_bytes() == b"other"
    assert len(played.of(service_pb2.DownloadArtifactRequest)) == 1


def test_the_client_runs_with_the_base_install_alone() -> None:
    code = """
import sys
for name in ("tensorflow", "keras", "numpy", "sklearn", "sqlalchemy", "alembic", "prometheus_client", "grpc_health",
             "grpc_reflection", "grpc_status"):
    sys.modules[name] = None
import gradloom.client.cli, gradloom.client.watching, gradloom.client.transfer
from gradloom import Client
from gradloom.documents import read_job
Client("127.0.0.1:1").close()
sys.exit(any(name.startswith(("gradloom.api", "gradloom.jobs", "gradloom.trainer")) for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
