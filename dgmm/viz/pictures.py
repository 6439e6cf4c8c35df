"""Pictures read into arrays, with Pillow (the extra ``viz``)."""

from __future__ import annotations

import hashlib
import importlib.resources
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dgmm.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from dgmm.typing import Array

SHIPPED = ("china.jpg", "flower.jpg")
"""Photographs that scikit-learn brings along."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture."""

    name: str
    pixels: Array
    """Shape (lines, columns, 3), uint8: red, green, blue."""
    digest: str
    """SHA-256 of the file, as hexadecimal."""


def read_picture(source: str | Path) -> Picture:
    """Read a picture file.

    Parameters
    ----------
    source : path or str
        A file that Pillow can read, or the name of a photograph that scikit-learn brings along
        (``china.jpg`` or ``flower.jpg``).

    Raises
    ------
    DataError
        If there is no such file or it is no picture.
    MissingExtraError
        If Pillow is not installed.

    Examples
    --------
    >>> read_picture("china.jpg").pixels.shape
    (427, 640, 3)
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingExtraError("pillow", "viz", "reading a picture") from error
    try:
        if str(source) in SHIPPED:
            content = importlib.resources.files("sklearn.datasets.images").joinpath(str(source)).read_bytes()
        else:
            content = Path(source).read_bytes()
    except OSError as error:
        raise DataError(
            f"{source}: cannot be read ({error.strerror}); expected a picture, or one of {', '.join(SHIPPED)}"
        ) from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{source}: not a picture that Pillow can read: {error}") from error
    return Picture(Path(source).name, pixels, hashlib.sha256(content).hexdigest())
