"""What is shown while it happens: a job until it has ended, its log and its scalars."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

import click

from gradloom.client import text
from gradloom.client.commands.connection import connected
from gradloom.client.commands.options import client_command, job_argument
from gradloom.client.commands.printing import print_json, print_json_messages, print_lines
from gradloom.client.group import ExitCode
from gradloom.client.names import typed

if TYPE_CHECKING:
    from gradloom.client.client import Client
    from gradloom.v1 import job_pb2


@client_command
@job_argument
@click.option("--from-start", is_flag=True, help="Every event from the first on, also of a job that has ended.")
def watch(server: str | None, output: str, job: str, from_start: bool) -> None:
    """Show JOB until it has ended.

    Exits 0 if it succeeded, else 1. Ctrl-C ends the watching, not the job. A lost server is asked for again for 2
    minutes. With -o json, one message a line.
    """
    with connected(server) as client:
        if output == "text":
            follow_to_the_end(client, job, output, server, from_start)
        final = None
        with _left_running(job, server):
            for message in client.watch(job, from_start=from_start):
                print_json(message, indent=None)
                final = message.job
        _exit_by_state(final)


def follow_to_the_end(
    client: "Client", job: str, output: str, server: str | None, from_start: bool = False
) -> NoReturn:
    """Follows a job to its end, prints how it ended and exits by it; with json, prints the Job as it ended alone."""
    from gradloom.client import show, watching
    from gradloom.v1 import job_pb2

    view = watching.SilentView() if output == "json" else watching.view_for(sys.stdout)
    with _left_running(job, server):
        watching.follow(client.watch(job, from_start=from_start), view, announces=not from_start)
        final = client.get(job)
    if output == "json":
        print_json(final)
    else:
        text.say(show.outcome_line(final))
        if final.progress.scalars:
            text.say(f"scalars   {text.scalars(final.progress.scalars)}")
        print_lines(show.outcome_details(final))
        if final.state == job_pb2.Job.FAILED:
            text.remark(f"More:   gradloom explain {typed(job, server)}")
            text.remark(f"Again:  gradloom retry {typed(job, server)}")
    _exit_by_state(final)


@contextmanager
def _left_running(job: str, server: str | None) -> Iterator[None]:
    """Says, when the watching ends before the job does, that the job goes on and what can be done with it."""
    from gradloom.errors import ServerUnavailableError

    try:
        yield
    except KeyboardInterrupt:
        text.remark(f"Stopped watching; the job goes on. Cancel it: gradloom cancel {typed(job, server)}")
        raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
    except ServerUnavailableError:
        text.remark(f"The watching ended, not the job. Watch it again: gradloom watch {typed(job, server)}")
        raise


def _exit_by_state(job: "job_pb2.Job | None") -> NoReturn:
    from gradloom.v1 import job_pb2

    succeeded = job is not None and job.state == job_pb2.Job.SUCCEEDED
    raise click.exceptions.Exit(ExitCode.DONE if succeeded else ExitCode.JOB_FAILED)


_cursor_option: Final = click.option(
    "--cursor", metavar="CURSOR", help="Only what comes after the message that had this cursor."
)


@client_command
@job_argument
@click.option("-f", "--follow", is_flag=True, help="Go on as the log grows, until the job has ended.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only this attempt. Default: all, in order.")
@_cursor_option
def logs(server: str | None, output: str, job: str, follow: bool, attempt: int | None, cursor: str | None) -> None:
    """Print the log of JOB. On a terminal, control characters are shown, not obeyed.

    With -o json, one message of some lines a line; one without lines where there are none.
    """
    escaped = text.is_terminal(sys.stdout)
    with connected(server) as client:
        if output == "json":
            messages = client.log_messages(job, attempt=attempt, follow=follow, cursor=cursor)
            print_json_messages("lines", messages)
            return
        empty = True
        for line in client.logs(job, attempt=attempt, follow=follow, cursor=cursor):
            text.say(text.printable(line.text, keep="\t") if escaped else line.text)
            empty = False
        if empty and cursor is None:
            from gradloom.job import TERMINAL_STATES

            if client.get(job).state in TERMINAL_STATES:
                text.remark("The log is empty, or its files are gone; the job has ended.")
            else:
                text.remark("The log is empty" + (" so far; -f waits for it." if not follow else "."))


@client_command
@job_argument
@click.option("-f", "--follow", is_flag=True, help="Go on as the training does, until the job has ended.")
@click.option(
    "--scalar", "scalars", multiple=True, metavar="NAME", help="Only this scalar; may be given several times."
)
@_cursor_option
def metrics(
    server: str | None, output: str, job: str, follow: bool, scalars: tuple[str, ...], cursor: str | None
) -> None:
    """Print the scalars that JOB recorded, by step.

    Recorded are those of each epoch's end, and those of each spec.training.scalars_every_steps steps, which are means
    since the epoch's start. With -o json, one message of up to 1,000 points a line; one without points where there are
    none.
    """
    from gradloom.client import show

    with connected(server) as client:
        messages = client.metrics_messages(job, scalars=scalars, follow=follow, cursor=cursor)
        if output == "json":
            print_json_messages("points", messages)
            return
        empty = True
        for message in messages:
            print_lines(map(show.point_line, message.points))
            empty = False
        if empty and cursor is None:
            text.remark("Nothing was recorded." if follow else "Nothing is recorded so far.")
