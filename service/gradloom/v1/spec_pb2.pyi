from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobSpec(_message.Message):
    __slots__ = ("model", "data", "loss", "metrics", "outputs", "variable_groups", "training", "export", "resources", "retry", "user_code", "scheduling", "retention")
    class OutputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: OutputSpec
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[OutputSpec, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    VARIABLE_GROUPS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    USER_CODE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULING_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    model: ModelSpec
    data: DataSpec
    loss: Component
    metrics: _containers.RepeatedCompositeFieldContainer[Component]
    outputs: _containers.MessageMap[str, OutputSpec]
    variable_groups: _containers.RepeatedCompositeFieldContainer[VariableGroup]
    training: TrainingSpec
    export: ExportSpec
    resources: ResourceSpec
    retry: RetrySpec
    user_code: UserCode
    scheduling: SchedulingSpec
    retention: RetentionSpec
    def __init__(self, model: _Optional[_Union[ModelSpec, _Mapping]] = ..., data: _Optional[_Union[DataSpec, _Mapping]] = ..., loss: _Optional[_Union[Component, _Mapping]] = ..., metrics: _Optional[_Iterable[_Union[Component, _Mapping]]] = ..., outputs: _Optional[_Mapping[str, OutputSpec]] = ..., variable_groups: _Optional[_Iterable[_Union[VariableGroup, _Mapping]]] = ..., training: _Optional[_Union[TrainingSpec, _Mapping]] = ..., export: _Optional[_Union[ExportSpec, _Mapping]] = ..., resources: _Optional[_Union[ResourceSpec, _Mapping]] = ..., retry: _Optional[_Union[RetrySpec, _Mapping]] = ..., user_code: _Optional[_Union[UserCode, _Mapping]] = ..., scheduling: _Optional[_Union[SchedulingSpec, _Mapping]] = ..., retention: _Optional[_Union[RetentionSpec, _Mapping]] = ...) -> None: ...

class OutputSpec(_message.Message):
    __slots__ = ("loss", "weight", "metrics")
    LOSS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    loss: Component
    weight: float
    metrics: _containers.RepeatedCompositeFieldContainer[Component]
    def __init__(self, loss: _Optional[_Union[Component, _Mapping]] = ..., weight: _Optional[float] = ..., metrics: _Optional[_Iterable[_Union[Component, _Mapping]]] = ...) -> None: ...

class UserCode(_message.Message):
    __slots__ = ("source",)
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    source: str
    def __init__(self, source: _Optional[str] = ...) -> None: ...

class ModelSpec(_message.Message):
    __slots__ = ("name", "layers", "outputs", "keras_config", "builder", "initial_weights")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    KERAS_CONFIG_FIELD_NUMBER: _ClassVar[int]
    BUILDER_FIELD_NUMBER: _ClassVar[int]
    INITIAL_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    layers: _containers.RepeatedCompositeFieldContainer[LayerSpec]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    keras_config: str
    builder: Component
    initial_weights: InitialWeights
    def __init__(self, name: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[LayerSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., keras_config: _Optional[str] = ..., builder: _Optional[_Union[Component, _Mapping]] = ..., initial_weights: _Optional[_Union[InitialWeights, _Mapping]] = ...) -> None: ...

class InitialWeights(_message.Message):
    __slots__ = ("job", "match")
    JOB_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    job: str
    match: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job: _Optional[str] = ..., match: _Optional[_Iterable[str]] = ...) -> None: ...

class LayerSpec(_message.Message):
    __slots__ = ("type", "name", "config", "inputs")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    type: str
    name: str
    config: _struct_pb2.Struct
    inputs: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, type: _Optional[str] = ..., name: _Optional[str] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., inputs: _Optional[_Iterable[str]] = ...) -> None: ...

class Component(_message.Message):
    __slots__ = ("type", "name", "config")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    type: str
    name: str
    config: _struct_pb2.Struct
    def __init__(self, type: _Optional[str] = ..., name: _Optional[str] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class DataSpec(_message.Message):
    __slots__ = ("train", "validation", "test")
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FIELD_NUMBER: _ClassVar[int]
    TEST_FIELD_NUMBER: _ClassVar[int]
    train: DataSource
    validation: DataSource
    test: DataSource
    def __init__(self, train: _Optional[_Union[DataSource, _Mapping]] = ..., validation: _Optional[_Union[DataSource, _Mapping]] = ..., test: _Optional[_Union[DataSource, _Mapping]] = ...) -> None: ...

class DataSource(_message.Message):
    __slots__ = ("builtin", "npz", "range")
    BUILTIN_FIELD_NUMBER: _ClassVar[int]
    NPZ_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    builtin: BuiltinData
    npz: NpzData
    range: ExampleRange
    def __init__(self, builtin: _Optional[_Union[BuiltinData, _Mapping]] = ..., npz: _Optional[_Union[NpzData, _Mapping]] = ..., range: _Optional[_Union[ExampleRange, _Mapping]] = ...) -> None: ...

class BuiltinData(_message.Message):
    __slots__ = ("name", "split")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    split: str
    def __init__(self, name: _Optional[str] = ..., split: _Optional[str] = ...) -> None: ...

class NpzData(_message.Message):
    __slots__ = ("path", "features", "label", "sample_weight", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PATH_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    path: str
    features: str
    label: str
    sample_weight: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, path: _Optional[str] = ..., features: _Optional[str] = ..., label: _Optional[str] = ..., sample_weight: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ExampleRange(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: int
    def __init__(self, to: _Optional[int] = ..., **kwargs) -> None: ...

class VariableGroup(_message.Message):
    __slots__ = ("name", "match", "optimizer", "learning_rate", "frozen", "clip_norm", "clip_value", "update_every_steps", "ema_momentum", "unfreeze_at_epoch", "reduce_on_plateau", "gradient_transformations")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    CLIP_VALUE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    EMA_MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    UNFREEZE_AT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    REDUCE_ON_PLATEAU_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_TRANSFORMATIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    match: _containers.RepeatedScalarFieldContainer[str]
    optimizer: Component
    learning_rate: Component
    frozen: bool
    clip_norm: float
    clip_value: float
    update_every_steps: int
    ema_momentum: float
    unfreeze_at_epoch: int
    reduce_on_plateau: ReduceOnPlateau
    gradient_transformations: _containers.RepeatedCompositeFieldContainer[Component]
    def __init__(self, name: _Optional[str] = ..., match: _Optional[_Iterable[str]] = ..., optimizer: _Optional[_Union[Component, _Mapping]] = ..., learning_rate: _Optional[_Union[Component, _Mapping]] = ..., frozen: bool = ..., clip_norm: _Optional[float] = ..., clip_value: _Optional[float] = ..., update_every_steps: _Optional[int] = ..., ema_momentum: _Optional[float] = ..., unfreeze_at_epoch: _Optional[int] = ..., reduce_on_plateau: _Optional[_Union[ReduceOnPlateau, _Mapping]] = ..., gradient_transformations: _Optional[_Iterable[_Union[Component, _Mapping]]] = ...) -> None: ...

class ReduceOnPlateau(_message.Message):
    __slots__ = ("monitor", "factor", "patience", "min_learning_rate")
    MONITOR_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    MIN_LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    monitor: str
    factor: float
    patience: int
    min_learning_rate: float
    def __init__(self, monitor: _Optional[str] = ..., factor: _Optional[float] = ..., patience: _Optional[int] = ..., min_learning_rate: _Optional[float] = ...) -> None: ...

class EarlyStopping(_message.Message):
    __slots__ = ("monitor", "patience", "min_delta", "restore_best")
    MONITOR_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    MIN_DELTA_FIELD_NUMBER: _ClassVar[int]
    RESTORE_BEST_FIELD_NUMBER: _ClassVar[int]
    monitor: str
    patience: int
    min_delta: float
    restore_best: bool
    def __init__(self, monitor: _Optional[str] = ..., patience: _Optional[int] = ..., min_delta: _Optional[float] = ..., restore_best: bool = ...) -> None: ...

class CheckpointSpec(_message.Message):
    __slots__ = ("every_steps", "every_seconds", "keep", "best")
    EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    EVERY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    every_steps: int
    every_seconds: float
    keep: int
    best: str
    def __init__(self, every_steps: _Optional[int] = ..., every_seconds: _Optional[float] = ..., keep: _Optional[int] = ..., best: _Optional[str] = ...) -> None: ...

class TrainingSpec(_message.Message):
    __slots__ = ("epochs", "global_batch_size", "seed", "deterministic", "steps_per_loop", "clip_norm", "steps_per_epoch", "precision", "jit_compile", "gradient_accumulation_steps", "class_weights", "checkpoint", "early_stopping", "synchronized_batch_normalization", "step_timeout_seconds", "scalars_every_steps", "stage_timeout_seconds")
    class Precision(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PRECISION_UNSPECIFIED: _ClassVar[TrainingSpec.Precision]
        FLOAT32: _ClassVar[TrainingSpec.Precision]
        FLOAT64: _ClassVar[TrainingSpec.Precision]
        MIXED_BFLOAT16: _ClassVar[TrainingSpec.Precision]
        MIXED_FLOAT16: _ClassVar[TrainingSpec.Precision]
    PRECISION_UNSPECIFIED: TrainingSpec.Precision
    FLOAT32: TrainingSpec.Precision
    FLOAT64: TrainingSpec.Precision
    MIXED_BFLOAT16: TrainingSpec.Precision
    MIXED_FLOAT16: TrainingSpec.Precision
    class JitCompile(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        JIT_COMPILE_UNSPECIFIED: _ClassVar[TrainingSpec.JitCompile]
        AUTO: _ClassVar[TrainingSpec.JitCompile]
        ENABLED: _ClassVar[TrainingSpec.JitCompile]
        DISABLED: _ClassVar[TrainingSpec.JitCompile]
    JIT_COMPILE_UNSPECIFIED: TrainingSpec.JitCompile
    AUTO: TrainingSpec.JitCompile
    ENABLED: TrainingSpec.JitCompile
    DISABLED: TrainingSpec.JitCompile
    class ClassWeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_LOOP_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    JIT_COMPILE_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_ACCUMULATION_STEPS_FIELD_NUMBER: _ClassVar[int]
    CLASS_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_FIELD_NUMBER: _ClassVar[int]
    SYNCHRONIZED_BATCH_NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    STEP_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SCALARS_EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    STAGE_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    epochs: int
    global_batch_size: int
    seed: int
    deterministic: bool
    steps_per_loop: int
    clip_norm: float
    steps_per_epoch: int
    precision: TrainingSpec.Precision
    jit_compile: TrainingSpec.JitCompile
    gradient_accumulation_steps: int
    class_weights: _containers.ScalarMap[int, float]
    checkpoint: CheckpointSpec
    early_stopping: EarlyStopping
    synchronized_batch_normalization: bool
    step_timeout_seconds: float
    scalars_every_steps: int
    stage_timeout_seconds: float
    def __init__(self, epochs: _Optional[int] = ..., global_batch_size: _Optional[int] = ..., seed: _Optional[int] = ..., deterministic: bool = ..., steps_per_loop: _Optional[int] = ..., clip_norm: _Optional[float] = ..., steps_per_epoch: _Optional[int] = ..., precision: _Optional[_Union[TrainingSpec.Precision, str]] = ..., jit_compile: _Optional[_Union[TrainingSpec.JitCompile, str]] = ..., gradient_accumulation_steps: _Optional[int] = ..., class_weights: _Optional[_Mapping[int, float]] = ..., checkpoint: _Optional[_Union[CheckpointSpec, _Mapping]] = ..., early_stopping: _Optional[_Union[EarlyStopping, _Mapping]] = ..., synchronized_batch_normalization: bool = ..., step_timeout_seconds: _Optional[float] = ..., scalars_every_steps: _Optional[int] = ..., stage_timeout_seconds: _Optional[float] = ...) -> None: ...

class ExportSpec(_message.Message):
    __slots__ = ("formats",)
    class Format(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FORMAT_UNSPECIFIED: _ClassVar[ExportSpec.Format]
        SAVED_MODEL: _ClassVar[ExportSpec.Format]
        KERAS: _ClassVar[ExportSpec.Format]
    FORMAT_UNSPECIFIED: ExportSpec.Format
    SAVED_MODEL: ExportSpec.Format
    KERAS: ExportSpec.Format
    FORMATS_FIELD_NUMBER: _ClassVar[int]
    formats: _containers.RepeatedScalarFieldContainer[ExportSpec.Format]
    def __init__(self, formats: _Optional[_Iterable[_Union[ExportSpec.Format, str]]] = ...) -> None: ...

class ResourceSpec(_message.Message):
    __slots__ = ("gpus", "cpu_replicas")
    GPUS_FIELD_NUMBER: _ClassVar[int]
    CPU_REPLICAS_FIELD_NUMBER: _ClassVar[int]
    gpus: int
    cpu_replicas: int
    def __init__(self, gpus: _Optional[int] = ..., cpu_replicas: _Optional[int] = ...) -> None: ...

class RetrySpec(_message.Message):
    __slots__ = ("max_attempts", "backoff", "retry_on")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FIELD_NUMBER: _ClassVar[int]
    RETRY_ON_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    backoff: RetryBackoff
    retry_on: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, max_attempts: _Optional[int] = ..., backoff: _Optional[_Union[RetryBackoff, _Mapping]] = ..., retry_on: _Optional[_Iterable[str]] = ...) -> None: ...

class RetryBackoff(_message.Message):
    __slots__ = ("initial_duration", "max_duration")
    INITIAL_DURATION_FIELD_NUMBER: _ClassVar[int]
    MAX_DURATION_FIELD_NUMBER: _ClassVar[int]
    initial_duration: _duration_pb2.Duration
    max_duration: _duration_pb2.Duration
    def __init__(self, initial_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SchedulingSpec(_message.Message):
    __slots__ = ("preemptible", "max_run_duration", "max_queue_duration")
    PREEMPTIBLE_FIELD_NUMBER: _ClassVar[int]
    MAX_RUN_DURATION_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_DURATION_FIELD_NUMBER: _ClassVar[int]
    preemptible: bool
    max_run_duration: _duration_pb2.Duration
    max_queue_duration: _duration_pb2.Duration
    def __init__(self, preemptible: bool = ..., max_run_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_queue_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RetentionSpec(_message.Message):
    __slots__ = ("ttl_duration", "keep_last", "keep_best")
    TTL_DURATION_FIELD_NUMBER: _ClassVar[int]
    KEEP_LAST_FIELD_NUMBER: _ClassVar[int]
    KEEP_BEST_FIELD_NUMBER: _ClassVar[int]
    ttl_duration: _duration_pb2.Duration
    keep_last: int
    keep_best: int
    def __init__(self, ttl_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., keep_last: _Optional[int] = ..., keep_best: _Optional[int] = ...) -> None: ...

class ResolvedSpec(_message.Message):
    __slots__ = ("spec", "variables", "data", "device_kind", "replicas", "steps_per_epoch", "steps_per_loop", "intra_op_threads", "inter_op_threads", "synchronized_layers", "versions", "jit_compiled", "replica_dependent_layers", "initial_weights")
    class DeviceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DEVICE_KIND_UNSPECIFIED: _ClassVar[ResolvedSpec.DeviceKind]
        CPU: _ClassVar[ResolvedSpec.DeviceKind]
        GPU: _ClassVar[ResolvedSpec.DeviceKind]
    DEVICE_KIND_UNSPECIFIED: ResolvedSpec.DeviceKind
    CPU: ResolvedSpec.DeviceKind
    GPU: ResolvedSpec.DeviceKind
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SPEC_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DEVICE_KIND_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_LOOP_FIELD_NUMBER: _ClassVar[int]
    INTRA_OP_THREADS_FIELD_NUMBER: _ClassVar[int]
    INTER_OP_THREADS_FIELD_NUMBER: _ClassVar[int]
    SYNCHRONIZED_LAYERS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    JIT_COMPILED_FIELD_NUMBER: _ClassVar[int]
    REPLICA_DEPENDENT_LAYERS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    spec: JobSpec
    variables: _containers.RepeatedCompositeFieldContainer[VariableAssignment]
    data: _containers.RepeatedCompositeFieldContainer[ResolvedData]
    device_kind: ResolvedSpec.DeviceKind
    replicas: int
    steps_per_epoch: int
    steps_per_loop: int
    intra_op_threads: int
    inter_op_threads: int
    synchronized_layers: _containers.RepeatedScalarFieldContainer[str]
    versions: _containers.ScalarMap[str, str]
    jit_compiled: bool
    replica_dependent_layers: _containers.RepeatedScalarFieldContainer[str]
    initial_weights: ResolvedWeights
    def __init__(self, spec: _Optional[_Union[JobSpec, _Mapping]] = ..., variables: _Optional[_Iterable[_Union[VariableAssignment, _Mapping]]] = ..., data: _Optional[_Iterable[_Union[ResolvedData, _Mapping]]] = ..., device_kind: _Optional[_Union[ResolvedSpec.DeviceKind, str]] = ..., replicas: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., steps_per_loop: _Optional[int] = ..., intra_op_threads: _Optional[int] = ..., inter_op_threads: _Optional[int] = ..., synchronized_layers: _Optional[_Iterable[str]] = ..., versions: _Optional[_Mapping[str, str]] = ..., jit_compiled: bool = ..., replica_dependent_layers: _Optional[_Iterable[str]] = ..., initial_weights: _Optional[_Union[ResolvedWeights, _Mapping]] = ...) -> None: ...

class ResolvedWeights(_message.Message):
    __slots__ = ("job", "global_step", "sha256", "loaded", "not_loaded")
    JOB_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_STEP_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    NOT_LOADED_FIELD_NUMBER: _ClassVar[int]
    job: str
    global_step: int
    sha256: str
    loaded: _containers.RepeatedScalarFieldContainer[str]
    not_loaded: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job: _Optional[str] = ..., global_step: _Optional[int] = ..., sha256: _Optional[str] = ..., loaded: _Optional[_Iterable[str]] = ..., not_loaded: _Optional[_Iterable[str]] = ...) -> None: ...

class VariableAssignment(_message.Message):
    __slots__ = ("path", "shape", "dtype", "group", "trained")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    path: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtype: str
    group: str
    trained: bool
    def __init__(self, path: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., dtype: _Optional[str] = ..., group: _Optional[str] = ..., trained: bool = ...) -> None: ...

class ResolvedData(_message.Message):
    __slots__ = ("source", "examples", "feature_shape", "feature_dtype", "label_shape", "label_dtype", "sha256")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    FEATURE_SHAPE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    LABEL_SHAPE_FIELD_NUMBER: _ClassVar[int]
    LABEL_DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    source: str
    examples: int
    feature_shape: _containers.RepeatedScalarFieldContainer[int]
    feature_dtype: str
    label_shape: _containers.RepeatedScalarFieldContainer[int]
    label_dtype: str
    sha256: str
    def __init__(self, source: _Optional[str] = ..., examples: _Optional[int] = ..., feature_shape: _Optional[_Iterable[int]] = ..., feature_dtype: _Optional[str] = ..., label_shape: _Optional[_Iterable[int]] = ..., label_dtype: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...
