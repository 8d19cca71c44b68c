"""What to do about each reason: a sentence or two, with the commands to run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gradloom.job import DEFAULT_PROJECT, JobName
from gradloom.v1 import job_pb2

Job = job_pb2.Job

# {job} is what the command line takes for the job, {attempt} the number of the attempt that ended so, {edit} what to
# set where training diverged; the others depend on how the job stands, see Standing.
HINTS: Final[Mapping[int, str]] = {
    Job.COMPLETED: "`gradloom download {job} DEST` fetches the export.",
    Job.SPEC_REFUSED: (
        "`gradloom retry {job} --set PATH=VALUE` makes a new job in which the fields that are named differ; with "
        "`--validate-only` it only asks TensorFlow whether it takes them."
    ),
    Job.DATA_UNAVAILABLE: (
        "See that the file is there on the server's machine, that the server's user may read it, that it lies below "
        "one of its --data-roots, and that its arrays are what the message asks for; then `gradloom retry {job}`."
    ),
    Job.TRAINER_RAISED: (
        "`gradloom logs {job} --attempt {attempt}` ends with the traceback. Where it leads to the model or the data, "
        "`gradloom retry {job} FILE` makes a new job with the fields of FILE; where it ends in gradloom itself, report "
        "it with this log."
    ),
    Job.OUT_OF_HOST_MEMORY: (
        "`gradloom attempts {job}` tells how much memory each attempt took. Give the server's machine or container "
        "more, run fewer jobs at once (--cpu-slots), or take less at a time: `gradloom retry {job} --set "
        "spec.training.gradient_accumulation_steps=4`, which keeps the results."
    ),
    Job.OUT_OF_DEVICE_MEMORY: (
        "`gradloom retry {job} --set spec.training.gradient_accumulation_steps=4` takes less at a time and keeps the "
        "results; spec.training.precision=MIXED_BFLOAT16 or a smaller spec.training.global_batch_size takes less, too. "
        "`nvidia-smi` on the server's machine tells whether another program holds the GPU's memory."
    ),
    Job.KILLED_BY_SIGNAL: (
        "SIGKILL comes from a person, or from a limit of the machine or the container: `journalctl -k` on the "
        "server's machine tells. SIGSEGV, SIGABRT and SIGFPE are crashes of native code: `gradloom logs {job} "
        "--attempt {attempt}` ends with the stack of each thread."
    ),
    Job.TRAINER_EXITED: (
        "Something ended the process without an exception, such as os._exit in your own code or in a native library: "
        "`gradloom logs {job} --attempt {attempt}` ends with what it printed last."
    ),
    Job.TRAINER_LOST: (
        "{next} `journalctl -k` on the server's machine tells whether that was restarted or ran out of memory; where "
        "each attempt ends at the same place, look in your own code for what kills processes that it has not started."
    ),
    Job.EXPORT_DISAGREED: (
        "A layer computes something else once it is exported: look for Python state or random numbers in `call`, "
        "and for weights so large that rounding shows. `gradloom logs {job} --attempt {attempt}` tells by how much "
        "the outputs differ."
    ),
    Job.DISK_FULL: (
        "`df -h` on the server's machine tells which disk: that of --data-dir or of --artifact-root. `gradloom delete "
        "JOB` removes what an ended job left; spec.training.checkpoint.keep and spec.retention leave less. {next}"
    ),
    Job.ENVIRONMENT_CHANGED: (
        "The message names what differs from what the first attempt found. Put that back, or `gradloom retry {job}`: "
        "the new job takes everything as it is now."
    ),
    Job.SERVER_STOPPED: (
        "{next} A server that is stopped before a job has saved anything takes back what it trained: its "
        "--drain-timeout must be longer than a save takes."
    ),
    Job.LAUNCH_FAILED: (
        "The job has no part in it: the server could not start a process. See the server's own log, and that its user "
        "may write below --artifact-root and start processes. {next}"
    ),
    Job.CANCELLED_BY_USER: "`gradloom retry {job}{from_newest}` makes a new job of it{new}.",
    Job.LOSS_NOT_FINITE: (
        "Lower the learning rate, of the group where the message names one, or clip its gradient: `gradloom retry "
        "{job} --set '{edit}'{from_newest}` makes a new job{new}. In MIXED_FLOAT16 try MIXED_BFLOAT16; in a loss of "
        "your own look for a logarithm or a division."
    ),
    Job.STEP_HUNG: (
        "Where steps are merely slow: `gradloom retry {job}{from_newest} --set "
        "spec.training.step_timeout_seconds=3600`. Where one hangs, the message names the line, and `gradloom logs "
        "{job} --attempt {attempt}` has the stacks: look for a wait for a lock, a file or the network."
    ),
    Job.STAGE_HUNG: (
        "Where the message names a line of your own code, look there for an endless loop, or a wait for a lock, a file "
        "or the network: `gradloom retry {job}{from_newest} --user-code FILE` makes a new job with the mended source. "
        "Where the stage is merely slow: `gradloom retry {job}{from_newest} --set "
        "spec.training.stage_timeout_seconds=7200`. `gradloom logs {job} --attempt {attempt}` has the stacks."
    ),
    Job.USER_CODE_RAISED: (
        "Mend the line that the message names: `gradloom retry {job} --user-code FILE` makes a new job with the mended "
        "source. Where it is in a package, install the mended one and `gradloom retry {job}`."
    ),
    Job.DEADLINE_EXCEEDED: (
        "`gradloom retry {job} --set spec.scheduling.max_run_duration=7200s{from_newest}` makes a new job with a "
        "longer limit{new}."
    ),
    Job.QUEUE_DEADLINE_EXCEEDED: (
        "`gradloom list --filter 'state = RUNNING'` shows which jobs hold the devices. `gradloom retry {job} --set "
        "spec.scheduling.max_queue_duration=7200s` waits longer, `--set priority=10` is given devices before others."
    ),
    Job.PREEMPTED: (
        "Nothing needs to be done: once devices are free it {goes_on}. `gradloom update {job} --priority N` gives it a "
        "higher place."
    ),
    Job.PAUSED_BY_USER: "`gradloom resume {job}` puts it back into the queue.",
    Job.TRAINER_SILENT: (
        "`gradloom logs {job} --attempt {attempt}` tells what it did last. Native code that holds Python's lock, a "
        "stopped process and a machine that swaps are silent alike; where that is expected, raise the server's "
        "--report-timeout."
    ),
}


FREE_A_DISK: Final = (
    "`df -h` on the server's machine tells how full it is; `gradloom delete JOB` removes what an ended job left. "
    "This job goes on by itself once there is room."
)
"""For a job that a full disk holds up."""


@dataclass(frozen=True)
class Standing:
    """How the job stands that a hint is for."""

    has_checkpoint: bool
    """One is on record now."""
    has_failed: bool
    """No attempt follows by itself."""


_WITH_CHECKPOINT: Final = {
    "from_newest": " --from newest",
    "goes_on": "goes on from its newest checkpoint",
    "new": ", which goes on from the newest checkpoint",
}
_WITHOUT: Final = {"from_newest": "", "goes_on": "begins again where it began", "new": ", which begins from scratch"}
_RATE: Final = re.compile(r"(spec\.variable_groups\[[0-9]+\])(\.optimizer\.config)?\.learning_rate")


def hint(reason: int, name: JobName, attempt: int, error: job_pb2.JobError, standing: Standing) -> str:
    """What to do about an attempt of a job that ended for this reason, with this error."""
    faults = error.field_faults
    edit = _edit(faults[0].field if faults else "")
    return hint_in_words(reason, reference(name), str(attempt), edit, standing)


def hint_in_words(reason: int, job: str, attempt: str, edit: str, standing: Standing) -> str:
    """The same with words for what it is about."""
    phrases = _WITH_CHECKPOINT if standing.has_checkpoint else _WITHOUT
    following = (
        f"`gradloom retry {job}{phrases['from_newest']}` makes a new job{phrases['new']}."
        if standing.has_failed
        else f"Nothing in the job needs to change: its next attempt {phrases['goes_on']}."
    )
    return HINTS[reason].format(job=job, attempt=attempt, edit=edit, next=following, **phrases)


def _edit(rate: str) -> str:
    """What to set where training diverged, by the path of a group's learning rate; of no group it is that of all."""
    match = _RATE.fullmatch(rate)
    if match is None:
        return "spec.training.clip_norm=1"
    # A number has no place where a schedule is.
    return f"{rate}=1e-4" if match[2] else f"{match[1]}.clip_norm=1"


def reference(name: JobName) -> str:
    """The job as the command line takes it: its id, or the whole name in another project."""
    return name.job_id if name.project == DEFAULT_PROJECT else str(name)
