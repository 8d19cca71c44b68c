from gradloom.v1 import job_pb2 as _job_pb2
from gradloom.v1 import spec_pb2 as _spec_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetAssignmentRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("job", "job_uid", "attempt", "spec", "resolved_spec", "attempt_directory", "data_roots", "dataset_directories", "device_kind", "replicas", "checkpoints", "initial_weights", "user_code_allowed", "retry")
    JOB_FIELD_NUMBER: _ClassVar[int]
    JOB_UID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_SPEC_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    DATA_ROOTS_FIELD_NUMBER: _ClassVar[int]
    DATASET_DIRECTORIES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_KIND_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    USER_CODE_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    job: str
    job_uid: str
    attempt: int
    spec: _spec_pb2.JobSpec
    resolved_spec: _spec_pb2.ResolvedSpec
    attempt_directory: str
    data_roots: _containers.RepeatedScalarFieldContainer[str]
    dataset_directories: _containers.RepeatedScalarFieldContainer[str]
    device_kind: _spec_pb2.ResolvedSpec.DeviceKind
    replicas: int
    checkpoints: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    initial_weights: Checkpoint
    user_code_allowed: bool
    retry: Retry
    def __init__(self, job: _Optional[str] = ..., job_uid: _Optional[str] = ..., attempt: _Optional[int] = ..., spec: _Optional[_Union[_spec_pb2.JobSpec, _Mapping]] = ..., resolved_spec: _Optional[_Union[_spec_pb2.ResolvedSpec, _Mapping]] = ..., attempt_directory: _Optional[str] = ..., data_roots: _Optional[_Iterable[str]] = ..., dataset_directories: _Optional[_Iterable[str]] = ..., device_kind: _Optional[_Union[_spec_pb2.ResolvedSpec.DeviceKind, str]] = ..., replicas: _Optional[int] = ..., checkpoints: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ..., initial_weights: _Optional[_Union[Checkpoint, _Mapping]] = ..., user_code_allowed: bool = ..., retry: _Optional[_Union[Retry, _Mapping]] = ...) -> None: ...

class Retry(_message.Message):
    __slots__ = ("checkpoint", "best", "resolved_spec")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_SPEC_FIELD_NUMBER: _ClassVar[int]
    checkpoint: Checkpoint
    best: Checkpoint
    resolved_spec: _spec_pb2.ResolvedSpec
    def __init__(self, checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., best: _Optional[_Union[Checkpoint, _Mapping]] = ..., resolved_spec: _Optional[_Union[_spec_pb2.ResolvedSpec, _Mapping]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("path", "attempt", "global_step", "epoch", "size_bytes", "sha256", "best", "final", "job", "job_uid", "name")
    PATH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_STEP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    JOB_UID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    path: str
    attempt: int
    global_step: int
    epoch: int
    size_bytes: int
    sha256: str
    best: bool
    final: bool
    job: str
    job_uid: str
    name: str
    def __init__(self, path: _Optional[str] = ..., attempt: _Optional[int] = ..., global_step: _Optional[int] = ..., epoch: _Optional[int] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., best: bool = ..., final: bool = ..., job: _Optional[str] = ..., job_uid: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class RecordCheckpointRequest(_message.Message):
    __slots__ = ("checkpoint", "save_seconds")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    SAVE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    checkpoint: Checkpoint
    save_seconds: float
    def __init__(self, checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., save_seconds: _Optional[float] = ...) -> None: ...

class RecordCheckpointResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecordResolvedSpecRequest(_message.Message):
    __slots__ = ("resolved_spec",)
    RESOLVED_SPEC_FIELD_NUMBER: _ClassVar[int]
    resolved_spec: _spec_pb2.ResolvedSpec
    def __init__(self, resolved_spec: _Optional[_Union[_spec_pb2.ResolvedSpec, _Mapping]] = ...) -> None: ...

class RecordResolvedSpecResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("beat", "progress", "events", "event_offset", "mean_step_seconds", "steps", "examples", "devices_released", "points", "points_offset", "checkpoint_in")
    BEAT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    EVENT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    MEAN_STEP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    DEVICES_RELEASED_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    POINTS_OFFSET_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_IN_FIELD_NUMBER: _ClassVar[int]
    beat: int
    progress: _job_pb2.Progress
    events: _containers.RepeatedCompositeFieldContainer[_job_pb2.Event]
    event_offset: int
    mean_step_seconds: float
    steps: int
    examples: int
    devices_released: bool
    points: _containers.RepeatedCompositeFieldContainer[_job_pb2.ScalarsPoint]
    points_offset: int
    checkpoint_in: str
    def __init__(self, beat: _Optional[int] = ..., progress: _Optional[_Union[_job_pb2.Progress, _Mapping]] = ..., events: _Optional[_Iterable[_Union[_job_pb2.Event, _Mapping]]] = ..., event_offset: _Optional[int] = ..., mean_step_seconds: _Optional[float] = ..., steps: _Optional[int] = ..., examples: _Optional[int] = ..., devices_released: bool = ..., points: _Optional[_Iterable[_Union[_job_pb2.ScalarsPoint, _Mapping]]] = ..., points_offset: _Optional[int] = ..., checkpoint_in: _Optional[str] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("directive",)
    class Directive(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DIRECTIVE_UNSPECIFIED: _ClassVar[ReportResponse.Directive]
        CONTINUE: _ClassVar[ReportResponse.Directive]
        STOP: _ClassVar[ReportResponse.Directive]
        CHECKPOINT_AND_STOP: _ClassVar[ReportResponse.Directive]
    DIRECTIVE_UNSPECIFIED: ReportResponse.Directive
    CONTINUE: ReportResponse.Directive
    STOP: ReportResponse.Directive
    CHECKPOINT_AND_STOP: ReportResponse.Directive
    DIRECTIVE_FIELD_NUMBER: _ClassVar[int]
    directive: ReportResponse.Directive
    def __init__(self, directive: _Optional[_Union[ReportResponse.Directive, str]] = ...) -> None: ...

class FinishAttemptRequest(_message.Message):
    __slots__ = ("reason", "message", "error", "progress", "export", "artifacts")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    reason: _job_pb2.Job.Reason
    message: str
    error: _job_pb2.JobError
    progress: _job_pb2.Progress
    export: _job_pb2.Export
    artifacts: _containers.RepeatedCompositeFieldContainer[_job_pb2.Artifact]
    def __init__(self, reason: _Optional[_Union[_job_pb2.Job.Reason, str]] = ..., message: _Optional[str] = ..., error: _Optional[_Union[_job_pb2.JobError, _Mapping]] = ..., progress: _Optional[_Union[_job_pb2.Progress, _Mapping]] = ..., export: _Optional[_Union[_job_pb2.Export, _Mapping]] = ..., artifacts: _Optional[_Iterable[_Union[_job_pb2.Artifact, _Mapping]]] = ...) -> None: ...

class FinishAttemptResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
