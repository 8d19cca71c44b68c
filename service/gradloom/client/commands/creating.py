"""What makes jobs, or checks what would be made."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from gradloom.client import text
from gradloom.client.commands.connection import connected
from gradloom.client.commands.following import follow_to_the_end
from gradloom.client.commands.options import output_option, project_option, server_option, user_code_option
from gradloom.client.commands.printing import print_json, print_lines, typed

if TYPE_CHECKING:
    from gradloom.client.client import Client
    from gradloom.v1 import job_pb2


@click.command()
@server_option
@output_option
@project_option
@click.argument("file", type=click.File("rb"))
@user_code_option
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
    with connected(server, project) as client:
        created = client.submit(job, user_code=user_code, job_id=job_id, validate_only=validate_only)
        if validate_only:
            _show_validated(created, output)
        else:
            _show_created(client, created, output, server, watch)


@click.command()
@server_option
@output_option
@project_option
@click.argument("file", type=click.File("rb"))
@user_code_option
def validate(server: str | None, output: str, project: str, file: BinaryIO, user_code: Path | None) -> None:
    """Check FILE and show which group trains which variable.

    Does all that `submit` does, with TensorFlow too, but creates nothing.
    """
    from gradloom.client.submission import job_from_file

    job = job_from_file(file)
    with connected(server, project) as client:
        _show_validated(client.submit(job, user_code=user_code, validate_only=True), output)


def _show_validated(job: "job_pb2.Job", output: str) -> None:
    if output == "json":
        print_json(job)
        return
    from gradloom.client.resolved import assignment_table

    print_lines(assignment_table(job.resolved_spec))
    if job.state_message:
        text.remark(f"What was checked is valid; nothing was created. {text.one_line(job.state_message)}")
    else:
        text.remark("The spec is valid; nothing was created.")


def _show_created(client: "Client", job: "job_pb2.Job", output: str, server: str | None, watch: bool) -> None:
    if watch:
        if output == "text":
            text.say(f"submitted {job.name}")
        follow_to_the_end(client, job.name, output, server)
    if output == "json":
        print_json(job)
    else:
        text.say(job.name)
    text.remark(f"Watch it:   gradloom watch {typed(job.name, server)}")
    text.remark(f"Its log:    gradloom logs -f {typed(job.name, server)}")
    text.remark(f"Cancel it:  gradloom cancel {typed(job.name, server)}")
