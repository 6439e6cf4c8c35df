"""The errors that dgmm raises on purpose.

Each says what was expected, what was found, where, and what to do; each is also the builtin that a
caller who knows nothing of dgmm would catch.
"""

from __future__ import annotations

import re
from typing import Any

from sklearn.exceptions import NotFittedError as _NotFittedError

# A path of ``pathlib`` has lost one of the two slashes.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:/{1,2}")
_QUERY = re.compile(r"[?#][^'\"]*")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def redact(text: str) -> str:
    """Return a text with the credentials of all URLs in it struck out: user, password, query.

    Examples
    --------
    >>> redact("cannot open s3://me:secret@bucket/x and https://host/x?X-Amz-Signature=abc")
    'cannot open s3://***@bucket/x and https://host/x?***'
    """
    return re.sub(r"\S+", _redact_word, text)


def _redact_word(found: re.Match[str]) -> str:
    word = found[0]
    url = _URL.search(word)
    if url is None:
        return word
    # A secret may hold slashes, so the last @ counts; one after a ? may be of either part.
    at, query = word.rfind("@", url.end()), _QUERY.search(word, url.end())
    if query is not None and query.start() < at:
        return word[: url.end()] + "***"
    rest = word[url.end() :] if at < 0 else "***" + word[at:]
    return word[: url.end()] + _QUERY.sub("?***", rest, count=1)


def printable(text: str) -> str:
    r"""Return a text with its control characters written out, since a file may hold some that rule terminals.

    Examples
    --------
    >>> printable("a name\x1b[2J")
    'a name\\x1b[2J'
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


class DgmmError(Exception):
    """Base of every error that dgmm raises on purpose; its text has neither credentials nor control characters."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(printable(redact(arg)) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> tuple[Any, ...]:
        # What a worker raises is sent to the driver.
        return type(self), self.args


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


class StoreError(DgmmError, OSError):
    """An object store does not answer, or refuses; what is there is as it was."""


class CheckpointError(DgmmError, RuntimeError):
    """A checkpoint cannot be used."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """A checkpoint is of other data, other parameters, another plan or another version."""


class CheckpointInUseError(CheckpointError, BlockingIOError):
    """Another process works with the same checkpoint."""


class JobError(DgmmError, ValueError):
    """A job file or a cluster file is wrong; nothing has been started."""


class JobRunningError(DgmmError, BlockingIOError):
    """Another process runs the same job."""


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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._parts


class StarvedComponentWarning(UserWarning):
    """A component had too few rows; it was moved, or has weight 0 now."""


class RegularizationWarning(UserWarning):
    """``reg_covar`` is not small against the variance of a feature."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or the last one could not be read; the fit goes on."""
