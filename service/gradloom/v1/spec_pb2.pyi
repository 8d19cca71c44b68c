from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobSpec(_message.Message):
    __slots__ = ("model", "data", "loss", "metrics", "variable_groups", "training", "export", "resources", "retry")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    VARIABLE_GROUPS_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    model: ModelSpec
    data: DataSpec
    loss: Component
    metrics: _containers.RepeatedCompositeFieldContainer[Component]
    variable_groups: _containers.RepeatedCompositeFieldContainer[VariableGroup]
    training: TrainingSpec
    export: ExportSpec
    resources: ResourceSpec
    retry: RetrySpec
    def __init__(self, model: _Optional[_Union[ModelSpec, _Mapping]] = ..., data: _Optional[_Union[DataSpec, _Mapping]] = ..., loss: _Optional[_Union[Component, _Mapping]] = ..., metrics: _Optional[_Iterable[_Union[Component, _Mapping]]] = ..., variable_groups: _Optional[_Iterable[_Union[VariableGroup, _Mapping]]] = ..., training: _Optional[_Union[TrainingSpec, _Mapping]] = ..., export: _Optional[_Union[ExportSpec, _Mapping]] = ..., resources: _Optional[_Union[ResourceSpec, _Mapping]] = ..., retry: _Optional[_Union[RetrySpec, _Mapping]] = ...) -> None: ...

class ModelSpec(_message.Message):
    __slots__ = ("name", "layers", "outputs", "keras_config")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    KERAS_CONFIG_FIELD_NUMBER: _ClassVar[int]
    name: str
    layers: _containers.RepeatedCompositeFieldContainer[LayerSpec]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    keras_config: str
    def __init__(self, name: _Optional[str] = ..., layers: _Optional[_Iterable[_Union[LayerSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., keras_config: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("path", "features", "label")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    path: str
    features: str
    label: str
    def __init__(self, path: _Optional[str] = ..., features: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class ExampleRange(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: int
    def __init__(self, to: _Optional[int] = ..., **kwargs) -> None: ...

class VariableGroup(_message.Message):
    __slots__ = ("name", "match", "optimizer", "learning_rate", "frozen", "clip_norm", "clip_value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    CLIP_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    match: _containers.RepeatedScalarFieldContainer[str]
    optimizer: Component
    learning_rate: Component
    frozen: bool
    clip_norm: float
    clip_value: float
    def __init__(self, name: _Optional[str] = ..., match: _Optional[_Iterable[str]] = ..., optimizer: _Optional[_Union[Component, _Mapping]] = ..., learning_rate: _Optional[_Union[Component, _Mapping]] = ..., frozen: bool = ..., clip_norm: _Optional[float] = ..., clip_value: _Optional[float] = ...) -> None: ...

class TrainingSpec(_message.Message):
    __slots__ = ("epochs", "global_batch_size", "seed", "deterministic", "steps_per_loop", "clip_norm")
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_LOOP_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    epochs: int
    global_batch_size: int
    seed: int
    deterministic: bool
    steps_per_loop: int
    clip_norm: float
    def __init__(self, epochs: _Optional[int] = ..., global_batch_size: _Optional[int] = ..., seed: _Optional[int] = ..., deterministic: bool = ..., steps_per_loop: _Optional[int] = ..., clip_norm: _Optional[float] = ...) -> None: ...

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
    __slots__ = ("max_attempts",)
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    def __init__(self, max_attempts: _Optional[int] = ...) -> None: ...

class ResolvedSpec(_message.Message):
    __slots__ = ("spec", "variables", "data", "device_kind", "replicas", "steps_per_epoch", "steps_per_loop", "intra_op_threads", "inter_op_threads", "synchronized_layers", "versions")
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
    def __init__(self, spec: _Optional[_Union[JobSpec, _Mapping]] = ..., variables: _Optional[_Iterable[_Union[VariableAssignment, _Mapping]]] = ..., data: _Optional[_Iterable[_Union[ResolvedData, _Mapping]]] = ..., device_kind: _Optional[_Union[ResolvedSpec.DeviceKind, str]] = ..., replicas: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., steps_per_loop: _Optional[int] = ..., intra_op_threads: _Optional[int] = ..., inter_op_threads: _Optional[int] = ..., synchronized_layers: _Optional[_Iterable[str]] = ..., versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

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
