"""What the training images looked like, and how another image differs: in type, range, pixel size and detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Shaped

from useg.data.dataset import Example
from useg.data.spacing import SAME_SIZE, common_spacing, largest_ratio, scaled_size
from useg.images.windows import Windows
from useg.parts import centre, parts, percentiles
from useg.unet.model import InputSeen
from useg.unet.normalise import sample_steps, subsample

BLURRED = 0.6
"""An image with less detail than this share of the least that training saw is told to be blurred."""
DETAIL_EDGE = 512
"""Pixels along an axis of the middle of an image, in which its detail is measured."""


@dataclass(frozen=True)
class Glance:
    """What is looked at of an image of any size.

    Attributes:
        size: of the whole image, in pixels.
        small: every n-th pixel, as `subsample` takes them. middle: of which the detail is told.
    """

    size: tuple[int, ...]
    small: Shaped[np.ndarray, "c *small"]
    middle: Shaped[np.ndarray, "c *middle"]


def glance(image: Windows) -> Glance:
    """Look at an image, reading it in parts."""
    size = image.header.size
    return Glance(size, image.strided(sample_steps(size)), image.read(centre(size, DETAIL_EDGE)))


def describe_input(train: Sequence[Example]) -> InputSeen:
    """What the training images look like, kept in the model to notice images that do not."""
    ranges = []
    for example in train:
        ranges.append([percentiles(partial(_finite, channel), (1.0, 99.0)) for channel in subsample(example.image)])
    spacing = common_spacing(train)
    if spacing and any(largest_ratio(e.spacing, spacing) > SAME_SIZE for e in train if e.spacing):
        spacing = None
    types = Counter(str(e.image.dtype) for e in train)
    details = [found for e in train if (found := detail(e.image)) is not None]
    return InputSeen(
        dtype=types.most_common(1)[0][0],
        dtypes=sorted(types),
        low=[float(v) for v in np.min(ranges, axis=0)[:, 0]],
        high=[float(v) for v in np.max(ranges, axis=0)[:, 1]],
        spacing=list(spacing) if spacing else None,
        unit=train[0].unit if spacing else None,
        detail=min(details, default=None),
    )


def _finite(channel: Shaped[np.ndarray, "*size"]) -> Iterator[Shaped[np.ndarray, " _"]]:
    for part in parts(channel):
        yield part[np.isfinite(part)]


def detail(image: Shaped[np.ndarray, "c *size"]) -> float | None:
    """How fast gray values change from pixel to pixel, beside how much: 1.7 for noise, 1/s where all is blurred by s.

    The mean of |x(i-1) - 2 x(i) + x(i+1)| over the mean of |x(i) - x(i+1)| along the last axis. Both grow alike with
    contrast and with the number of edges, so that what is left is how sharp these are. None for an even image.
    """
    slopes, bends, counted = [], [], np.zeros(2, int)
    for part in parts(image[(slice(None), *centre(image.shape[1:], DETAIL_EDGE))]):
        values = part.astype(np.float32)
        slope = np.diff(np.where(np.isfinite(values), values, 0), axis=-1)
        bend = np.diff(slope, axis=-1)
        slopes.append(np.abs(slope).sum())
        bends.append(np.abs(bend).sum())
        counted += slope.size, bend.size
    # Sums and means of single precision, part by part.
    steepness = float(sum(slopes) / np.float32(max(1, counted[0])))
    if not counted[1] or not 0 < steepness < np.inf:
        return None
    return float(sum(bends) / np.float32(counted[1])) / steepness


def unlike_training(
    seen: InputSeen,
    image: Glance,
    spacing: Sequence[float] | None = None,
    unit: str | None = None,
) -> list[str]:
    """In words, how an image differs from the training images in type, range, detail and pixel size."""
    found = []
    values = image.small.reshape(len(image.small), -1)
    if str(values.dtype) not in seen.types:
        found.append(f"its pixels are {values.dtype}, those of the training images {' or '.join(seen.types)}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        found.append("some of its pixels are not finite; they are read as the mean")
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    for channel, row in enumerate(values):
        low, high = np.percentile(row, (1, 99))
        known = seen.high[channel] - seen.low[channel]
        where = f" in channel {channel}" if len(values) > 1 else ""
        if low == high:
            found.append(f"it is constant{where}")
        elif low < seen.low[channel] - known or high > seen.high[channel] + known:
            found.append(
                f"its gray values{where} go from {low:g} to {high:g}, those of the training images "
                f"from {seen.low[channel]:g} to {seen.high[channel]:g}"
            )
    sharp = detail(image.middle) if seen.detail is not None else None
    if seen.detail is not None and sharp is not None and sharp < BLURRED * seen.detail:
        found.append(f"it is more blurred than the training images (detail {sharp:.2f}, not {seen.detail:.2f})")
    if _differs(seen, spacing, unit):
        assert spacing is not None and seen.spacing is not None
        scaled = size_as_in_training(seen, image.size, spacing, unit) != image.size
        then = "it is scaled to that, and the result back" if scaled else "sizes of what is seen will not be as learned"
        theirs = f"{_words(spacing)} {unit or ''}".rstrip()
        found.append(
            f"its pixel size is {theirs}, that of the training images {_words(seen.spacing)} {seen.unit or ''}".rstrip()
            + f": {then}"
        )
    return found


def size_as_in_training(
    seen: InputSeen, size: Sequence[int], spacing: Sequence[float] | None, unit: str | None
) -> tuple[int, ...]:
    """The size that an image would have with the pixels of the training images; its own where that is not to be told.

    It is not where one of both knows no pixel size, where their units differ, or where the pixels are so unlike that
    scaling makes no sense.
    """
    if not _differs(seen, spacing, unit) or unit is None or unit != seen.unit:
        return tuple(size)
    assert spacing is not None and seen.spacing is not None
    return scaled_size(size, spacing, seen.spacing)


def _differs(seen: InputSeen, spacing: Sequence[float] | None, unit: str | None) -> bool:
    """Whether both know a pixel size, and not the same."""
    if not spacing or not seen.spacing or len(spacing) != len(seen.spacing):
        return False
    other_unit = bool(unit and seen.unit and unit != seen.unit)
    return largest_ratio(spacing, seen.spacing) > SAME_SIZE or other_unit


def _words(spacing: Sequence[float]) -> str:
    return " x ".join(f"{s:.4g}" for s in spacing)
