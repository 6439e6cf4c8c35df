"""Criteria that choose among models: lower is better."""

from __future__ import annotations

import numpy as np


def aic(log_likelihood: float, n_parameters: int) -> float:
    """Akaike's information criterion.

    Parameters
    ----------
    log_likelihood : float
        Sum over the rows, in nats.
    n_parameters : int
        Free parameters.

    Notes
    -----
    Akaike (1974), IEEE Trans. Automatic Control 19, 716.

    Examples
    --------
    >>> aic(-100.0, 5)
    210.0
    """
    return -2.0 * log_likelihood + 2.0 * n_parameters


def bic(log_likelihood: float, n_parameters: int, n: float) -> float:
    """Bayesian information criterion; ``n`` is the sum of the rows' weights.

    Notes
    -----
    Schwarz (1978), Annals of Statistics 6, 461.

    Examples
    --------
    >>> round(bic(-100.0, 5, 100), 3)
    223.026
    """
    return -2.0 * log_likelihood + n_parameters * float(np.log(n))


def icl(log_likelihood: float, n_parameters: int, n: float, entropy: float) -> float:
    """Integrated completed likelihood: BIC plus twice the entropy of the responsibilities.

    Notes
    -----
    Biernacki, Celeux and Govaert (2000), IEEE Trans. PAMI 22, 719; McLachlan and Peel, Finite
    Mixture Models (2000), section 6.10.3.

    Examples
    --------
    >>> round(icl(-100.0, 5, 100, 1.0), 3)
    225.026
    """
    return bic(log_likelihood, n_parameters, n) + 2.0 * entropy
