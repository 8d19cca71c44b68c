"""What changes jobs that are there: one or several, each by itself."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import click

from gradloom.client import text
from gradloom.client.commands.connection import connected
from gradloom.client.commands.options import client_command, jobs_argument, priority_option
from gradloom.client.commands.printing import print_json
from gradloom.client.group import ExitCode, exit_code, told
from gradloom.client.names import typed

if TYPE_CHECKING:
    from gradloom.client.client import Client
    from gradloom.v1 import job_pb2

_etag_option: Final = click.option(
    "--etag", metavar="ETAG", help="Only if this is still the job's: else somebody has changed it, and nothing is done."
)


def _to_each(jobs: Sequence[str], etag: str | None, act: Callable[[str], None]) -> None:
    """Does something to each of the jobs in order; one that fails is told, and the next one's turn comes.

    The exit code is that of the first failure. Without a server there is no next one.
    """
    from gradloom.errors import GradloomError, ServerUnavailableError

    each = list(dict.fromkeys(jobs))
    if etag is not None and len(each) > 1:
        raise click.UsageError(f"--etag is of one job; got {len(each)} jobs")
    code = ExitCode.DONE
    for job in each:
        try:
            act(job)
        except ServerUnavailableError:
            raise
        except GradloomError as error:
            text.remark(told(error))
            code = code or exit_code(error)
    if code:
        raise click.exceptions.Exit(code)


@client_command
@jobs_argument
@click.option("--display-name", metavar="TEXT", help="A name for people.")
@priority_option
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Sets a label; may be given several times.")
@click.option("--remove-label", "removed", multiple=True, metavar="KEY", help="Removes a label.")
@_etag_option
def update(
    server: str | None,
    output: str,
    jobs: tuple[str, ...],
    display_name: str | None,
    priority: int | None,
    labels: tuple[str, ...],
    removed: tuple[str, ...],
    etag: str | None,
) -> None:
    """Change name, labels or priority of each JOB, in any state.

    What trains is never changed: `gradloom retry` makes a new job with another spec.
    """
    changes: dict[str, str | None] = dict.fromkeys(removed)
    for label in labels:
        key, equals, value = label.partition("=")
        if not equals:
            raise click.BadParameter(f"must be KEY=VALUE; got {label!r}", param_hint="--label")
        changes[key] = value
    if display_name is None and priority is None and not changes:
        raise click.UsageError("nothing to change: give --display-name, --priority, --label or --remove-label")
    with connected(server) as client:

        def act(job: str) -> None:
            updated = client.update(job, display_name=display_name, labels=changes, priority=priority, etag=etag)
            _show_details(updated, output)

        _to_each(jobs, etag, act)


@client_command
@jobs_argument
def cancel(server: str | None, output: str, jobs: tuple[str, ...]) -> None:
    """End each JOB.

    A queued job is CANCELLED at once, any other CANCELLING until its processes are gone.
    """
    with connected(server) as client:
        _to_each(jobs, None, lambda job: _show_state(client.cancel(job), output))


@client_command
@jobs_argument
@_etag_option
def pause(server: str | None, output: str, jobs: tuple[str, ...], etag: str | None) -> None:
    """Have each JOB save a checkpoint and give its devices back.

    A queued job is PAUSED at once, any other PAUSING until its checkpoint is saved and its processes are gone.
    """
    with connected(server) as client:

        def act(job: str) -> None:
            paused = client.pause(job, etag=etag)
            _show_state(paused, output)
            text.remark(f"Resume it: gradloom resume {typed(paused.name, server)}")

        _to_each(jobs, etag, act)


@client_command
@jobs_argument
@_etag_option
def resume(server: str | None, output: str, jobs: tuple[str, ...], etag: str | None) -> None:
    """Put each paused JOB back into the queue.

    It goes on where it stopped, with the same result as if it had not been paused.
    """
    with connected(server) as client:
        _to_each(jobs, etag, lambda job: _show_state(client.resume(job, etag=etag), output))


@client_command
@jobs_argument
@click.option("--force", is_flag=True, help="Also a job that has not ended: it is cancelled and its processes killed.")
@click.option("--allow-missing", is_flag=True, help="No error when there is no such job.")
@_etag_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Asked is only a person at a terminal.")
def delete(
    server: str | None,
    output: str,
    jobs: tuple[str, ...],
    force: bool,
    allow_missing: bool,
    etag: str | None,
    yes: bool,
) -> None:
    """Delete each JOB, which has ended, with all that it left.

    The job is gone from every list at once; its checkpoints, exports and logs follow.
    """
    with connected(server) as client:

        def act(job: str) -> None:
            client.delete(job, force=force, allow_missing=allow_missing, etag=etag)
            text.say("{}" if output == "json" else f"deleted {job}")

        if not yes and text.is_terminal(sys.stdin) and text.is_terminal(sys.stderr):
            _ask(client, jobs)
        _to_each(jobs, etag, act)


def _ask(client: "Client", jobs: Sequence[str]) -> None:
    """Asks once whether the jobs that are meant are meant; what is not there is for the server to refuse."""
    from gradloom.client import show
    from gradloom.errors import NotFoundError

    meant = []
    for job in dict.fromkeys(jobs):
        try:
            found = client.get(job)
        except NotFoundError:
            continue
        described = f"{show.state_name(found.state)}, {text.age(show.moment(found.create_time))} old"
        meant.append(text.one_line(f"{found.name} ({described}{found.display_name and f', {found.display_name}'})"))
    if not meant:
        return
    which = meant[0]
    if len(meant) > 1:
        text.remark("\n".join(meant))
        which = f"these {len(meant)} jobs"
    click.confirm(
        f"Delete {which} with {'its' if len(meant) == 1 else 'their'} checkpoints, exports and logs, for good?",
        abort=True,
        err=True,
    )


def _show_details(job: "job_pb2.Job", output: str) -> None:
    if output == "json":
        print_json(job)
        return
    from gradloom.client import show

    labelled = show.labels(job) or "none"
    text.say(job.name)
    text.remark(text.one_line(f"name: {job.display_name}; priority: {job.priority}; labels: {labelled}"))


def _show_state(job: "job_pb2.Job", output: str) -> None:
    if output == "json":
        print_json(job)
        return
    from gradloom.client import show

    text.say(f"{show.state_name(job.state)} {job.name}")
