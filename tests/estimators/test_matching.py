"""dgmm.match: components of fitted models, found again in others."""

import numpy as np
import pandas as pd
import pytest
from cases import families, random_parameters

import dgmm
from dgmm import BFRGaussianMixture, GaussianMixture
from dgmm.errors import DataError, NotFittedError, ParameterError
from dgmm.estimators.loading import load_mixture
from dgmm.mixture.families import FAMILIES

CENTRES = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])


def rows(shares, n=2_000, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    numbers = rng.choice(len(shares), size=n, p=shares)
    return CENTRES[numbers] + shift + rng.normal(size=(n, 2))


RISING, FALLING = rows([0.1, 0.2, 0.3, 0.4]), rows([0.4, 0.3, 0.2, 0.1], seed=1)


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request):
    """The same clusters, largest first in both, which are others."""
    return [GaussianMixture(4, covariance_type=request.param, random_state=0).fit(X) for X in (RISING, FALLING)]


def test_labels_keep_their_numbers(pair):
    old, new = pair
    found = dgmm.match(old, new)
    assert found.pairs == ((0, 3), (1, 2), (2, 1), (3, 0))
    assert found.distances.max() < 0.1
    np.testing.assert_allclose(found.weight_changes, [-0.3, -0.1, 0.1, 0.3], atol=0.05)
    assert found.unmatched_old == found.unmatched_new == ()
    renumbered = found.renumber(new)
    np.testing.assert_array_equal(renumbered.predict(RISING), old.predict(RISING))
    assert dgmm.match(old, renumbered).pairs == ((0, 0), (1, 1), (2, 2), (3, 3))
    # Nothing but the numbers is another.
    np.testing.assert_allclose(renumbered.score_samples(RISING), new.score_samples(RISING), rtol=1e-12)
    assert renumbered.get_params() == new.get_params()
    assert renumbered.converged_ == new.converged_
    assert renumbered.lower_bounds_ == new.lower_bounds_


def test_models_from_files_and_from_scans(pair, tmp_path):
    old, new = pair
    new.save(tmp_path / "model.zarr")
    assert dgmm.match(old, load_mixture(tmp_path / "model.zarr")).pairs == dgmm.match(old, new).pairs
    scan = BFRGaussianMixture(4, covariance_type=new.covariance_type, random_state=0).fit(FALLING)
    found = dgmm.match(old, scan)
    assert found.pairs == ((0, 3), (1, 2), (2, 1), (3, 0))
    np.testing.assert_array_equal(found.renumber(scan).predict(RISING), old.predict(RISING))


def test_renumbered_models_are_saved_as_they_are(pair, tmp_path):
    old, new = pair
    renumbered = dgmm.match(old, new).renumber(new)
    renumbered.save(tmp_path / "model.zarr")
    np.testing.assert_array_equal(GaussianMixture.load(tmp_path / "model.zarr").means_, renumbered.means_)


@families
def test_parameters_alone(family):
    a = random_parameters(family, 4, 3, seed=0)
    order = np.array([2, 0, 3, 1])
    found = dgmm.match(a, a.take(order))
    assert found.pairs == ((0, 1), (1, 3), (2, 0), (3, 2))
    again = found.renumber(a.take(order))
    np.testing.assert_array_equal(again.means, a.means)
    np.testing.assert_array_equal(again.precisions_cholesky, a.precisions_cholesky)


def test_mixtures_of_different_sizes():
    three, four = (GaussianMixture(k, random_state=0, tol=1e-6).fit(X) for k, X in (
        (3, rows([0.5, 0.3, 0.2, 0.0])), (4, FALLING)
    ))  # fmt: skip
    found = dgmm.match(three, four)
    assert found.pairs == ((0, 0), (1, 1), (2, 2))
    assert (found.unmatched_old, found.unmatched_new) == ((), (3,))
    back = dgmm.match(four, three)
    assert (back.unmatched_old, back.unmatched_new) == ((3,), ())
    assert "3 of 4 components matched" in back.summary()
    assert "old components without a partner: 3" in back.summary()
    assert len(found.renumber(four).weights_) == 4
    with pytest.raises(ParameterError, match="has 3 components, the new one of this match 4"):
        found.renumber(three)


def test_features_are_found_by_their_names():
    frame = pd.DataFrame(FALLING, columns=["b", "a"])
    new = GaussianMixture(4, random_state=0).fit(frame)
    old = GaussianMixture(4, random_state=0).fit(frame[["a", "b"]])
    assert dgmm.match(old, new).distances.max() < 1e-3
    renumbered = dgmm.match(old, new).renumber(new)
    assert list(renumbered.feature_names_in_) == ["b", "a"]
    unnamed = GaussianMixture(4, random_state=0).fit(FALLING)
    assert dgmm.match(unnamed, new).distances.max() < 1e-3
    other = GaussianMixture(4, random_state=0).fit(frame.rename(columns={"a": "c"}))
    with pytest.raises(DataError, match="only the old mixture has a, only the new one c"):
        dgmm.match(old, other)
    with pytest.raises(DataError, match="the old mixture has 2 features, the new one 1"):
        dgmm.match(old, GaussianMixture(4, random_state=0).fit(FALLING[:, :1]))


def test_what_is_no_mixture_is_refused(pair):
    with pytest.raises(ParameterError, match="found a ndarray; give fitted mixtures"):
        dgmm.match(pair[0], FALLING)
    with pytest.raises(NotFittedError):
        dgmm.match(pair[0], GaussianMixture(4))


def test_the_summary_names_the_farthest_first(pair):
    old, new = pair
    lines = dgmm.match(old, new).summary(most=2).splitlines()
    assert lines[0] == "4 of 4 components matched"
    assert lines[1].split() == ["old", "new", "distance", "weight,", "old", "new", "change"]
    assert float(lines[2].split()[2]) >= float(lines[3].split()[2])
    assert lines[4] == "and 2 more, nearer"
    assert max(map(len, lines)) <= 80
    assert repr(dgmm.match(old, new)).startswith("4 of 4")
