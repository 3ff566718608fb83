"""Colours of classes: fixed, apart from each other, also for eyes that confuse red and green."""

import colorsys

BACKGROUND = (32, 34, 40)
"""Class 0: a neutral near-black, so that the other classes stand out."""

IGNORED = (128, 128, 128)
"""Pixels that nobody annotated."""

# The seven colours of Okabe and Ito, "Color universal design" (2008), then sixteen found by taking, again and
# again, the sRGB colour farthest from all earlier ones: the least distance in CIELAB as seen with normal,
# deuteranopic and protanopic vision (Machado et al. 2009, severity 1). Any two are 25 or more apart there.
_CHOSEN = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (0, 0, 255),
    (105, 105, 255),
    (0, 255, 150),
    (105, 60, 15),
    (0, 255, 255),
    (255, 0, 90),
    (135, 0, 120),
    (180, 225, 195),
    (105, 0, 180),
    (120, 150, 255),
    (210, 180, 90),
    (120, 60, 90),
    (210, 0, 180),
    (75, 105, 60),
    (60, 195, 210),
    (255, 105, 135),
)
_GOLDEN = 0.6180339887498949


def class_colours(n: int) -> list[tuple[int, int, int]]:
    """RGB 0..255 of the classes 0..n-1.

    The first 24 are a fixed list, distinct and colour-blind-friendly; beyond it hues step by the golden ratio
    through four shades, and the first 256 all differ. The colours of `n` classes begin those of `n + 1`.
    """
    return [_colour(label) for label in range(n)]


def object_colours() -> list[tuple[int, int, int]]:
    """Colours of numbered objects, gone round again: more than labels have values, so that the object 255 is not taken
    for pixels that nobody annotated."""
    return class_colours(257)


def _colour(label: int) -> tuple[int, int, int]:
    if label == 0:
        return BACKGROUND
    if label <= len(_CHOSEN):
        return _CHOSEN[label - 1]
    saturation, value = ((0.85, 0.95), (0.55, 0.8), (0.9, 0.6), (0.4, 1.0))[label % 4]
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)
