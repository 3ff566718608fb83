"""From the probability that a pixel is part of an object to the objects, one number each.

A network that was taught to leave a line of background between objects that touch gives a probability that dips
there. Pixels above a high threshold, the seeds, fall apart at the dip; each seed then grows to the edge of the
pixels above a lower threshold, the more likely pixels first, until the objects meet: see `grow.py`. Where a connected
region holds one seed only, which is almost everywhere, it is the object of this seed. All this is done on confidences
in steps of 1/255, so that an image of them, a byte a pixel, gives the very same objects; `separate_chunked` finds
these in chunks too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer, UInt8

from useg.errors import DataError, SizeError
from useg.objects.chunks import Grid, Held, parts
from useg.objects.seams import separate_chunked
from useg.objects.settings import SeparateSettings

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Where `find_settings` looks for the edge of the objects."""
SEED_THRESHOLDS = (*THRESHOLDS, 0.8, 0.9, 0.95)
"""Where it looks for their seeds; only those that are not below the threshold are tried."""
LEAST = 4
"""Pixels of the smallest object that `find_settings` lets stand: fewer are noise at any scale."""


def separate(
    probability: Float32[np.ndarray, "*size"] | UInt8[np.ndarray, "*size"], settings: SeparateSettings | None = None
) -> Int32[np.ndarray, "*size"]:
    """The objects of an image or volume.

    Pixels are neighbours across an edge (4 in the plane, 6 in space). A connected region above the threshold that
    holds no seed is no object; a seed has at least a tenth of the pixels of the smallest object. Seeds that share a
    region grow up to `REACH` pixels (`useg.objects.grow`); connected pixels of the region that none of them reached
    go to the object that they share most edges with. Objects below `smallest` become background, then the holes of
    each object are filled: background that one object encloses, that holds no other object and does not reach the
    edge of the image, not even across corners.

    Args:
        probability: of each pixel to be part of an object, `Y X` or `Z Y X`, 0..1; or its `confidence`.
        settings: see there.

    Returns:
        0 for background, the objects 1..N in the order in which the rows of the image meet them.

    Raises:
        DataError: the probability is not 0..1.
        SizeError: it has neither 2 nor 3 axes.
    """
    source = Held(probability if probability.dtype == np.uint8 else confidence(probability))

    def scratch(name: str) -> Held:
        return Held(np.broadcast_to(np.int32(0), probability.shape))  # no memory: what is written takes its place

    result = scratch("result")
    one_chunk = Grid.regular(probability.shape, [max(1, n) for n in probability.shape])
    separate_chunked(source, result, one_chunk, settings, scratch=scratch)
    return result.array


def confidence(probability: Float32[np.ndarray, "*size"]) -> UInt8[np.ndarray, "*size"]:
    """Probabilities 0..1 in steps of 1/255, rounded to the nearest: all that `separate` looks at.

    Raises:
        DataError: the probability is not 0..1.
    """
    # Sums of shares may pass 1 by rounding. The comparison is also false for NaN, which min and max hand on.
    if probability.size and not (probability.min() >= -1e-3 and probability.max() <= 1 + 1e-3):
        raise DataError(
            f"the probability of objects goes from {probability.min()} to {probability.max()}; "
            "give probabilities 0..1, not scores before the softmax"
        )
    result = np.empty(probability.shape, np.uint8)
    flat = probability.reshape(-1)
    for begin, part in parts(result):
        np.rint(flat[begin : begin + part.size] * np.float32(255), out=part, casting="unsafe")
    return result


def find_settings(
    images: Sequence[
        tuple[
            Float32[np.ndarray, "..."] | UInt8[np.ndarray, "..."],
            Integer[np.ndarray, "..."],
            Bool[np.ndarray, "..."] | None,
        ],
    ],
    judge: Callable[[list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]], float],
) -> SeparateSettings:
    """The settings that score best on images whose objects are known.

    All pairs of `THRESHOLDS` and `SEED_THRESHOLDS` are tried, with a quarter of a small true object (of their 5th
    percentile) as the smallest; then half and twice that. Of equally good ones the most ordinary is taken: the
    threshold next to 0.5, the seed threshold in the middle, the quarter.

    Args:
        images: of each image the probability (`*size`, 0..1) or its `confidence`, the ids of its true objects
            (`*size`, 0 is background) and where nobody annotated it (`*size`, True there), or None.
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

    sure = [p if p.dtype == np.uint8 else confidence(p) for p, _, _ in images]

    def score(settings: SeparateSettings) -> float:
        judged = [(truth, separate(p, settings), ignored) for p, (_, truth, ignored) in zip(sure, images, strict=True)]
        found = float(judge(judged))
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
