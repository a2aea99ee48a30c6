"""Export or erase every row of a person from Parquet event shards, copying every byte that needn't change.

>>> import efface
>>> events = efface.open("events")
>>> plan = events.plan(["ada"])
>>> plan.rows
2
>>> events.delete(["ada"], plan=plan)["rows_removed"]
2
>>> events.verify(["ada"])["clean"]
True
"""

from efface import errors
from efface._efface import Dataset, Export, Plan, __version__, open
from efface.errors import (
    CancelledError,
    ConflictError,
    DamagedError,
    Error,
    InternalError,
    RefusedError,
    StorageError,
    UnavailableError,
    UnsupportedError,
    UsageError,
)

__all__ = [
    "CancelledError",
    "ConflictError",
    "DamagedError",
    "Dataset",
    "Error",
    "Export",
    "InternalError",
    "Plan",
    "RefusedError",
    "StorageError",
    "UnavailableError",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "errors",
    "open",
]


def _reopen(uri, given):
    """What a pickled dataset calls."""
    return open(uri, **given)
