"""Are regions split or merged? V_rand, V_info and the Rand error of the ISBI 2012 challenge.

Two segmentations of the same n pixels, S (truth) and T (proposal), share p_ij pixels between region i of S
and region j of T; s_i and t_j are the sizes of the regions. Only pixels inside the truth's regions count
("foreground-restricted"), so the width of the drawn border is nobody's error.

    V_rand = sum p_ij^2 / (1/2 sum s_i^2 + 1/2 sum t_j^2)        V_info = I(S; T) / (1/2 H(S) + 1/2 H(T))

Both are 1 for the same regions under any numbering, and fall with every split and merger.

Source: Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for
connectomics", Front. Neuroanat. 9:142 (2015); the weight of splits against mergers,
alpha there, is 1/2. There the border of a proposal is thinned before it is scored; here its regions grow
over the border until they meet (`grow_regions`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped

from useg.errors import DataError, SettingsError, extra

THRESHOLDS = tuple(step / 20 for step in range(2, 20))
"""Where `best_over_thresholds` looks: 0.10, 0.15 .. 0.95."""


@dataclass(frozen=True)
class RegionScores:
    """Scores of a stack of slices, each the mean over the slices that have an interior."""

    threshold: float
    """Interior probability above which a pixel seeds a region: where `v_rand` is best."""
    v_rand: float
    """Rand score of the grown regions, 0..1, at `threshold`."""
    v_info: float
    """Information score of the grown regions, 0..1, at the same threshold (not at its own best)."""
    rand_error: float
    """1 - Rand score of the regions *before* they grow, at `rand_error_threshold`; see `rand_error`."""
    rand_error_threshold: float
    """Where `rand_error` is smallest among the thresholds tried."""
    slices: int
    """Slices that were scored."""
    empty_slices: int
    """Slices whose truth has no interior pixel; they enter no mean."""

    def as_dict(self) -> dict[str, float | int]:
        """Plain numbers, ready for JSON."""
        return asdict(self)


def region_scores(
    truth: Bool[np.ndarray, "..."] | Integer[np.ndarray, "..."], labels: Integer[np.ndarray, "..."]
) -> tuple[float, float]:
    """V_rand and V_info of proposed regions.

    Args:
        truth: `Y X`, True in the interior of regions, whose 4-connected components are the true regions;
            or those regions as integers, 0 outside. A pixel that is not annotated is simply not interior.
        labels: proposed regions of the same shape, one integer each. Pixels with 0 are in no region: each
            is counted as a region of its own, as the challenge did.

    Returns:
        `(v_rand, v_info)`, 0..1. Two segmentations of one region each agree: (1, 1). Without any interior
        pixel nothing can be said: (nan, nan).

    Raises:
        DataError: the shapes differ, or a region has a negative number.

    >>> two, one = np.array([[1, 1, 2, 2]]), np.array([[7, 7, 7, 7]])
    >>> region_scores(two, one)  # 2 (4 + 4) / (4 + 4 + 16); one region tells nothing of two
    (0.6666666666666666, 0.0)
    """
    shared, true, proposed = _region_sizes(_as_regions(truth), labels)
    if true.size == 0:
        return math.nan, math.nan
    v_rand = 2 * _squares(shared) / (_squares(true) + _squares(proposed))
    entropies = _entropy(true) + _entropy(proposed)
    if entropies == 0:  # one region against one region
        return v_rand, 1.0
    # I(S; T) = H(S) + H(T) - H(S, T); rounding may leave the range by 1e-16.
    v_info = 2 * (entropies - _entropy(shared)) / entropies
    return v_rand, min(max(v_info, 0.0), 1.0)


def rand_error(
    truth: Bool[np.ndarray, "..."] | Integer[np.ndarray, "..."], labels: Integer[np.ndarray, "..."]
) -> float:
    """Foreground-restricted Rand error: 1 - V_rand of regions that were *not* grown.

    The challenge of 2012 defined it as 1 - the maximal F-score, over thresholds, of the foreground-restricted
    Rand index: precision sum p_ij^2 / sum t_j^2, recall sum p_ij^2 / sum s_i^2, and their F-score is V_rand.
    This is the "Rand Error" of Ronneberger et al. 2015, Table 1. Give the components of a thresholded
    interior, 0 on the border: a border drawn too wide costs, which V_rand of grown regions forgives.
    Arguments and errors as for `region_scores`.
    """
    return 1.0 - region_scores(truth, labels)[0]


def grow_regions(interior_probability: Float[np.ndarray, "*space"], threshold: float) -> Int[np.ndarray, "*space"]:
    """Regions without borders: components above a threshold, grown until they meet.

    The 4-connected components of `interior_probability > threshold` are the seeds of a watershed that floods
    the other pixels from likely to unlikely interior.

    Args:
        interior_probability: `Y X`, 0..1.
        threshold: 0..1.

    Returns:
        Every pixel's region, 1 and up. Where no pixel exceeds the threshold the image is one region.

    Raises:
        DataError: a probability is not 0..1.
        SettingsError: the threshold is not 0..1.
    """
    _check_thresholds([threshold])
    _check_probability(interior_probability)
    return _grow(_components(interior_probability > threshold), interior_probability)


def best_over_thresholds(
    slices: Iterable[tuple[Bool[np.ndarray, "..."], Float[np.ndarray, "..."]]],
    thresholds: Sequence[float] = THRESHOLDS,
) -> RegionScores:
    """Score a stack at the threshold that suits it best, as the challenge ranked its entries.

    Choosing on the scored data itself flatters by a little. For a score that nobody chose, find the threshold
    on validation data and give it to `at_threshold`.

    Args:
        slices: truth (`Y X`, True in the interior) and interior probability (`Y X`, 0..1) of every slice.
        thresholds: the ones to try, each 0..1. Of equally good ones the first is taken.

    Raises:
        DataError: shapes differ, a probability is not 0..1, or no slice has an interior.
        SettingsError: no threshold, or one that is not 0..1.
    """
    _check_thresholds(thresholds)
    totals = np.zeros((3, len(thresholds)))  # V_rand, V_info, Rand error; summed over slices
    scored = empty = 0
    for truth, probability in slices:
        _check_probability(probability)
        if probability.shape != truth.shape:
            raise DataError(
                f"slice {scored + empty} has a prediction of shape {probability.shape} and a truth of "
                f"{truth.shape}; give them the same size"
            )
        if not truth.any():
            empty += 1
            continue
        scored += 1
        regions = _components(truth)
        for column, threshold in enumerate(thresholds):
            seeds = _components(probability > threshold)
            v_rand, v_info = region_scores(regions, _grow(seeds, probability))
            totals[:, column] += v_rand, v_info, rand_error(regions, seeds)
    if scored == 0:
        raise DataError(f"none of the {empty} slices has an interior in its truth; check which class is the interior")
    v_rands, v_infos, rand_errors = totals / scored
    best, best_plain = int(np.argmax(v_rands)), int(np.argmin(rand_errors))
    return RegionScores(
        threshold=float(thresholds[best]),
        v_rand=float(v_rands[best]),
        v_info=float(v_infos[best]),
        rand_error=float(rand_errors[best_plain]),
        rand_error_threshold=float(thresholds[best_plain]),
        slices=scored,
        empty_slices=empty,
    )


def at_threshold(
    slices: Iterable[tuple[Bool[np.ndarray, "..."], Float[np.ndarray, "..."]]], threshold: float
) -> RegionScores:
    """Score a stack at a threshold that was fixed before.

    Arguments and errors are those of `best_over_thresholds`.
    """
    return best_over_thresholds(slices, [threshold])


def _components(mask: Bool[np.ndarray, "*space"]) -> Int[np.ndarray, "*space"]:
    """Number the components of a mask, 4-connected in the plane (6 in space), from 1; 0 outside."""
    from scipy import ndimage

    numbered: np.ndarray = ndimage.label(mask)[0]
    return numbered


def _grow(seeds: Int[np.ndarray, "*space"], probability: Float[np.ndarray, "*space"]) -> Int[np.ndarray, "*space"]:
    from scipy import ndimage

    with extra("regions that grow", "measure"):
        from skimage.segmentation import watershed

    if not seeds.any():
        return np.ones_like(seeds)
    # Deep inside a seed nothing is left to flood: hidden from the watershed, it saves two thirds of the time.
    # Only among pixels of exactly equal probability may the line between two regions come out elsewhere.
    open_pixels = ndimage.binary_dilation(seeds == 0)
    grown: np.ndarray = watershed(-probability, seeds, mask=open_pixels)  # type: ignore[no-untyped-call]
    return np.where(open_pixels, grown, seeds)


def _as_regions(truth: Shaped[np.ndarray, "*space"]) -> Integer[np.ndarray, "*space"]:
    return _components(truth) if truth.dtype == np.bool_ else truth


def _region_sizes(
    truth: Integer[np.ndarray, "..."], labels: Integer[np.ndarray, "..."]
) -> tuple[Float[np.ndarray, "ij"], Float[np.ndarray, "i"], Float[np.ndarray, "j"]]:
    """The sizes p_ij that are not 0, s_i and t_j, of the pixels where the truth is not 0."""
    if labels.shape != truth.shape:
        raise DataError(f"the regions have shape {labels.shape} and the truth {truth.shape}; give the same size")
    for name, regions in (("truth", truth), ("proposal", labels)):
        if regions.size and regions.min() < 0:
            raise DataError(f"the {name} holds the region {regions.min()}; number regions from 1, 0 is none")
    inside = truth != 0
    true, proposed = truth[inside], labels[inside]
    alone = np.ones(np.count_nonzero(proposed == 0))  # pixels in no proposed region
    joined = proposed != 0
    _, true_sizes = np.unique(true, return_counts=True)
    true_ids, proposed_ids = _small(true[joined]), _small(proposed[joined])
    pairs = true_ids * (proposed_ids.max(initial=0) + 1) + proposed_ids
    _, shared = np.unique(pairs, return_counts=True)
    _, proposed_sizes = np.unique(proposed_ids, return_counts=True)
    return (
        np.concatenate([shared, alone]),
        true_sizes.astype(np.float64),
        np.concatenate([proposed_sizes, alone]),
    )


def _small(ids: Integer[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Numbers below about n, so that the product of two fits int64; order and equality stay."""
    if ids.size and ids.max() > ids.size:
        ids = np.unique(ids, return_inverse=True)[1]
    return ids.astype(np.int64)


def _squares(sizes: Float[np.ndarray, "n"]) -> float:
    return float(np.dot(sizes, sizes))


def _entropy(sizes: Float[np.ndarray, "n"]) -> float:
    """Entropy in nats of drawing a pixel and reading its region; exactly 0 for one region."""
    shares = sizes / sizes.sum()
    return -float(np.dot(shares, np.log(shares)))


def _check_thresholds(thresholds: Sequence[float]) -> None:
    if len(thresholds) == 0:
        raise SettingsError("there is no threshold to try; give at least one, such as 0.5")
    for threshold in thresholds:
        if not 0 <= threshold <= 1:
            raise SettingsError(f"the threshold {threshold} is not a probability; give 0..1, such as 0.5")


def _check_probability(probability: Float[np.ndarray, "..."]) -> None:
    # The comparison is also false for NaN, which min and max hand on.
    if probability.size and not (probability.min() >= 0 and probability.max() <= 1):
        raise DataError(
            f"the interior probability goes from {probability.min()} to {probability.max()}; "
            "give probabilities 0..1, not scores before the softmax"
        )
