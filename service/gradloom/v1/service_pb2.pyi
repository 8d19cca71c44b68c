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
    __slots__ = ("parent", "job_id", "job", "request_id", "validate_only")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    parent: str
    job_id: str
    job: _job_pb2.Job
    request_id: str
    validate_only: bool
    def __init__(self, parent: _Optional[str] = ..., job_id: _Optional[str] = ..., job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("name", "view")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    view: JobView.View
    def __init__(self, name: _Optional[str] = ..., view: _Optional[_Union[JobView.View, str]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "view")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    view: JobView.View
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., view: _Optional[_Union[JobView.View, str]] = ...) -> None: ...

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

class WatchJobRequest(_message.Message):
    __slots__ = ("name", "cursor")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    cursor: str
    def __init__(self, name: _Optional[str] = ..., cursor: _Optional[str] = ...) -> None: ...

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
