"""Types that several layers share."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""A numpy array of any dtype; shapes are given in the docstrings."""

FloatArray: TypeAlias = NDArray[np.float64]
"""A float64 array."""

IntArray: TypeAlias = NDArray[np.int64]
"""An int64 array."""

RandomState: TypeAlias = int | np.random.RandomState | np.random.Generator | None
"""What ``random_state`` takes."""
