"""Gaussian mixture models for data larger than memory, on Dask."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dgmm._version import __version__
from dgmm.estimators.bfr_gaussian_mixture import BFRGaussianMixture
from dgmm.estimators.bfr_kmeans import BFRKMeans
from dgmm.estimators.eigenmoments import EigenMoments
from dgmm.estimators.gaussian_mixture import GaussianMixture
from dgmm.estimators.matching import Match, match
from dgmm.estimators.selection import Selection, select
from dgmm.fitting.stopping import StopReason
from dgmm.inputs.opening import open_rows
from dgmm.inputs.writing import write_results
from dgmm.passes.execution import Execution
from dgmm.signals.models import StationaryCorrelation
from dgmm.storage.checkpoint import Checkpoint

if TYPE_CHECKING:
    from dgmm.jobs.clusters.opening import open_cluster

__all__ = [
    "BFRGaussianMixture",
    "BFRKMeans",
    "Checkpoint",
    "EigenMoments",
    "Execution",
    "GaussianMixture",
    "Match",
    "Selection",
    "StationaryCorrelation",
    "StopReason",
    "__version__",
    "match",
    "open_cluster",
    "open_rows",
    "select",
    "write_results",
]

# What many programs do not use, and takes time to import.
_LATER = {"open_cluster": "dgmm.jobs.clusters.opening"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
