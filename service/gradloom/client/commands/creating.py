"""What makes jobs, or checks what would be made."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from gradloom.client import text
from gradloom.client.commands.connection import connected
from gradloom.client.commands.following import follow_to_the_end
from gradloom.client.commands.options import (
    client_command,
    job_argument,
    output_option,
    priority_option,
    project_option,
    server_option,
    user_code_option,
)
from gradloom.client.commands.printing import print_json, print_lines
from gradloom.client.names import typed

if TYPE_CHECKING:
    from gradloom.client.client import Client
    from gradloom.v1 import job_pb2

_job_id_option: Final = click.option("--job-id", metavar="ID", help="The new job's id. Default: generated.")
_watch_option: Final = click.option(
    "--watch", is_flag=True, help="Show the job until it has ended; exit 1 unless it succeeded."
)
_validate_only_option: Final = click.option(
    "--validate-only", is_flag=True, help="Check everything, with TensorFlow too, but create nothing."
)


@click.command()
@server_option
@output_option
@project_option
@click.argument("file", type=click.File("rb"))
@user_code_option
@_job_id_option
@priority_option
@_watch_option
@_validate_only_option
def submit(
    server: str | None,
    output: str,
    project: str,
    file: BinaryIO,
    user_code: Path | None,
    job_id: str | None,
    priority: int | None,
    watch: bool,
    validate_only: bool,
) -> None:
    """Create a job from FILE (YAML or JSON; - is stdin).

    Prints the job's name to stdout and what can be done with it to stderr.
    """
    from gradloom.client.submission import draft_from_file

    draft = draft_from_file(file)
    if priority is not None:
        draft.job.priority = priority
    with connected(server, project) as client:
        created = client.submit(draft, user_code=user_code, job_id=job_id, validate_only=validate_only)
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
    from gradloom.client.submission import draft_from_file

    draft = draft_from_file(file)
    with connected(server, project) as client:
        _show_validated(client.submit(draft, user_code=user_code, validate_only=True), output)


@client_command
@job_argument
@click.argument("file", metavar="[FILE]", type=click.File("rb"), required=False)
@click.option(
    "--set",
    "written",
    multiple=True,
    metavar="PATH=VALUE",
    help="A field that differs, such as spec.training.epochs=5 or "
    "'spec.variable_groups[0].optimizer.config.learning_rate=1e-4', in quotes because shells read brackets; without a "
    "VALUE it is cleared. May be given several times.",
)
@user_code_option
@click.option(
    "--from",
    "checkpoint",
    metavar="CHECKPOINT",
    help="Go on from this checkpoint: an id that `gradloom checkpoints` shows, newest or best. Default: from scratch.",
)
@_job_id_option
@_watch_option
@_validate_only_option
def retry(
    server: str | None,
    output: str,
    job: str,
    file: BinaryIO | None,
    written: tuple[str, ...],
    user_code: Path | None,
    checkpoint: str | None,
    job_id: str | None,
    watch: bool,
    validate_only: bool,
) -> None:
    """Make a new job from JOB, which has ended and stays as it is.

    FILE (YAML or JSON; - is stdin) holds the fields that differ, as a job file does: lists, mappings, components and
    data sources as a whole, null for one that is cleared. --set changes single ones, after FILE.
    """
    from gradloom.client.edits import parse_edits
    from gradloom.client.submission import document_of_file

    changes = None if file is None else document_of_file(file)
    edits = dict(parse_edits(written))
    with connected(server) as client:
        created = client.retry(
            job,
            changes,
            edits=edits,
            user_code=user_code,
            checkpoint=checkpoint,
            job_id=job_id,
            validate_only=validate_only,
        )
        if validate_only:
            _show_validated(created, output)
        else:
            _show_created(client, created, output, server, watch)


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
    if job.retry_checkpoint:
        text.remark(text.one_line(f"goes on from {job.retry_checkpoint}"))
    if watch:
        if output == "text":
            text.say(f"submitted {job.name}")
        follow_to_the_end(client, job.name, output, server)
    if output == "json":
        print_json(job)
    else:
        text.say(job.name)
    reference = typed(job.name, server)
    text.remark(f"Watch it:      gradloom watch {reference}")
    text.remark(f"Why it waits:  gradloom explain {reference}")
    text.remark(f"Its log:       gradloom logs -f {reference}")
    text.remark(f"Cancel it:     gradloom cancel {reference}")
