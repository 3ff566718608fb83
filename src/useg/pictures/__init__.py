"""Every picture that people look at: overlays, error maps, contact sheets."""

from useg.pictures.overlay import ERROR_LEGEND, error_kinds, error_map, overlay, to_gray_rgb
from useg.pictures.palette import class_colours
from useg.pictures.sheet import contact_sheet

__all__ = ["ERROR_LEGEND", "class_colours", "contact_sheet", "error_kinds", "error_map", "overlay", "to_gray_rgb"]
