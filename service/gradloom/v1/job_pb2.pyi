from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from gradloom.v1 import spec_pb2 as _spec_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Job(_message.Message):
    __slots__ = ("name", "uid", "display_name", "labels", "spec", "resolved_spec", "state", "state_reason", "state_message", "error", "progress", "attempt_count", "export", "etag", "create_time", "update_time", "start_time", "end_time", "priority", "retry_of", "retry_checkpoint")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Job.State]
        QUEUED: _ClassVar[Job.State]
        STARTING: _ClassVar[Job.State]
        RUNNING: _ClassVar[Job.State]
        PAUSING: _ClassVar[Job.State]
        PAUSED: _ClassVar[Job.State]
        CANCELLING: _ClassVar[Job.State]
        SUCCEEDED: _ClassVar[Job.State]
        FAILED: _ClassVar[Job.State]
        CANCELLED: _ClassVar[Job.State]
    STATE_UNSPECIFIED: Job.State
    QUEUED: Job.State
    STARTING: Job.State
    RUNNING: Job.State
    PAUSING: Job.State
    PAUSED: Job.State
    CANCELLING: Job.State
    SUCCEEDED: Job.State
    FAILED: Job.State
    CANCELLED: Job.State
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Job.Reason]
        COMPLETED: _ClassVar[Job.Reason]
        SPEC_REFUSED: _ClassVar[Job.Reason]
        DATA_UNAVAILABLE: _ClassVar[Job.Reason]
        TRAINER_RAISED: _ClassVar[Job.Reason]
        OUT_OF_HOST_MEMORY: _ClassVar[Job.Reason]
        OUT_OF_DEVICE_MEMORY: _ClassVar[Job.Reason]
        KILLED_BY_SIGNAL: _ClassVar[Job.Reason]
        TRAINER_EXITED: _ClassVar[Job.Reason]
        TRAINER_LOST: _ClassVar[Job.Reason]
        EXPORT_DISAGREED: _ClassVar[Job.Reason]
        DISK_FULL: _ClassVar[Job.Reason]
        ENVIRONMENT_CHANGED: _ClassVar[Job.Reason]
        SERVER_STOPPED: _ClassVar[Job.Reason]
        LAUNCH_FAILED: _ClassVar[Job.Reason]
        CANCELLED_BY_USER: _ClassVar[Job.Reason]
        LOSS_NOT_FINITE: _ClassVar[Job.Reason]
        STEP_HUNG: _ClassVar[Job.Reason]
        USER_CODE_RAISED: _ClassVar[Job.Reason]
        DEADLINE_EXCEEDED: _ClassVar[Job.Reason]
        QUEUE_DEADLINE_EXCEEDED: _ClassVar[Job.Reason]
        PREEMPTED: _ClassVar[Job.Reason]
        PAUSED_BY_USER: _ClassVar[Job.Reason]
        TRAINER_SILENT: _ClassVar[Job.Reason]
        STAGE_HUNG: _ClassVar[Job.Reason]
    REASON_UNSPECIFIED: Job.Reason
    COMPLETED: Job.Reason
    SPEC_REFUSED: Job.Reason
    DATA_UNAVAILABLE: Job.Reason
    TRAINER_RAISED: Job.Reason
    OUT_OF_HOST_MEMORY: Job.Reason
    OUT_OF_DEVICE_MEMORY: Job.Reason
    KILLED_BY_SIGNAL: Job.Reason
    TRAINER_EXITED: Job.Reason
    TRAINER_LOST: Job.Reason
    EXPORT_DISAGREED: Job.Reason
    DISK_FULL: Job.Reason
    ENVIRONMENT_CHANGED: Job.Reason
    SERVER_STOPPED: Job.Reason
    LAUNCH_FAILED: Job.Reason
    CANCELLED_BY_USER: Job.Reason
    LOSS_NOT_FINITE: Job.Reason
    STEP_HUNG: Job.Reason
    USER_CODE_RAISED: Job.Reason
    DEADLINE_EXCEEDED: Job.Reason
    QUEUE_DEADLINE_EXCEEDED: Job.Reason
    PREEMPTED: Job.Reason
    PAUSED_BY_USER: Job.Reason
    TRAINER_SILENT: Job.Reason
    STAGE_HUNG: Job.Reason
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPORT_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RETRY_OF_FIELD_NUMBER: _ClassVar[int]
    RETRY_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    uid: str
    display_name: str
    labels: _containers.ScalarMap[str, str]
    spec: _spec_pb2.JobSpec
    resolved_spec: _spec_pb2.ResolvedSpec
    state: Job.State
    state_reason: Job.Reason
    state_message: str
    error: JobError
    progress: Progress
    attempt_count: int
    export: Export
    etag: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    priority: int
    retry_of: str
    retry_checkpoint: str
    def __init__(self, name: _Optional[str] = ..., uid: _Optional[str] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., spec: _Optional[_Union[_spec_pb2.JobSpec, _Mapping]] = ..., resolved_spec: _Optional[_Union[_spec_pb2.ResolvedSpec, _Mapping]] = ..., state: _Optional[_Union[Job.State, str]] = ..., state_reason: _Optional[_Union[Job.Reason, str]] = ..., state_message: _Optional[str] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., attempt_count: _Optional[int] = ..., export: _Optional[_Union[Export, _Mapping]] = ..., etag: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., priority: _Optional[int] = ..., retry_of: _Optional[str] = ..., retry_checkpoint: _Optional[str] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("exception_type", "message", "field_faults", "log_lines", "hint")
    EXCEPTION_TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FAULTS_FIELD_NUMBER: _ClassVar[int]
    LOG_LINES_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    exception_type: str
    message: str
    field_faults: _containers.RepeatedCompositeFieldContainer[FieldFault]
    log_lines: _containers.RepeatedScalarFieldContainer[str]
    hint: str
    def __init__(self, exception_type: _Optional[str] = ..., message: _Optional[str] = ..., field_faults: _Optional[_Iterable[_Union[FieldFault, _Mapping]]] = ..., log_lines: _Optional[_Iterable[str]] = ..., hint: _Optional[str] = ...) -> None: ...

class FieldFault(_message.Message):
    __slots__ = ("field", "description")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    field: str
    description: str
    def __init__(self, field: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("phase", "attempt", "epoch", "epochs", "global_step", "total_steps", "examples_per_second", "scalars", "first_step_duration", "groups", "checkpoint_step", "trouble")
    class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PHASE_UNSPECIFIED: _ClassVar[Progress.Phase]
        PREPARING: _ClassVar[Progress.Phase]
        TRAINING: _ClassVar[Progress.Phase]
        EVALUATING: _ClassVar[Progress.Phase]
        EXPORTING: _ClassVar[Progress.Phase]
        PROVING: _ClassVar[Progress.Phase]
    PHASE_UNSPECIFIED: Progress.Phase
    PREPARING: Progress.Phase
    TRAINING: Progress.Phase
    EVALUATING: Progress.Phase
    EXPORTING: Progress.Phase
    PROVING: Progress.Phase
    class ScalarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class GroupsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: GroupProgress
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[GroupProgress, _Mapping]] = ...) -> None: ...
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    SCALARS_FIELD_NUMBER: _ClassVar[int]
    FIRST_STEP_DURATION_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_STEP_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    phase: Progress.Phase
    attempt: int
    epoch: int
    epochs: int
    global_step: int
    total_steps: int
    examples_per_second: float
    scalars: _containers.ScalarMap[str, float]
    first_step_duration: _duration_pb2.Duration
    groups: _containers.MessageMap[str, GroupProgress]
    checkpoint_step: int
    trouble: str
    def __init__(self, phase: _Optional[_Union[Progress.Phase, str]] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., epochs: _Optional[int] = ..., global_step: _Optional[int] = ..., total_steps: _Optional[int] = ..., examples_per_second: _Optional[float] = ..., scalars: _Optional[_Mapping[str, float]] = ..., first_step_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., groups: _Optional[_Mapping[str, GroupProgress]] = ..., checkpoint_step: _Optional[int] = ..., trouble: _Optional[str] = ...) -> None: ...

class GroupProgress(_message.Message):
    __slots__ = ("learning_rate", "gradient_norm", "update_ratio")
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_NORM_FIELD_NUMBER: _ClassVar[int]
    UPDATE_RATIO_FIELD_NUMBER: _ClassVar[int]
    learning_rate: float
    gradient_norm: float
    update_ratio: float
    def __init__(self, learning_rate: _Optional[float] = ..., gradient_norm: _Optional[float] = ..., update_ratio: _Optional[float] = ...) -> None: ...

class Export(_message.Message):
    __slots__ = ("model", "version", "path", "proof_examples", "largest_difference", "absolute_tolerance", "relative_tolerance")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    PROOF_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LARGEST_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    path: str
    proof_examples: int
    largest_difference: float
    absolute_tolerance: float
    relative_tolerance: float
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., path: _Optional[str] = ..., proof_examples: _Optional[int] = ..., largest_difference: _Optional[float] = ..., absolute_tolerance: _Optional[float] = ..., relative_tolerance: _Optional[float] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("name", "number", "state", "reason", "message", "error", "counted", "devices", "start_time", "end_time", "exit_code", "signal", "peak_memory_bytes", "cpu_duration", "checkpoint_in", "checkpoint_out", "log_size_bytes", "log_dropped_bytes")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Attempt.State]
        STARTING: _ClassVar[Attempt.State]
        RUNNING: _ClassVar[Attempt.State]
        STOPPING: _ClassVar[Attempt.State]
        ENDED: _ClassVar[Attempt.State]
    STATE_UNSPECIFIED: Attempt.State
    STARTING: Attempt.State
    RUNNING: Attempt.State
    STOPPING: Attempt.State
    ENDED: Attempt.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_DURATION_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_IN_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_OUT_FIELD_NUMBER: _ClassVar[int]
    LOG_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOG_DROPPED_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    number: int
    state: Attempt.State
    reason: Job.Reason
    message: str
    error: JobError
    counted: bool
    devices: _containers.RepeatedScalarFieldContainer[str]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    exit_code: int
    signal: int
    peak_memory_bytes: int
    cpu_duration: _duration_pb2.Duration
    checkpoint_in: str
    checkpoint_out: str
    log_size_bytes: int
    log_dropped_bytes: int
    def __init__(self, name: _Optional[str] = ..., number: _Optional[int] = ..., state: _Optional[_Union[Attempt.State, str]] = ..., reason: _Optional[_Union[Job.Reason, str]] = ..., message: _Optional[str] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., counted: bool = ..., devices: _Optional[_Iterable[str]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., peak_memory_bytes: _Optional[int] = ..., cpu_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., checkpoint_in: _Optional[str] = ..., checkpoint_out: _Optional[str] = ..., log_size_bytes: _Optional[int] = ..., log_dropped_bytes: _Optional[int] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("name", "attempt", "global_step", "epoch", "size_bytes", "sha256", "best", "final", "create_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_STEP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    attempt: int
    global_step: int
    epoch: int
    size_bytes: int
    sha256: str
    best: bool
    final: bool
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., attempt: _Optional[int] = ..., global_step: _Optional[int] = ..., epoch: _Optional[int] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., best: bool = ..., final: bool = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ScalarsPoint(_message.Message):
    __slots__ = ("number", "time", "attempt", "global_step", "epoch", "epoch_end", "scalars")
    class ScalarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_STEP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_END_FIELD_NUMBER: _ClassVar[int]
    SCALARS_FIELD_NUMBER: _ClassVar[int]
    number: int
    time: _timestamp_pb2.Timestamp
    attempt: int
    global_step: int
    epoch: int
    epoch_end: bool
    scalars: _containers.ScalarMap[str, float]
    def __init__(self, number: _Optional[int] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., global_step: _Optional[int] = ..., epoch: _Optional[int] = ..., epoch_end: bool = ..., scalars: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("number", "time", "kind", "attempt", "state", "reason", "message", "epoch", "scalars")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Event.Kind]
        CREATED: _ClassVar[Event.Kind]
        STATE_CHANGED: _ClassVar[Event.Kind]
        EPOCH_ENDED: _ClassVar[Event.Kind]
        NOTICE: _ClassVar[Event.Kind]
    KIND_UNSPECIFIED: Event.Kind
    CREATED: Event.Kind
    STATE_CHANGED: Event.Kind
    EPOCH_ENDED: Event.Kind
    NOTICE: Event.Kind
    class ScalarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SCALARS_FIELD_NUMBER: _ClassVar[int]
    number: int
    time: _timestamp_pb2.Timestamp
    kind: Event.Kind
    attempt: int
    state: Job.State
    reason: Job.Reason
    message: str
    epoch: int
    scalars: _containers.ScalarMap[str, float]
    def __init__(self, number: _Optional[int] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[Event.Kind, str]] = ..., attempt: _Optional[int] = ..., state: _Optional[_Union[Job.State, str]] = ..., reason: _Optional[_Union[Job.Reason, str]] = ..., message: _Optional[str] = ..., epoch: _Optional[int] = ..., scalars: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("name", "path", "kind", "size_bytes", "sha256", "attempt")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Artifact.Kind]
        EXPORT: _ClassVar[Artifact.Kind]
        LOG: _ClassVar[Artifact.Kind]
    KIND_UNSPECIFIED: Artifact.Kind
    EXPORT: Artifact.Kind
    LOG: Artifact.Kind
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: str
    kind: Artifact.Kind
    size_bytes: int
    sha256: str
    attempt: int
    def __init__(self, name: _Optional[str] = ..., path: _Optional[str] = ..., kind: _Optional[_Union[Artifact.Kind, str]] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...
