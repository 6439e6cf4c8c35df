"""What stands out in a fit, in plain words, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dgmm.viz.numbers import listed, percent, plural, short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dgmm.typing import FloatArray
    from dgmm.viz.content import Level, ReportContent

# Of reg_covar's share in a feature's variance, as the fit's own warning has it; and in a component's.
_SWAMPED, _MOSTLY = 0.01, 0.5
# Bhattacharyya coefficients from here on are two components in one place.
_ALIKE = 0.9
# Rows for each row that a covariance needs at least.
_FEW = 5.0
# Components as light as that are small whatever the number of rows.
_LIGHT = 1e-3
# Rows whose best component has less than the first are doubtful; so large a share of them is told.
_DOUBTFUL, _MANY = 0.6, 0.25
# Rows for each free parameter.
_ROWS_PER_PARAMETER = 10.0
# Multiplications that comparing components may take.
_MOST_WORK = 3e9


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes
    ----------
    level : "problem" or "note"
        Whether the numbers are not to be trusted, or only to be read with it in mind.
    title, text, advice : str
        What it is, where and by how much, and what to do.
    """

    level: Level
    title: str
    text: str
    advice: str


def find(content: ReportContent) -> list[Finding]:
    """What stands out in a fit, problems first."""
    found = [finding for rule in RULES for finding in rule(content)]
    return sorted(found, key=lambda finding: finding.level != "problem")


def _noted(content: ReportContent) -> Iterator[Finding]:
    for note in content.noted:
        yield Finding(*note)


def _not_converged(content: ReportContent) -> Iterator[Finding]:
    if content.converged is not False:
        return
    if content.scan:
        yield Finding(
            "note",
            "The scan has not settled",
            "The last round of rows still moved the components by more than chance.",
            "Give it more rows, or let some EM iterations follow (refine_passes) if the rows can be read again.",
        )
        return
    bounds, rise = content.lower_bounds, ""
    if len(bounds) > 1:
        rise = f" The mean log-likelihood still rose by {short(bounds[-1] - bounds[-2])} nats per row in the last one."
    yield Finding(
        "problem",
        "The fit did not converge",
        f"It stopped after {plural(content.n_iter or len(bounds), 'iteration')}: {content.stop_reason}.{rise}",
        "Go on with a larger max_iter (warm_start=True starts from here). If it crawls for hundreds of iterations, "
        "components overlap or are too many.",
    )


def _gap(content: ReportContent) -> Iterator[Finding]:
    gap, error = content.remaining_gap, content.sampling_error
    if content.converged and gap is not None and error is not None and gap > error:
        yield Finding(
            "note",
            "The likelihood would still rise",
            f"An estimated {short(gap)} nats per row are left, more than the {short(error)} to which so many rows "
            "determine the optimum. Parameters are near it; differences of BIC between models may not be.",
            "Set tol='auto' (or a smaller tol) before you compare models.",
        )


def _dead(content: ReportContent) -> Iterator[Finding]:
    dead = np.flatnonzero(np.asarray(content.weights) == 0.0).tolist()
    if dead:
        yield Finding(
            "problem",
            f"{_components(dead)} died out",
            "Too few rows were left for them, also after they had been moved once. They have weight 0 and take no "
            "part; the other components have their rows.",
            f"Fit {len(content.weights) - len(dead)} components or fewer, or try another start (random_state, n_init).",
        )


def _light(content: ReportContent) -> Iterator[Finding]:
    weights, d = np.asarray(content.weights, dtype=np.float64), content.shape[1]
    if content.n_rows is None:
        light = np.flatnonzero((weights > 0.0) & (weights < _LIGHT)).tolist()
        text = f"Less than {percent(_LIGHT)} of the rows belong to each."
    else:
        need = (_FEW * content.family.form.min_rows(d)) if not content.family.tied else 2.0
        rows = weights * content.n_rows
        light = np.flatnonzero((weights > 0.0) & (rows < need)).tolist()
        text = f"They stand for {listed([short(rows[k]) for k in light], 5) if light else ''} rows; their means and "
        text += f"covariances are known only roughly (a covariance of {plural(d, 'feature')} wants {need:.0f} or more)."
    if light:
        yield Finding(
            "note",
            f"{_components(light)} {'has' if len(light) == 1 else 'have'} very few rows",
            text,
            "They may be outliers worth a look. Else fit fewer components, or a simpler covariance_type.",
        )


def _drowned(content: ReportContent) -> FloatArray:
    """Share of reg_covar in the variance of each feature over all rows, (d,); 0 where it is small."""
    total = np.square(content.spread.deviation)
    share = np.divide(content.reg_covar, total, out=np.zeros_like(total), where=total > 0.0)
    return np.where(share > _SWAMPED, share, 0.0)


def _swamped(content: ReportContent) -> Iterator[Finding]:
    share, total = _drowned(content), np.square(content.spread.deviation)
    over = np.flatnonzero(share)
    if len(over):
        names = listed([f"“{content.names[j]}” ({percent(share[j])})" for j in over], 5)
        yield Finding(
            "problem",
            "reg_covar drowns a feature" if len(over) == 1 else "reg_covar drowns some features",
            f"{short(content.reg_covar)} was added to all variances. That is a large part of the variance of {names}.",
            f"Scale these features up, or set reg_covar to {short(1e-3 * float(total[over].min()))} or less.",
        )


def _thin(content: ReportContent) -> Iterator[Finding]:
    if content.reg_covar <= 0.0 or _drowned(content).any():
        return
    thin = np.flatnonzero((_regularized(content) >= _MOSTLY) & (np.asarray(content.weights) > 0.0)).tolist()
    if thin:
        yield Finding(
            "note",
            f"{_components(thin)} {'is' if len(thin) == 1 else 'are'} as thin as reg_covar allows",
            f"In some direction half of the variance or more is reg_covar ({short(content.reg_covar)}), not data.",
            "Rows that repeat one value do that (a saturated sensor, rounded numbers), and so do features that "
            "depend on others. If these components are no surprise, nothing is wrong; else leave such rows or "
            "features out.",
        )


def _twins(content: ReportContent) -> Iterator[Finding]:
    alike = overlaps(content)
    if alike is None:
        return
    pairs = [(i, j) for i, j in np.argwhere(alike > _ALIKE).tolist() if i < j]
    pairs.sort(key=lambda pair: -alike[pair])
    if pairs:
        words = [f"{i} and {j} ({percent(float(alike[i, j]))})" for i, j in pairs]
        yield Finding(
            "note",
            "Some components are nearly the same" if len(pairs) > 1 else "Two components are nearly the same",
            f"Overlap, from 0 to 100%: {'; '.join(words[:6])}{f'; {len(words) - 6} more pairs' * (len(words) > 6)}.",
            "Together they may describe one group that is not Gaussian: read them as one, or fit fewer components.",
        )


def _doubtful(content: ReportContent) -> Iterator[Finding]:
    if content.certainty is None or not len(content.certainty):
        return
    share = float(np.mean(np.asarray(content.certainty) < _DOUBTFUL))
    if share > _MANY:
        yield Finding(
            "note",
            "Components overlap",
            f"For {percent(share)} of the sampled rows the most probable component has a probability below "
            f"{percent(_DOUBTFUL)}.",
            "Labels say little there: use the probabilities (predict_proba). As a density the mixture is as good.",
        )


def _few_rows(content: ReportContent) -> Iterator[Finding]:
    free = content.family.n_parameters(*content.shape)
    if content.n_rows is not None and content.n_rows < _ROWS_PER_PARAMETER * free:
        yield Finding(
            "note",
            "Few rows for so many parameters",
            f"{plural(free, 'free parameter')} were fitted to {plural(content.n_rows, 'row')}.",
            "Try fewer components or a simpler covariance_type, and compare them by BIC or on rows that were held out.",
        )


def _ordered(content: ReportContent) -> Iterator[Finding]:
    if content.n_renewed:
        times = "once" if content.n_renewed == 1 else f"{content.n_renewed} times"
        yield Finding(
            "note",
            "Rows came in an order",
            f"The sample put the scan right {times}; the log-likelihood is an estimate, no bound.",
            "Shuffle the rows, or use GaussianMixture where they can be read several times.",
        )


RULES: tuple[Callable[[ReportContent], Iterator[Finding]], ...] = (
    _noted, _not_converged, _dead, _swamped, _gap, _twins, _doubtful, _light, _thin, _few_rows, _ordered,
)  # fmt: skip
"""What is looked at."""


def _components(indices: list[int]) -> str:
    return f"Component{'s' * (len(indices) > 1)} {listed(indices)}"


def _scaled(content: ReportContent) -> FloatArray:
    """Covariances in units of the features' standard deviations, as they are inside: (K or 1, d, d) or (.., d)."""
    k, d = content.shape
    own = content.family.inner(content.covariances, k, d)
    scale = np.where(content.spread.deviation > 0.0, content.spread.deviation, 1.0)
    return np.asarray(
        own / (scale[:, None] * scale) if own.ndim == 3 else np.broadcast_to(own, (len(own), d)) / scale**2
    )


def _regularized(content: ReportContent) -> FloatArray:
    """Share of reg_covar in each component's variance in the direction where it is largest, (K,), from 0 to 1.

    Where looking into all directions would take too long, along the features alone.
    """
    (k, d), own = content.shape, _scaled(content)
    scale = np.where(content.spread.deviation > 0.0, content.spread.deviation, 1.0)
    added = content.reg_covar / scale**2
    if own.ndim < 3 or len(own) * float(d) ** 3 > _MOST_WORK:
        return np.asarray((content.reg_covar / content.variances).max(axis=1))
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(own))
    except np.linalg.LinAlgError:
        return np.zeros(k)
    # The largest v' R v / v' C v, with R = reg_covar I and C the covariance.
    return np.broadcast_to(np.linalg.norm(inverse * np.sqrt(added), ord=2, axis=(1, 2)) ** 2, (k,))


def overlaps(content: ReportContent) -> FloatArray | None:
    """Bhattacharyya coefficients of the components, (K, K): 1 for equal ones, 0 for those that share no place.

    None where comparing them would take too long, or a covariance is none.

    Notes
    -----
    Bhattacharyya (1943), "On a measure of divergence between two statistical populations defined by
    their probability distributions", Bulletin of the Calcutta Mathematical Society 35: for normal
    distributions ``exp(-D)`` with ``D = m' S^-1 m / 8 + log(det S / sqrt(det S1 det S2)) / 2``, S the mean of
    the two covariances.
    """
    (k, d), covariances = content.shape, _scaled(content)
    work = k * k * (float(d) ** 3 if covariances.ndim == 3 else d)
    if work > _MOST_WORK:
        return None
    scale = np.where(content.spread.deviation > 0.0, content.spread.deviation, 1.0)
    means = (np.asarray(content.means, dtype=np.float64) - content.spread.mean) / scale
    covariances = np.broadcast_to(covariances, (k, *covariances.shape[1:]))
    own = _log_det(covariances)
    found = np.eye(k)
    for i in range(k - 1):
        middle, offset = 0.5 * (covariances[i] + covariances[i + 1 :]), means[i + 1 :] - means[i]
        if covariances.ndim == 3:
            try:
                distance = np.einsum("kd,kd->k", offset, np.linalg.solve(middle, offset[:, :, None])[:, :, 0])
            except np.linalg.LinAlgError:
                return None
        else:
            distance = (offset**2 / middle).sum(axis=1)
        exponent = distance / 8.0 + 0.5 * (_log_det(middle) - 0.5 * (own[i] + own[i + 1 :]))
        found[i, i + 1 :] = found[i + 1 :, i] = np.exp(-np.maximum(exponent, 0.0))
    dead = np.asarray(content.weights) == 0.0
    found[dead] = found[:, dead] = 0.0
    return found if np.isfinite(found).all() else None


def _log_det(covariances: FloatArray) -> FloatArray:
    if covariances.ndim == 3:
        return np.asarray(np.linalg.slogdet(covariances)[1])
    return np.asarray(np.log(covariances).sum(axis=-1))
