"""Images for tests."""

import numpy as np


def blob(n=64, turn=0.0, scale=1.0, shift=(0.0, 0.0), kind=0):
    """A smooth image without symmetries, at a place, of a size, turned; ``kind`` says which one."""
    places = (np.arange(n) - (n - 1) / 2) / (n / 2)
    x, y = np.meshgrid(places - shift[0], places - shift[1], indexing="ij")
    x, y = (np.cos(turn) * x + np.sin(turn) * y) / scale, (np.cos(turn) * y - np.sin(turn) * x) / scale
    parts = np.random.default_rng(kind)
    image = np.exp(-((x / 0.2) ** 2 + (y / 0.09) ** 2) / 2)
    for _ in range(3):
        at, height = parts.uniform(-0.25, 0.25, 2), parts.uniform(0.5, 1.0)
        image += height * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 0.07**2))
    return image
