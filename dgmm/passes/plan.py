"""What the driver decides once, before the first pass: nothing in it depends on the machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dgmm.mixture.compiled import KernelOptions

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily

# By benchmarks/kernel.py --blocks. Products of up to a million multiplications go to faster code in
# OpenBLAS; where that would leave blocks too short, it is the cache that decides, by the length of
# the feature map: (largest length, rows).
_SMALL_PRODUCT = 1_000_000
_SHORTEST, _LONGEST = 512, 16_384
_BLOCK_ROWS = ((1000, 1024), (4000, 256))
_BLOCK_ROWS_LARGE = 128

# Losses of the dot product, in nats a row, up to which the mean log-likelihood of real data keeps
# 1e-5 (float32) and 1e-10 (float64) nats a row (benchmarks/precision.py, column "plan logL").
_TOLERANCE = {"float32": 2e-3, "float64": 1e-9}

# A chunk of an array in memory: so much work, but not less than a few blocks; in threes, which are
# whole blocks of the compiled kernel as well.
_CHUNK_BLOCKS = 12
_CHUNK_WORK = 5e7
# Numbers of a chunk of signals in memory.
_SIGNAL_CHUNK = 2**22


@dataclass(frozen=True)
class ExecutionPlan:
    """How the passes of a fit are cut up and added together.

    Under one plan, with the same versions and one family of BLAS kernels, a fit gives the same
    bits on any scheduler and any number of workers.

    Attributes
    ----------
    backend : str
        Implementation of the block kernel that sums statistics, ``"numba"`` or ``"numpy"``.
    block_rows : int
        Rows that go through the numpy kernel at a time; the compiled one has blocks of its own.
    chunk_rows : int
        Rows of the pieces that an array in memory is cut into, and that smaller chunks are joined
        to.
    tolerance : dict of str to float
        See :class:`~dgmm.mixture.compiled.KernelOptions`.
    """

    backend: str
    block_rows: int
    chunk_rows: int
    tolerance: dict[str, float]

    @classmethod
    def choose(cls, family: CovarianceFamily, n_components: int, n_features: int) -> ExecutionPlan:
        """Look the plan up by shape in a static table.

        Examples
        --------
        >>> from dgmm.mixture.families import get_family
        >>> ExecutionPlan.choose(get_family("full"), 8, 3).block_rows
        8192
        """
        p = 1 + n_features if family.tied else family.n_mapped(n_features)
        block_rows = _block_rows(n_components, p)
        work = 4 * n_components * p + 200
        blocks = max(_CHUNK_BLOCKS, 3 * round(_CHUNK_WORK / work / block_rows / 3))
        return cls("numba", block_rows, blocks * block_rows, dict(_TOLERANCE))

    @classmethod
    def of_signals(cls, n_samples: int) -> ExecutionPlan:
        """The plan of passes that project signals of n samples each.

        Examples
        --------
        >>> ExecutionPlan.of_signals(64 * 64).chunk_rows
        1024
        """
        rows = max(1, _SIGNAL_CHUNK // n_samples)
        return cls("numpy", rows, rows, {})

    @property
    def options(self) -> KernelOptions:
        """The part of the plan that the kernel needs."""
        return KernelOptions(self.block_rows, self.tolerance, self.backend)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values, for a file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ExecutionPlan:
        """The plan of :meth:`to_dict`'s values."""
        # Models of earlier versions also have the fan-in of a tree that is binary now.
        return cls(**{key: value for key, value in values.items() if key != "fan_in"})


def _block_rows(n_components: int, p: int) -> int:
    rows = _SMALL_PRODUCT // (n_components * p)
    if rows >= _SHORTEST:
        return int(min(2 ** (rows.bit_length() - 1), _LONGEST))
    return next((rows for most, rows in _BLOCK_ROWS if p <= most), _BLOCK_ROWS_LARGE)
