"""The colours of components, the same in all pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#8a1c4f", "#2e1a78", "#a06a2c", "#16382e")
"""Colours that stand out from white, and are told apart by those too who do not see red, green or blue."""

INK = "#1b2733"
"""Of text."""
GREY = "#4a5763"
"""Of text beside the point."""
PALE = "#d7dde3"
"""Of lines that guide the eye."""
NO_LABEL = "#b9c0c7"
"""Of places without a label."""

_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
# Later rounds through the palette: towards white or black, by how much.
_SHADES = ((_WHITE, 0.0), (_WHITE, 0.45), (_BLACK, 0.4), (_WHITE, 0.7))


def component_colours(n_components: int) -> list[str]:
    """Colours of the components, in their order.

    No more than seven are told apart by colour alone: the first ones, which are the heaviest after most
    fits. The others are shades of these, and pictures write their numbers too.

    Examples
    --------
    >>> component_colours(2)
    ['#0072b2', '#d55e00']
    >>> len(set(component_colours(28)))
    28
    """
    count = len(PALETTE)
    return [_mixed(PALETTE[k % count], *_SHADES[k // count % len(_SHADES)]) for k in range(n_components)]


def _mixed(colour: str, other: Sequence[int], share: float) -> str:
    own = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round((1 - share) * a + share * b):02x}" for a, b in zip(own, other, strict=True))
