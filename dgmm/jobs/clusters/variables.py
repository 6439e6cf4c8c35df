"""Values of a cluster file that come from the environment: ``${NAME}``, where a key says that it may."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo

from dgmm.jobs.sections import locate

_NAME = r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}"


def expand(value: Any) -> Any:
    """Put the values of environment variables in place of ``${NAME}``; nothing else is expanded.

    Raises
    ------
    ValueError
        If a variable is not set or empty, or ``${`` is not the begin of one. No value is in the message.

    Examples
    --------
    >>> import os
    >>> os.environ["DGMM_HOST"] = "node1"
    >>> expand("tls://${DGMM_HOST}:8786"), expand("$HOME and 5")
    ('tls://node1:8786', '$HOME and 5')
    """
    if not isinstance(value, str):
        return value
    if "${" in re.sub(_NAME, "", value):
        raise ValueError("a variable is written as ${NAME}")
    return re.sub(_NAME, lambda found: _value(found[1]), value)


def _value(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"the environment variable {name} is not set")
    return value


def _secret(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_NAME, value):
        raise ValueError("a secret does not belong in a file: write ${NAME}, and set NAME in the environment")
    return expand(value) if (info.context or {}).get("secrets", True) else value


Text = Annotated[str, BeforeValidator(expand), Field(min_length=1)]
"""A text in which ``${NAME}`` is expanded."""
Place = Annotated[Path, BeforeValidator(locate), BeforeValidator(expand)]
"""A path in which ``${NAME}`` is expanded."""
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
"""A text that is ``${NAME}`` alone, and is never shown; it stays that in a file that is checked without secrets."""

EXPANDED = "may hold ${NAME}"
