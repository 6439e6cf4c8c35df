"""The scikit-learn-shaped estimators."""

from dgmm.estimators.gaussian_mixture import GaussianMixture

__all__ = ["GaussianMixture"]
