"""What can go wrong, by what to do about it.

Each error has its evidence as attributes, where there is some: `path`, `positions` (of ids in the call, from 1), `found`,
`limit`, `expected`, `tracking_id`, `state`. No message and no attribute holds a subject id.
"""


class Error(Exception):
    """Any error of efface."""

    path = None
    positions = None
    found = None
    limit = None
    expected = None
    tracking_id = None
    state = None


class StorageError(Error, OSError):
    """Mend the file system (space, permissions, hardware), then call again."""


class UnavailableError(Error, ConnectionError):
    """Wait, then call again. There is nothing to mend on this side."""


class UsageError(Error, ValueError):
    """Correct the call or the configuration."""


class RefusedError(Error):
    """Change the request, or raise the guard that refused it."""


class ConflictError(Error):
    """Another process was in the way: call again, now or in a moment."""


class DamagedError(Error):
    """Repair or restore the file that is named."""


class UnsupportedError(Error):
    """Use another version, or give the data another form."""


class InternalError(Error):
    """Report it: a self-check failed before anything was replaced, or an invariant broke."""


class CancelledError(Error):
    """Nothing. Who cancelled knows; the same call takes up where this one was."""
