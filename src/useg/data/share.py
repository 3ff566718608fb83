"""A share of the images to train on, for learning curves: of two shares the smaller one is part of the larger one."""

from collections.abc import Sequence

import numpy as np

from useg.data.dataset import Example, natural_key
from useg.data.splits import classes_in


def share_size(images: int, share: float) -> int:
    """How many of so many images a share (0..1) is: at least one."""
    return max(1, round(share * images))


def take_share(examples: Sequence[Example], share: float, *, seed: int = 0) -> list[Example]:
    """A share (0..1) of the examples, whole images, in their order; the same arguments give the same ones.

    Images are taken one after the other, at random among those that bring the classes nearest to what they are among
    all: first one that holds most classes, then what is missing. A larger share takes more of this one order.
    """
    count = share_size(len(examples), share)
    by_name = sorted(range(len(examples)), key=lambda index: natural_key(examples[index].name))
    shuffled = np.random.default_rng(seed).permutation(by_name).tolist()
    holds = [classes_in(examples[index]) for index in shuffled]
    classes = sorted(frozenset().union(*holds))
    table = np.array([[k in held for k in classes] for held in holds], np.float64)
    wanted, have = table.mean(axis=0), np.zeros(len(classes))
    left = np.ones(len(shuffled), bool)
    chosen = []
    for number in range(1, count + 1):
        new = ((table > 0) & (have == 0)).sum(axis=1)
        off = ((have + table - number * wanted) ** 2).sum(axis=1)
        best = min(np.flatnonzero(left).tolist(), key=lambda index: (-new[index], off[index]))
        left[best] = False
        have += table[best]
        chosen.append(shuffled[best])
    return [examples[index] for index in sorted(chosen)]
