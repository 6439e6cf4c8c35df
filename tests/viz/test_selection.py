"""The picture of a selection shows its table: what is drawn is read back from the artists."""

import numpy as np
import pytest
import xarray as xr

from dgmm.errors import ParameterError
from dgmm.viz import plot_selection


def table(criterion="bic"):
    dims = ("covariance_type", "n_components")
    values = np.array([[90.0, 50.0, 52.0, np.nan], [400.0, 70.0, 66.0, 65.0]])
    held_out = -values / 10.0
    return xr.Dataset(
        {
            "bic": (dims, values),
            "heldout_log_likelihood": (dims, held_out),
            "heldout_difference_se": (dims, 0.1 * np.abs(held_out)),
            "ranked": (dims, np.array([[True, True, False, False], [True] * 4])),
        },
        {"covariance_type": ["full", "diag"], "n_components": [1, 2, 3, 5]},
        {"criterion": criterion},
    )


def lines(ax, name):
    return [line for line in ax.lines if line.get_gid() == name]


@pytest.mark.parametrize(("criterion", "variable"), [("bic", "bic"), ("heldout", "heldout_log_likelihood")])
def test_curves_are_the_table(criterion, variable):
    shown = table(criterion)
    ax = plot_selection(shown)
    for family in ("full", "diag"):
        (curve,) = lines(ax, family)
        np.testing.assert_array_equal(curve.get_xdata(), shown.n_components)
        np.testing.assert_array_equal(curve.get_ydata(), shown[variable].sel(covariance_type=family))
    (ring,) = lines(ax, "best")
    best = shown[variable].sel(covariance_type="full", n_components=2)
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, float(best))
    low, high = ax.get_ylim()
    assert low < float(best) < high
    # The best of each family is in view, what is far worse is not.
    assert low < float(shown[variable].sel(covariance_type="diag", n_components=5)) < high
    assert not low < float(shown[variable].sel(covariance_type="diag", n_components=1)) < high
    open_ = np.concatenate([line.get_xdata() for line in lines(ax, "not ranked")])
    assert set(open_) == {3, 5}
    assert len(ax.containers) == (2 if criterion == "heldout" else 0)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["full", "diag"]
    assert ax.get_title(loc="left") == "best: full, 2 components"


def test_bars_are_standard_errors():
    ax = plot_selection(table(), "heldout")
    (segments,) = [container.lines[2][0].get_segments() for container in ax.containers[1:]]
    expected = table().heldout_difference_se.sel(covariance_type="diag")
    np.testing.assert_allclose([s[1, 1] - s[0, 1] for s in segments], 2.0 * expected)


def test_a_single_candidate_can_be_drawn():
    ax = plot_selection(table().isel(covariance_type=[0], n_components=[1]))
    assert lines(ax, "full")


def test_criteria_that_are_not_there_are_refused():
    without = table().drop_vars(["heldout_log_likelihood", "heldout_difference_se"])
    with pytest.raises(ParameterError, match="one of 'bic'"):
        plot_selection(without, "heldout")
    with pytest.raises(ParameterError, match="'BIC'"):
        plot_selection(without, "BIC")
