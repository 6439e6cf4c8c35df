"""The errors that dgmm raises on purpose.

Each says what was expected, what was found, where, and what to do; each is also the builtin that a
caller who knows nothing of dgmm would catch.
"""

from __future__ import annotations

from sklearn.exceptions import NotFittedError as _NotFittedError


class DgmmError(Exception):
    """Base of every error that dgmm raises on purpose."""


class ParameterError(DgmmError, ValueError, TypeError):
    """A parameter of an estimator or a function is impossible."""


class NotFittedError(DgmmError, _NotFittedError):  # type: ignore[misc]
    """An estimator was asked for something that only a fitted one knows."""


class DataError(DgmmError, ValueError):
    """The data cannot be used as they are."""


class DataTypeError(DataError, TypeError):
    """The data have a type that holds no real numbers."""


class IllDefinedCovarianceError(DataError):
    """A covariance is not positive definite, so its density does not exist."""


class InsufficientMemoryError(DgmmError, MemoryError):
    """A fit would need more memory than there is; nothing has been read."""


class FormatError(DgmmError, ValueError):
    """A stored model or array is not in a format that this version reads."""


class NotFoundError(FormatError, FileNotFoundError):
    """There is nothing at a path that should be read."""


class ExistsError(FormatError, FileExistsError):
    """There is something at a path that should be written."""


class ReadError(DataError, OSError):
    """A chunk could not be read, however often it was tried."""


class WriteError(DgmmError, OSError):
    """An output could not be written; nothing of it is left."""


class CheckpointError(DgmmError, RuntimeError):
    """A checkpoint cannot be used."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """A checkpoint is of other data, other parameters, another plan or another version."""


class CheckpointInUseError(CheckpointError, BlockingIOError):
    """Another process works with the same checkpoint."""


class JobError(DgmmError, ValueError):
    """A job file or a cluster file is wrong; nothing has been started."""


class ClusterError(DgmmError, RuntimeError):
    """The cluster could not be reached, or was lost."""


class MissingExtraError(DgmmError, ImportError):
    """An optional package is needed and is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: python -m pip install 'dgmm[{extra}]'"
        )
        self._parts = (package, extra, purpose)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        # What a worker raises is sent to the driver.
        return type(self), self._parts


class StarvedComponentWarning(UserWarning):
    """A component had too few rows; it was moved, or has weight 0 now."""


class RegularizationWarning(UserWarning):
    """``reg_covar`` is not small against the variance of a feature."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or the last one could not be read; the fit goes on."""
