"""What a mixture says of each row, as a lazy map that keeps the row chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.mixture.checks import check_finite
from dgmm.mixture.kernel import BlockKernel, kernel_dtype
from dgmm.mixture.missing import RAISE
from dgmm.mixture.patterns import compute_rows
from dgmm.passes.rowwise import map_lazily, map_rows

if TYPE_CHECKING:
    import dask.array as da

    from dgmm.mixture.chunks import Chunk
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.typing import Array


@dataclass(frozen=True)
class Quantity:
    """Something that is computed of each row.

    Attributes
    ----------
    name : str
    compute : callable
        From a kernel and rows (n, d) to (n,) or (n, columns).
    dtype : dtype or None
        Of the result; None for that of the rows and the model.
    per_component : bool
        True if the result has several columns: one for each component.
    whole_density : bool
        False if what is common to all components does not matter.
    columns : int or None
        Number of columns, where it is not that of the components.
    attrs : mapping
        What is said of the values where they are labelled.
    """

    name: str
    compute: Callable[[BlockKernel, Array], Array]
    dtype: np.dtype[Any] | None
    per_component: bool
    whole_density: bool
    columns: int | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)


LABELS = Quantity(
    "labels",
    BlockKernel.labels,
    np.dtype(np.int64),
    per_component=False,
    whole_density=False,
    attrs={"long_name": "component of the mixture with the largest responsibility, from 0; -1 for none"},
)
RESPONSIBILITIES = Quantity(
    "probability",
    BlockKernel.responsibilities,
    None,
    per_component=True,
    whole_density=False,
    attrs={"long_name": "posterior probability of each component of the mixture", "units": "1"},
)
SCORES = Quantity(
    "log_density",
    BlockKernel.score_samples,
    None,
    per_component=False,
    whole_density=True,
    attrs={"long_name": "logarithm of the density of the mixture, in nats", "units": "1"},
)


@dataclass(frozen=True)
class _Prediction:
    """A quantity of the rows of a chunk."""

    compiled: CompiledMixture
    quantity: Quantity
    out: np.dtype[Any]
    missing: str

    @property
    def n_features(self) -> int:
        return self.compiled.n_features

    @property
    def columns(self) -> int | None:
        return (self.quantity.columns or self.compiled.n_components) if self.quantity.per_component else None

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.quantity.dtype or self.out

    def __call__(self, X: Array, chunk: Chunk) -> Array:
        check_finite(X, chunk, missing=self.missing != RAISE)
        with np.errstate(over="ignore"):  # a log-density below the range of float32 is -inf
            return compute_rows(self.quantity.compute, self.compiled, X, self.dtype)


def predict_lazily(
    X: da.Array,
    compiled: CompiledMixture,
    quantity: Quantity,
    dtype: np.dtype[Any] | None = None,
    missing: str = RAISE,
) -> da.Array:
    """Build the map over a dask array, (n, d); nothing is computed.

    ``missing`` is what is done about missing values (:data:`~dgmm.mixture.missing.POLICIES`): those of which
    ``compiled`` knows nothing get -1 or NaN, unless they are refused.

    Returns
    -------
    dask array
        (n,) or (n, K), with the row chunks of X, which may be unknown.
    """
    return map_lazily(X, _Prediction(compiled, quantity, dtype or kernel_dtype(X.dtype), missing))


def predict_rows(
    X: Any, compiled: CompiledMixture, quantity: Quantity, dtype: np.dtype[Any], chunk_rows: int, missing: str = RAISE
) -> Any:
    """The same for any rows, (n, d): those in memory are worked on with this process's threads, in chunks."""
    return map_rows(X, _Prediction(compiled, quantity, dtype, missing), chunk_rows)
