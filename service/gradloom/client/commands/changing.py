"""What changes jobs that are there."""

import sys
from typing import TYPE_CHECKING, Final

import click

from gradloom.client import text
from gradloom.client.commands.connection import connected
from gradloom.client.commands.options import client_command, job_argument, priority_option
from gradloom.client.commands.printing import print_json
from gradloom.client.names import typed

if TYPE_CHECKING:
    from gradloom.client.client import Client
    from gradloom.v1 import job_pb2

_etag_option: Final = click.option(
    "--etag", metavar="ETAG", help="Only if this is still the job's: else somebody has changed it, and nothing is done."
)


@client_command
@job_argument
@click.option("--display-name", metavar="TEXT", help="A name for people.")
@priority_option
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Sets a label; may be given several times.")
@click.option("--remove-label", "removed", multiple=True, metavar="KEY", help="Removes a label.")
@_etag_option
def update(
    server: str | None,
    output: str,
    job: str,
    display_name: str | None,
    priority: int | None,
    labels: tuple[str, ...],
    removed: tuple[str, ...],
    etag: str | None,
) -> None:
    """Change name, labels or priority of JOB, in any state.

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
        updated = client.update(job, display_name=display_name, labels=changes, priority=priority, etag=etag)
    if output == "json":
        print_json(updated)
        return
    from gradloom.client import show

    labelled = show.labels(updated) or "none"
    text.say(updated.name)
    text.remark(text.one_line(f"name: {updated.display_name}; priority: {updated.priority}; labels: {labelled}"))


@client_command
@job_argument
def cancel(server: str | None, output: str, job: str) -> None:
    """End JOB.

    A queued job is CANCELLED at once, any other CANCELLING until its processes are gone.
    """
    with connected(server) as client:
        cancelled = client.cancel(job)
    _show_state(cancelled, output)


@client_command
@job_argument
@_etag_option
def pause(server: str | None, output: str, job: str, etag: str | None) -> None:
    """Have JOB save a checkpoint and give its devices back.

    A queued job is PAUSED at once, any other PAUSING until its checkpoint is saved and its processes are gone.
    """
    with connected(server) as client:
        paused = client.pause(job, etag=etag)
    _show_state(paused, output)
    text.remark(f"Resume it: gradloom resume {typed(paused.name, server)}")


@client_command
@job_argument
@_etag_option
def resume(server: str | None, output: str, job: str, etag: str | None) -> None:
    """Put the paused JOB back into the queue.

    It goes on where it stopped, with the same result as if it had not been paused.
    """
    with connected(server) as client:
        resumed = client.resume(job, etag=etag)
    _show_state(resumed, output)


@client_command
@job_argument
@click.option("--force", is_flag=True, help="Also a job that has not ended: it is cancelled and its processes killed.")
@click.option("--allow-missing", is_flag=True, help="No error when there is no such job.")
@_etag_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Asked is only a person at a terminal.")
def delete(
    server: str | None, output: str, job: str, force: bool, allow_missing: bool, etag: str | None, yes: bool
) -> None:
    """Delete JOB, which has ended, with all that it left.

    The job is gone from every list at once; its checkpoints, exports and logs follow.
    """
    with connected(server) as client:
        if not yes and text.is_terminal(sys.stdin) and text.is_terminal(sys.stderr):
            _ask(client, job)
        client.delete(job, force=force, allow_missing=allow_missing, etag=etag)
    if output == "json":
        text.say("{}")
    else:
        text.say(f"deleted {job}")


def _ask(client: "Client", job: str) -> None:
    """Asks whether the job that is meant is meant; what is not there is for the server to refuse."""
    from gradloom.client import show
    from gradloom.errors import NotFoundError

    try:
        found = client.get(job)
    except NotFoundError:
        return
    told = f"{found.name} ({show.state_name(found.state)}, {text.age(show.moment(found.create_time))} old"
    told += f", {found.display_name})" if found.display_name else ")"
    click.confirm(
        f"Delete {text.one_line(told)} with its checkpoints, exports and logs, for good?", abort=True, err=True
    )


def _show_state(job: "job_pb2.Job", output: str) -> None:
    if output == "json":
        print_json(job)
        return
    from gradloom.client import show

    text.say(f"{show.state_name(job.state)} {job.name}")
