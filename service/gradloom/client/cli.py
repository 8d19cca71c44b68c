"""The command line: puts the commands together.

Everything heavy is imported by the command that needs it: `--help` and `version` answer at once.
"""

import click

from gradloom.client import text
from gradloom.client.commands.changing import cancel, delete, pause, resume, update
from gradloom.client.commands.components import components
from gradloom.client.commands.creating import retry, submit, validate
from gradloom.client.commands.files import artifacts, download
from gradloom.client.commands.following import logs, metrics, watch
from gradloom.client.commands.looking import attempts, checkpoints, explain, get, list_jobs
from gradloom.client.commands.options import output_option
from gradloom.client.group import Commands
from gradloom.version import __version__


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Gradloom trains TensorFlow models from a description of model, data and optimizers.

    Start a server with `gradloom serve`, hand it a job with `gradloom submit job.yaml --watch`.

    Exit codes: 0 done; 1 the job failed or was cancelled; 2 bad usage or a refused spec; 3 the server cannot be
    reached; 4 any other error; 130 interrupted. Of several jobs, that of the first that failed.
    """


@click.command()
@output_option
def version(output: str) -> None:
    """Print the version."""
    text.say(f'{{"version": "{__version__}"}}' if output == "json" else f"gradloom {__version__}")


# In the order in which a user meets them.
for command in (
    submit,
    validate,
    watch,
    list_jobs,
    get,
    explain,
    logs,
    metrics,
    pause,
    resume,
    cancel,
    retry,
    update,
    delete,
    attempts,
    checkpoints,
    artifacts,
    download,
    components,
    version,
):
    cli.add_command(command)
