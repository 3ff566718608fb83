"""What is done with one chunk, pass by pass: pure functions of what is stored and of the tables that they are given.

Numbers of a chunk are 1, 2, .. whatever the other chunks have. As values, in tables, numbers above 0 are objects and
numbers below 0 pieces that look for their kin in other chunks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Int32, Int64

from useg.objects.chunks import Piece, Source, Store, Window, look_up, read_values, within
from useg.objects.grow import grow

NEVER = np.iinfo(np.int64).max
"""The first pixel of what has none."""


@dataclass(frozen=True, eq=False)
class Counted:
    """Of numbers 1..n their pixels, and the first of these in the order of the whole image's rows."""

    sizes: Int64[np.ndarray, "n"]
    first: Int64[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Met:
    """Values that meet, the lower one (always below 0) first, and how often."""

    pairs: Int32[np.ndarray, "n 2"]
    counts: Int64[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Found:
    """Regions and seeds of a chunk, and in which of these regions each seed lies."""

    regions: Counted
    seeds: Counted
    region: Int32[np.ndarray, "m"]


@dataclass(frozen=True)
class Label:
    """Number a chunk's regions, the connected pixels above `low`, and its seeds, those above `high`."""

    confidence: Source
    regions: Store
    seeds: Store
    low: int
    high: int
    size: tuple[int, ...]

    def __call__(self, window: Window) -> Found:
        """Of the chunk that is this window."""
        confidence = self.confidence.read(window)
        regions, count = _components(confidence > self.low)
        self.regions.write(window, regions)
        found = _count(regions, count, window, self.size)
        if self.high == self.low:
            return Found(found, found, np.arange(1, count + 1, dtype=np.int32))
        seeds, count = _components(confidence > self.high)
        self.seeds.write(window, seeds)
        starts = _run_starts(seeds)
        region = np.zeros(count + 1, np.int32)
        region[seeds.ravel()[starts]] = regions.ravel()[starts]  # whatever 0 gets is cut off
        return Found(found, _count(seeds, count, window, self.size), region[1:])


@dataclass(frozen=True, eq=False)
class GrowthJob:
    """A chunk whose regions are to be parted, or, with no `around`, have one seed at most each.

    Attributes:
        core: the chunk.
        regions: how many it has.
        around: the chunk with its halo.
        pieces: tables of it for the numbers of regions, with 1 where several seeds share one, and for the numbers
            of seeds, with the place of the object in `objects`, from 1, where its region is shared.
        objects: numbers of the objects in and around the chunk that grow.
    """

    core: Window
    regions: int
    around: Window | None
    pieces: Sequence[Piece]
    objects: Int32[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Grown:
    """What a chunk holds behind the numbers of its regions: what objects took, then what none of them reached.

    `touching` has pieces of the latter (-1, -2, ..) and the objects beside them.
    """

    objects: Int32[np.ndarray, "n"]
    taken: Counted
    left: Counted
    touching: Met


@dataclass(frozen=True)
class Grow:
    """Part the regions of a chunk that hold several seeds; the others keep their numbers."""

    confidence: Source
    regions: Store
    seeds: Store
    objects: Store
    low: int
    high: int
    size: tuple[int, ...]

    def __call__(self, job: GrowthJob) -> Grown:
        """Of one chunk."""
        numbers = self.regions.read(job.core)
        if job.around is None:
            self.objects.write(job.core, numbers)
            return Grown(job.objects, _NOTHING, _NOTHING, _met([]))
        state = read_values((self.regions, self.seeds), job.around, job.pieces)
        state -= 1  # what is not shared has 0 in all tables
        grown = grow(self.confidence.read(job.around), state, self.high, self.low)[within(job.core, job.around)]
        behind = job.regions + len(job.objects)
        values = np.where(grown < 0, numbers, grown + job.regions)
        left, near = _NOTHING, _met([])
        if not grown.all():
            pieces, count = _components(grown == 0)
            np.copyto(values, pieces + behind, where=pieces > 0)
            left = _count(pieces, count, job.core, self.size)
            near = _adjacent(np.where(pieces > 0, -pieces, grown.clip(0)))
        self.objects.write(job.core, values)
        touching = np.stack([near.pairs[:, 0], job.objects[near.pairs[:, 1] - 1]], 1)
        taken = _count(grown, len(job.objects), job.core, self.size)
        return Grown(job.objects, taken, left, Met(touching, near.counts))


@dataclass(frozen=True, eq=False)
class Slab:
    """Two planes of pixels on both sides of a seam, which cut the axis; with the corners, a pixel more all round."""

    axis: int
    window: Window
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class Meet:
    """Which values meet across the seams of a chunk: across edges, or for pairs below 0 also across corners."""

    stores: tuple[Store, ...]
    corners: bool

    def __call__(self, slabs: Sequence[Slab]) -> Met:
        """At these seams."""
        met = []
        for slab in slabs:
            values = read_values(self.stores, slab.window, slab.pieces)
            here, there = (values.take(k, slab.axis) for k in (0, 1))
            for steps in product((-1, 0, 1) if self.corners else (0,), repeat=here.ndim):
                first = here[tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(steps, here.shape, strict=True))]
                second = there[tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(steps, here.shape, strict=True))]
                if any(steps):
                    first, second = np.minimum(first, 0), np.minimum(second, 0)
                met.append((first, second))
        return _met(met)


@dataclass(frozen=True, eq=False)
class Around:
    """Of each piece of background in a chunk the lowest and highest object beside it, and if it is at the edge.

    Without any object the lowest is the largest int32 and the highest 0. The edge is that of the whole image.
    """

    low: Int32[np.ndarray, "n"]
    high: Int32[np.ndarray, "n"]
    at_edge: Bool[np.ndarray, "n"]


@dataclass(frozen=True)
class Holes:
    """Number the background of a chunk. It is connected across corners, as what goes with objects that are not."""

    objects: Store
    background: Store
    size: tuple[int, ...]

    def __call__(self, job: tuple[Window, Int32[np.ndarray, "_"]]) -> Around:
        """Of a chunk with this table of objects."""
        window, table = job
        labels = look_up(table, self.objects.read(window))
        background, count = _components(labels == 0, corners=True)
        self.background.write(window, background)
        at_edge = np.zeros(count + 1, bool)
        for axis, (span, n) in enumerate(zip(window, self.size, strict=True)):
            if span.start == 0:
                at_edge[background.take(0, axis)] = True
            if span.stop == n:
                at_edge[background.take(-1, axis)] = True
        low, high = np.full(count + 1, np.iinfo(np.int32).max, np.int32), np.zeros(count + 1, np.int32)
        if not at_edge[1:].all():  # at the edge it does not matter what is beside
            pairs = _adjacent(np.subtract(labels, background, out=labels)).pairs
            np.minimum.at(low, -pairs[:, 0], pairs[:, 1])
            np.maximum.at(high, -pairs[:, 0], pairs[:, 1])
        return Around(low[1:], high[1:], at_edge[1:])


@dataclass(frozen=True)
class Write:
    """Write the final numbers of a chunk."""

    objects: Store
    background: Store
    result: Store

    def __call__(self, job: tuple[Window, Int32[np.ndarray, "_"], Int32[np.ndarray, "_"]]) -> None:
        """Of a chunk with these tables of objects and of background."""
        window, table, holes = job
        labels = look_up(table, self.objects.read(window))
        if holes.any():
            labels += look_up(holes, self.background.read(window))
        self.result.write(window, labels)


_NOTHING = Counted(np.zeros(0, np.int64), np.zeros(0, np.int64))


def _components(mask: Bool[np.ndarray, "*size"], *, corners: bool = False) -> tuple[Int32[np.ndarray, "*size"], int]:
    """Number what is connected across edges, or also across corners."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim) if corners else None)
    return labels.astype(np.int32, copy=False), int(count)


def _count(labels: Int32[np.ndarray, "*size"], count: int, window: Window, size: tuple[int, ...]) -> Counted:
    """Of the numbers 1..count; what is below is not looked at."""
    if not count:
        return _NOTHING
    starts = _run_starts(labels)
    ids = np.maximum(labels.ravel()[starts], 0)
    sizes = np.bincount(ids, np.diff(starts, append=labels.size), count + 1).astype(np.int64)
    local = np.full(count + 1, -1)
    local[ids[::-1]] = starts[::-1]  # of equal indices numpy keeps the last, here the first
    there = local >= 0
    places = np.unravel_index(local[there], labels.shape)
    first = np.full(count + 1, NEVER)
    first[there] = np.ravel_multi_index([p + span.start for p, span in zip(places, window, strict=True)], size)
    return Counted(sizes[1:], first[1:])


def _run_starts(labels: Int32[np.ndarray, "*size"]) -> Int64[np.ndarray, "n"]:
    """Flat indices of the pixels where another number begins, in the order of rows: far fewer than pixels."""
    flat = labels.ravel()
    begins = np.ones(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    return np.flatnonzero(begins)


def _adjacent(values: Int32[np.ndarray, "*size"]) -> Met:
    """Which values meet inside an array."""
    flat, met = values.ravel(), []
    for axis in range(values.ndim):
        differ = np.zeros(values.shape, bool)
        here, there = ((slice(None),) * axis + (span,) for span in (slice(None, -1), slice(1, None)))
        np.not_equal(values[here], values[there], out=differ[here])
        places = np.flatnonzero(differ)  # few: the pairs are made of these alone
        met.append((flat[places], flat[places + math.prod(values.shape[axis + 1 :])]))
    return _met(met)


def _met(sides: Sequence[tuple[Int32[np.ndarray, "..."], Int32[np.ndarray, "..."]]]) -> Met:
    """Pairs of values that stand at the same place of two arrays, if none is 0 and one at least is below."""
    pairs = [np.zeros((0, 2), np.int32)]
    for first, second in sides:
        both = (first != 0) & (second != 0) & (np.minimum(first, second) < 0)
        first, second = first[both], second[both]
        pairs.append(np.stack([np.minimum(first, second), np.maximum(first, second)], 1))
    # Two numbers of 4 bytes sort as one of 8.
    distinct, counts = np.unique(np.concatenate(pairs).view(np.int64)[:, 0], return_counts=True)
    return Met(distinct.view(np.int32).reshape(-1, 2), counts)
