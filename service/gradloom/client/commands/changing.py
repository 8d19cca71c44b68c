"""What changes jobs that are there."""

from gradloom.client import text
from gradloom.client.commands.connection import connected
from gradloom.client.commands.options import client_command, job_argument
from gradloom.client.commands.printing import print_json


@client_command
@job_argument
def cancel(server: str | None, output: str, job: str) -> None:
    """End JOB.

    A queued job is CANCELLED at once, any other CANCELLING until its processes are gone.
    """
    with connected(server) as client:
        cancelled = client.cancel(job)
    if output == "json":
        print_json(cancelled)
        return
    from gradloom.client import show

    text.say(f"{show.state_name(cancelled.state)} {cancelled.name}")
