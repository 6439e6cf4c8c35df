"""Families and parameters that several tests draw from."""

import numpy as np
import pytest
from hypothesis import strategies as st
from reference import PEERS_FAMILIES

from dgmm.mixture.families import FAMILIES, CovarianceFamily
from dgmm.mixture.parameters import MixtureParameters

families = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
peers_families = pytest.mark.parametrize("family", [FAMILIES[name] for name in PEERS_FAMILIES], ids=PEERS_FAMILIES)
any_family = st.sampled_from(list(FAMILIES.values()))


def random_parameters(family: CovarianceFamily, k: int, d: int, seed: int) -> MixtureParameters:
    rng = np.random.default_rng(seed)
    square = rng.normal(size=(k, d, d))
    full = square @ np.swapaxes(square, 1, 2) + 0.3 * np.eye(d)
    full = full[: family.n_covariances(k)]
    shape = family.inner_shape(k, d)
    covariances = full if len(shape) == 3 else np.diagonal(full, axis1=1, axis2=2)[:, : shape[1]].copy()
    return family.parameters(rng.dirichlet(np.ones(k)), rng.normal(size=(k, d)), covariances)


def matrices(family: CovarianceFamily, parameters: MixtureParameters) -> np.ndarray:
    k, d = parameters.means.shape
    return np.broadcast_to(family.form.full(parameters.covariances, d), (k, d, d))
