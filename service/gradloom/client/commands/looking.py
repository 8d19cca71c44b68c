"""What shows jobs as they are now."""

from typing import Final

import click

from gradloom.client import text
from gradloom.client.commands.connection import connected
from gradloom.client.commands.options import client_command, job_argument, output_option, project_option, server_option
from gradloom.client.commands.printing import print_json, print_lines, print_list

SHOWN_JOBS: Final = 100
"""What a person may still read."""


@click.command("list")
@server_option
@output_option
@project_option
@click.option(
    "--filter",
    metavar="EXPRESSION",
    default="",
    help="Such as 'state = FAILED AND labels.team = vision', 'create_time > \"2026-11-01T00:00:00Z\"' or "
    "'display_name = \"mnist*\"'. OR binds tighter than AND.",
)
@click.option(
    "--order-by",
    metavar="FIELDS",
    default="",
    help="Such as 'priority desc, create_time'. Default: newest first.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Only the first N. Default: all with -o json, else {SHOWN_JOBS}.",
)
def list_jobs(server: str | None, output: str, project: str, filter: str, order_by: str, limit: int | None) -> None:
    """List the jobs."""
    from itertools import islice

    from gradloom.client import show

    cut = limit is None and output == "text"
    with connected(server, project) as client:
        found = client.list(filter=filter, order_by=order_by)
        jobs = list(islice(found, SHOWN_JOBS if cut else limit))
        more = cut and next(found, None) is not None
    nothing = "No job matches the filter." if filter else "No jobs yet. Submit one: gradloom submit FILE"
    print_list("jobs", jobs, output, show.job_table, nothing)
    if more:
        text.remark(f"There are more than these {len(jobs)}: --limit N shows more, --filter finds some.")


@client_command
@job_argument
@click.option("--variables", is_flag=True, help="Only which group trains which variable.")
def get(server: str | None, output: str, job: str, variables: bool) -> None:
    """Show JOB: progress, groups, export, or why it failed."""
    with connected(server) as client:
        found = client.get(job)
    if output == "json":
        print_json(found)
        return
    from gradloom.client import show
    from gradloom.client.resolved import assignment_table

    print_lines(assignment_table(found.resolved_spec) if variables else show.job_lines(found))


@client_command
@job_argument
def attempts(server: str | None, output: str, job: str) -> None:
    """List the attempts of JOB and why each ended."""
    from gradloom.client import show

    with connected(server) as client:
        found = list(client.attempts(job))
    print_list("attempts", found, output, show.attempt_table, "No attempt has been started.")


@client_command
@job_argument
def checkpoints(server: str | None, output: str, job: str) -> None:
    """List the checkpoints of JOB that are kept, newest first.

    `gradloom retry JOB --from CHECKPOINT` goes on from one.
    """
    from gradloom.client import show

    with connected(server) as client:
        found = list(client.checkpoints(job))
    print_list("checkpoints", found, output, show.checkpoint_table, "No checkpoint is on record.")


@client_command
@job_argument
def explain(server: str | None, output: str, job: str) -> None:
    """Say why JOB waits or ended, and what to do about it.

    Of one that runs, when its trainer last reported.
    """
    with connected(server) as client:
        explained = client.explain(job)
    if output == "json":
        print_json(explained)
        return
    from gradloom.client.explanation import explanation_lines

    print_lines(explanation_lines(explained, server))
