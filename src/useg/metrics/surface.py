"""How far apart are the surfaces of truth and prediction? 95 % Hausdorff distance and average surface distance.

A and B are the surface pixels of a class in the truth and in the prediction, d(a, B) the distance of a to the nearest
of B, between centres of pixels, in the unit of the pixel size.

    HD95 = max(P95 of d(a, B) over A, P95 of d(b, A) over B)       P95: the 95th percentile
    ASSD = (sum of d(a, B) over A + sum of d(b, A) over B) / (|A| + |B|)

Sources: Taha and Hanbury, BMC Medical Imaging 15:29 (2015), "Distance based metrics"; the quantile instead of the
maximum is that of Huttenlocher et al., IEEE PAMI 15 (1993) 850. ASSD as in Heimann et al., IEEE TMI 28 (2009) 1251.

Where only one side has a surface no distance is right: 0 would be praise, and any other number an invention. Such
images get NaN, enter no mean and are counted apart, as Reinke et al., "Understanding metric-related pitfalls", Nat.
Methods 21 (2024) 182, and Maier-Hein et al., "Metrics reloaded", ibid. 195, ask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from useg.errors import DataError
from useg.labels import IGNORE
from useg.metrics.overlap import plain

PERCENTILE = 95
"""Of the distances from one surface to the other: a few stray pixels do not decide."""


class SurfaceDistance(NamedTuple):
    """Of one class of one image.

    Attributes:
        hausdorff95, average: HD95 and ASSD, 0 and up; NaN unless both sides have a surface.
        true, predicted: pixels of the surfaces.
    """

    hausdorff95: float = math.nan
    average: float = math.nan
    true: int = 0
    predicted: int = 0


def surface_distances(
    truth: Integer[np.ndarray, "..."],
    labels: Integer[np.ndarray, "..."],
    classes: int,
    *,
    spacing: Sequence[float] | None = None,
    within: Bool[np.ndarray, "..."] | None = None,
) -> tuple[SurfaceDistance, ...]:
    """Distances between the surfaces of each class in a truth and its prediction.

    A pixel is of a surface where a neighbour across one of its faces is of another class, or the image ends. What is
    IGNORE in the truth, or not `within`, is unknown: no surface pixel lies there, on neither side, and no surface comes
    from a border to it. So where much is unknown, distances are to the nearest surface that is known.

    Every surface pixel counts once, also where pixels are not cubes.

    Args:
        truth: annotated labels `[Z] Y X`, 0..classes-1, or IGNORE where nobody annotated.
        labels: predicted labels of the same shape.
        classes: their number. Class 0 is not measured: its surface is that of all others.
        spacing: pixel size along each axis; pixels are counted without.
        within: pixels that count; all of them by default. Of the same shape.

    Returns:
        One entry a class.

    Raises:
        DataError: the shapes differ, or the spacing has another number of axes.

    >>> line = np.array([[0, 1, 1, 0, 0, 0]])
    >>> surface_distances(line, np.roll(line, 2), 2, spacing=(1.0, 0.5))[1]
    SurfaceDistance(hausdorff95=0.975, average=0.75, true=2, predicted=2)
    """
    from scipy import ndimage

    edge = (1.0,) * truth.ndim if spacing is None else tuple(spacing)
    for name, other in (("prediction", labels.shape), ("region", truth.shape if within is None else within.shape)):
        if other != truth.shape:
            raise DataError(f"the {name} has shape {other} and the truth {truth.shape}; give them the same size")
    if len(edge) != truth.ndim:
        raise DataError(f"the pixel size {edge} is not one number an axis of {truth.shape}; give {truth.ndim} numbers")
    known = truth != IGNORE if within is None else (truth != IGNORE) & within
    boxes = [ndimage.find_objects(side, max_label=classes - 1) for side in (truth, labels)]
    found = [SurfaceDistance()]
    for k in range(1, classes):
        box = _around([side[k - 1] for side in boxes])
        if box is None:
            found.append(SurfaceDistance())
            continue
        ends = [(part.start == 0, part.stop >= n) for part, n in zip(box, truth.shape, strict=True)]
        true, predicted = (_surface(side[box] == k, known[box], ends) for side in (truth, labels))
        found.append(_distance(true, predicted, np.asarray(edge)))
    return tuple(found)


def _around(boxes: Sequence[tuple[slice, ...] | None]) -> tuple[slice, ...] | None:
    """A box around several, and a pixel more on each side; None around nothing."""
    there = [box for box in boxes if box is not None]
    if not there:
        return None
    return tuple(
        slice(max(0, min(part.start for part in parts) - 1), max(part.stop for part in parts) + 1)
        for parts in zip(*there, strict=True)
    )


def _surface(
    inside: Bool[np.ndarray, "*space"], known: Bool[np.ndarray, "*space"], ends: Sequence[tuple[bool, bool]]
) -> Bool[np.ndarray, "*space"]:
    """Known pixels inside with a known neighbour outside; `ends` says at which sides of each axis the image ends."""
    outside, touches = known & ~inside, np.zeros_like(inside)
    for axis, (first, last) in enumerate(ends):
        here, there = (np.moveaxis(each, axis, 0) for each in (touches, outside))
        here[1:] |= there[:-1]
        here[:-1] |= there[1:]
        here[:1] |= first
        here[-1:] |= last
    return touches & inside & known


def _distance(
    true: Bool[np.ndarray, "*space"], predicted: Bool[np.ndarray, "*space"], edge: Float[np.ndarray, "dims"]
) -> SurfaceDistance:
    """Both distances, of two surfaces."""
    counts = int(true.sum()), int(predicted.sum())
    if not all(counts):
        return SurfaceDistance(true=counts[0], predicted=counts[1])
    ways = _nearest(true, predicted, edge), _nearest(predicted, true, edge)
    highest = max(float(np.percentile(way, PERCENTILE)) for way in ways)
    return SurfaceDistance(highest, float(sum(way.sum() for way in ways) / sum(counts)), *counts)


def _nearest(
    ours: Bool[np.ndarray, "*space"], theirs: Bool[np.ndarray, "*space"], edge: Float[np.ndarray, "dims"]
) -> Float[np.ndarray, "n"]:
    """How far each pixel of a surface lies from the nearest of another.

    Through a tree of the other's pixels: a distance transform of the whole box gives the same, but takes five times as
    long and 30 bytes a voxel.
    """
    from scipy.spatial import cKDTree

    apart = np.argwhere(ours & ~theirs)
    distances = np.zeros(int(ours.sum()))
    if len(apart):
        distances[: len(apart)] = cKDTree(np.argwhere(theirs) * edge).query(apart * edge)[0]
    return distances


@dataclass(frozen=True)
class SurfaceScores:
    """Surface distances of a set of images. Tuples have one entry a class; NaN where no image can be measured."""

    unit: str
    """Of all distances: such as "mm", or "pixels" where not every image knows its pixel size."""
    hausdorff95: tuple[float, ...]
    """Mean HD95 of the images in which truth and prediction have a surface of the class."""
    average: tuple[float, ...]
    """Mean ASSD of the same images."""
    images: tuple[int, ...]
    """How many these are."""
    missed: tuple[int, ...]
    """Images in which only the truth has a surface of the class; they enter no mean."""
    false_alarms: tuple[int, ...]
    """Images in which only the prediction has one; they enter no mean either."""
    per_image: tuple[tuple[SurfaceDistance, ...], ...]
    """Class by class, image by image."""

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None (for NaN), ready for JSON; without the single images."""
        return {name: plain(value) for name, value in asdict(self).items() if name != "per_image"}


def surface_scores(images: Sequence[Sequence[SurfaceDistance]], unit: str) -> SurfaceScores:
    """Sum up the surface distances of a set of images.

    Args:
        images: what `surface_distances` returns, all of the same number of classes and in the same unit.
        unit: of all distances.

    Raises:
        DataError: there is no image.
    """
    if len(images) == 0:
        raise DataError("no image was measured; give at least one pair of truth and prediction")
    table = np.array(images, float)  # image x class x (hausdorff95, average, true, predicted)
    true, predicted = table[..., 2] > 0, table[..., 3] > 0
    both = true & predicted
    count = both.sum(axis=0)
    sums = np.where(both[..., None], table[..., :2], 0).sum(axis=0)
    means = np.divide(sums, count[:, None], out=np.full(sums.shape, np.nan), where=count[:, None] > 0)
    return SurfaceScores(
        unit,
        tuple(means[:, 0].tolist()),
        tuple(means[:, 1].tolist()),
        tuple(count.tolist()),
        tuple((true & ~predicted).sum(axis=0).tolist()),
        tuple((predicted & ~true).sum(axis=0).tolist()),
        tuple(tuple(each) for each in images),
    )
