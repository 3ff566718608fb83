"""Pixel sizes of several images: the one that they are all taken to, and volumes resampled to it for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Shaped

from useg.data.dataset import Example
from useg.scratch import New

SAME_SIZE = 1.1
"""Pixel sizes up to this ratio are taken for the same."""
LARGEST_RATIO = 8.0
"""Beyond it an image is not scaled to the pixel size of the training: it cannot show what the model knows."""


def common_spacing(examples: Sequence[Example]) -> tuple[float, ...] | None:
    """Edges of a pixel along each axis, the median of the images; None unless all know theirs, in one unit."""
    known = [e.spacing for e in examples if e.spacing is not None]
    if len(known) < len(examples) or len({e.unit for e in examples}) > 1:
        return None
    return tuple(float(edge) for edge in np.median(known, axis=0))


def largest_ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """How unlike two pixel sizes are: 2.0 where along some axis one is twice the other."""
    ratios = [a / b for a, b in zip(one, other, strict=True)]
    return max(*ratios, *(1 / ratio for ratio in ratios))


def scaled_size(size: Sequence[int], spacing: Sequence[float], to: Sequence[float]) -> tuple[int, ...]:
    """How many pixels of another size an image has; its own size where the two are the same, or too unlike to scale."""
    if not SAME_SIZE < largest_ratio(spacing, to) <= LARGEST_RATIO:
        return tuple(size)
    return tuple(max(1, round(n * a / b)) for n, a, b in zip(size, spacing, to, strict=True))


def to_common_spacing(examples: Sequence[Example], new: New = np.empty) -> tuple[list[Example], str]:
    """Volumes as training sees them, all with voxels of the common size, and a sentence where any had to be scaled.

    Gray values are linear in between and averaged where a volume shrinks, in their own type; labels and ids are those
    of the nearest voxel; they lie in arrays that `new` makes. Images, and volumes without a common size and its unit,
    stay as they are; so do those that have it.
    """
    target = common_spacing(examples)
    if target is None or examples[0].unit is None or examples[0].labels.ndim == 2:
        return list(examples), ""
    if any(largest_ratio(e.spacing, target) > LARGEST_RATIO for e in examples if e.spacing):
        return list(examples), f"voxels: their sizes differ by more than {LARGEST_RATIO:g} times, so none are scaled"
    scaled = [_scaled(example, target, new) for example in examples]
    changed = [old for old, new in zip(examples, scaled, strict=True) if old is not new]
    if not changed:
        return scaled, ""
    edges = " x ".join(f"{edge:.3g}" for edge in target)
    return scaled, (
        f"voxels: {len(changed)} of {len(examples)} volumes to train on are scaled to the median voxel, {edges} "
        f"{examples[0].unit or ''}".rstrip()
        + ", as is whatever is predicted, and its result back"
    )


def _scaled(example: Example, target: tuple[float, ...], new: New) -> Example:
    assert example.spacing is not None
    size = scaled_size(example.labels.shape, example.spacing, target)
    if size == example.labels.shape:
        return example
    image = resize(example.image, size)
    if example.image.dtype.kind != "f":
        np.rint(image, out=image)
    kept = new(image.shape, example.image.dtype)
    np.copyto(kept, image, casting="unsafe")
    return replace(
        example,
        image=kept,
        labels=_nearest(example.labels, size, new),
        objects=None if example.objects is None else _nearest(example.objects, size, new),
        spacing=target,
        original=example,
    )


def resize(array: Shaped[np.ndarray, "c *size"], size: Sequence[int]) -> Float32[np.ndarray, "c *other"]:
    """An image of another size: linear in between, averaged where it shrinks, in its own gray values.

    As `skimage.transform.resize` does it, to the bit: a Gaussian of (factor - 1) / 2 pixels before it shrinks.
    """
    from scipy import ndimage

    values = array.astype(np.float32)
    finite = np.where(np.isfinite(values), values, 0)
    factors = np.divide(finite.shape, (len(array), *size))
    smooth = finite
    if (factors > 1).any():
        smooth = ndimage.gaussian_filter(finite, np.maximum(0, (factors - 1) / 2), mode="nearest")
    result = ndimage.zoom(smooth, [1 / factor for factor in factors], order=1, mode="nearest", grid_mode=True)
    return np.asarray(result.clip(finite.min(), finite.max()), np.float32)


def _nearest(labels: Shaped[np.ndarray, "*size"], size: tuple[int, ...], new: New) -> Shaped[np.ndarray, "*other"]:
    first, *others = [(2 * np.arange(m) + 1) * n // (2 * m) for n, m in zip(labels.shape, size, strict=True)]
    found = new(size, labels.dtype)
    for plane, place in zip(found, first, strict=True):
        plane[...] = labels[place][np.ix_(*others)]
    return found
