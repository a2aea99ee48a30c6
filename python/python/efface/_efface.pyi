import datetime
import os
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypedDict

from typing_extensions import Unpack

__version__: str

Instant = datetime.datetime | datetime.date | str
# Text, whole numbers and UUIDs, an Arrow array, or the path of a CSV file. One text is one id.
Ids = Iterable[Any] | os.PathLike[str] | str

class Config(TypedDict, total=False):
    subject: str | list[str]
    time: str
    time_unit: Literal["s", "ms", "us", "ns"]
    source: str | list[str]
    json_column: str | list[str]
    aliases: str
    alias_column: str
    alias_distinct_id_column: str
    empty_shards: Literal["keep", "remove"]
    ignore: str | list[str]
    key_file: str
    state_group: str
    memory: int
    threads: int
    rate: int
    progress: Callable[[str, int, int], object]

class Asked(TypedDict, total=False):
    ids_column: str
    regulation: Literal["gdpr", "ccpa"]
    disclosure: Literal["data", "categories", "sources"]
    identity: Literal["forward", "cluster", "exact"]
    identity_cap: int
    unknown: Literal["refuse", "report"]
    requested_at: Instant

class ExportAsked(Asked, total=False):
    since: Instant
    plan: Plan | str

class DeleteAsked(Asked, total=False):
    max_match: float
    required_columns: Literal["refuse", "default"]
    suppress: bool
    suppress_before: Instant

class DeleteNow(DeleteAsked, total=False):
    plan: Plan | str
    zstd_level: int | Literal["auto"]

class Submitting(DeleteAsked, total=False):
    due: Instant

class PlanAsked(DeleteAsked, total=False):
    since: Instant

class Compacting(TypedDict, total=False):
    max_match: float
    zstd_level: int | Literal["auto"]

class Suppressing(TypedDict, total=False):
    ids_column: str
    identity: Literal["forward", "cluster", "exact"]
    before: Instant

class Plan:
    @property
    def kind(self) -> Literal["export", "delete"]: ...
    @property
    def rows(self) -> int: ...
    @property
    def shards(self) -> int: ...
    @property
    def row_groups(self) -> int: ...
    @property
    def pages(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def dataset_rows(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def left_out(self) -> int: ...
    @property
    def refused(self) -> str | None: ...
    @property
    def subjects(self) -> list[dict[str, Any]]: ...
    def to_dict(self) -> dict[str, Any]: ...
    def _repr_html_(self) -> str: ...

class Export:
    @property
    def plan(self) -> Plan: ...
    def write(
        self,
        path: str | os.PathLike[str],
        format: Literal["parquet", "jsonl", "csv", "arrow"] | None = None,
    ) -> dict[str, Any]: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __arrow_c_schema__(self) -> object: ...

class Dataset:
    @property
    def uri(self) -> str: ...
    def init(self) -> None: ...
    def inspect(self) -> dict[str, Any]: ...
    def index(self) -> dict[str, Any]: ...
    def plan(
        self, ids: Ids, kind: Literal["export", "delete"] = "delete", **options: Unpack[PlanAsked]
    ) -> Plan: ...
    def export(self, ids: Ids, **options: Unpack[ExportAsked]) -> Export: ...
    def delete(self, ids: Ids, **options: Unpack[DeleteNow]) -> dict[str, Any]: ...
    def submit(self, ids: Ids, **options: Unpack[Submitting]) -> dict[str, Any]: ...
    def status(self, tracking_id: str | None = None) -> Any: ...
    def cancel(self, tracking_id: str) -> dict[str, Any]: ...
    def compact(self, **options: Unpack[Compacting]) -> dict[str, Any]: ...
    def publish_tasks(self, **options: Unpack[Compacting]) -> dict[str, Any]: ...
    def run_task(self, pass_id: str, number: int) -> dict[str, Any]: ...
    def commit(self, pass_id: str) -> dict[str, Any]: ...
    def receipts(self) -> dict[str, Any]: ...
    def verify(self, ids: Ids, ids_column: str | None = None) -> dict[str, Any]: ...
    def suppress(self, ids: Ids, **options: Unpack[Suppressing]) -> int: ...
    def unsuppress(self, ids: Ids, **options: Unpack[Suppressing]) -> int: ...

def open(
    uri: str | os.PathLike[str],
    storage_options: dict[str, str] | None = None,
    **given: Unpack[Config],
) -> Dataset: ...
