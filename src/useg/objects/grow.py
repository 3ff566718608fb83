"""Grow the seeds of regions that hold several: a watershed in levels, each of a fixed number of steps.

A watershed (Meyer and Beucher, "Morphological segmentation", J. Vis. Commun. Image Represent. 1:21, 1990) floods the
likely pixels first, and where a flood ends up may depend on pixels however far away. Here it comes down in a few
levels and takes a fixed number of steps in each, so that a pixel depends on nothing farther away than `REACH`: what
is read with so wide a halo comes out as in the whole image.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int32, UInt8

STEPS = 4
"""Steps in each level."""
LEVELS = {2: 16, 3: 8}
"""Levels from the seeds' threshold down to the regions', in the plane and in space: found on drawn cells."""
REACH = {dims: STEPS * levels for dims, levels in LEVELS.items()}
"""Pixels that a seed grows at most, in the plane and in space: the halo that makes chunks agree."""


def grow(
    confidence: UInt8[np.ndarray, "*size"], seeds: Int32[np.ndarray, "*size"], high: int, low: int
) -> Int32[np.ndarray, "*size"]:
    """Let seeds take the free pixels around them.

    In each step every free pixel above the present level that touches a taken one across an edge takes the number
    of the most confident of those that it touches; of equal ones that before it along the first axis counts, then
    behind it, then along the next axis. The numbers themselves decide nothing.

    Args:
        confidence: of each pixel to be part of an object, in steps of 1/255, `Y X` or `Z Y X`.
        seeds: a number above 0 where a seed is, 0 where a pixel is free, -1 where it cannot be taken.
        high: the level at which growth begins.
        low: the last level; free pixels are above it.

    Returns:
        The same with the free pixels taken, but for those that no seed reached.
    """
    padded = np.pad(seeds, 1, constant_values=-1)
    # A pixel that is not seen yet is free and touches nothing taken, so each gets in line once.
    labels, seen, height = padded.ravel(), padded.ravel() != 0, np.pad(confidence, 1).ravel()
    strides = [math.prod(padded.shape[axis + 1 :]) for axis in range(padded.ndim)]
    around = [step for stride in strides for step in (-stride, stride)]

    free = np.flatnonzero(~seen)
    touching = np.zeros(free.size, bool)
    for step in around:
        touching |= labels[free + step] > 0
    line = free[touching]
    seen[line] = True
    levels = LEVELS[padded.ndim]
    for level in range(1, levels + 1):
        cut = high - (high - low) * level // levels
        above = height[line] > cut
        now, later = line[above], [line[~above]]
        for _ in range(STEPS):
            if not now.size:
                break
            labels[now] = _best(labels, height, now, around)
            beside = []
            for step in around:
                there = now + step
                there = there[~seen[there]]
                seen[there] = True
                beside.append(there)
            following = np.concatenate(beside)
            above = height[following] > cut
            now = following[above]
            later.append(following[~above])
        line = np.concatenate([now, *later])
    return padded[(slice(1, -1),) * padded.ndim]


def _best(labels: np.ndarray, height: np.ndarray, pixels: np.ndarray, around: list[int]) -> np.ndarray:
    """Of each pixel the number of the most confident neighbour that has one."""
    best, found = np.full(pixels.size, -1, np.int16), np.zeros(pixels.size, np.int32)
    for step in around:
        there = pixels + step
        number = labels[there]
        better = (number > 0) & (height[there] > best)
        np.copyto(best, height[there], where=better)
        np.copyto(found, number, where=better)
    return found
