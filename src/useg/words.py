"""Numbers and lists as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOTHING = "–"
"""Where there is no number."""


def figure(value: float | None) -> str:
    """A score, three digits behind the point."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.3f}"


def bounds(interval: tuple[float, float]) -> str:
    """An interval."""
    return NOTHING if math.isnan(interval[0]) else f"{figure(interval[0])} to {figure(interval[1])}"


def percent(share: float) -> str:
    """A share 0..1 in whole percent; what is small but there is not told as nothing, nor as all."""
    if math.isnan(share):
        return NOTHING
    if 0 < share < 0.005:
        return "< 1 %"
    return "> 99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def duration(seconds: float) -> str:
    """Time: 12.3 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(number: int, what: str) -> str:
    """ "1 image", "2 images"."""
    return f"{number} {what}" + "s" * (number != 1)


def kind_of(dims: int) -> tuple[str, str]:
    """What an image of so many axes is, and what it is made of."""
    return ("volume", "voxels") if dims == 3 else ("image", "pixels")


def listing(words: Sequence[str]) -> str:
    """Words in a row, the first three of many."""
    if len(words) > 4:
        return f"{', '.join(words[:3])} and {len(words) - 3} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
