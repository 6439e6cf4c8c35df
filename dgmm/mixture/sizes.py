"""How large a value is, for schedulers that place and spill by size."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def array_bytes(value: Any) -> int:
    """Bytes of the arrays in a value: an array, a dataclass or a tuple of such, as deep as they go.

    Examples
    --------
    >>> array_bytes((np.zeros(3), "text", (np.zeros((2, 2)),)))
    56
    """
    if isinstance(value, np.ndarray):
        return value.nbytes
    if is_dataclass(value):
        return sum(array_bytes(getattr(value, item.name)) for item in fields(value))
    return sum(map(array_bytes, value)) if isinstance(value, tuple) else 0


class Sized:
    """Base of dataclasses that travel: ``sys.getsizeof``, and so Dask, counts their arrays."""

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + array_bytes(self)
