"""Machine code, made by numba when it is first needed, or fetched from where numba keeps what it made.

That is beside the package, or in the user's cache directory. numba is imported with this module.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import threading
import time
from types import FunctionType
from typing import TYPE_CHECKING, Any

from numba import njit
from numba.core.registry import cpu_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

logger = logging.getLogger("dgmm")

_LONG = 2.0
_making = threading.Lock()
_made: dict[Any, Any] = {}


def fingerprint(signature: Any, modules: Sequence[ModuleType]) -> str:
    """What machine code depends on, in 16 digits: types, sources and the processor.

    numba itself looks only at the file of the function, and keeps the code for all types and processors under one
    index, which processes that start together may tear.
    """
    sources = [inspect.getsource(module) for module in modules]
    made_of = str(signature), cpu_target.target_context.codegen().magic_tuple(), sources
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def machine_code(function: Any, signature: Any, modules: Sequence[ModuleType], about: str) -> Any:
    """A function as machine code that holds no interpreter lock; each process makes or fetches it once.

    Parameters
    ----------
    function : function
        As numba takes it.
    signature : numba signature
    modules : sequence of module
        Whose sources the machine code is made of.
    about : str
        What it is, for the log, which says so where it took long.
    """
    key = function, signature
    with _making:
        if key not in _made:
            began = time.perf_counter()
            _made[key] = _make(function, signature, modules)
            if (seconds := time.perf_counter() - began) > _LONG:
                logger.info("compiled %s in %.0f s", about, seconds)
        return _made[key]


def _make(function: Any, signature: Any, modules: Sequence[ModuleType]) -> Any:
    try:
        # numba files what it keeps by the name of the function.
        named = FunctionType(function.__code__, function.__globals__)
        named.__qualname__ = f"{function.__name__}_{fingerprint(signature, modules)}"
        return njit(signature, nogil=True, error_model="numpy", cache=True)(named)
    except (RuntimeError, OSError):  # neither the package's folder nor the user's can be written to
        return njit(signature, nogil=True, error_model="numpy")(function)
