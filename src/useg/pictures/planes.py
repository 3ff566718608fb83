"""Volumes on paper: the three planes through a point, and single slices below them, as one flat image.

    +-------+-----+-----+
    |  y x  | z x | z y |     through the point; the last slice of z is on top
    +-------+-----+-----+
    |  y x  | y x | y x |     chosen slices, such as those with the most errors
    +-------+-----+-----+

All are drawn in one scale, in which the smallest edge of a voxel is a pixel and the others are as long as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Int, Shaped

from useg.parts import Holds, count_along

LONGEST = 1024
"""Pixels of the longest edge of a plane; of larger ones some voxels are left out."""
GAP = 2
"""Pixels between two planes."""


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane of a volume and its place on paper.

    Attributes:
        axis, index: the plane is where axis 0, 1 or 2 of `Z Y X` has this index.
        rows, columns: which of its rows and columns are drawn, one after the other.
        top, left: of its first pixel.
    """

    axis: int
    index: int
    rows: Int[np.ndarray, "h"]
    columns: Int[np.ndarray, "w"]
    top: int
    left: int


@dataclass(frozen=True, eq=False)
class Sheet:
    """How a volume is laid out; the same for its gray values and its labels.

    Attributes:
        size: height and width in pixels.
        planes: in the order of the picture above.
        through: z, y, x of the three planes. slices: z of those below.
    """

    size: tuple[int, int]
    planes: tuple[Plane, ...]
    through: tuple[int, int, int]
    slices: tuple[int, ...]

    def draw(self, volume: Shaped[np.ndarray, "*c z y x"], fill: float = 0) -> Shaped[np.ndarray, "*c height width"]:
        """A volume, with or without channels, as a flat image of its number type; `fill` is between the planes."""
        paper = np.full((*volume.shape[:-3], *self.size), fill, np.float32 if np.isnan(fill) else volume.dtype)
        for plane in self.planes:
            drawn = np.take(volume, plane.index, axis=plane.axis - 3)[..., plane.rows[:, None], plane.columns]
            paper[..., plane.top : plane.top + len(plane.rows), plane.left : plane.left + len(plane.columns)] = drawn
        return paper

    @property
    def words(self) -> str:
        """What is shown, for people; slices, rows and columns are counted from 1."""
        z, y, x = (index + 1 for index in self.through)
        below = f"; below, slices {', '.join(str(index + 1) for index in self.slices)}" if self.slices else ""
        return f"slice {z}, row {y}, column {x}{below}"


def fullest(volume: Shaped[np.ndarray, "z y x"], holds: Holds = partial(np.not_equal, 0)) -> tuple[int, int, int]:
    """Along each axis the plane with the most foreground, which `holds`, the middle one where there is none.

    The centre of mass would do for a ball; of a ring it lies where there is nothing to see.
    """
    z, y, x = (count_along(volume, axis, holds) for axis in range(3))
    if not z.any():
        return tuple(n // 2 for n in volume.shape)
    return int(z.argmax()), int(y.argmax()), int(x.argmax())


def worst_slices(wrong: Bool[np.ndarray, "z y x"], most: int = 3) -> tuple[int, ...]:
    """The slices with the most wrong voxels, the worst first; no two of them are neighbours."""
    counts = wrong.sum(axis=(1, 2))
    near = max(1, len(counts) // 16)
    found: list[int] = []
    for index in np.argsort(-counts, kind="stable").tolist():
        if len(found) < most and counts[index] and all(abs(index - other) > near for other in found):
            found.append(index)
    return tuple(found)


def sheet_of(
    size: Sequence[int],
    through: tuple[int, int, int],
    spacing: Sequence[float] | None = None,
    slices: Sequence[int] = (),
) -> Sheet:
    """Lay a volume out.

    Args:
        size: z, y, x.
        through: z, y, x of the point that the three planes share.
        spacing: edge lengths of a voxel; without them it is a cube.
        slices: z of slices for the second row, at most three.
    """
    edges = np.asarray(spacing if spacing else (1.0, 1.0, 1.0), float)
    lengths = np.asarray(size) * edges / edges.min()
    lengths *= min(1.0, LONGEST / lengths.max())
    # What each pixel along an axis shows: the voxel that its middle lies in.
    z, y, x = (
        ((np.arange(pixels) + 0.5) * n / pixels).astype(int)
        for n, pixels in zip(size, np.maximum(1, np.rint(lengths)).astype(int), strict=True)
    )
    z = z[::-1]
    views = [(0, through[0], y, x), (1, through[1], z, x), (2, through[2], z, y)]
    planes, top, width = [], 0, 0
    for row in (views, [(0, index, y, x) for index in slices[:3]]):
        left = 0
        for axis, index, rows, columns in row:
            planes.append(Plane(axis, index, rows, columns, top, left))
            left += len(columns) + GAP
            width = max(width, left - GAP)
        top += max((len(rows) for _, _, rows, _ in row), default=-GAP) + GAP
    return Sheet((top - GAP, width), tuple(planes), through, tuple(slices[:3]))
