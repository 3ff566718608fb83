"""How thick are the annotated structures? It decides how fine a network must look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from useg.data.dataset import Example, evenly
from useg.errors import extra
from useg.parts import centre

MOST_IMAGES = 8
MOST_PIXELS = {2: 512, 3: 96}
"""Along an axis of images and volumes: of a larger one, the middle is looked at."""


def class_thickness(examples: Sequence[Example], classes: int) -> Float[np.ndarray, " k"]:
    """Thickness of each class in pixels: the median width across the skeletons of its regions.

    The width at a pixel of the skeleton is twice its distance to the region's border (the local thickness of
    Hildebrand and Rüegsegger 1997, read on the medial axis). At most 8 images, evenly spread, are looked at; a class
    that none of them holds has NaN.
    """
    chosen = [examples[i].labels for i in evenly(len(examples), MOST_IMAGES)]
    labels = [each[centre(each.shape, MOST_PIXELS[each.ndim])] for each in chosen]
    widths = [np.concatenate([_widths(image == k) for image in labels]) for k in range(classes)]
    return np.array([np.median(w) if w.size else np.nan for w in widths])


def _widths(region: Bool[np.ndarray, "*size"]) -> Float[np.ndarray, " n"]:
    from scipy.ndimage import distance_transform_edt

    with extra("the thickness of classes", "measure"):
        from skimage.morphology import skeletonize

    if not region.any():
        return np.empty(0)
    # Mirrored at the frame, so that a region does not end there.
    distance = distance_transform_edt(np.pad(region, 1, mode="edge"))[(slice(1, -1),) * region.ndim]
    skeleton = skeletonize(region)  # type: ignore[no-untyped-call]
    if not skeleton.any():  # a box in a volume may have none
        skeleton = distance == distance.max()
    widths: Float[np.ndarray, " n"] = 2 * distance[skeleton] - 1
    return widths
