"""Gaussian mixture models for data larger than memory, on Dask."""

from dgmm._version import __version__
from dgmm.estimators.bfr_gaussian_mixture import BFRGaussianMixture
from dgmm.estimators.bfr_kmeans import BFRKMeans
from dgmm.estimators.gaussian_mixture import GaussianMixture
from dgmm.estimators.matching import Match, match
from dgmm.estimators.selection import Selection, select
from dgmm.fitting.stopping import StopReason
from dgmm.inputs.opening import open_rows
from dgmm.inputs.writing import write_results
from dgmm.passes.execution import Execution
from dgmm.storage.checkpoint import Checkpoint

__all__ = [
    "BFRGaussianMixture",
    "BFRKMeans",
    "Checkpoint",
    "Execution",
    "GaussianMixture",
    "Match",
    "Selection",
    "StopReason",
    "__version__",
    "match",
    "open_rows",
    "select",
    "write_results",
]
