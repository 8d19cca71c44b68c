from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from gradloom.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobView(_message.Message):
    __slots__ = ()
    class View(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VIEW_UNSPECIFIED: _ClassVar[JobView.View]
        BASIC: _ClassVar[JobView.View]
        FULL: _ClassVar[JobView.View]
    VIEW_UNSPECIFIED: JobView.View
    BASIC: JobView.View
    FULL: JobView.View
    def __init__(self) -> None: ...

class CreateJobRequest(_message.Message):
    __slots__ = ("parent", "job_id", "job", "request_id", "validate_only", "unread_fields")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELDS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    job_id: str
    job: _job_pb2.Job
    request_id: str
    validate_only: bool
    unread_fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, parent: _Optional[str] = ..., job_id: _Optional[str] = ..., job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ..., unread_fields: _Optional[_Iterable[str]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("name", "view")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    view: JobView.View
    def __init__(self, name: _Optional[str] = ..., view: _Optional[_Union[JobView.View, str]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "view", "filter", "order_by")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    view: JobView.View
    filter: str
    order_by: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., view: _Optional[_Union[JobView.View, str]] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pb2.Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pb2.Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateJobRequest(_message.Message):
    __slots__ = ("job", "update_mask", "request_id")
    JOB_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    update_mask: _field_mask_pb2.FieldMask
    request_id: str
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("name", "etag", "force", "allow_missing", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    force: bool
    allow_missing: bool
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., force: bool = ..., allow_missing: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class PauseJobRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeJobRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RetryJobRequest(_message.Message):
    __slots__ = ("name", "job_id", "job", "update_mask", "checkpoint", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    job_id: str
    job: _job_pb2.Job
    update_mask: _field_mask_pb2.FieldMask
    checkpoint: str
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., job_id: _Optional[str] = ..., job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., checkpoint: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class ExplainJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ExplainJobResponse(_message.Message):
    __slots__ = ("job", "summary", "hint", "waiting", "running", "attempts")
    class Waiting(_message.Message):
        __slots__ = ("position", "waited_duration", "demand", "missing", "backoff_duration", "ahead", "holders")
        POSITION_FIELD_NUMBER: _ClassVar[int]
        WAITED_DURATION_FIELD_NUMBER: _ClassVar[int]
        DEMAND_FIELD_NUMBER: _ClassVar[int]
        MISSING_FIELD_NUMBER: _ClassVar[int]
        BACKOFF_DURATION_FIELD_NUMBER: _ClassVar[int]
        AHEAD_FIELD_NUMBER: _ClassVar[int]
        HOLDERS_FIELD_NUMBER: _ClassVar[int]
        position: int
        waited_duration: _duration_pb2.Duration
        demand: str
        missing: str
        backoff_duration: _duration_pb2.Duration
        ahead: _containers.RepeatedCompositeFieldContainer[ExplainJobResponse.OtherJob]
        holders: _containers.RepeatedCompositeFieldContainer[ExplainJobResponse.OtherJob]
        def __init__(self, position: _Optional[int] = ..., waited_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., demand: _Optional[str] = ..., missing: _Optional[str] = ..., backoff_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., ahead: _Optional[_Iterable[_Union[ExplainJobResponse.OtherJob, _Mapping]]] = ..., holders: _Optional[_Iterable[_Union[ExplainJobResponse.OtherJob, _Mapping]]] = ...) -> None: ...
    class OtherJob(_message.Message):
        __slots__ = ("name", "display_name", "priority", "state", "devices", "progress")
        NAME_FIELD_NUMBER: _ClassVar[int]
        DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
        PRIORITY_FIELD_NUMBER: _ClassVar[int]
        STATE_FIELD_NUMBER: _ClassVar[int]
        DEVICES_FIELD_NUMBER: _ClassVar[int]
        PROGRESS_FIELD_NUMBER: _ClassVar[int]
        name: str
        display_name: str
        priority: int
        state: _job_pb2.Job.State
        devices: str
        progress: str
        def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., priority: _Optional[int] = ..., state: _Optional[_Union[_job_pb2.Job.State, str]] = ..., devices: _Optional[str] = ..., progress: _Optional[str] = ...) -> None: ...
    class Running(_message.Message):
        __slots__ = ("attempt", "devices", "running_duration", "silent_duration", "stopping_reason")
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        DEVICES_FIELD_NUMBER: _ClassVar[int]
        RUNNING_DURATION_FIELD_NUMBER: _ClassVar[int]
        SILENT_DURATION_FIELD_NUMBER: _ClassVar[int]
        STOPPING_REASON_FIELD_NUMBER: _ClassVar[int]
        attempt: int
        devices: _containers.RepeatedScalarFieldContainer[str]
        running_duration: _duration_pb2.Duration
        silent_duration: _duration_pb2.Duration
        stopping_reason: _job_pb2.Job.Reason
        def __init__(self, attempt: _Optional[int] = ..., devices: _Optional[_Iterable[str]] = ..., running_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., silent_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stopping_reason: _Optional[_Union[_job_pb2.Job.Reason, str]] = ...) -> None: ...
    class EndedAttempt(_message.Message):
        __slots__ = ("attempt", "reason", "message", "exception_type", "log_cursor", "log_offset_bytes", "log_lines", "hint", "counted", "consequence")
        ATTEMPT_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        EXCEPTION_TYPE_FIELD_NUMBER: _ClassVar[int]
        LOG_CURSOR_FIELD_NUMBER: _ClassVar[int]
        LOG_OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
        LOG_LINES_FIELD_NUMBER: _ClassVar[int]
        HINT_FIELD_NUMBER: _ClassVar[int]
        COUNTED_FIELD_NUMBER: _ClassVar[int]
        CONSEQUENCE_FIELD_NUMBER: _ClassVar[int]
        attempt: int
        reason: _job_pb2.Job.Reason
        message: str
        exception_type: str
        log_cursor: str
        log_offset_bytes: int
        log_lines: _containers.RepeatedScalarFieldContainer[str]
        hint: str
        counted: bool
        consequence: str
        def __init__(self, attempt: _Optional[int] = ..., reason: _Optional[_Union[_job_pb2.Job.Reason, str]] = ..., message: _Optional[str] = ..., exception_type: _Optional[str] = ..., log_cursor: _Optional[str] = ..., log_offset_bytes: _Optional[int] = ..., log_lines: _Optional[_Iterable[str]] = ..., hint: _Optional[str] = ..., counted: bool = ..., consequence: _Optional[str] = ...) -> None: ...
    JOB_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    summary: str
    hint: str
    waiting: ExplainJobResponse.Waiting
    running: ExplainJobResponse.Running
    attempts: _containers.RepeatedCompositeFieldContainer[ExplainJobResponse.EndedAttempt]
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., summary: _Optional[str] = ..., hint: _Optional[str] = ..., waiting: _Optional[_Union[ExplainJobResponse.Waiting, _Mapping]] = ..., running: _Optional[_Union[ExplainJobResponse.Running, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[ExplainJobResponse.EndedAttempt, _Mapping]]] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("name", "cursor", "from_start")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FROM_START_FIELD_NUMBER: _ClassVar[int]
    name: str
    cursor: str
    from_start: bool
    def __init__(self, name: _Optional[str] = ..., cursor: _Optional[str] = ..., from_start: bool = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("job", "event", "cursor")
    JOB_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    event: _job_pb2.Event
    cursor: str
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., event: _Optional[_Union[_job_pb2.Event, _Mapping]] = ..., cursor: _Optional[str] = ...) -> None: ...

class StreamLogsRequest(_message.Message):
    __slots__ = ("name", "attempt", "follow", "cursor")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    attempt: int
    follow: bool
    cursor: str
    def __init__(self, name: _Optional[str] = ..., attempt: _Optional[int] = ..., follow: bool = ..., cursor: _Optional[str] = ...) -> None: ...

class StreamLogsResponse(_message.Message):
    __slots__ = ("attempt", "lines", "cursor")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    lines: _containers.RepeatedScalarFieldContainer[str]
    cursor: str
    def __init__(self, attempt: _Optional[int] = ..., lines: _Optional[_Iterable[str]] = ..., cursor: _Optional[str] = ...) -> None: ...

class StreamMetricsRequest(_message.Message):
    __slots__ = ("name", "scalars", "follow", "cursor")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCALARS_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    scalars: _containers.RepeatedScalarFieldContainer[str]
    follow: bool
    cursor: str
    def __init__(self, name: _Optional[str] = ..., scalars: _Optional[_Iterable[str]] = ..., follow: bool = ..., cursor: _Optional[str] = ...) -> None: ...

class StreamMetricsResponse(_message.Message):
    __slots__ = ("points", "cursor")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[_job_pb2.ScalarsPoint]
    cursor: str
    def __init__(self, points: _Optional[_Iterable[_Union[_job_pb2.ScalarsPoint, _Mapping]]] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListCheckpointsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCheckpointsResponse(_message.Message):
    __slots__ = ("checkpoints", "next_page_token")
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    checkpoints: _containers.RepeatedCompositeFieldContainer[_job_pb2.Checkpoint]
    next_page_token: str
    def __init__(self, checkpoints: _Optional[_Iterable[_Union[_job_pb2.Checkpoint, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListAttemptsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAttemptsResponse(_message.Message):
    __slots__ = ("attempts", "next_page_token")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[_job_pb2.Attempt]
    next_page_token: str
    def __init__(self, attempts: _Optional[_Iterable[_Union[_job_pb2.Attempt, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListArtifactsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListArtifactsResponse(_message.Message):
    __slots__ = ("artifacts", "next_page_token")
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    artifacts: _containers.RepeatedCompositeFieldContainer[_job_pb2.Artifact]
    next_page_token: str
    def __init__(self, artifacts: _Optional[_Iterable[_Union[_job_pb2.Artifact, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DownloadArtifactRequest(_message.Message):
    __slots__ = ("name", "offset_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    offset_bytes: int
    def __init__(self, name: _Optional[str] = ..., offset_bytes: _Optional[int] = ...) -> None: ...

class DownloadArtifactResponse(_message.Message):
    __slots__ = ("artifact", "chunk")
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    artifact: _job_pb2.Artifact
    chunk: bytes
    def __init__(self, artifact: _Optional[_Union[_job_pb2.Artifact, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class ListComponentsRequest(_message.Message):
    __slots__ = ("kind", "type", "page_size", "page_token")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    kind: ComponentInfo.Kind
    type: str
    page_size: int
    page_token: str
    def __init__(self, kind: _Optional[_Union[ComponentInfo.Kind, str]] = ..., type: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListComponentsResponse(_message.Message):
    __slots__ = ("components", "next_page_token")
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    components: _containers.RepeatedCompositeFieldContainer[ComponentInfo]
    next_page_token: str
    def __init__(self, components: _Optional[_Iterable[_Union[ComponentInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ComponentInfo(_message.Message):
    __slots__ = ("type", "kind", "doc", "parameters", "dataset")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[ComponentInfo.Kind]
        LAYER: _ClassVar[ComponentInfo.Kind]
        LOSS: _ClassVar[ComponentInfo.Kind]
        METRIC: _ClassVar[ComponentInfo.Kind]
        OPTIMIZER: _ClassVar[ComponentInfo.Kind]
        SCHEDULE: _ClassVar[ComponentInfo.Kind]
        INITIALIZER: _ClassVar[ComponentInfo.Kind]
        REGULARIZER: _ClassVar[ComponentInfo.Kind]
        CONSTRAINT: _ClassVar[ComponentInfo.Kind]
        ACTIVATION: _ClassVar[ComponentInfo.Kind]
        DATASET: _ClassVar[ComponentInfo.Kind]
        DTYPE_POLICY: _ClassVar[ComponentInfo.Kind]
        MODEL: _ClassVar[ComponentInfo.Kind]
        GRADIENT_TRANSFORMATION: _ClassVar[ComponentInfo.Kind]
    KIND_UNSPECIFIED: ComponentInfo.Kind
    LAYER: ComponentInfo.Kind
    LOSS: ComponentInfo.Kind
    METRIC: ComponentInfo.Kind
    OPTIMIZER: ComponentInfo.Kind
    SCHEDULE: ComponentInfo.Kind
    INITIALIZER: ComponentInfo.Kind
    REGULARIZER: ComponentInfo.Kind
    CONSTRAINT: ComponentInfo.Kind
    ACTIVATION: ComponentInfo.Kind
    DATASET: ComponentInfo.Kind
    DTYPE_POLICY: ComponentInfo.Kind
    MODEL: ComponentInfo.Kind
    GRADIENT_TRANSFORMATION: ComponentInfo.Kind
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DOC_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    type: str
    kind: ComponentInfo.Kind
    doc: str
    parameters: _containers.RepeatedCompositeFieldContainer[ComponentParameter]
    dataset: DatasetInfo
    def __init__(self, type: _Optional[str] = ..., kind: _Optional[_Union[ComponentInfo.Kind, str]] = ..., doc: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[ComponentParameter, _Mapping]]] = ..., dataset: _Optional[_Union[DatasetInfo, _Mapping]] = ...) -> None: ...

class ComponentParameter(_message.Message):
    __slots__ = ("name", "value_type", "default_value", "required", "component_kind")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_KIND_FIELD_NUMBER: _ClassVar[int]
    name: str
    value_type: str
    default_value: _struct_pb2.Value
    required: bool
    component_kind: ComponentInfo.Kind
    def __init__(self, name: _Optional[str] = ..., value_type: _Optional[str] = ..., default_value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., required: bool = ..., component_kind: _Optional[_Union[ComponentInfo.Kind, str]] = ...) -> None: ...

class DatasetInfo(_message.Message):
    __slots__ = ("feature_shape", "feature_dtype", "label_dtype", "classes", "splits")
    class SplitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    FEATURE_SHAPE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    LABEL_DTYPE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    feature_shape: _containers.RepeatedScalarFieldContainer[int]
    feature_dtype: str
    label_dtype: str
    classes: int
    splits: _containers.ScalarMap[str, int]
    def __init__(self, feature_shape: _Optional[_Iterable[int]] = ..., feature_dtype: _Optional[str] = ..., label_dtype: _Optional[str] = ..., classes: _Optional[int] = ..., splits: _Optional[_Mapping[str, int]] = ...) -> None: ...
