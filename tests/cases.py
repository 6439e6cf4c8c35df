"""Families and parameters that several tests draw from."""

import numpy as np
import pytest
from hypothesis import strategies as st

from dgmm.mixture.families import FAMILIES, CovarianceFamily
from dgmm.mixture.parameters import MixtureParameters

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
any_family = st.sampled_from(list(FAMILIES.values()))


def random_parameters(family: CovarianceFamily, k: int, d: int, seed: int) -> MixtureParameters:
    rng = np.random.default_rng(seed)
    square = rng.normal(size=(k, d, d))
    full = square @ np.swapaxes(square, 1, 2) + 0.3 * np.eye(d)
    covariances = {
        "full": full,
        "tied": full[:1],
        "diag": np.diagonal(full, axis1=1, axis2=2).copy(),
        "spherical": full[:, :1, 0].copy(),
    }[family.name]
    return family.parameters(rng.dirichlet(np.ones(k)), rng.normal(size=(k, d)), covariances)


def matrices(family: CovarianceFamily, parameters: MixtureParameters) -> np.ndarray:
    k, d = parameters.means.shape
    return np.broadcast_to(family.form.full(parameters.covariances, d), (k, d, d))
