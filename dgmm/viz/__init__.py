"""Pictures of fits, with matplotlib (the extra ``viz``)."""

from dgmm.viz.colours import component_colours
from dgmm.viz.pictures import Picture, read_picture
from dgmm.viz.scan import plot_sets
from dgmm.viz.segmentation import save_figure, segment, segmentation_figure
from dgmm.viz.selection import plot_selection

__all__ = [
    "Picture",
    "component_colours",
    "plot_selection",
    "plot_sets",
    "read_picture",
    "save_figure",
    "segment",
    "segmentation_figure",
]
