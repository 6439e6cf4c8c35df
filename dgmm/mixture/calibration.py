"""EM on some of the rows, corrected by what is known of all of them.

At one point theta_0 the M-step of all the rows, F, is known, and that of a part of them, S, can be
computed at any point. The affine map of each component's rows, and the factor of its weight, that
carry S(theta_0) over into F are a correction for S(theta) nearby.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dgmm.mixture.parameters import MixtureParameters

if TYPE_CHECKING:
    from dgmm.mixture.families import CovarianceFamily
    from dgmm.typing import FloatArray


@dataclass(frozen=True)
class Calibration:
    """What carries estimates from a part of the rows over to all of them.

    Attributes
    ----------
    family : CovarianceFamily
    whole : MixtureParameters
        M-step of all the rows at theta_0, in inner coordinates.
    part : MixtureParameters
        M-step of the part at the same theta_0.

    Notes
    -----
    An additive correction of the sufficient statistics, as in Jordan, Lee and Yang (2019),
    "Communication-efficient distributed statistical inference", JASA 114, leaves covariances that
    are not positive definite where components have few rows. This one agrees with it to first
    order, and whatever it gives is a mixture.
    """

    family: CovarianceFamily
    whole: MixtureParameters
    part: MixtureParameters

    @cached_property
    def _scale(self) -> FloatArray:
        """C with ``C Sigma_part C' = Sigma_whole``, of the shape of the covariances."""
        whole, part = self.whole.precisions_cholesky, self.part.precisions_cholesky
        if whole.ndim == 3:
            return np.tril(np.linalg.solve(np.swapaxes(whole, 1, 2), np.swapaxes(part, 1, 2)))
        return part / whole

    @cached_property
    def _ratio(self) -> FloatArray:
        """Weights of all the rows over those of the part; 0 for dead components."""
        return self.whole.weights / np.where(self.part.weights > 0.0, self.part.weights, np.inf)

    def correct(self, estimate: MixtureParameters) -> MixtureParameters:
        """Carry an M-step of the part over to all the rows; ``whole`` is what ``part`` becomes."""
        weights = estimate.weights * self._ratio
        offset, scale = estimate.means - self.part.means, self._scale
        if scale.ndim == 3:
            moved = (scale @ offset[:, :, None])[:, :, 0]
            covariances = scale @ estimate.covariances @ np.swapaxes(scale, 1, 2)
            covariances = 0.5 * (covariances + np.swapaxes(covariances, 1, 2))
            factors = np.triu(np.linalg.solve(np.swapaxes(scale, 1, 2), estimate.precisions_cholesky))
        else:
            moved = scale * offset
            covariances = np.square(scale) * estimate.covariances
            factors = estimate.precisions_cholesky / scale
        return MixtureParameters(weights / weights.sum(), self.whole.means + moved, covariances, factors)

    def difference(self, parameters: MixtureParameters) -> float:
        """What to add to the part's mean log-likelihood at given parameters, in nats a row.

        With it the part's likelihood has, at theta_0, the gradient of the whole's (up to a
        constant): the surrogate likelihood of Jordan, Lee and Yang (2019), equation 6, for a
        mixture, whose gradient is linear in the sufficient statistics.
        """
        return _expected(self.family, self.whole, parameters) - _expected(self.family, self.part, parameters)


def _expected(family: CovarianceFamily, moments: MixtureParameters, parameters: MixtureParameters) -> float:
    """Mean of ``sum_k r_k log(pi_k N_k)`` over rows of which weights, means and covariances are given."""
    factors, form = parameters.precisions_cholesky, family.form
    offset = moments.means - parameters.means
    if factors.ndim == 3:
        squared = np.square(np.swapaxes(factors, 1, 2) @ offset[:, :, None]).sum(axis=(1, 2))
        spread = (form.precision(factors) * moments.covariances).sum(axis=(1, 2))
    else:
        squared = np.square(factors * offset).sum(axis=1)
        spread = form.trace(form.precision(factors) * moments.covariances, parameters.n_features)
    own = family.log_constants(parameters) - 0.5 * (squared + spread)
    used = moments.weights > 0.0
    return float(moments.weights[used] @ own[used])
