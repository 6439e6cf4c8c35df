"""Constructor parameters that are numbers of numpy; impossible ones are among ``tests/bad_input``."""

import numpy as np
import pytest
from reference import make_blobs

from dgmm import GaussianMixture


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", np.int32(2)),
        ("tol", np.float32(0.1)),
        ("tol", 1),
        ("reg_covar", 0),
        ("max_iter", np.int64(1000)),
        ("random_state", np.uint32(2**32 - 1)),
        ("warm_start", np.bool_(False)),
        ("verbose", False),
        ("sample_rows", np.int64(10)),
        ("covariance_type", np.str_("diag")),
    ],
)
def test_numpy_numbers_are_numbers(name, value):
    X = make_blobs(50, 2, 2, seed=1, spread=10.0)
    parameters = {"n_components": 2, "random_state": 0, "max_iter": 500} | {name: value}
    assert GaussianMixture(**parameters).fit(X).means_.shape == (2, 2)
