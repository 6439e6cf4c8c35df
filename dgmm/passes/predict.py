"""What a mixture says of each row, as a lazy map that keeps the row chunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np

from dgmm.mixture.checks import check_finite
from dgmm.mixture.chunks import Chunk
from dgmm.mixture.kernel import BlockKernel, kernel_dtype
from dgmm.mixture.missing import RAISE
from dgmm.mixture.patterns import compute_rows
from dgmm.passes.blas import single_threaded_blas
from dgmm.passes.rows import check_table, chunk_lengths
from dgmm.passes.shards import check_length, to_block

if TYPE_CHECKING:
    from dgmm.mixture.compiled import CompiledMixture
    from dgmm.typing import Array, IntArray


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


def _predict_block(
    block: Array,
    mixture: tuple[CompiledMixture, IntArray | None, str],
    quantity: Quantity,
    out: np.dtype[Any],
    block_id: tuple[int, ...],
) -> Array:
    compiled, lengths, missing = mixture
    X = to_block(block, block_id[0], compiled.n_features)
    if lengths is not None:
        check_length(X, block_id[0], lengths[block_id[0]])
    check_finite(X, Chunk(block_id[0], None, len(X)), missing=missing != RAISE)
    # A log-density below the range of float32 is -inf.
    with single_threaded_blas(), np.errstate(over="ignore"):
        return compute_rows(quantity.compute, compiled, X, out)


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
    check_table(X.ndim, X.shape, X.dtype)
    if X.numblocks[1] > 1:
        X = X.rechunk({1: -1})
    dtype = quantity.dtype or dtype or kernel_dtype(X.dtype)
    width = quantity.columns or compiled.n_components
    shape: dict[str, Any] = {"chunks": (X.chunks[0], (width,))} if quantity.per_component else {"drop_axis": 1}
    return X.map_blocks(
        _predict_block,
        # A task of its own, so that it travels to each worker once.
        mixture=dask.delayed((compiled, chunk_lengths(X), missing), pure=False, traverse=False),
        quantity=quantity,
        out=dtype,
        dtype=dtype,
        meta=np.empty((0,) * (2 if quantity.per_component else 1), dtype=dtype),
        **shape,
    )


def predict_rows(
    X: Any, compiled: CompiledMixture, quantity: Quantity, dtype: np.dtype[Any], chunk_rows: int, missing: str = RAISE
) -> Any:
    """The same for any rows, (n, d): those in memory are worked on with this process's threads, in chunks."""
    if isinstance(X, da.Array):
        return predict_lazily(X, compiled, quantity, dtype, missing)
    dtype = quantity.dtype or dtype
    if len(X) <= chunk_rows:  # one chunk: a scheduler would take longer than the work
        return _predict_block(X, (compiled, None, missing), quantity, dtype, (0, 0))
    chunks = da.from_array(X, chunks=(chunk_rows, X.shape[1]), name=False)
    lazy = predict_lazily(chunks, compiled, quantity, dtype, missing)
    with single_threaded_blas():
        return lazy.compute(scheduler="threads")
