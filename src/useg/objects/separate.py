"""From the probability that a pixel is part of an object to the objects, one number each.

A network that was taught to leave a line of background between objects that touch gives a probability that dips
there. Pixels above a high threshold, the seeds, fall apart at the dip; each seed then grows to the edge of the
pixels above a lower threshold, the more likely pixels first, until the objects meet. This is a watershed with
markers (Meyer and Beucher, "Morphological segmentation", J. Vis. Commun. Image Represent. 1:21, 1990), and where
a connected region holds one seed only, which is almost everywhere, no watershed is needed to know its result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, Integer, Shaped
from pydantic import BaseModel, ConfigDict, Field, model_validator

from useg.errors import DataError, SizeError

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Where `find_settings` looks for the edge of the objects."""
SEED_THRESHOLDS = (*THRESHOLDS, 0.8, 0.9, 0.95)
"""Where it looks for their seeds; only those that are not below the threshold are tried."""
LEAST = 4
"""Pixels of the smallest object that `find_settings` lets stand: fewer are noise at any scale."""

_SEED_SHARE = 10  # A seed has at least this part of the smallest object; below that it is a speck of noise.
_AT_ONCE = 1 << 20  # Pixels that are looked up at once: as indices they take 8 bytes each.


class SeparateSettings(BaseModel):
    """How probabilities become objects. The defaults are plain connected pieces of the likely pixels.

    Attributes:
        threshold: pixels of a higher probability are pixels of objects, 0..1.
        seed_threshold: each connected piece of pixels of a higher probability is one object's seed, 0..1.
        smallest: pixels that an object has at least.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(0.5, ge=0, le=1)
    seed_threshold: float = Field(0.5, ge=0, le=1)
    smallest: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _seeds_are_inside(self) -> SeparateSettings:
        if self.seed_threshold < self.threshold:
            raise ValueError(f"seed_threshold {self.seed_threshold} is below threshold {self.threshold}; raise it")
        return self


def separate(
    probability: Float32[np.ndarray, "*size"], settings: SeparateSettings | None = None
) -> Int32[np.ndarray, "*size"]:
    """The objects of an image or volume.

    Pixels are neighbours across an edge (4 in the plane, 6 in space). A connected region above the threshold that
    holds no seed is no object; a seed has at least a tenth of the pixels of the smallest object. Objects below
    `smallest` become background, then the holes of each object are filled: background that one object encloses,
    that holds no other object and does not reach the edge of the image, not even across corners.

    Args:
        probability: of each pixel to be part of an object, `Y X` or `Z Y X`, 0..1.
        settings: see there.

    Returns:
        0 for background, the objects 1..N in the order in which the rows of the image meet them. Where two seeds
        of one region are equally near in probability, the line between them is anywhere between.

    Raises:
        DataError: the probability is not 0..1.
    """
    settings = settings or SeparateSettings()
    _check_probability(probability)
    from scipy import ndimage

    regions, count = ndimage.label(probability > settings.threshold)
    labels = regions.astype(np.int32, copy=False)
    if settings.seed_threshold > settings.threshold:
        count = _grow_seeds(labels, count, probability, settings)
    count = _number(labels, count, settings.smallest)
    if count:
        _fill_holes(labels)
    return labels


def find_settings(
    images: Sequence[tuple[Float32[np.ndarray, "..."], Integer[np.ndarray, "..."], Bool[np.ndarray, "..."] | None],],
    judge: Callable[[list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]], float],
) -> SeparateSettings:
    """The settings that score best on images whose objects are known.

    All pairs of `THRESHOLDS` and `SEED_THRESHOLDS` are tried, with a quarter of a small true object (of their 5th
    percentile) as the smallest; then half and twice that. Of equally good ones the most ordinary is taken: the
    threshold next to 0.5, the seed threshold in the middle, the quarter.

    Args:
        images: of each image the probability (`*size`, 0..1), the ids of its true objects (`*size`, 0 is
            background) and where nobody annotated it (`*size`, True there), or None.
        judge: gives the images' score, higher is better, from (true ids, proposed ids, not annotated) of each.

    Raises:
        DataError: there is no image, or a probability is not 0..1.
        SizeError: the arrays of an image differ in size.
    """
    if not images:
        raise DataError("there is no image to find the settings on; give at least one with known objects")
    for number, (probability, truth, ignored) in enumerate(images):
        if truth.shape != probability.shape or (ignored is not None and ignored.shape != probability.shape):
            raise SizeError(
                f"image {number}: a probability of {probability.shape} pixels and a truth of {truth.shape}, "
                f"not annotated of {None if ignored is None else ignored.shape}; give equal sizes"
            )

    def score(settings: SeparateSettings) -> float:
        found = float(judge([(truth, separate(p, settings), ignored) for p, truth, ignored in images]))
        return -math.inf if math.isnan(found) else found

    smallest = _smallest(images)
    pairs = [(low, high) for low in THRESHOLDS for high in SEED_THRESHOLDS if high >= low]
    scores = {
        (low, high): score(SeparateSettings(threshold=low, seed_threshold=high, smallest=smallest))
        for low, high in pairs
    }
    best = max(scores.values())
    threshold = min((low for low, high in pairs if scores[low, high] == best), key=lambda low: abs(low - 0.5))
    equal = [high for low, high in pairs if low == threshold and scores[low, high] == best]
    ours = SeparateSettings(threshold=threshold, seed_threshold=equal[len(equal) // 2], smallest=smallest)
    for other in {max(LEAST, smallest // 2), 2 * smallest} - {smallest}:
        tried = ours.model_copy(update={"smallest": other})
        if (found := score(tried)) > best:
            best, ours = found, tried
    return ours


def _smallest(images: Sequence[tuple[Any, Integer[np.ndarray, "..."], Any]]) -> int:
    """A quarter of a small true object: large enough to drop specks, and no object that a person would draw."""
    areas = [
        np.unique(truth[(truth > 0) if ignored is None else (truth > 0) & ~ignored], return_counts=True)[1]
        for _, truth, ignored in images
    ]
    joined = np.concatenate(areas)
    return max(LEAST, int(np.percentile(joined, 5) / 4)) if joined.size else LEAST


def _grow_seeds(
    labels: Int32[np.ndarray, "*size"],
    count: int,
    probability: Float32[np.ndarray, "*size"],
    settings: SeparateSettings,
) -> int:
    """Turn regions 1..count, in place, into objects that have the numbers of their seeds; return the largest."""
    from scipy import ndimage

    seeds, seed_count = ndimage.label(probability > settings.seed_threshold)
    seeds = seeds.astype(np.int32, copy=False)
    sizes = _sizes(seeds, seed_count)
    valid = sizes >= max(1, math.ceil(settings.smallest / _SEED_SHARE))
    valid[0] = False
    if not valid[1:].all():
        _look_up(seeds, np.where(valid, np.arange(seed_count + 1, dtype=np.int32), 0))
    starts = _run_starts(seeds)
    region_of = np.zeros(seed_count + 1, np.int32)
    region_of[seeds.ravel()[starts]] = labels.ravel()[starts]
    numbers = np.flatnonzero(valid)
    regions = region_of[numbers]
    seeds_in = np.bincount(regions, minlength=count + 1)
    shared = np.flatnonzero(seeds_in > 1)
    boxes = ndimage.find_objects(labels) if len(shared) else []

    table = np.zeros(count + 1, np.int32)
    table[regions] = numbers  # final where a region has one seed
    table[shared] = -shared  # to be parted, still told apart
    _look_up(labels, table)
    # The watershed costs by the pixel of what it is given, so each region is cut out, unless boxes overlap so much
    # (a vessel around everything) that all at once is less.
    area = sum(math.prod(axis.stop - axis.start for axis in boxes[region - 1]) for region in shared)
    if area > labels.size:
        _part(labels, labels < 0, seeds, probability)
    else:
        for region in shared:
            box = boxes[region - 1]
            _part(labels[box], labels[box] == -region, seeds[box], probability[box])
    return seed_count


def _part(
    labels: Int32[np.ndarray, "*size"],
    inside: Bool[np.ndarray, "*size"],
    seeds: Int32[np.ndarray, "*size"],
    probability: Float32[np.ndarray, "*size"],
) -> None:
    """Grow the seeds over `inside` and write the result into `labels`, in place."""
    from scipy import ndimage
    from skimage.segmentation import watershed

    # Deep inside a seed nothing is left to flood: hidden from the watershed, it saves most of its time.
    free = inside & (seeds == 0)
    queued = ndimage.binary_dilation(free)
    queued &= inside
    grown = watershed(-probability, np.where(queued, seeds, 0), mask=queued)  # type: ignore[no-untyped-call]
    np.copyto(labels, seeds, where=inside)
    np.copyto(labels, grown, where=free)


def _number(labels: Int32[np.ndarray, "*size"], count: int, smallest: int) -> int:
    """Drop small objects and number the others 1..N in scan order, in place; return N."""
    starts = _run_starts(labels)
    ids = labels.ravel()[starts]
    first = np.zeros(count + 1, np.int64)
    first[ids[::-1]] = starts[::-1]  # of equal indices numpy keeps the last, here the first of the image
    kept = _sizes(labels, count) >= smallest
    kept[0] = False
    numbers = np.flatnonzero(kept)
    numbers = numbers[np.argsort(first[numbers])]
    table = np.zeros(count + 1, np.int32)
    table[numbers] = np.arange(1, len(numbers) + 1)
    _look_up(labels, table)
    return len(numbers)


def _fill_holes(labels: Int32[np.ndarray, "*size"]) -> None:
    """Give background that one object encloses to this object, in place.

    Background is connected across corners too, as what goes with objects that are not.
    """
    from scipy import ndimage

    background, count = ndimage.label(labels == 0, np.ones((3,) * labels.ndim))
    hole = np.ones(count + 1, bool)
    hole[0] = False
    for axis in range(labels.ndim):
        for end in (0, -1):
            hole[np.unique(background.take(end, axis))] = False
    if not hole.any():
        return
    where = np.concatenate(
        [begin + np.flatnonzero(hole[part]) for begin, part in _parts(background)] or [np.zeros(0, np.int64)]
    )
    ids, flat = background.ravel()[where], labels.ravel()
    low, high = np.full(count + 1, np.iinfo(np.int32).max), np.zeros(count + 1, np.int32)
    for axis in range(labels.ndim):
        step = math.prod(labels.shape[axis + 1 :])
        for neighbour in (flat[where - step], flat[where + step]):  # a hole is never at the edge
            beside = neighbour > 0
            np.minimum.at(low, ids[beside], neighbour[beside])
            np.maximum.at(high, ids[beside], neighbour[beside])
    flat[where] = np.where(low == high, high, 0)[ids]


def _run_starts(labels: Int32[np.ndarray, "*size"]) -> Int64[np.ndarray, "n"]:
    """Flat indices of the pixels where, along the last axis, an object begins: few, and every object has some."""
    begins = labels > 0
    begins[..., 1:] &= labels[..., 1:] != labels[..., :-1]
    return np.flatnonzero(begins)


def _sizes(labels: Int32[np.ndarray, "*size"], count: int) -> Int64[np.ndarray, "n"]:
    """Pixels of 0, 1, .. count."""
    sizes = np.zeros(count + 1, np.int64)
    for _, part in _parts(labels):
        sizes += np.bincount(part, minlength=count + 1)
    return sizes


def _look_up(labels: Int32[np.ndarray, "*size"], table: Int32[np.ndarray, "n"]) -> None:
    """Replace each number by its entry of the table, in place."""
    for _, part in _parts(labels):
        part[:] = table[part]


def _parts(array: Shaped[np.ndarray, "*size"]) -> Iterator[tuple[int, Shaped[np.ndarray, "n"]]]:
    """The array's pixels in parts, views of it that need little memory as indices, and where each begins."""
    flat = array.reshape(-1)
    for begin in range(0, flat.size, _AT_ONCE):
        yield begin, flat[begin : begin + _AT_ONCE]


def _check_probability(probability: Float32[np.ndarray, "..."]) -> None:
    # Sums of shares may pass 1 by rounding. The comparison is also false for NaN, which min and max hand on.
    if probability.size and not (probability.min() >= -1e-3 and probability.max() <= 1 + 1e-3):
        raise DataError(
            f"the probability of objects goes from {probability.min()} to {probability.max()}; "
            "give probabilities 0..1, not scores before the softmax"
        )
