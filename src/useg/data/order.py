"""Do classes lie in a fixed order along an axis, such as front and back of an organ? Then mirrored images mislead."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import numpy as np

from useg.data.dataset import Example
from useg.parts import count_along

CERTAIN = 0.95
"""In so many of the images two classes must lie the same way round."""
ENOUGH = 5
"""Images that show both; in fewer an order may be chance."""
APART = 0.1
"""Their centres must lie apart by this share of what the two reach over along the axis, in the middle of all images."""


def ordered_axes(examples: Sequence[Example], classes: int) -> list[tuple[int, int] | None]:
    """For each axis of the labels two classes, class 0 left out, that lie in the same order in nearly all images.

    None where no two do. What is compared is the mean position of each class.
    """
    places = [_places(example.labels, classes) for example in examples]
    found: list[tuple[int, int] | None] = []
    for axis in range(examples[0].labels.ndim):
        pairs = (pair for pair in combinations(range(1, classes), 2) if _keep_order(places, pair, axis))
        found.append(next(pairs, None))
    return found


def _places(labels: np.ndarray, classes: int) -> np.ndarray:
    """Mean, first and last position of each class along each axis, `classes axes 3`; NaN for one that is not there."""
    places = np.full((classes, labels.ndim, 3), np.nan)
    for k in range(1, classes):
        for axis in range(labels.ndim):
            counts = count_along(labels, axis, partial(np.equal, k))
            if where := np.flatnonzero(counts).tolist():
                places[k, axis] = np.average(np.arange(len(counts)), weights=counts), where[0], where[-1]
    return places


def _keep_order(places: Sequence[np.ndarray], pair: tuple[int, int], axis: int) -> bool:
    one, other = (np.array([place[k, axis] for place in places]) for k in pair)
    reach = np.maximum(one[:, 2], other[:, 2]) - np.minimum(one[:, 1], other[:, 1])
    apart = (other[:, 0] - one[:, 0]) / np.maximum(reach, 1)
    apart = apart[np.isfinite(apart)]
    if len(apart) < ENOUGH or abs(np.median(apart)) < APART:
        return False
    return bool(max(np.mean(apart > 0), np.mean(apart < 0)) >= CERTAIN)
