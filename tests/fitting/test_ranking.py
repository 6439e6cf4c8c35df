"""Which candidates are ranked, and which are clearly behind; checked pair by pair."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dgmm.fitting.ranking import CRITERIA, chosen_criterion, clearly_behind, could_be_best, foreseen, ranked
from dgmm.mixture import criteria

numbers = st.floats(-10.0, 10.0) | st.just(np.nan)
gaps = st.floats(0.0, 10.0) | st.just(np.nan)
candidates = st.lists(st.tuples(numbers, gaps), min_size=1, max_size=6)


@given(candidates, st.sampled_from(sorted(CRITERIA)))
def test_a_candidate_is_ranked_if_its_gap_changes_no_order(pairs, name):
    merits, left = np.array(pairs).T
    found = ranked(CRITERIA[name], merits, left)
    for j, (merit, gap) in enumerate(pairs):
        others = [other for i, (other, _) in enumerate(pairs) if i != j and not np.isnan(other)]
        if CRITERIA[name].only_rises:
            expected = all(other < merit or merit + gap <= other + 1e-12 for other in others)
            doubtful = any(abs(merit + gap - other) < 1e-9 for other in others)
        else:
            expected = all(abs(other - merit) >= gap - 1e-12 for other in others)
            doubtful = any(abs(abs(other - merit) - gap) < 1e-9 for other in others)
        if not doubtful:
            assert found[j] == (not np.isnan(merit) and not np.isnan(gap) and expected)


@given(candidates.filter(lambda pairs: not all(np.isnan(merit) for merit, _ in pairs)))
def test_who_could_be_best_is_not_ranked(pairs):
    merits, left = np.array(pairs).T
    found = could_be_best(CRITERIA["bic"], merits, left, np.zeros(len(merits)))
    assert not (found & ranked(CRITERIA["bic"], merits, left)).any()
    assert not found[np.nanargmax(merits)]


def test_a_gap_below_the_standard_error_leaves_nothing_open():
    merits, left = np.array([1.0, 0.999, 0.5]), np.array([0.0, 0.002, 0.6])
    errors = np.array([0.0, 0.01, 0.01])
    assert could_be_best(CRITERIA["heldout"], merits, left, errors).tolist() == [False, False, True]
    assert could_be_best(CRITERIA["heldout"], merits, np.array([0.6, 0.0, 0.0]), errors).tolist() == [False, True, True]
    assert could_be_best(CRITERIA["bic"], merits, np.array([0.6, 0.0, 0.0]), 0 * errors).tolist() == [False] * 3


def test_merits_are_the_published_criteria_in_nats_per_row():
    log_likelihood, entropy, p, n = -1234.5, 67.8, 11, 500.0
    published = {
        "bic": criteria.bic(log_likelihood, p, n),
        "aic": criteria.aic(log_likelihood, p),
        "icl": criteria.icl(log_likelihood, p, n, entropy),
    }
    for name, value in published.items():
        criterion = CRITERIA[name]
        mean = (log_likelihood - (entropy if criterion.entropy else 0.0)) / n
        # A sample that is all the rows foresees the criterion itself.
        assert np.isclose(foreseen(criterion, mean, p, 500, n), -value / (2.0 * n), rtol=1e-12)


def test_a_sample_is_believed_up_to_its_uncertainty():
    merits, p = np.array([-1.0, -1.02, -1.2, -0.99]), np.array([5, 10, 15, 20])
    errors = np.array([0.001, 0.02, 0.01, 0.0])
    scatter = 20 / 2000.0
    expected = [0.003 + scatter < 0.01, False, True, False]
    assert clearly_behind(merits, errors, p, 1000).tolist() == expected
    assert not clearly_behind(merits, errors + 1.0, p, 1000).any()


def test_held_out_rows_choose_from_many_rows_on():
    assert [chosen_criterion("auto", n).name for n in (0, 99_999, 100_000)] == ["bic", "bic", "heldout"]
    assert chosen_criterion("icl", 10**9).name == "icl"
