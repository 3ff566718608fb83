"""The one mark that label images share in every room, and what it leaves."""

import numpy as np
from jaxtyping import Bool, Integer

IGNORE = 255
"""Label of a pixel that nobody annotated: it costs nothing in a loss and counts in no score.

Internal only. It is never assumed of a file: a mask of {0, 255} is binary.
"""


def annotated(labels: Integer[np.ndarray, "*size"]) -> Bool[np.ndarray, "*size"]:
    """Pixels that somebody annotated."""
    return np.not_equal(labels, IGNORE)


def foreground(labels: Integer[np.ndarray, "*size"]) -> Bool[np.ndarray, "*size"]:
    """Those of them that are not background."""
    return np.logical_and(labels > 0, labels != IGNORE)
