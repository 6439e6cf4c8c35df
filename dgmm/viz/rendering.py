"""Pictures as parts of a page: SVG with the page's own fonts, the same bytes for the same content."""

from __future__ import annotations

import base64
import html
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from dgmm.viz.page_style import FONTS
from dgmm.viz.segmentation import require_matplotlib

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

# Text stays text. Its room is measured with a font that comes with matplotlib and is wider than most.
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dgmm",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.parse_math": False,
    "text.usetex": False,
    "axes.linewidth": 0.8,
    "axes.formatter.use_mathtext": False,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.02,
}
_FONT = re.compile(r"'DejaVu Sans'(, sans-serif)?")
_PIXELS_PER_INCH = 96
# Of what is drawn as pixels within a picture: densities and maps.
_DPI = 150


def figure_tag(
    draw: Callable[[Axes], object], size: tuple[float, float], alt: str, caption: str = "", kind: str = ""
) -> str:
    """Draw a figure of a page.

    Parameters
    ----------
    draw : callable
        Draws on the axes that it is given.
    size : (float, float)
        Inches.
    alt : str
        What is to be seen, for those who do not see it.
    caption : str
    kind : str
        Class of the figure, for its place on the page.

    Returns
    -------
    str
        HTML; texts are escaped.
    """
    source = base64.b64encode(render(draw, size)).decode("ascii")
    width, height = (round(inches * _PIXELS_PER_INCH) for inches in size)
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="{kind}"><img src="data:image/svg+xml;base64,{source}" width="{width}" height="{height}" '
        f'alt="{html.escape(alt)}">{below}</figure>'
    )


def render(draw: Callable[[Axes], object], size: tuple[float, float]) -> bytes:
    """Draw a picture as SVG; the same bytes for the same content.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figure_class = require_matplotlib()
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's browser has fonts for what the measuring font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = figure_class(figsize=size, layout="constrained", facecolor="white")
        ax = figure.add_subplot()
        draw(ax)
        for part in ax.collections:
            if part.get_gid() == "density":
                part.set_rasterized(True)
        held = io.BytesIO()
        figure.savefig(held, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": None})
    text = held.getvalue().decode("utf-8")
    return _FONT.sub(FONTS.replace('"', "'"), text).encode("utf-8")
