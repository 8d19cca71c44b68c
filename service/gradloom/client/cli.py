"""The command line.

Everything heavy is imported by the command that needs it: `--help` and `version` answer at once.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, TypeVar

import click

from gradloom.client import text
from gradloom.client.group import Commands, ExitCode
from gradloom.client.names import DEFAULT_PROJECT, DEFAULT_SERVER, SERVER_VARIABLE, shortest_reference
from gradloom.version import __version__

if TYPE_CHECKING:
    from gradloom.client.client import Client
    from gradloom.v1 import job_pb2

_Command = TypeVar("_Command", bound=Callable[..., Any])

RECONNECT_MINUTES: Final = 2
JSON_HELP: Final = "text for people, or json: proto JSON with the proto's field names."


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Gradloom trains TensorFlow models from a description of model, data and optimizers.

    Start a server with `gradloom serve`, hand it a job with `gradloom submit job.yaml --watch`.

    Exit codes: 0 done; 1 the job failed or was cancelled; 2 bad usage or a refused spec; 3 the server cannot be
    reached; 4 any other error; 130 interrupted.
    """


_server_option = click.option(
    "--server",
    metavar="HOST:PORT",
    help=f"The server; also unix:PATH. Default: {SERVER_VARIABLE}, else {DEFAULT_SERVER}.",
)
_output_option = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help=JSON_HELP
)
_project_option = click.option(
    "--project", default=DEFAULT_PROJECT, show_default=True, metavar="ID", help="The project of the jobs."
)
_job_argument = click.argument("job", metavar="JOB")


def _client_command(function: _Command) -> _Command:
    """A command that talks to a server."""
    return cli.command()(_server_option(_output_option(function)))  # type: ignore[return-value]


@contextmanager
def _connected(server: str | None, project: str = DEFAULT_PROJECT) -> Iterator["Client"]:
    from gradloom.client.client import Client
    from gradloom.errors import GradloomError

    told = False

    def on_reconnect(error: GradloomError) -> None:
        nonlocal told
        if not told:
            text.remark(f"{text.one_line(str(error))}; trying again for {RECONNECT_MINUTES} minutes")
        told = True

    with Client(
        server, project=project, reconnect_seconds=60.0 * RECONNECT_MINUTES, on_reconnect=on_reconnect
    ) as client:
        yield client


def _print_json(message: Any, *, indent: int | None = 2) -> None:
    from google.protobuf import json_format

    text.say(json_format.MessageToJson(message, preserving_proto_field_name=True, indent=indent, ensure_ascii=False))


def _print_json_list(field: str, items: Any) -> None:
    """Prints a whole list as one response without its pages; the list is there when it is empty, too."""
    import json

    from google.protobuf import json_format

    listed = [json_format.MessageToDict(item, preserving_proto_field_name=True) for item in items]
    text.say(json.dumps({field: listed}, indent=2, ensure_ascii=False))


def _print_lines(lines: Any) -> None:
    for line in lines:
        text.say(line)


_user_code_option = click.option(
    "--user-code",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python source of the job's own classes, for spec.user_code.",
)


@cli.command()
@_server_option
@_output_option
@_project_option
@click.argument("file", type=click.File("rb"))
@_user_code_option
@click.option("--job-id", metavar="ID", help="The job's id. Default: generated.")
@click.option("--watch", is_flag=True, help="Show the job until it has ended; exit 1 unless it succeeded.")
@click.option("--validate-only", is_flag=True, help="Check everything, with TensorFlow too, but create nothing.")
def submit(
    server: str | None,
    output: str,
    project: str,
    file: BinaryIO,
    user_code: Path | None,
    job_id: str | None,
    watch: bool,
    validate_only: bool,
) -> None:
    """Create a job from FILE (YAML or JSON; - is stdin).

    Prints the job's name to stdout and what can be done with it to stderr.
    """
    from gradloom.client.submission import job_from_file

    job = job_from_file(file)
    with _connected(server, project) as client:
        created = client.submit(job, user_code=user_code, job_id=job_id, validate_only=validate_only)
        if validate_only:
            _show_validated(created, output)
            return
        if not watch:
            if output == "json":
                _print_json(created)
            else:
                text.say(created.name)
            _suggest(created.name, server)
            return
        if output == "text":
            text.say(f"submitted {created.name}")
        _watch(client, created.name, output, server)


@cli.command()
@_server_option
@_output_option
@_project_option
@click.argument("file", type=click.File("rb"))
@_user_code_option
def validate(server: str | None, output: str, project: str, file: BinaryIO, user_code: Path | None) -> None:
    """Check FILE and show which group trains which variable.

    Does all that `submit` does, with TensorFlow too, but creates nothing.
    """
    from gradloom.client.submission import job_from_file

    job = job_from_file(file)
    with _connected(server, project) as client:
        _show_validated(client.submit(job, user_code=user_code, validate_only=True), output)


def _show_validated(job: "job_pb2.Job", output: str) -> None:
    if output == "json":
        _print_json(job)
        return
    from gradloom.client.resolved import assignment_table

    _print_lines(assignment_table(job.resolved_spec))
    if job.state_message:
        text.remark(f"What was checked is valid; nothing was created. {text.one_line(job.state_message)}")
    else:
        text.remark("The spec is valid; nothing was created.")


def _suggest(name: str, server: str | None) -> None:
    job = shortest_reference(name) + (f" --server {server}" if server else "")
    text.remark(f"Watch it:   gradloom watch {job}")
    text.remark(f"Its log:    gradloom logs -f {job}")
    text.remark(f"Cancel it:  gradloom cancel {job}")


@_client_command
@_job_argument
def watch(server: str | None, output: str, job: str) -> None:
    """Show JOB until it has ended.

    Exits 0 if it succeeded, else 1. Ctrl-C ends the watching, not the job. A lost server is asked for again for 2
    minutes. With -o json, one message a line.
    """
    with _connected(server) as client:
        if output == "text":
            _watch(client, job, output, server)
        final = None
        with _left_running(job, server):
            for message in client.watch(job):
                _print_json(message, indent=None)
                final = message.job
        _exit_by_state(final)


@contextmanager
def _left_running(job: str, server: str | None) -> Iterator[None]:
    """Says, when the watching ends before the job does, that the job goes on and what can be done with it."""
    from gradloom.errors import ServerUnavailableError

    reference = shortest_reference(job) + (f" --server {server}" if server else "")
    try:
        yield
    except KeyboardInterrupt:
        text.remark(f"Stopped watching; the job goes on. Cancel it: gradloom cancel {reference}")
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
    except ServerUnavailableError:
        text.remark(f"The watching ended, not the job. Watch it again: gradloom watch {reference}")
        raise


def _watch(client: "Client", job: str, output: str, server: str | None) -> NoReturn:
    """Follows a job to its end, prints how it ended and exits by it; with json, prints the Job as it ended alone."""
    from gradloom.client import show, watching

    view = watching.SilentView() if output == "json" else watching.view_for(sys.stdout)
    with _left_running(job, server):
        watching.follow(client.watch(job), view)
        final = client.get(job)
    if output == "json":
        _print_json(final)
    else:
        text.say(show.outcome_line(final))
        if final.progress.scalars:
            text.say(f"scalars   {text.scalars(final.progress.scalars)}")
        _print_lines(show.outcome_details(final))
    _exit_by_state(final)


def _exit_by_state(job: "job_pb2.Job | None") -> NoReturn:
    from gradloom.v1 import job_pb2

    succeeded = job is not None and job.state == job_pb2.Job.SUCCEEDED
    raise click.exceptions.Exit(ExitCode.DONE if succeeded else ExitCode.JOB_FAILED)


@cli.command("list")
@_server_option
@_output_option
@_project_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N. Default: all.")
def list_jobs(server: str | None, output: str, project: str, limit: int | None) -> None:
    """List the jobs, newest first."""
    from itertools import islice

    with _connected(server, project) as client:
        jobs = list(islice(client.list(), limit))
    if output == "json":
        _print_json_list("jobs", jobs)
        return
    from gradloom.client import show

    if jobs:
        _print_lines(show.job_table(jobs))
    else:
        text.remark("No jobs yet. Submit one: gradloom submit FILE")


@_client_command
@_job_argument
@click.option("--variables", is_flag=True, help="Only which group trains which variable.")
def get(server: str | None, output: str, job: str, variables: bool) -> None:
    """Show JOB: progress, groups, export, or why it failed."""
    with _connected(server) as client:
        found = client.get(job)
    if output == "json":
        _print_json(found)
        return
    from gradloom.client import show
    from gradloom.client.resolved import assignment_table

    _print_lines(assignment_table(found.resolved_spec) if variables else show.job_lines(found))


@_client_command
@_job_argument
@click.option("-f", "--follow", is_flag=True, help="Go on as the log grows, until the job has ended.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only this attempt. Default: all, in order.")
def logs(server: str | None, output: str, job: str, follow: bool, attempt: int | None) -> None:
    """Print the log of JOB. On a terminal, control characters are shown, not obeyed."""
    escaped = text.is_terminal(sys.stdout)
    with _connected(server) as client:
        if output == "json":
            for message in client.log_messages(job, attempt=attempt, follow=follow):
                _print_json(message, indent=None)
            return
        empty = True
        for line in client.logs(job, attempt=attempt, follow=follow):
            text.say(text.printable(line.text, keep="\t") if escaped else line.text)
            empty = False
        if empty:
            from gradloom.job import TERMINAL_STATES

            if client.get(job).state in TERMINAL_STATES:
                text.remark("The log is empty, or its files are gone; the job has ended.")
            else:
                text.remark("The log is empty" + (" so far; -f waits for it." if not follow else "."))


@_client_command
@_job_argument
def cancel(server: str | None, output: str, job: str) -> None:
    """End JOB.

    A queued job is CANCELLED at once, any other CANCELLING until its processes are gone.
    """
    with _connected(server) as client:
        cancelled = client.cancel(job)
    if output == "json":
        _print_json(cancelled)
        return
    from gradloom.client import show

    text.say(f"{show.state_name(cancelled.state)} {cancelled.name}")


@_client_command
@_job_argument
def attempts(server: str | None, output: str, job: str) -> None:
    """List the attempts of JOB and why each ended."""
    with _connected(server) as client:
        found = list(client.attempts(job))
    if output == "json":
        _print_json_list("attempts", found)
        return
    from gradloom.client import show

    _print_lines(show.attempt_table(found))


@_client_command
@_job_argument
def artifacts(server: str | None, output: str, job: str) -> None:
    """List the files that JOB left, with size and digest."""
    with _connected(server) as client:
        found = list(client.artifacts(job))
    if output == "json":
        _print_json_list("artifacts", found)
        return
    from gradloom.client import show

    _print_lines(show.artifact_table(found))


@_client_command
@_job_argument
@click.argument("destination", metavar="DEST", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--kind", type=click.Choice(["export", "log", "all"], case_sensitive=False), default="export", show_default=True
)
@click.option("--overwrite", is_flag=True, help="Replace files of other contents that lie in DEST.")
def download(server: str | None, output: str, job: str, destination: Path, kind: str, overwrite: bool) -> None:
    """Fetch the files of JOB below the directory DEST.

    Each is checked against its digest and is there whole or not at all; run the command again to fetch what is
    missing.
    """
    from gradloom.client.transfer import transfer_bar

    with _connected(server) as client, transfer_bar(sys.stderr) as on_bytes:
        paths = client.download(
            job, destination, kind=None if kind == "all" else kind, overwrite=overwrite, on_bytes=on_bytes
        )
    if output == "json":
        import json

        text.say(json.dumps({"files": [str(path) for path in paths]}, indent=2, ensure_ascii=False))
        return
    for path in paths:
        text.say(text.one_line(str(path)))
    if not paths:
        text.remark(f"{job} has no files of this kind; `gradloom artifacts {job}` lists what it has.")


@_client_command
@click.argument("type", metavar="[TYPE]", required=False)
@click.option("--kind", metavar="KIND", help="Only this kind: layer, loss, metric, optimizer, schedule, dataset, ...")
def components(server: str | None, output: str, type: str | None, kind: str | None) -> None:
    """List what a spec may name, or explain TYPE.

    Explained are the keys that its `config` may hold, with their defaults.
    """
    with _connected(server) as client:
        found = list(client.components(type, kind=kind))
        if type and not found:
            _refuse_unknown_type(client, type)
    if output == "json":
        _print_json_list("components", found)
        return
    from gradloom.client import show

    if not type:
        _print_lines(show.component_table(found))
    for component in found if type else ():
        _print_lines(show.component_lines(component))


def _refuse_unknown_type(client: "Client", type: str) -> None:
    import difflib

    from gradloom.errors import NotFoundError

    nearest = difflib.get_close_matches(type, [component.type for component in client.components()], n=3)
    hint = f"; near it: {', '.join(nearest)}" if nearest else ""
    raise NotFoundError(f"no component of type {type!r}{hint}")


@cli.command()
@_output_option
def version(output: str) -> None:
    """Print the version."""
    text.say(f'{{"version": "{__version__}"}}' if output == "json" else f"gradloom {__version__}")
