"""Are all objects painted, or only a few of those that the image shows?"""

import numpy as np
from jaxtyping import Integer, Num

MOST_PIXELS = 1024
"""Along an axis; larger images are looked at in steps."""
FEW = 0.1
"""Where objects cover more of an image than this, they are not a few."""
MANY_MORE = 2.0
"""So many times as many places that look like objects as painted objects: most were left out."""


def count_alike(image: Num[np.ndarray, "c y x"], mask: Integer[np.ndarray, "y x"]) -> int:
    """How many unpainted places look like the objects of a mask of ids.

    A place looks like an object when it is as bright (or dark), and its size is within a factor of 3 of the painted
    ones. Where objects do not stand out by their gray values, or cover a tenth of the image, it is 0.
    """
    from scipy import ndimage

    step = max(1, -(-max(mask.shape) // MOST_PIXELS))
    ids = mask[::step, ::step]
    painted = ids != 0
    sizes = np.unique(ids[painted], return_counts=True)[1]
    if not sizes.size or painted.mean() > FEW:
        return 0
    gray = ndimage.uniform_filter(np.nan_to_num(image[:, ::step, ::step].astype(np.float32)).mean(axis=0), 5)
    inside, outside = float(np.median(gray[painted])), float(np.median(gray[~painted]))
    if inside == outside:
        return 0
    middle = (inside + outside) / 2
    like = gray > middle if inside > outside else gray < middle
    if like[painted].mean() < 0.8 or like.mean() > 0.5:
        return 0
    pieces, _ = ndimage.label(like & ~ndimage.binary_dilation(painted, iterations=3))
    areas = np.bincount(pieces.reshape(-1))[1:]
    usual = float(np.median(sizes))
    return int(np.count_nonzero((areas > usual / 3) & (areas < usual * 3)))
