"""What probabilities say of their own errors: entropy, disagreement of several predictions, and the Dice to expect."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Integer

LEAST = 1e-12
"""Probabilities below this count as this: p log p goes to 0 with p."""


def entropy(probabilities: Float[np.ndarray, "k *size"]) -> Float[np.ndarray, "*size"]:
    """Shannon's entropy of each pixel over the most that k classes can have: 0 is certain, 1 is no idea.

    >>> entropy(np.array([[1.0, 0.5], [0.0, 0.5]])).tolist()
    [0.0, 1.0]
    """
    total = np.zeros(probabilities.shape[1:], probabilities.dtype)
    for p in probabilities:  # class by class: no second array of all of them
        total -= p * np.log(np.maximum(p, LEAST))
    return np.clip(total / math.log(max(2, len(probabilities))), 0, 1)


def expected_dice(
    probabilities: Float[np.ndarray, "k *size"], labels: Integer[np.ndarray, "*size"]
) -> Float[np.ndarray, "k"]:
    """The Dice of each class that calibrated probabilities let expect; NaN for a class that is nowhere likely.

        2 sum(p_k where the label is k) / (pixels of label k + sum(p_k))

    A ratio of expectations, which for more than a few pixels is the expectation of the ratio.
    """
    found = np.full(len(probabilities), np.nan)
    for k, p in enumerate(probabilities):
        here = labels == k
        size = here.sum() + p.sum(dtype=np.float64)
        if size > 0:
            found[k] = 2 * p.sum(dtype=np.float64, where=here) / size
    return found
