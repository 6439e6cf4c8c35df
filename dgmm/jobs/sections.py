"""What all sections of a job file have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from dgmm.errors import ParameterError
from dgmm.storage.paths import is_url
from dgmm.storage.places import check_path

COUNT = "a whole number of at least 1"

Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, ``"3"`` is no number, nothing is infinite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class MisplacedKeyError(ValueError):
    """A key that does not fit what stands elsewhere in the file."""

    def __init__(self, path: tuple[str, ...], text: str) -> None:
        super().__init__(text)
        self.path = path


def different(value: list[Any] | None) -> list[Any] | None:
    """Refuse a list in which something stands twice."""
    if value is not None and len(set(value)) != len(value):
        raise ValueError("an entry stands twice")
    return value


def locate(value: Any, info: ValidationInfo) -> Any:
    """Make an absolute path; a link at its end stays one, so that it can be told from what it leads to."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("not a path")
    if is_url(value):
        raise ValueError("a URL; this must be a local file")
    folder = (info.context or {}).get("folder", Path())
    try:
        path = Path(folder, Path(value).expanduser()).absolute()
        path = path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name
        path.exists()
    except OSError as error:
        raise ValueError(error.strerror) from error
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return path


def locate_source(value: Any, info: ValidationInfo) -> Any:
    """Make an absolute path, or check a URL."""
    if not (isinstance(value, str) and is_url(value)):
        return str(locate(value, info))
    try:
        check_path(value)
    except ParameterError as error:
        raise ValueError(str(error)) from None
    return value


SourcePath = Annotated[str, BeforeValidator(locate_source)]
FilePath = Annotated[Path, BeforeValidator(locate)]

PATH = "a path, taken from the job file's folder unless absolute"
