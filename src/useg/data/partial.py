"""Objects that are not painted: where they may lie, nothing is known.

The Cell Tracking Challenge paints some cells of a frame and marks all of them by a spot each (`TRA`). A spot outside
everything that is painted says that an object lies there, and not how far it reaches.
"""

import numpy as np
from jaxtyping import Bool, Int32, Integer, UInt8

from useg.labels import IGNORE
from useg.parts import parts
from useg.scratch import New


def leave_out(
    labels: UInt8[np.ndarray, "*size"],
    *,
    whole: bool,
    margin: int,
    new: New = np.empty,
) -> UInt8[np.ndarray, "*size"]:
    """The labels, background taken for not annotated: in the `whole` image, or within `margin` pixels of its edges.

    The result is an array that `new` makes.
    """
    left = new(labels.shape, np.uint8)
    for part, known in zip(parts(left), parts(labels), strict=True):
        part[...] = np.where(known == 0, np.uint8(IGNORE), known)
    if not whole:
        inner = tuple(slice(margin, max(margin, n - margin)) for n in labels.shape)
        left[inner] = labels[inner]
    return left


def unpainted(objects: Int32[np.ndarray, "*size"], markers: Integer[np.ndarray, "*size"]) -> Bool[np.ndarray, "*size"]:
    """Pixels that may belong to an object which is marked and not painted.

    Those are the unpainted pixels nearer to the marker of such an object than to any that is painted, and no further
    from it than a painted object is wide: the diameter of a disc (a ball) of their median size. Where nothing is
    painted that size is unknown, and no pixel is sure.

    Args:
        objects: ids of the painted objects, 0 elsewhere.
        markers: ids of the markers of all objects, 0 elsewhere.
    """
    from scipy import ndimage

    painted = objects > 0
    found = np.unique(markers[painted])
    missing = (markers != 0) & ~np.isin(markers, found)
    if not missing.any():
        return np.zeros(objects.shape, bool)
    sizes = np.unique(objects[painted], return_counts=True)[1]
    if not sizes.size:
        return np.ones(objects.shape, bool)
    # The area of a disc of diameter 1 is 0.785, the volume of a ball 0.524.
    reach = (np.median(sizes) / {1: 1.0, 2: np.pi / 4, 3: np.pi / 6}[objects.ndim]) ** (1 / objects.ndim)
    from_missing = ndimage.distance_transform_edt(~missing)
    from_painted = ndimage.distance_transform_edt(~painted)
    near: np.ndarray = ~painted & (from_missing <= reach) & (from_missing <= from_painted)
    return near
