"""What the tests compare with: expectation maximisation as a textbook has it, and makers of data."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from dgmm.mixture import families

FAMILIES = tuple(families.FAMILIES)
PEERS_FAMILIES = ("full", "tied", "diag", "spherical")
"""Those that scikit-learn has too."""


def is_tied(family):
    return family.startswith("tied")


def form_of(family):
    """Full, diag or spherical: of the one matrix, or of each component's."""
    return {"tied": "full"}.get(family, family.removeprefix("tied-"))


def of_form(matrices, family):
    """The entries of matrices (.., d, d) that a family has, (.., d, d), (.., d) or (..): its public shape."""
    matrices = np.asarray(matrices, dtype=np.float64)
    diagonals = np.diagonal(matrices, axis1=-2, axis2=-1)
    return {"full": matrices, "diag": diagonals, "spherical": diagonals.mean(axis=-1)}[form_of(family)]


def as_matrices(covariances, family, k, d):
    """Covariances of public shape as (K, d, d)."""
    covariances = np.asarray(covariances, dtype=np.float64)
    if is_tied(family):
        covariances = np.broadcast_to(covariances, (k, *covariances.shape))
    match form_of(family):
        case "full":
            return covariances
        case "diag":
            return np.stack([np.diag(variances) for variances in covariances])
        case "spherical":
            return np.stack([variance * np.eye(d) for variance in covariances])
    raise AssertionError(family)


def log_joint(X, weights, means, covariances, family):
    """``log(pi_k N(x | mu_k, Sigma_k))`` by scipy's density, (n, K)."""
    matrices = as_matrices(covariances, family, *np.shape(means))
    columns = [multivariate_normal(m, c).logpdf(X) for m, c in zip(means, matrices, strict=True)]
    with np.errstate(divide="ignore"):
        return np.log(weights) + np.column_stack([np.reshape(column, len(X)) for column in columns])


def _covariances(X, r, means, family, reg_covar):
    counts = r.sum(axis=0)
    d = X.shape[1]
    scatters = np.stack([(r[:, k, None] * (X - mean)).T @ (X - mean) for k, mean in enumerate(means)])
    ridge = reg_covar * np.eye(d)
    own = scatters.sum(axis=0) / counts.sum() if is_tied(family) else scatters / counts[:, None, None]
    return of_form(own + ridge, family)


def plain_em(X, weights, means, covariances, family, reg_covar, n_iter, sample_weight=None, labels=None):
    """EM in a dozen lines; covariances of public shape, in and out. Labels are -1 where there is none.

    Returns
    -------
    weights, means, covariances, lower_bounds
        ``lower_bounds[i]`` is the mean log-likelihood of the parameters that enter iteration i.
    """
    X = np.asarray(X, dtype=np.float64)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    labels = np.full(len(X), -1) if labels is None else labels
    others = (labels[:, None] >= 0) & (labels[:, None] != np.arange(len(weights)))
    lower_bounds = []
    for _ in range(n_iter):
        joint = log_joint(X, weights, means, covariances, family)
        joint[others] = -np.inf
        total = logsumexp(joint, axis=1)
        lower_bounds.append(float(w @ total / w.sum()))
        r = np.exp(joint - total[:, None]) * w[:, None]
        weights = r.sum(axis=0) / w.sum()
        means = (r.T @ X) / r.sum(axis=0)[:, None]
        covariances = _covariances(X, r, means, family, reg_covar)
    return weights, means, covariances, lower_bounds


def make_blobs(n, d, k, seed, spread=3.0):
    """Rows of K correlated normal clusters whose centres are ``spread`` standard deviations apart or so, (n, d)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=spread, size=(k, d))
    factors = 0.3 * rng.normal(size=(k, d, d)) + np.eye(d)
    labels = np.arange(n) % k
    noise = rng.normal(size=(n, d))
    return centres[labels] + np.einsum("nij,nj->ni", factors[labels], noise)


def make_start(X, k, family, seed=0):
    """A start from K rows of X: weights, means and covariances of public shape."""
    rng = np.random.default_rng(seed)
    X = np.asarray(X, dtype=np.float64)
    means = X[rng.choice(len(X), k, replace=False)]
    weights = rng.dirichlet(np.full(k, 20.0))
    scatter = np.atleast_2d(np.cov(X.T)) / 2.0
    own = scatter if is_tied(family) else np.stack([scatter * (1.0 + 0.1 * i) for i in range(k)])
    return weights, means, of_form(own, family)


def precisions_of(covariances, family):
    """Inverses of covariances of public shape, of that shape."""
    return np.linalg.inv(covariances) if form_of(family) == "full" else 1.0 / np.asarray(covariances)


def start_parameters(weights, means, covariances, family):
    """A start as an estimator takes it (scikit-learn's or dgmm's)."""
    return {
        "n_components": len(weights),
        "covariance_type": family,
        "weights_init": weights,
        "means_init": means,
        "precisions_init": precisions_of(covariances, family),
    }


def em_with_missing_values(X, weights, means, covariances, family, reg_covar, n_iter, sample_weight=None):
    """EM over rows with NaN for what is missing, row by row as Ghahramani and Jordan (1994) have it.

    Of each row o are the features that are there, m the others. The E-step takes the density of ``x_o``, and in
    each component the expectation of ``x`` and of ``x x'`` given ``x_o``; the M-step is the ordinary one, of these.
    Covariances are of public shape, in and out; returns what ``plain_em`` does.
    """
    n, d = X.shape
    k = len(weights)
    w = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    lower_bounds = []
    for _ in range(n_iter):
        matrices = as_matrices(covariances, family, k, d)
        counts, sums, squares, log_likelihood = np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d)), 0.0
        for row, weight in zip(np.asarray(X, dtype=np.float64), w, strict=True):
            o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
            if not len(o) or weight == 0.0:
                continue
            joint = np.array(
                [
                    np.log(weights[j]) + multivariate_normal(means[j][o], matrices[j][np.ix_(o, o)]).logpdf(row[o])
                    for j in range(k)
                ]
            )
            total = logsumexp(joint)
            log_likelihood += weight * total
            for j, r in enumerate(np.exp(joint - total)):
                regression = matrices[j][np.ix_(m, o)] @ np.linalg.inv(matrices[j][np.ix_(o, o)])
                expected = row.copy()
                expected[m] = means[j][m] + regression @ (row[o] - means[j][o])
                spread = np.zeros((d, d))
                spread[np.ix_(m, m)] = matrices[j][np.ix_(m, m)] - regression @ matrices[j][np.ix_(o, m)]
                counts[j] += weight * r
                sums[j] += weight * r * expected
                squares[j] += weight * r * (np.outer(expected, expected) + spread)
        lower_bounds.append(log_likelihood / counts.sum())
        weights, means = counts / counts.sum(), sums / counts[:, None]
        scatters = squares - counts[:, None, None] * means[:, :, None] * means[:, None, :]
        own = scatters.sum(axis=0) / counts.sum() if is_tied(family) else scatters / counts[:, None, None]
        covariances = of_form(own + reg_covar * np.eye(d), family)
    return weights, means, covariances, lower_bounds
