"""From a spec to a training that can start: devices, data, model, groups, optimizers, and the record of it all."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import keras
from google.protobuf.message import Message

from gradloom.attempt.v1 import attempt_pb2
from gradloom.catalogue import Catalogue
from gradloom.errors import FieldFault, InvalidRequestError, refusal
from gradloom.spec import assign_groups
from gradloom.spec.options import MAX_STEPS
from gradloom.spec.user_code import REGISTERED
from gradloom.trainer import (
    cpu_threads,
    datasets,
    fitness,
    initial_weights,
    installed,
    models,
    standby,
    strategy,
    user_code,
)
from gradloom.trainer.datasets import Arrays, DataUnavailable
from gradloom.trainer.epoch_ends import EpochEnds
from gradloom.trainer.loop import Training
from gradloom.trainer.requirements import require_reloadable, saved_whole
from gradloom.trainer.resolved import Resolution, resolve, resolve_data
from gradloom.trainer.strategy import Threads
from gradloom.trainer.targets import arranged
from gradloom.trainer.watchdog import Stage, unwatched
from gradloom.v1 import spec_pb2

LOSSES_AND_OPTIMIZERS: Final = "building losses, metrics and optimizers, and trying them on data"


@dataclass(frozen=True)
class Given:
    """What a job is given by the server that runs it."""

    device_kind: int
    replicas: int
    data_roots: Sequence[str] = ()
    dataset_directories: Sequence[str] = ()
    initial_weights: attempt_pb2.Checkpoint | None = None
    """Where the weights come from that the spec takes from another job."""


@dataclass(frozen=True)
class Prepared:
    """A training that can start, and what it was resolved to."""

    resolved: spec_pb2.ResolvedSpec
    model: keras.Model
    training: Training
    ends: EpochEnds
    sources: Mapping[str, Arrays]
    """By name: `train`, and `validation` and `test` where the spec has them."""


@dataclass
class Faults:
    """What is wrong with the spec and with the data, gathered so that all of it is told at once."""

    spec: list[FieldFault] = field(default_factory=list)
    data: list[FieldFault] = field(default_factory=list)

    def __enter__(self) -> "Faults":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if isinstance(error, InvalidRequestError):
            self.spec.extend(error.faults)
        elif isinstance(error, DataUnavailable):
            self.data.extend(error.faults)
        else:
            return False
        return True

    def raise_any(self) -> None:
        """Raises InvalidRequestError when the spec has a fault, DataUnavailable when only the data have one."""
        if self.spec:
            raise InvalidRequestError(list(dict.fromkeys([*self.spec, *self.data])))
        if self.data:
            raise DataUnavailable(list(dict.fromkeys(self.data)))


def prepare(
    spec: spec_pb2.JobSpec,
    given: Given,
    threads: Threads | None = None,
    jit_compiled: bool | None = None,
    rehearsal: bool = False,
    stage: Stage = unwatched,
) -> Prepared:
    """Prepares the training of a spec in this process, which must not have used TensorFlow before.

    Args:
        spec: With every default filled in.
        given: What the job is given.
        threads: Those of an earlier attempt; by default the ones that suit the devices.
        jit_compiled: What an earlier attempt found best; by default found here where the spec says AUTO.
        rehearsal: Prepare as if the replicas were there, on a CPU: what the validator does.
        stage: Watches the parts of the preparation.

    Raises:
        InvalidRequestError: Faults of the spec, those of the data among them.
        DataUnavailable: Faults of the data alone.
    """
    device_kind = spec_pb2.ResolvedSpec.CPU if rehearsal else given.device_kind
    # On a machine without GPUs TensorFlow calls that an error while it looks for them.
    with standby.noise_held_back() if device_kind == spec_pb2.ResolvedSpec.CPU else contextlib.nullcontext():
        strategy.configure(device_kind, given.replicas, threads, spec.training.deterministic)
    # It may make tensors as soon as it runs.
    with stage("running the job's own code"):
        user_code.bring_in(spec)
    # A package may have started TensorFlow with the threads of a small model.
    if threads is None and strategy.is_configurable():
        strategy.set_threads(cpu_threads.choose_threads(spec, given.device_kind, given.replicas, given.data_roots))
    threads = threads or strategy.threads_in_use()
    faults = Faults()
    # Reading releases the interpreter for most of its time: the model is built meanwhile.
    with ThreadPoolExecutor(thread_name_prefix="data") as pool:
        loading = {
            name: pool.submit(_load, getattr(spec.data, name), f"spec.data.{name}", given)
            for name in ("train", "validation", "test")
            if spec.data.HasField(name)
        }
        distribution = strategy.make_strategy(device_kind, given.replicas)
        assignment: Mapping[str, str] = {}
        model = None
        with stage("building the model"), faults:
            with distribution.scope():
                # A builder waits for the data, whose shape it needs.
                model = models.build_model(
                    spec, given.data_roots, lambda: _loaded(loading, "train", stage).features.shape[1:]
                )
            require_reloadable(spec, [models.exported_model(model)])
            paths = models.variable_paths(model)
            assignment = assign_groups([path for path, variable in paths if variable.trainable], spec.variable_groups)
        sources = _gathered(loading, faults, stage)
    weights = None
    if model is not None and given.initial_weights is not None:
        with stage("reading the initial weights"), faults:
            source = initial_weights.read_source(given.initial_weights)
            weights = initial_weights.load(model, source, spec.model.initial_weights)
    if model is None or faults.spec or faults.data:
        # The other components may be wrong too, and the user is to hear of everything.
        with stage(LOSSES_AND_OPTIMIZERS):
            _construct_the_rest(spec, faults)
        faults.raise_any()
    assert model is not None
    with stage(LOSSES_AND_OPTIMIZERS), faults:
        training = Training.build(spec, model, assignment, sources["train"], sources.get("validation"), distribution)
        _check_total_steps(spec.training.epochs, training.steps_per_epoch)
        members = [member for target in training.targets for member in (target.loss, *target.metrics)]
        require_reloadable(spec, map(saved_whole, members))
        ends = EpochEnds(spec, training.groups, training.directions())
    if "test" in sources:
        with faults:
            targets = arranged(models.build_targets(spec), models.output_names(model))
            fitness.check_fit(sources["test"], "spec.data.test", model, targets)
    faults.raise_any()
    if not rehearsal:
        with stage("measuring whether compilation pays"):
            training.settle_jit(jit_compiled)
    resolution = Resolution(given.device_kind, given.replicas, threads)
    resolved = resolve(spec, resolution, model, assignment, training, sources)
    if weights is not None:
        resolved.initial_weights.CopyFrom(weights)
    return Prepared(resolved, model, training, ends, sources)


def rehearse_without_user_code(spec: spec_pb2.JobSpec, given: Given) -> spec_pb2.ResolvedSpec:
    """What can be told of a spec whose source must not run here: its data, and each component that is not the source's.

    Raises as `prepare`. The model as a whole and its variables remain untold.
    """
    installed.packages()
    faults = Faults()
    sources = {}
    for name in ("train", "validation", "test"):
        if spec.data.HasField(name):
            with faults:
                sources[name] = _load(getattr(spec.data, name), f"spec.data.{name}", given)
    for index, layer in enumerate(spec.model.layers):
        if not _needs_user_code(layer):
            with faults:
                models.build_layer(layer, f"spec.model.layers[{index}]", tuple(given.data_roots))
    for kind, component, field_of_spec in _losses_and_metrics(spec):
        if not _needs_user_code(component):
            with faults:
                models.build_component(kind, component, field_of_spec)
    for index, group in enumerate(spec.variable_groups):
        if not group.frozen and not _needs_user_code(group):
            with faults:
                models.build_optimizer(group, f"spec.variable_groups[{index}]")
    faults.raise_any()
    return resolve_data(spec, given.device_kind, given.replicas, sources)


def _needs_user_code(message: Message) -> bool:
    known = {entry.type for entry in Catalogue.load().entries()}
    return any(name not in known for name in REGISTERED.findall(str(message)))


def _losses_and_metrics(spec: spec_pb2.JobSpec) -> Iterator[tuple[str, spec_pb2.Component, str]]:
    """Kind, component and field of each."""
    owners: list[tuple[str, Any]] = [
        ("spec", spec),
        *((f"spec.outputs.{name}", output) for name, output in sorted(spec.outputs.items())),
    ]
    for path, owner in owners:
        if owner.HasField("loss"):
            yield "loss", owner.loss, f"{path}.loss"
        for index, metric in enumerate(owner.metrics):
            yield "metric", metric, f"{path}.metrics[{index}]"


def _check_total_steps(epochs: int, steps_per_epoch: int) -> None:
    total = epochs * steps_per_epoch
    if total > MAX_STEPS:
        rule = "must make at most 2^31 - 1 steps in all"
        told = f"{rule}; {epochs} epochs of {steps_per_epoch} steps are {total}"
        raise refusal("spec.training.epochs", told)


def _load(source: spec_pb2.DataSource, path: str, given: Given) -> Arrays:
    arrays = datasets.load(source, path, given.data_roots, given.dataset_directories)
    # Kept by the arrays; worked out here, beside the building of the model.
    _ = arrays.sha256
    return arrays


def _gathered(loading: Mapping[str, Future[Arrays]], faults: Faults, stage: Stage) -> dict[str, Arrays]:
    sources = {}
    for name in loading:
        with faults:
            sources[name] = _loaded(loading, name, stage)
    return sources


def _loaded(loading: Mapping[str, Future[Arrays]], name: str, stage: Stage) -> Arrays:
    with stage(f"reading spec.data.{name}"):
        return loading[name].result()


def _construct_the_rest(spec: spec_pb2.JobSpec, faults: Faults) -> None:
    """Adds the faults of losses, metrics and optimizers, which need neither model nor data to be found."""
    with faults:
        models.build_targets(spec)
    for index, group in enumerate(spec.variable_groups):
        if not group.frozen:
            with faults:
                models.build_optimizer(group, f"spec.variable_groups[{index}]")
