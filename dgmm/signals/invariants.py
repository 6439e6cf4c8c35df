"""Moments of images that do not change where the image is moved, scaled or turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dgmm.typing import Array, FloatArray

INVARIANCES = ("translation", "scale", "rotation")


@dataclass(frozen=True)
class NormalizedMoments:
    """Moments of images about their centroid, in units of their size, turned to their principal axis."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    invariant: tuple[str, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], order: Any, invariant: tuple[str, ...]) -> NormalizedMoments:
        """Choose the moments."""
        raise NotImplementedError

    @property
    def n_moments(self) -> int:
        """Moments of an image, m."""
        raise NotImplementedError

    def project(self, S: Array) -> FloatArray:
        """Moments, (b, m), of images, (b, n)."""
        raise NotImplementedError

    def of_noise(self, noise: float | Array, signals: Array, seed: int) -> FloatArray:
        """Correlation of the moments of noise, (m, m)."""
        raise NotImplementedError
