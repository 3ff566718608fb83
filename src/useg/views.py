"""An image of any size and source as the tiles of a network see it: turned, and mirrored beyond its border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Shaped

from useg.images.windows import Window, Windows
from useg.unet.geometry import Tile, mirror


def read_mirrored(image: Windows, tile: Tile) -> Shaped[np.ndarray, "c *tile"]:
    """The pixels that a tile reads; beyond the image's border, their mirror images."""
    places = [mirror(np.arange(s.first, s.last), n) for s, n in zip(tile.spans, image.header.size, strict=True)]
    values: np.ndarray = image.read([slice(int(place.min()), int(place.max()) + 1) for place in places])
    for axis, (place, span) in enumerate(zip(places, tile.spans, strict=True), start=1):
        if span.first < 0 or span.last > image.header.size[axis - 1]:
            values = values.take(place - place.min(), axis)
    return values


@dataclass(frozen=True)
class View:
    """A symmetry of the grid: an exchange of the last two axes, then flips of some (array axes, 0 is the channels)."""

    transpose: bool
    flipped: tuple[int, ...]

    def apply(self, array: Shaped[np.ndarray, "c *size"]) -> Shaped[np.ndarray, "c *turned"]:
        """The array seen this way."""
        array = array.swapaxes(-1, -2) if self.transpose else array
        return np.flip(array, self.flipped)

    def undo(self, array: Shaped[np.ndarray, "c *turned"]) -> Shaped[np.ndarray, "c *size"]:
        """Back from `apply`."""
        array = np.flip(array, self.flipped)
        return array.swapaxes(-1, -2) if self.transpose else array

    def of(self, image: Windows) -> Windows:
        """An image that is read in windows, seen this way."""
        size = self.turn_size(image.header.size)
        return replace(
            image,
            header=replace(image.header, size=size),
            fetch=lambda window: self.apply(image.fetch(self._swap(self._flip(window, size)))),
        )

    def turn(self, window: Window, size: Sequence[int]) -> Window:
        """Where a window of an image of `size` pixels lies in the image seen this way."""
        return self._flip(self._swap(window), self.turn_size(size))

    def turn_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The size of an image seen this way."""
        return (*size[:-2], size[-1], size[-2]) if self.transpose else tuple(size)

    def _swap(self, window: Window) -> Window:
        return (*window[:-2], window[-1], window[-2]) if self.transpose else window

    def _flip(self, window: Window, size: Sequence[int]) -> Window:
        return tuple(
            slice(n - part.stop, n - part.start) if axis in self.flipped else part
            for axis, (part, n) in enumerate(zip(window, size, strict=True), start=1)
        )


def symmetric_views(flips: Sequence[str], dims: int) -> list[View]:
    """All combinations of the named symmetries: 2 for "x" alone, 8 for "x", "y" and "transpose"."""
    axes = [dims if name == "x" else dims - 1 for name in ("x", "y") if name in flips]
    turns = (False, True) if "transpose" in flips else (False,)
    choices = product(turns, *[(False, True)] * len(axes))
    return [View(turn, tuple(a for a, on in zip(axes, on_off, strict=True) if on)) for turn, *on_off in choices]
