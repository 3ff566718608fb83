"""How a network of volumes treats each axis, by the edges of a voxel: flat levels, poolings, 2.5-D, and the crop.

The rule is that of nnU-Net (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z, supplementary note 2) for the network
of Çiçek et al. 2016 (arXiv 1606.06650): an axis takes part only where its voxels are about as long as the shortest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from useg.data.dataset import Example, evenly
from useg.unet.settings import UNetSettings

ALIKE = 2.0
"""Edges of a voxel below this ratio are alike: their axes are convolved and pooled together."""
THICK = 3.0
"""Slices that are thicker than this many times the shortest edge are worked on one by one."""
COARSEST = 4
"""Voxels along an axis that the bottleneck should still see."""
DEEPEST = 3
"""Poolings of a network, at most: as of Çiçek et al. Each doubles what exact tiles read beside what they keep.

Of 512x512x512 voxels at width 16, in tiles for which 2.7 GB are left, 5 voxels are read for one with depth 3, and 9 in
float32; with depth 4 it is 1600, and in float32 not even one tile fits.
"""


@dataclass(frozen=True)
class Axes:
    """Poolings of a network, and what becomes of each axis: `UNetSettings.flat` and `pools`."""

    depth: int
    flat: tuple[int, ...] = ()
    pools: tuple[int, ...] = ()


def plan_neighbours(edges: Sequence[float], slices: float) -> int | None:
    """`UNetSettings.neighbours` for a voxel with these edges: 1 for thick slices, or too few to pool; else None."""
    return 1 if edges[0] > THICK * min(edges) or slices < 2 * COARSEST else None


def some_slices(train: Sequence[Example]) -> list[Example]:
    """Eight slices of each volume at most, evenly spread, as images."""
    return [
        replace(e, image=e.image[:, z], labels=e.labels[z], objects=None)
        for e in train
        for z in evenly(len(e.labels), 8)
    ]


def plan_axes(edges: Sequence[float], voxels: Sequence[int]) -> Axes:
    """Levels and poolings of each axis, for a voxel with these edges, in any one unit, and crops of so many voxels.

    Level by level, an axis is pooled while `COARSEST` voxels remain and its edge is below `ALIKE` times the shortest of
    those that could be pooled. Before its edge is, the axis is flat: neighbours along it are no neighbours. The longest
    axis is pooled once, however short.
    """
    edge, left = list(edges), [max(n, 2 * COARSEST) if n == max(voxels) else n for n in voxels]
    flat, pools = [0] * len(edge), [0] * len(edge)
    for depth in range(DEEPEST + 1):
        enough = [n >= 2 * COARSEST for n in left]
        shortest = min((e for e, possible in zip(edge, enough, strict=True) if possible), default=math.inf)
        alike = [e < ALIKE * shortest for e in edge]
        if depth == DEEPEST or not any(enough):
            break
        for axis in range(len(edge)):
            if not alike[axis]:
                flat[axis] = depth + 1
            elif enough[axis]:
                edge[axis], left[axis], pools[axis] = 2 * edge[axis], left[axis] // 2, pools[axis] + 1
    return Axes(depth, tuple(flat) if any(flat) else (), tuple(pools) if min(pools) < depth else ())


def cube(edges: Sequence[float], size: Sequence[int], voxels: int) -> tuple[int, ...]:
    """A crop that is a cube in space and has about so many voxels, cut off where a volume of `size` ends."""
    side = (voxels * math.prod(edges)) ** (1 / len(edges))
    return tuple(max(1, min(n, round(side / edge))) for n, edge in zip(size, edges, strict=True))


def about_axes(network: UNetSettings, edges: Sequence[float] | None, unit: str | None) -> str:
    """One sentence: what the voxels are, and what that makes of the axes."""
    lengths = " x ".join(f"{edge:.3g}" for edge in edges or ())
    told = (
        f"axes: voxels are {lengths} {unit or ''}".rstrip() + " (z, y, x)"
        if edges
        else "axes: not all volumes say how large their voxels are, so that edges are taken as equal"
    )
    if network.neighbours is not None:
        ratio = edges[0] / min(edges) if edges else 1.0
        why = f"slices are {ratio:.2g} times as thick" if ratio > THICK else "slices are few, or it was asked for"
        return (
            f"{told}; {why}, so the network is one of images (2.5-D), whose channels are a slice and "
            f"{network.neighbours} to either side"
        )
    kinds: dict[tuple[int, int], list[str]] = {}
    for name, axis in zip("zyx", network.axes, strict=True):
        pools = network.depth - axis.flat if axis.pools is None else axis.pools
        kinds.setdefault((axis.flat, pools), []).append(name)
    parts = [
        f"{' and '.join(names) if len(kinds) > 1 else 'all'} {_pooled(pools)}"
        + (f" behind {flat} flat level{'s' * (flat > 1)} (kernel 1, not pooled)" if flat else "")
        for (flat, pools), names in kinds.items()
    ]
    return (
        f"{told}; {', '.join(parts)}, as an axis is while its edge is below {ALIKE:g} times the shortest and "
        f"{COARSEST} voxels remain"
    )


def _pooled(times: int) -> str:
    return {0: "not pooled", 1: "pooled once"}.get(times, f"pooled {times} times")
