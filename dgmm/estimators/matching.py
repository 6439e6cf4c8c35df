"""Components of one mixture matched with those of another, and numbered as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from dgmm.errors import DataError, ParameterError
from dgmm.estimators._base import MixtureEstimator
from dgmm.estimators._records import from_record, to_record
from dgmm.mixture.matching import assign, bhattacharyya_distances, hellinger
from dgmm.mixture.parameters import MixtureParameters

if TYPE_CHECKING:
    from dgmm.typing import FloatArray, IntArray

M = TypeVar("M", bound=MixtureEstimator | MixtureParameters)


@dataclass(frozen=True, repr=False, eq=False)
class Match:
    """Components of an old mixture and of a new one, paired one to one; made by :func:`match`.

    Attributes
    ----------
    pairs : tuple of (int, int)
        Number of the old component and of the new one, by the old one's.
    distances : (m,) float64
        Hellinger distance of each pair: 0 for the same Gaussian, 1 for two that do not overlap.
    weights : (m, 2) float64
        Mixing proportions of each pair, the old one's and the new one's.
    unmatched_old, unmatched_new : tuple of int
        Components without a partner, where one mixture has more than the other.
    """

    pairs: tuple[tuple[int, int], ...]
    distances: FloatArray
    weights: FloatArray
    unmatched_old: tuple[int, ...]
    unmatched_new: tuple[int, ...]

    @property
    def weight_changes(self) -> FloatArray:
        """The new component's mixing proportion less the old one's, (m,)."""
        return np.asarray(self.weights[:, 1] - self.weights[:, 0])

    @property
    def order(self) -> IntArray:
        """The new mixture's components in the order that :meth:`renumber` gives them."""
        return np.array([new for _, new in self.pairs] + list(self.unmatched_new), dtype=np.intp)

    def renumber(self, model: M) -> M:
        """The new mixture with its components numbered as their partners in the old one.

        Parameters
        ----------
        model : fitted mixture or MixtureParameters
            The new mixture. Those of its components that have no partner come last; where it has fewer than the old
            one, numbers cannot all be kept, and its components are in the order of their partners.

        Returns
        -------
        of the type of ``model``
            A copy, as if saved and loaded; labels that it predicts are numbers of the old mixture.

        Raises
        ------
        ParameterError
            If it has another number of components than the mixture that was matched.
        """
        parameters = _parameters(model)
        if parameters.n_components != len(self.order):
            raise ParameterError(
                f"the mixture has {parameters.n_components} components, the new one of this match {len(self.order)}; "
                "give that one"
            )
        taken = parameters.take(self.order)
        if isinstance(model, MixtureParameters):
            return cast("M", taken)
        copy = from_record(type(model), to_record(model), "hand")
        copy._set_parameters(taken, np.asarray(model.means_).dtype)
        return cast("M", copy)

    def summary(self, most: int = 12) -> str:
        """The match in lines of at most 80 characters, the pairs that are farthest apart first.

        Parameters
        ----------
        most : int
            Pairs at most.
        """
        total = len(self.pairs) + max(len(self.unmatched_old), len(self.unmatched_new))
        lines = [f"{len(self.pairs)} of {total} components matched"]
        for name, numbers in (("old", self.unmatched_old), ("new", self.unmatched_new)):
            if numbers:
                shown = ", ".join(map(str, numbers[:most])) + ", ..." * (len(numbers) > most)
                lines.append(f"{name} components without a partner: {shown}")
        lines.append(f"{'old':>5} {'new':>5} {'distance':>9} {'weight, old':>12} {'new':>8} {'change':>9}")
        far = np.argsort(-self.distances, kind="stable")[:most]
        for i in far:
            (old, new), (before, after) = self.pairs[i], self.weights[i]
            lines.append(
                f"{old:>5} {new:>5} {self.distances[i]:>9.4f} {before:>12.4f} {after:>8.4f} {after - before:>+9.4f}"
            )
        if len(far) < len(self.pairs):
            lines.append(f"and {len(self.pairs) - len(far)} more, nearer")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """The summary."""
        return self.summary()


def match(old: Any, new: Any) -> Match:
    """Match the components of two mixtures one to one.

    Each component is given the one of the other mixture that is nearest, by the pairs whose Hellinger distances
    have the least sum. The distance is one of the Gaussians: weights do not count.

    Parameters
    ----------
    old, new : fitted mixture or MixtureParameters
        Of any kinds and covariance families, with the same features: found by their names, in any order, where both
        mixtures have names, and else by their places. The numbers of components may differ.

    Returns
    -------
    Match

    Raises
    ------
    ParameterError
        If one is no mixture.
    NotFittedError
        If one is not fitted.
    DataError
        If the features differ.

    Notes
    -----
    The Hellinger distance of two densities is ``sqrt(1 - integral sqrt(p q))``, which for Gaussians is closed: see
    :func:`dgmm.mixture.matching.bhattacharyya_distances`. It is a metric, and the same in any units.

    Examples
    --------
    >>> import numpy as np
    >>> import dgmm
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(size=(300, 2)), rng.normal(6.0, 1.0, size=(200, 2))])
    >>> old = dgmm.GaussianMixture(2, random_state=0).fit(X)
    >>> new = dgmm.GaussianMixture(2, random_state=0).fit(X[200:])    # now the second is the larger one
    >>> dgmm.match(old, new).pairs
    ((0, 1), (1, 0))
    >>> again = dgmm.match(old, new).renumber(new)
    >>> bool((again.predict(X) == old.predict(X)).all())
    True
    """
    a, b = _parameters(old), _parameters(new)
    distances = bhattacharyya_distances(a, b, _same_features(old, new, a.n_features, b.n_features))
    rows, columns = assign(distances)
    return Match(
        tuple(zip(rows.tolist(), columns.tolist(), strict=True)),
        hellinger(distances[rows, columns]),
        np.stack([a.weights[rows], b.weights[columns]], axis=1),
        tuple(sorted(set(range(a.n_components)) - set(rows.tolist()))),
        tuple(sorted(set(range(b.n_components)) - set(columns.tolist()))),
    )


def _parameters(mixture: Any) -> MixtureParameters:
    if isinstance(mixture, MixtureParameters):
        return mixture
    if not isinstance(mixture, MixtureEstimator):
        raise ParameterError(
            f"found a {type(mixture).__name__}; give fitted mixtures of dgmm, or their MixtureParameters"
        )
    return mixture._parameters()


def _same_features(old: Any, new: Any, n_old: int, n_new: int) -> IntArray | None:
    """The new mixture's features in the order of the old one's, by names; None where there are none."""
    names = [list(map(str, getattr(mixture, "feature_names_in_", ()))) for mixture in (old, new)]
    if n_old != n_new:
        raise DataError(
            f"the old mixture has {n_old} features, the new one {n_new}; give mixtures of the same features"
        )
    if not all(names):
        return None
    if sorted(names[0]) != sorted(names[1]):
        missing, more = (_shown(set(names[i]) - set(names[1 - i])) for i in (0, 1))
        raise DataError(
            f"the features differ: only the old mixture has {missing}, only the new one {more}; "
            "give two of the same features"
        )
    return np.array([names[1].index(name) for name in names[0]], dtype=np.intp)


def _shown(names: set[str], most: int = 5) -> str:
    return ", ".join(sorted(names)[:most]) + ", ..." * (len(names) > most)
