"""Sizes of a U-Net, in integers only: what fits, what an output pixel depends on, and how to tile exactly.

All axes of an image are treated alike and apart, so everything here speaks of one axis; `plan_tiles` joins them.
Along one axis, with "valid" 3x3 convolutions, a tile looks like this:

    read   |<------------------------- L ------------------------->|    input pixels of the tile
    output         |<--------------- L - shrink --------------->|       what the network returns
    clean            |<------- no pixel saw the tile's edge ------->|   output less `lead` and `trail`
    core             |<----------- kept in the image ----------->|      the cores cover the image once

A network is a chain of convolutions, 2x pooling and 2x up-convolution. An output pixel is *clean* when nothing
that it depends on lies beyond the tile, where a convolution that pads would have made zeros up. A clean pixel of
a tile that starts on a multiple of `stride` is the very number that the whole image would have given there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Int

from useg.errors import SizeError


@dataclass(frozen=True)
class Geometry:
    """The sizes of a U-Net along one axis.

    Attributes:
        depth: levels of the contracting path, each ended by a pooling.
        padding: "valid", each 3x3 convolution loses a pixel at both ends (the 2015 paper); "same", zeros are put there.
        up_kernel: 2, up-convolution of kernel 2 and stride 2; 3, kernel 3, stride 2, padding 1, output padding 1.
        head_kernel: 1, the last convolution is 1x1; 3, it is 3x3 with padding 1.
        patch: the network works on patches of this many pixels: its first layer has this kernel and stride, and its
            last one goes back the same way.
        flat: levels, the finest first, whose convolutions and poolings leave this axis alone: its pixels are so long
            there that neighbours along it are no neighbours.
        pools: how many of the poolings that follow halve it; None: all. The rest leave it alone, because too few pixels
            would remain.
        context: pixels beside each, to either side, that the first layer reads and loses, whatever the padding:
            neighbouring slices. At the ends of an image they are mirrored.
    """

    depth: int
    padding: Literal["valid", "same"]
    up_kernel: Literal[2, 3] = 2
    head_kernel: Literal[1, 3] = 1
    patch: int = 1
    flat: int = 0
    pools: int | None = None
    context: int = 0

    def factor(self, level: int) -> int:
        """By how much the pooling behind `level` (0 is the finest) shrinks this axis."""
        halved = self.depth - self.flat if self.pools is None else self.pools
        return 2 if self.flat <= level < self.flat + halved else 1

    def kernel(self, level: int) -> int:
        """Pixels along this axis of the convolutions of `level`; `depth` is the bottleneck."""
        return 1 if level < self.flat else 3

    def _coarseness(self, level: int) -> int:
        """Patches along this axis for one pixel of `level`."""
        return math.prod(self.factor(k) for k in range(level))

    @property
    def stride(self) -> int:
        """Pixels of the input for one pixel of the bottleneck: tiles must start on its multiples."""
        return self.patch * self._coarseness(self.depth)

    @cached_property
    def shrink(self) -> int:
        """Input size less output size: 184 for the paper's network, 0 with "same" padding."""
        return self.patch * self._shrink_from(0) + 2 * self.context

    @property
    def margin(self) -> int:
        """Output pixel 0 lies over input pixel `margin`."""
        return self.shrink // 2

    @property
    def smallest(self) -> int:
        """The smallest input size that gives any output."""
        coarsest = self._coarseness(self.depth)
        border = sum(self._conv_loss(k) * self._coarseness(k) for k in range(self.depth))
        least = (self._shrink_from(0) - border) // coarsest + 1
        return self.patch * (coarsest * max(1, least) + border) + 2 * self.context

    def fits(self, size: int) -> bool:
        """Whether every pooling meets an even size and something is left at the end."""
        return size >= self.smallest and (size - self.smallest) % self.stride == 0

    def fit_up(self, size: int) -> int:
        """The smallest input size that fits and is not below `size`."""
        return self.smallest + max(0, -(-(size - self.smallest) // self.stride)) * self.stride

    def output_size(self, size: int) -> int:
        """Output size for an input of `size` pixels.

        Raises:
            SizeError: the size does not fit; the message names the nearest ones that do.
        """
        if not self.fits(size):
            above = self.fit_up(size)
            near = [str(s) for s in (above - self.stride, above) if s >= self.smallest]
            raise SizeError(
                f"an input of {size} pixels does not fit this network "
                f"(depth {self.depth}, {self.padding} padding); the nearest sizes that do: {' or '.join(near)}"
            )
        return size - self.shrink

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """Input pixels that the output pixels `start`..`stop`-1 depend on, as (first, last + 1).

        Positions count from the first pixel of input and of output; they may lie outside the tile.
        """
        if self.head_kernel == 3:
            start, stop = start - 1, stop + 1
        first, last = self._needs_from(0, start // self.patch, -(-stop // self.patch))
        return self.patch * first, self.patch * last + 2 * self.context

    def expansive(self, size: int, keep: slice) -> list[Rise]:
        """What the expansive path computes of a tile of `size` pixels for its output pixels `keep`, finest level first.

        Of networks with "same" padding. A halo serves the contracting path; on the way up each level needs what the
        one above reads, and two pixels more for its convolutions. Where a tile ends the image ends too, and zeros are
        right.
        """
        need = slice(keep.start - 1, keep.stop + 1) if self.head_kernel == 3 else keep
        need, rises = slice(need.start // self.patch, -(-need.stop // self.patch)), []
        for level in range(self.depth):
            there = (size - 2 * self.context) // (self.patch * self._coarseness(level))
            factor = self.factor(level)
            reach = self.kernel(level) - 1
            read = slice(max(0, need.start - reach), min(there, need.stop + reach))
            if factor == 1:
                need = read
            else:
                last = -(-read.stop // 2) if self.up_kernel == 2 else min(there // 2, read.stop // 2 + 1)
                need = slice(read.start // 2, last)
            rises.append(Rise(need, read, factor))
        return rises

    def crop(self, level: int) -> int:
        """Pixels that the skip connection of `level` (0 is the finest) loses at each end, in pixels of that level."""
        return self.factor(level) * self._shrink_from(level + 1) // 2

    @cached_property
    def lead(self) -> int:
        """Output pixels at the lower end of a tile that depend on what lies before it."""
        count = 0
        while self.needs(count, count + 1)[0] < 0:
            count += 1
        return count

    @cached_property
    def trail(self) -> int:
        """Output pixels at the upper end of a tile that depend on what lies behind it."""
        size = self.fit_up(8 * self.stride + 4 * self.shrink)  # any size long enough for the two ends to be apart
        last = size - self.shrink
        while self.needs(last - 1, last)[1] > size:
            last -= 1
        return size - self.shrink - last

    @cached_property
    def receptive_field(self) -> int:
        """Input pixels, along one axis, that the hungriest output pixel depends on."""
        spans = (self.needs(i, i + 1) for i in range(self.stride))
        return max(stop - start for start, stop in spans)

    @cached_property
    def smallest_tile(self) -> int:
        """Pixels that a tile of the smallest core, one stride, reads far from both ends of an image, grid included."""
        inner = self.tiles(4 * self.stride + 4 * self.receptive_field, self.stride)
        return inner[len(inner) // 2].length

    @property
    def halo(self) -> int:
        """Pixels that a tile far from both ends of an image reads beside its core, grid included."""
        return self.smallest_tile - self.stride

    def tiles(self, size: int, core: int) -> list[Span]:
        """Cover `size` pixels by tiles whose cores are `core` pixels long (rounded down to the stride grid)."""
        core = size if core >= size else max(self.stride, core // self.stride * self.stride)
        return [self.tile(size, start, min(start + core, size)) for start in range(0, size, core)]

    def tiles_within(self, size: int, largest: int) -> list[Span]:
        """Cover `size` pixels by the fewest tiles that read at most `largest` pixels, all about equally long.

        Where even the smallest useful tile reads more than `largest`, that smallest tile is used.
        """
        # One tile reads no halo and two read one each; of more, the inner ones read two.
        for count in (1, 2):
            spans = self._equal_tiles(size, count)
            if max(span.length for span in spans) <= largest:
                return spans
        most = max(self.stride, (largest - self.halo) // self.stride * self.stride)
        return self._equal_tiles(size, -(-size // most))

    def _equal_tiles(self, size: int, count: int) -> list[Span]:
        """Cover `size` pixels by `count` tiles, or fewer where the stride grid has no more."""
        return self.tiles(size, -(-size // (count * self.stride)) * self.stride)

    def tile(self, size: int, start: int, stop: int, least: int = 0) -> Span:
        """The tile that answers for the pixels `start`..`stop`-1 of an image of `size`, on the image's stride grid.

        With "same" padding it reads `least` pixels, if the image has so many, though fewer would do at its ends.
        """
        if self.padding == "valid":
            # The image lies mirrored around itself, so every tile may read past its ends.
            skip = self.lead + start % self.stride
            first = start - self.margin - skip
            return Span(start, stop, first, first + self.fit_up(stop - start + self.shrink + skip + self.trail), skip)
        # Zeros at the true border belong to the network, so a tile there starts at the border itself.
        stride, around = self.stride, self.context
        end = self.fit_up(size + 2 * around) - 2 * around
        first = max(0, (start - self.lead) // stride * stride)
        last = end if stop == size else min(end, -(-(stop + self.trail) // stride) * stride)
        last = min(end, max(last, first + least // stride * stride))
        first = max(0, min(first, last - least // stride * stride))
        return Span(start, stop, first - around, last + around, start - first)

    def _conv_loss(self, level: int) -> int:
        """Pixels that a block of two 3x3 convolutions loses."""
        return 2 * (self.kernel(level) - 1) if self.padding == "valid" else 0

    def _shrink_from(self, level: int) -> int:
        if level == self.depth:
            return self._conv_loss(level)
        return 2 * self._conv_loss(level) + self.factor(level) * self._shrink_from(level + 1)

    def _needs_from(self, level: int, start: int, stop: int) -> tuple[int, int]:
        """The same question asked of the part of the network from `level` down."""
        start, stop = self._block_needs(level, start, stop)
        if level == self.depth:
            return start, stop
        crop, factor = self.crop(level), self.factor(level)
        skip = (start + crop, stop + crop)
        if factor == 1:
            below = self._needs_from(level + 1, start, stop)
        elif self.up_kernel == 2:
            below = self._needs_from(level + 1, start // 2, -(-stop // 2))
        else:
            below = self._needs_from(level + 1, start // 2, stop // 2 + 1)
        return self._block_needs(level, min(skip[0], factor * below[0]), max(skip[1], factor * below[1]))

    def _block_needs(self, level: int, start: int, stop: int) -> tuple[int, int]:
        reach = self.kernel(level) - 1
        return (start, stop + 2 * reach) if self.padding == "valid" else (start - reach, stop + reach)


@dataclass(frozen=True)
class Rise:
    """One step up the expansive path, along one axis.

    Attributes:
        below: what goes up, in pixels of the level below. read: what the convolutions are given, in pixels of theirs.
        factor: pixels of theirs for one of the level below.
    """

    below: slice
    read: slice
    factor: int


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in pixels of the image (which may be overshot: mirror there).

    Attributes:
        start, stop: the core, the part of the image that this tile answers for.
        first, last: what the network reads, `last` excluded.
        skip: output pixels of the tile that come before the core.
    """

    start: int
    stop: int
    first: int
    last: int
    skip: int

    @property
    def length(self) -> int:
        """Pixels that the network reads."""
        return self.last - self.first

    @property
    def keep(self) -> slice:
        """The core within the tile's output."""
        return slice(self.skip, self.skip + self.stop - self.start)


@dataclass(frozen=True)
class Tile:
    """One tile of an image: a span for each spatial axis."""

    spans: tuple[Span, ...]

    @property
    def core(self) -> tuple[slice, ...]:
        """Where the result stands in the image."""
        return tuple(slice(s.start, s.stop) for s in self.spans)

    @property
    def keep(self) -> tuple[slice, ...]:
        """Where the core stands in the network's output."""
        return tuple(s.keep for s in self.spans)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the network's input."""
        return tuple(s.length for s in self.spans)


def plan_tiles(axes: Sequence[Geometry], size: Sequence[int], largest: Sequence[int]) -> list[Tile]:
    """Tiles, each reading at most `largest` pixels an axis where that is possible, that cover an image of `size`."""
    spans = [axis.tiles_within(n, most) for axis, n, most in zip(axes, size, largest, strict=True)]
    return [Tile(each) for each in product(*spans)]


def mirror(indices: Int[np.ndarray, "*any"], size: int) -> Int[np.ndarray, "*any"]:
    """Fold positions outside 0..size-1 back into the image, as often as needed, without repeating the edge pixel.

    `mirror([-2, -1, 0, 1, 2, 3], 3)` is `[2, 1, 0, 1, 2, 1]`: the overlap-tile strategy's extrapolation
    (Ronneberger et al. 2015, section 2, figure 2).
    """
    if size == 1:
        return np.zeros_like(indices)
    folded = np.abs(indices) % (2 * size - 2)
    return np.minimum(folded, 2 * size - 2 - folded)
