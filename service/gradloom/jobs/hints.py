"""What to do about each reason: a sentence or two, with the commands to run."""

from collections.abc import Mapping
from typing import Final

from gradloom.job import DEFAULT_PROJECT, JobName
from gradloom.v1 import job_pb2

Job = job_pb2.Job

# {job} is what the command line takes for the job, {attempt} the number of the attempt that ended so.
HINTS: Final[Mapping[int, str]] = {
    Job.COMPLETED: "`gradloom download {job} DEST` fetches the export.",
    Job.SPEC_REFUSED: (
        "Change the fields that are named; `gradloom validate FILE` then tells, without a device, whether TensorFlow "
        "takes them, and `gradloom submit FILE` makes a new job."
    ),
    Job.DATA_UNAVAILABLE: (
        "See that the file is there on the server's machine, that the server's user may read it, that it lies below "
        "one of its --data-roots, and that its arrays are what the message asks for; then `gradloom retry {job}`."
    ),
    Job.TRAINER_RAISED: (
        "`gradloom logs {job} --attempt {attempt}` ends with the traceback. Where it leads to your model or data, "
        "change them and submit again; where it ends in gradloom itself, report it with this log."
    ),
    Job.OUT_OF_HOST_MEMORY: (
        "`gradloom attempts {job}` tells how much memory each attempt took. Give the server's machine or container "
        "more, run fewer jobs at once (--cpu-slots), or train on less data at a time: a smaller "
        "training.global_batch_size, or training.gradient_accumulation_steps, which keeps the results."
    ),
    Job.OUT_OF_DEVICE_MEMORY: (
        "Set training.gradient_accumulation_steps, which changes no result, or a smaller training.global_batch_size, "
        "or training.precision: MIXED_BFLOAT16. `nvidia-smi` on the server's machine tells whether another program "
        "holds the GPU's memory."
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
        "Nothing in the job needs to change: it goes on from its newest checkpoint. `uptime` and `journalctl -k` on "
        "the server's machine tell whether it was restarted or ran out of memory."
    ),
    Job.EXPORT_DISAGREED: (
        "A layer computes something else once it is exported: look for Python state or random numbers in `call`, "
        "and for weights so large that rounding shows. `gradloom logs {job} --attempt {attempt}` tells by how much "
        "the outputs differ."
    ),
    Job.DISK_FULL: (
        "`df -h` on the server's machine tells which disk: that of --data-dir or of --artifact-root. `gradloom delete "
        "JOB` removes what an ended job left; training.checkpoint.keep and spec.retention leave less. Then "
        "`gradloom retry {job}`."
    ),
    Job.ENVIRONMENT_CHANGED: (
        "The message names what differs from what the first attempt found. Put that back, or `gradloom retry {job}`: "
        "the new job takes everything as it is now."
    ),
    Job.SERVER_STOPPED: ("Nothing needs to be done: under the next server the job goes on from its newest checkpoint."),
    Job.LAUNCH_FAILED: (
        "The job has no part in it: the server could not start a process. See its own log, and that its user may "
        "write below --artifact-root and start processes; then `gradloom retry {job}`."
    ),
    Job.CANCELLED_BY_USER: "`gradloom retry {job}` makes a new job of it.",
    Job.LOSS_NOT_FINITE: (
        "Lower the learning rate of the group that the message names, or set its clip_norm; in MIXED_FLOAT16 try "
        "MIXED_BFLOAT16, and look for a logarithm or a division in losses of your own. `gradloom checkpoints {job}` "
        "lists the states before."
    ),
    Job.STEP_HUNG: (
        "Where the steps are merely slow, raise training.step_timeout_seconds. Where one hangs, `gradloom logs {job} "
        "--attempt {attempt}` ends with the line: look for a wait for a lock, a file or the network."
    ),
    Job.USER_CODE_RAISED: (
        "Mend the line that the message names, in spec.user_code or in the package; `gradloom logs {job} --attempt "
        "{attempt}` has the traceback. Then submit the job again."
    ),
    Job.DEADLINE_EXCEEDED: (
        "Raise spec.scheduling.max_run_duration. `gradloom checkpoints {job}` lists where a retry can go on."
    ),
    Job.QUEUE_DEADLINE_EXCEEDED: (
        "`gradloom list` shows which jobs hold the devices. Raise the job's priority or "
        "spec.scheduling.max_queue_duration, or ask for fewer devices; then `gradloom retry {job}`."
    ),
    Job.PREEMPTED: (
        "Nothing needs to be done: it goes on from its newest checkpoint once devices are free. `gradloom update {job} "
        "--priority N` gives it a higher place; spec.scheduling.preemptible: false lets nobody take its devices."
    ),
    Job.PAUSED_BY_USER: "`gradloom resume {job}` puts it back into the queue; it goes on where it stopped.",
    Job.TRAINER_SILENT: (
        "`gradloom logs {job} --attempt {attempt}` tells what it did last. Native code that holds Python's lock, a "
        "stopped process and a machine that swaps are silent alike."
    ),
}


def hint(reason: int, name: JobName, attempt: int) -> str:
    """What to do about an attempt of a job that ended for this reason."""
    return HINTS[reason].format(job=reference(name), attempt=attempt)


def reference(name: JobName) -> str:
    """The job as the command line takes it: its id, or the whole name in another project."""
    return name.job_id if name.project == DEFAULT_PROJECT else str(name)
