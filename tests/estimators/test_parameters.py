"""Impossible constructor parameters: refused before the data are read, each in words."""

import dask.array as da
import numpy as np
import pytest
from reference import FAMILIES, make_blobs

from dgmm import GaussianMixture
from dgmm.errors import ParameterError
from dgmm.estimators._parameters import RULES

IMPOSSIBLE = [
    ("n_components", [0, -1, 1.0, "2", None, True], "an int of at least 1"),
    ("covariance_type", ["foo", "Full", None, 3], "one of 'full', 'tied', 'diag', 'spherical'"),
    ("tol", [-1e-3, np.nan, np.inf, "Auto", None, True], "a float of at least 0, or 'auto'"),
    ("reg_covar", [-1e-6, np.nan, np.inf, "0", None], "a finite float of at least 0"),
    ("max_iter", [0, 1.5, None], "an int of at least 1"),
    ("n_init", [0, 2.0, None], "an int of at least 1"),
    ("init_params", ["k_means", None, "bfr?"], "one of 'kmeans', 'k-means+"),
    ("random_state", [-1, 2**32, 1.5, "0", np.random], "None, an int from 0 to 2**32 - 1, a numpy RandomState"),
    ("warm_start", ["yes", 1, None], "True or False"),
    ("verbose", [-1, 0.5, "yes", None], "an int of at least 0"),
    ("verbose_interval", [0, 2.5, None], "an int of at least 1"),
    ("sample_rows", [0, -5, 100.0, "all"], "None or an int of at least 1"),
    ("accelerate", [True, False, "anderson", 1], "'auto' or None"),
]


def refuse(block):
    raise AssertionError("the data were read")


def rows(d=2):
    """Rows that cannot be read."""
    return da.zeros((30, d), chunks=(10, d)).map_blocks(refuse, dtype=float, meta=np.empty((0, 0)))


def test_every_rule_is_tested():
    assert {name for name, _, _ in IMPOSSIBLE} == set(RULES)


@pytest.mark.parametrize(
    ("name", "value", "words"), [(name, value, words) for name, values, words in IMPOSSIBLE for value in values]
)
def test_impossible_values(name, value, words):
    model = GaussianMixture(**{name: value})  # as scikit-learn: checked in fit
    with pytest.raises(ParameterError) as caught:
        model.fit(rows())
    message = str(caught.value)
    assert message.startswith(f"{name} is {value!r}; it must be ")
    assert words in message


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


def good(family):
    return {
        "weights_init": [0.5, 0.5],
        "means_init": [[0.0, 0.0], [1.0, 1.0]],
        "precisions_init": {
            "full": [np.eye(2)] * 2,
            "tied": np.eye(2),
            "diag": np.ones((2, 2)),
            "spherical": [1.0, 2.0],
        }[family],
    }


SHAPES = {
    "full": r"\(n_components, n_features, n_features\) = \(2, 2, 2\)",
    "tied": r"\(n_features, n_features\) = \(2, 2\)",
    "diag": r"\(n_components, n_features\) = \(2, 2\)",
    "spherical": r"\(n_components,\) = \(2,\)",
}


def refused(match, family="full", **start):
    model = GaussianMixture(2, covariance_type=family, **good(family) | start)
    with pytest.raises(ParameterError, match=match):
        model.fit(rows())


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([0.2, 0.3, 0.5], r"weights_init has shape \(3,\); expected \(n_components,\) = \(2,\)"),
        ([[0.5, 0.5]], r"weights_init has shape \(1, 2\)"),
        ([0.5, 0.6], r"weights_init sums to 1.1; weights must sum to 1"),
        ([-0.5, 1.5], r"weights_init\[0\] is -0.5; weights must be from 0 to 1"),
        ([np.nan, 1.0], r"weights_init contains nan at \[0\]; all values must be finite"),
        (["a", "b"], r"weights_init must be an array of numbers of shape \(n_components,\)"),
    ],
)
def test_impossible_weights(value, match):
    refused(match, weights_init=value)


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ([[0.0, 0.0, 0.0]] * 2, r"means_init has shape \(2, 3\); expected \(n_components, n_features\) = \(2, 2\)"),
        ([0.0, 0.0], r"means_init has shape \(2,\)"),
        ([[0.0, 0.0], [0.0, np.inf]], r"means_init contains inf at \[1, 1\]; all values must be finite"),
        ([[0.0], [1.0, 2.0]], r"means_init must be an array of numbers"),
    ],
)
def test_impossible_means(value, match):
    refused(match, means_init=value)


@pytest.mark.parametrize("family", FAMILIES)
def test_impossible_precisions(family):
    own = np.asarray(good(family)["precisions_init"], dtype=float)
    refused(f"precisions_init has shape .*; expected {SHAPES[family]}", family, precisions_init=np.ones((5, 5)))
    bad = own.copy()
    bad[(0,) * bad.ndim] = np.nan
    refused(r"precisions_init contains nan at \[0", family, precisions_init=bad)
    word = "positive definite" if family in ("full", "tied") else "positive"
    for factor in (-1.0, 0.0):
        refused(f"precisions_init must be {word} for covariance_type='{family}'", family, precisions_init=own * factor)
    if family in ("full", "tied"):
        bad = own.copy()
        bad[..., 0, 1] = 0.5
        refused(f"precisions_init must be symmetric for covariance_type='{family}'", family, precisions_init=bad)
        bad[..., 1, 0] = bad[..., 0, 1] = 2.0  # symmetric, eigenvalues 3 and -1
        refused("precisions_init must be positive definite", family, precisions_init=bad)


@pytest.mark.parametrize("n_samples", [0, -1, 2.5, "3", None])
def test_impossible_numbers_of_samples(n_samples):
    model = GaussianMixture(1).fit(np.arange(10.0).reshape(5, 2))
    with pytest.raises(ParameterError, match=rf"n_samples is {n_samples!r}; it must be an int of at least 1"):
        model.sample(n_samples)
