"""What shows jobs as they are now."""

import click

from gradloom.client import text
from gradloom.client.commands.connection import connected
from gradloom.client.commands.options import client_command, job_argument, output_option, project_option, server_option
from gradloom.client.commands.printing import print_json, print_json_list, print_lines


@click.command("list")
@server_option
@output_option
@project_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N. Default: all.")
def list_jobs(server: str | None, output: str, project: str, limit: int | None) -> None:
    """List the jobs, newest first."""
    from itertools import islice

    with connected(server, project) as client:
        jobs = list(islice(client.list(), limit))
    if output == "json":
        print_json_list("jobs", jobs)
        return
    from gradloom.client import show

    if jobs:
        print_lines(show.job_table(jobs))
    else:
        text.remark("No jobs yet. Submit one: gradloom submit FILE")


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
    with connected(server) as client:
        found = list(client.attempts(job))
    if output == "json":
        print_json_list("attempts", found)
        return
    from gradloom.client import show

    print_lines(show.attempt_table(found))
