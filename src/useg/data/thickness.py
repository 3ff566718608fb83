"""How thick are the annotated structures? It decides how fine a network must look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from useg.data.dataset import Example, evenly

MOST_IMAGES = 8
MOST_PIXELS = 512
"""Along an axis: of a larger image, the middle is looked at."""


def class_thickness(examples: Sequence[Example], classes: int) -> Float[np.ndarray, " k"]:
    """Thickness of each class in pixels: the median width across the skeletons of its regions.

    The width at a pixel of the skeleton is twice its distance to the region's border (the local thickness of
    Hildebrand and Rüegsegger 1997, read on the medial axis). At most 8 images, evenly spread, are looked at; a class
    that none of them holds has NaN.
    """
    labels = [_middle(examples[i].labels) for i in evenly(len(examples), MOST_IMAGES)]
    widths = [np.concatenate([_widths(image == k) for image in labels]) for k in range(classes)]
    return np.array([np.median(w) if w.size else np.nan for w in widths])


def _widths(region: Bool[np.ndarray, "y x"]) -> Float[np.ndarray, " n"]:
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import skeletonize

    if not region.any():
        return np.empty(0)
    # Mirrored at the frame, so that a region does not end there.
    distance = distance_transform_edt(np.pad(region, 1, mode="edge"))[1:-1, 1:-1]
    widths: Float[np.ndarray, " n"] = 2 * distance[skeletonize(region)] - 1  # type: ignore[no-untyped-call]
    return widths


def _middle(labels: np.ndarray) -> np.ndarray:
    starts = [max(0, (n - MOST_PIXELS) // 2) for n in labels.shape]
    return labels[tuple(slice(s, s + MOST_PIXELS) for s in starts)]
