"""A mixture made ready for the block kernel: which component is served how, decided once.

The density of a component is computed in one of two ways. As a dot product with the feature map,
which is one GEMM for all components; or centred, ``|U'(z - mu)|^2``, component by component. The
dot product cancels where a component is narrow and far from the origin of the coordinates: it
loses about ``eps * lambda_max(P) * (|mu|^2 + tr Sigma)`` nats a row. Each component gets the
cheapest way whose loss stays below a tolerance; for float32 input these are, in this order, the
dot product in float32, the dot product in float64, and the centred form in float64.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.mixture.parameters import MixtureParameters

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.mixture.parameters import Coordinates
    from dgmm.typing import Array, FloatArray, IntArray


@dataclass(frozen=True)
class KernelOptions:
    """What the arithmetic of the kernel depends on besides the parameters.

    Attributes
    ----------
    block_rows : int
        Rows that go through the kernel at a time; sized for the cache.
    tolerance : dict of str to float
        Largest accepted loss of the dot product, in nats a row, for ``"float32"`` and
        ``"float64"`` arithmetic.
    backend : str
        What sums the statistics over rows: ``"numpy"``, or ``"numba"``, see :mod:`dgmm.mixture.program`.
    """

    block_rows: int
    tolerance: dict[str, float]
    backend: str = "numpy"


@dataclass(frozen=True)
class DotGroup:
    """Components served by the dot product.

    Attributes
    ----------
    components : (k,) int64
    natural : (k, p) float32 or float64
        Rows of A; p is 1 + d where the quadratic part is common to all components.
    residual : (k, p) float64
        What rounding to ``natural`` took away. It errs the same way for every row, so its effect
        on the log-likelihood does not average out; but it is known, see the kernel.
    """

    components: IntArray
    natural: Array
    residual: FloatArray

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the products."""
        return self.natural.dtype


@dataclass(frozen=True)
class CentredGroup:
    """Components served by centred distances, always in float64.

    Attributes
    ----------
    components : (k,) int64
    means : (k, d) float64
    factors : (k, ..) float64
        Precision factors.
    constants : (k,) float64
        Log-density at the mean.
    """

    components: IntArray
    means: FloatArray
    factors: FloatArray
    constants: FloatArray

    dtype = np.dtype(np.float64)


@dataclass(frozen=True)
class CompiledMixture:
    """Everything that the block kernel needs; plain arrays, so that it travels well.

    Attributes
    ----------
    family : CovarianceFamily
    coordinates : Coordinates
    groups : tuple of DotGroup and CentredGroup
        Components of weight 0 are in none; their log-density is -inf.
    reference : (K, d) float64
        What the statistics are taken about.
    block_rows : int
    common_precision : (1, q) float64 or None
        Coefficients of the part of the log-densities that is common to all components, where
        they lack it (an EM pass of a tied family adds it in one go, see
        :func:`~dgmm.mixture.kernel.complete`).
    backend : str
        See :class:`KernelOptions`.
    """

    family: CovarianceFamily
    coordinates: Coordinates
    groups: tuple[DotGroup | CentredGroup, ...]
    reference: FloatArray
    block_rows: int
    common_precision: FloatArray | None = None
    backend: str = "numpy"

    @cached_property
    def program(self) -> Any:
        """A :class:`~dgmm.mixture.program.Program`; each process makes its own."""
        # Not before a fit needs it: numba takes long to import.
        return import_module("dgmm.mixture.program").Program(self)

    @cached_property
    def room(self) -> threading.local:
        """Where programs keep what they need for a block; each thread has its own."""
        return threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("program", "room")}

    @property
    def n_components(self) -> int:
        """Number of components, K."""
        return int(self.reference.shape[0])

    @property
    def n_features(self) -> int:
        """Number of features, d."""
        return int(self.reference.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the responsibilities."""
        return np.result_type(*(group.dtype for group in self.groups))

    def marginals(self, observed: Array) -> list[CompiledMixture | None]:
        """The mixtures of some of the features, (g, d) bool; None where it knows of none: of all but all features."""
        return [self if own.all() else None for own in observed]

    def widened(self) -> CompiledMixture:
        """The same with all products in float64."""
        groups = tuple(
            DotGroup(group.components, group.natural + group.residual, np.zeros_like(group.residual))
            if isinstance(group, DotGroup)
            else group
            for group in self.groups
        )
        return replace(self, groups=groups)


def dot_product_loss(family: CovarianceFamily, parameters: MixtureParameters) -> FloatArray:
    """Error of the dot-product form per unit of rounding, (K,).

    Times the machine epsilon it is the loss in nats a row; see the module's text.
    """
    largest = family.form.largest_precision(parameters.precisions_cholesky)
    trace = family.form.trace(parameters.covariances, parameters.n_features)
    loss = largest * (np.square(parameters.means).sum(axis=1) + trace)
    return np.full_like(loss, loss.max()) if family.tied else loss


def assign(
    family: CovarianceFamily, parameters: MixtureParameters, dtype: np.dtype[Any], options: KernelOptions
) -> list[tuple[str, Array]]:
    """Choose for each component how it is served.

    Returns
    -------
    list of (way, components)
        ``way`` is ``"float32"`` or ``"float64"`` (dot products) or ``"centred"``; components,
        (k,) int64, is never empty. Components of weight 0 are in none.
    """
    return _assign(dot_product_loss(family, parameters), parameters.weights, dtype, options)


def _assign(
    loss: FloatArray, weights: FloatArray, dtype: np.dtype[Any], options: KernelOptions
) -> list[tuple[str, Array]]:
    ways = []
    left = weights > 0.0
    for name in ("float32", "float64") if dtype == np.float32 else ("float64",):
        good = left & (loss * np.finfo(name).eps <= options.tolerance[name])
        ways.append((name, np.flatnonzero(good)))
        left &= ~good
    ways.append(("centred", np.flatnonzero(left)))
    return [(name, components) for name, components in ways if len(components)]


def compile_mixture(
    family: CovarianceFamily,
    parameters: MixtureParameters,
    coordinates: Coordinates,
    dtype: np.dtype[Any],
    options: KernelOptions,
    *,
    whole_density: bool = True,
) -> CompiledMixture:
    """Make a mixture ready for the block kernel.

    Parameters
    ----------
    family : CovarianceFamily
    parameters : MixtureParameters
        In inner coordinates.
    coordinates : Coordinates
        From the user's units to the inner ones.
    dtype : dtype
        Of the rows: float32 or float64.
    options : KernelOptions
    whole_density : bool
        False lets a tied family leave out the quadratic part; :func:`complete` adds it.
    """
    drop = family.tied and not whole_density
    # Densities are wanted in the user's units.
    constants = family.log_constants(parameters) - coordinates.log_det

    def natural() -> FloatArray:
        found = family.natural(parameters, quadratic=not drop)
        found[:, 0] -= coordinates.log_det
        return found

    loss = dot_product_loss(family, parameters)
    compiled = _assemble(family, parameters, coordinates, dtype, options, loss, constants, natural)
    if not drop or any(isinstance(group, CentredGroup) for group in compiled.groups):
        return compiled
    common = family.form.quadratic(parameters.precisions_cholesky, parameters.n_features)
    return replace(compiled, common_precision=common)


def compile_many(
    family: CovarianceFamily,
    parameters: Sequence[MixtureParameters],
    coordinates: Sequence[Coordinates],
    dtype: np.dtype[Any],
    options: KernelOptions,
) -> list[CompiledMixture]:
    """Make several mixtures of as many components and features each ready for the kernel, of whole densities.

    The same as :func:`compile_mixture` of each, with fewer of numpy's calls.
    """
    k = parameters[0].n_components
    shifts = np.array([own.log_det for own in coordinates])[:, None]

    def stacked(name: str) -> FloatArray:
        each = [getattr(one, name) for one in parameters]
        return np.concatenate(each) if len(each[0]) == k else np.repeat(np.concatenate(each), k, axis=0)

    names = ("weights", "means", "covariances", "precisions_cholesky")
    every, alone = MixtureParameters(*map(stacked, names)), replace(family, tied=False)
    loss = dot_product_loss(alone, every).reshape(-1, k)
    if family.tied:
        loss[:] = loss.max(axis=1, keepdims=True)
    constants = alone.log_constants(every).reshape(-1, k) - shifts
    with np.errstate(over="ignore", invalid="ignore"):  # of components that are centred
        natural = alone.natural(every).reshape(len(parameters), k, -1)
        natural[:, :, 0] -= shifts
    return [
        _assemble(family, *own, dtype, options, loss[i], constants[i], partial(natural.__getitem__, i))
        for i, own in enumerate(zip(parameters, coordinates, strict=True))
    ]


def _assemble(
    family: CovarianceFamily,
    parameters: MixtureParameters,
    coordinates: Coordinates,
    dtype: np.dtype[Any],
    options: KernelOptions,
    loss: FloatArray,
    constants: FloatArray,
    make_natural: Callable[[], FloatArray],
) -> CompiledMixture:
    """Put the components into groups, by their losses, with their constants, (K,), and natural parameters, (K, p)."""
    k, d = parameters.means.shape
    natural = None
    factors = np.broadcast_to(parameters.precisions_cholesky, (k, *family.form.shape(d)))
    groups: list[DotGroup | CentredGroup] = []
    reference = np.zeros((k, d))
    for way, components in _assign(loss, parameters.weights, dtype, options):
        if way == "centred":
            reference[components] = parameters.means[components]
            groups.append(
                CentredGroup(
                    components,
                    parameters.means[components],
                    np.ascontiguousarray(factors[components]),
                    constants[components],
                )
            )
            continue
        natural = make_natural() if natural is None else natural
        own = natural[components]
        groups.append(DotGroup(components, own.astype(way), own - own.astype(way)))
    return CompiledMixture(family, coordinates, tuple(groups), reference, options.block_rows, None, options.backend)


def compile_about(
    family: CovarianceFamily, centres: FloatArray, coordinates: Coordinates, options: KernelOptions
) -> CompiledMixture:
    """Make a mixture that only gathers statistics about given centres, (K, d), with given labels."""
    k, d = centres.shape
    unit = np.ones((k, *family.form.shape(d))) * (np.eye(d) if len(family.form.shape(d)) == 2 else 1.0)
    group = CentredGroup(np.arange(k), centres, unit, np.zeros(k))
    return CompiledMixture(family, coordinates, (group,), centres, options.block_rows)
