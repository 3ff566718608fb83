"""Is the topology right? The warping error of Jain et al.

The truth is bent towards the proposal as far as that goes without splitting, merging, making or deleting a
region or a hole. Boundaries that are merely drawn elsewhere then agree; what still differs are errors of
topology, and they are counted in pixels.

Source: Jain et al., "Boundary learning by optimization with topological constraints", CVPR 2010; with
regions 4-connected and borders 8-connected, as in the ISBI 2012 challenge. The leader board of the challenge
(and so Ronneberger et al. 2015, Table 1) counted splits and mergers, each once whatever its pixels, at the
best threshold: its numbers are smaller and cannot be compared with these.
"""

from collections import deque
from functools import cache

import numpy as np
from jaxtyping import Bool

from useg.errors import DataError

# The eight neighbours once around; even ones share an edge with the pixel, odd ones a corner:
#     5 6 7
#     4 . 0
#     3 2 1
_AROUND = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


def warping_error(truth: Bool[np.ndarray, "..."], proposal: Bool[np.ndarray, "..."]) -> float:
    """Share of pixels in which the truth, warped towards the proposal, still differs from it.

    Args:
        truth: `Y X`, True in the interior of regions, False on borders.
        proposal: the same of the prediction, of the same shape.

    Returns:
        0 (the truth bends all the way) .. 1; never more than the share of pixels that differ before warping.

    Raises:
        DataError: the images are not flat or differ in shape.

    Example:
        A region shifted by one pixel costs nothing; a region that was invented costs its pixels.

        >>> drawn, shifted = np.zeros((2, 6, 6), dtype=bool)
        >>> drawn[1:4, 1:4] = shifted[2:5, 1:4] = True
        >>> warping_error(drawn, shifted)
        0.0
        >>> shifted[0, 5] = True
        >>> warping_error(drawn, shifted) * 36
        1.0
    """
    warped = warp(truth, proposal)
    return float(np.mean(warped != proposal)) if warped.size else 0.0


def warp(truth: Bool[np.ndarray, "..."], proposal: Bool[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Bend the truth towards the proposal without changing its topology.

    Pixels that differ are flipped where they are simple, i.e. where that changes the number neither of
    regions nor of holes, until none is left. They wait in one line, first in reading order, then as their
    neighbours flip, so that borders move evenly from their old place and the result is always the same. What
    is best is hard to find; like the challenge this takes what comes first. Beyond the image all is border.

    Args:
        truth: `Y X`, True in the interior of regions.
        proposal: the same shape.

    Returns:
        The warped truth, `Y X`. Where it differs from the proposal, there is an error of topology.

    Raises:
        DataError: the images are not flat or differ in shape.
    """
    if truth.ndim != 2 or truth.shape != proposal.shape:
        raise DataError(
            f"the truth has shape {truth.shape} and the proposal {proposal.shape}; "
            "give one slice Y X of each, of the same size"
        )
    # A frame of border pixels spares the loop all questions of where the image ends. Plain lists and flat
    # indices, because the loop touches single pixels and numpy is slow at that.
    framed = np.pad(truth, 1)
    width = framed.shape[1]
    around = [dy * width + dx for dy, dx in _AROUND]
    codes: list[int] = _neighbour_codes(framed).ravel().tolist()
    differs: list[bool] = np.pad(truth != proposal, 1).ravel().tolist()
    simple = simple_points()

    line = deque(np.flatnonzero(differs).tolist())
    waiting = differs.copy()
    while line:
        pixel = line.popleft()
        waiting[pixel] = False
        if not simple[codes[pixel]]:
            continue
        differs[pixel] = False
        for position, offset in enumerate(around):
            neighbour = pixel + offset
            codes[neighbour] ^= 1 << (position ^ 4)  # from there, this pixel lies in the opposite direction
            if differs[neighbour] and not waiting[neighbour]:
                waiting[neighbour] = True
                line.append(neighbour)
    left = np.array(differs, dtype=bool).reshape(framed.shape)[1:-1, 1:-1]
    warped: np.ndarray = proposal ^ left
    return warped


@cache
def simple_points() -> tuple[bool, ...]:
    """For each of the 256 neighbourhoods of a pixel: may the pixel flip without changing the topology?

    Bit k of the index is neighbour k, once around from the right, clockwise as the image is seen. A pixel is
    simple if its neighbourhood holds exactly one 4-connected component of interior that shares an edge with
    it and exactly one 8-connected component of border. That is where the connectivity number, the sum over
    k = 0, 2, 4, 6 of x_k - x_k x_(k+1) x_(k+2), is 1 (Yokoi, Toriwaki and Fukumura, "An analysis of
    topological properties of digitized binary pictures using local features", CGIP 4 (1975) 63).
    """

    def connectivity(code: int) -> int:
        x = [code >> (k % 8) & 1 for k in range(9)]
        return sum(x[k] - x[k] * x[k + 1] * x[k + 2] for k in (0, 2, 4, 6))

    return tuple(connectivity(code) == 1 for code in range(256))


def _neighbour_codes(framed: Bool[np.ndarray, "y x"]) -> np.ndarray:
    """Each pixel's neighbourhood as the index into `simple_points`; only those inside the frame are right."""
    codes = np.zeros(framed.shape, dtype=np.uint8)
    for position, (dy, dx) in enumerate(_AROUND):
        codes |= np.roll(framed, (-dy, -dx), axis=(0, 1)).astype(np.uint8) << position
    return codes
