"""Is every object found, whole and alone? SEG, average precision, panoptic quality, splits and merges.

Truth and prediction number their objects, each in its own way; R is an object of the truth, S a predicted one.

    IoU   = |R ∩ S| / |R ∪ S|
    SEG   = mean over R of the IoU with the S that holds more than half of R, 0 if none does
    AP(t) = TP / (TP + FP + FN)                  F1(t) = 2 TP / (2 TP + FP + FN)
    PQ(t) = sum of IoU over TP / (TP + FP / 2 + FN / 2)

TP are the pairs of a one-to-one matching with IoU >= t, FP the predicted objects left over, FN the objects of the
truth left over. All are counted over all images before anything is divided.

Sources: SEG as in the Cell Tracking Challenge, Maška et al., Bioinformatics 30 (2014) 1609, and Ulman et al.,
Nat. Methods 14 (2017) 1141. AP as in the Data Science Bowl 2018, Caicedo et al., Nat. Methods 16 (2019) 1247, and
StarDist, Schmidt et al., MICCAI 2018; it has no confidences and is no area under a curve. The Bowl took the mean
over images, here objects are pooled as StarDist does. PQ: Kirillov et al., CVPR 2019, Eq. 1, who match IoU > 0.5.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, Shaped

from useg.errors import DataError, SettingsError
from useg.metrics.overlap import plain

IOU_THRESHOLDS = tuple(step / 20 for step in range(10, 20))
"""IoU at which objects are matched: 0.50, 0.55 .. 0.95."""


@dataclass(frozen=True, eq=False)
class ObjectMatch:
    """The objects of one image, and which of them share pixels. Areas are in counted (not ignored) pixels.

    In the shapes, n are the objects of the truth, m the predicted ones, k the pairs that share a pixel.
    """

    truth_ids: Integer[np.ndarray, "n"]
    """Numbers of the objects of the truth, ascending."""
    truth_areas: Int[np.ndarray, "n"]
    """Their pixels, 1 and up."""
    predicted_ids: Integer[np.ndarray, "m"]
    """Numbers of the predicted objects that have a counted pixel, ascending."""
    predicted_areas: Int[np.ndarray, "m"]
    """Their counted pixels, 1 and up."""
    outside: Bool[np.ndarray, "m"]
    """Those of which more than half, of all their pixels, is ignored. They may be right, but never wrong."""
    pairs: Int[np.ndarray, "k 2"]
    """Positions in `truth_ids` and in `predicted_ids` of every two objects that overlap, ascending."""
    shared: Int[np.ndarray, "k"]
    """The pixels that they share, 1 and up."""

    @property
    def iou(self) -> Float[np.ndarray, "k"]:
        """IoU of every pair, above 0 and up to 1."""
        rows, columns = self.pairs.T
        return self.shared / (self.truth_areas[rows] + self.predicted_areas[columns] - self.shared)

    @property
    def seg(self) -> Float[np.ndarray, "n"]:
        """SEG of every object of the truth, 0..1."""
        rows = self.pairs[:, 0]
        holds = 2 * self.shared > self.truth_areas[rows]
        scores = np.zeros(self.truth_ids.size)
        scores[rows[holds]] = self.iou[holds]  # at most one predicted object holds more than half
        return scores

    @property
    def split(self) -> Bool[np.ndarray, "n"]:
        """Objects of the truth in each of which two or more predicted objects lie with more than half their area."""
        rows, columns = self.pairs.T
        lies_in = (2 * self.shared > self.predicted_areas[columns]) & ~self.outside[columns]
        return np.bincount(rows[lies_in], minlength=self.truth_ids.size) > 1

    @property
    def merged(self) -> Bool[np.ndarray, "m"]:
        """Predicted objects each of which holds more than half the area of two or more objects of the truth."""
        rows, columns = self.pairs.T
        holds = 2 * self.shared > self.truth_areas[rows]
        return np.bincount(columns[holds], minlength=self.predicted_ids.size) > 1

    @property
    def missed(self) -> Bool[np.ndarray, "n"]:
        """Objects of the truth of which more than half the area is in no predicted object."""
        return 2 * _sums(self.pairs[:, 0], self.shared, self.truth_ids.size) < self.truth_areas

    @property
    def spurious(self) -> Bool[np.ndarray, "m"]:
        """Predicted objects, not `outside`, of which more than half the area is in no object of the truth."""
        in_truth = _sums(self.pairs[:, 1], self.shared, self.predicted_ids.size)
        return (2 * in_truth < self.predicted_areas) & ~self.outside

    def matched(self, threshold: float) -> Int[np.ndarray, "tp"]:
        """Match objects one to one, as many as possible.

        Args:
            threshold: IoU from which two objects match, 0.5..1.

        Returns:
            Positions in `pairs`, ascending. No object is in two of them.

        Raises:
            SettingsError: the threshold is not 0.5..1.
        """
        if not 0.5 <= threshold <= 1:
            raise SettingsError(f"the IoU threshold is {threshold}; give 0.5..1, where matches are unambiguous")
        # No assignment needs to be solved. Let R have IoU a >= 1/2 with S and b >= 1/2 with S'. Then 3 |R ∩ S| >=
        # |R| + |S|, likewise for S', and since S and S' are disjoint the sum of both allows equality only: S and S'
        # are the two halves of R, and overlap nothing else. So R takes either; likewise for one S and two R.
        candidates = np.flatnonzero(self.iou >= threshold)
        # Of two halves the one outside is left over, because it does not count as wrong then.
        candidates = candidates[np.argsort(self.outside[self.pairs[candidates, 1]], kind="stable")]
        for side in (0, 1):
            candidates = candidates[np.sort(np.unique(self.pairs[candidates, side], return_index=True)[1])]
        return np.sort(candidates)


def match_objects(
    truth: Integer[np.ndarray, "..."],
    predicted: Integer[np.ndarray, "..."],
    *,
    ignored: Bool[np.ndarray, "..."] | None = None,
) -> ObjectMatch:
    """Count the pixels that the objects of the truth and of a prediction have and share, of one image.

    Args:
        truth: numbered objects, any number of dimensions; 0 is none, and the other numbers may be any above.
        predicted: the same of the prediction, of the same shape.
        ignored: pixels that nobody annotated, of the same shape; none by default. They enter neither areas nor
            overlaps. A predicted object of which they are more than half may match, but is no false positive
            otherwise (so do Kirillov et al. 2019 with "void labels").

    Raises:
        DataError: the shapes differ, or an object has a negative number.

    >>> match = match_objects(np.array([0, 4, 4, 4, 2]), np.array([7, 7, 7, 1, 1]))
    >>> match.truth_ids[match.pairs[:, 0]].tolist(), match.predicted_ids[match.pairs[:, 1]].tolist()
    ([2, 4, 4], [1, 1, 7])
    >>> match.iou.tolist()
    [0.5, 0.25, 0.5]
    """
    for name, other in (("prediction", predicted), ("mask of ignored pixels", ignored)):
        if other is not None and other.shape != truth.shape:
            raise DataError(f"the {name} has shape {other.shape} and the truth {truth.shape}; give the same size")
    true, found, skipped, lengths = _runs(truth, predicted, np.zeros_like(truth, bool) if ignored is None else ignored)
    for name, ids in (("truth", true), ("prediction", found)):
        if ids.size and ids.min() < 0:
            raise DataError(f"the {name} holds the object {ids.min()}; number objects from 1, 0 is none")

    in_truth, in_found = (true != 0) & ~skipped, found != 0
    truth_ids, truth_areas = _totals(true[in_truth], lengths[in_truth])
    predicted_ids, whole_areas = _totals(found[in_found], lengths[in_found])
    _, areas = _totals(found[in_found], np.where(skipped, 0, lengths)[in_found])
    seen = areas > 0
    predicted_ids = predicted_ids[seen]

    both = in_truth & in_found
    rows, columns = np.searchsorted(truth_ids, true[both]), np.searchsorted(predicted_ids, found[both])
    width = max(predicted_ids.size, 1)
    cells, shared = _totals(rows * width + columns, lengths[both])
    return ObjectMatch(
        truth_ids=truth_ids,
        truth_areas=truth_areas,
        predicted_ids=predicted_ids,
        predicted_areas=areas[seen],
        outside=(2 * areas < whole_areas)[seen],
        pairs=np.stack(np.divmod(cells, width), axis=1),
        shared=shared,
    )


@dataclass(frozen=True)
class ObjectScores:
    """What the matches of a set of images say. Scores are 0..1; NaN where nothing can be said.

    All objects of all images count alike, so an image with many objects weighs more. Tuples have one entry a
    threshold; they are NaN where neither the truth nor the prediction has an object.
    """

    images: int
    """Images given."""
    truth_objects: int
    """Objects of the truth."""
    predicted_objects: int
    """Predicted objects: TP + FP at IoU 0.5. One that lies mostly in ignored pixels is among them if it matches."""
    seg: float
    """SEG of the Cell Tracking Challenge; NaN where the truth has no object."""
    thresholds: tuple[float, ...]
    """The IoU thresholds, `IOU_THRESHOLDS`."""
    average_precision: tuple[float, ...]
    """TP / (TP + FP + FN)."""
    mean_average_precision: float
    """Mean of `average_precision` over the thresholds."""
    f1: tuple[float, ...]
    """2 TP / (2 TP + FP + FN)."""
    mean_f1: float
    """Mean of `f1` over the thresholds."""
    panoptic_quality: tuple[float, ...]
    """Sum of the IoU of the matched pairs / (TP + FP / 2 + FN / 2)."""
    mean_panoptic_quality: float
    """Mean of `panoptic_quality` over the thresholds."""
    splits: int
    """Objects of the truth in each of which two or more predicted objects lie with more than half their area."""
    merges: int
    """Predicted objects each of which holds more than half the area of two or more objects of the truth."""
    missed: int
    """Objects of the truth of which more than half the area is in no predicted object."""
    spurious: int
    """Predicted objects of which more than half the area is in no object of the truth."""

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None (for NaN), ready for JSON."""
        return {name: plain(value) for name, value in asdict(self).items()}


def object_scores(matches: Sequence[ObjectMatch]) -> ObjectScores:
    """Sum up the matches of a set of images, one match an image.

    Args:
        matches: what `match_objects` returns.

    Raises:
        DataError: there is no match.
    """
    if len(matches) == 0:
        raise DataError("no image was scored; give at least one pair of truth and prediction")
    segs = np.concatenate([match.seg for match in matches])
    # TP, FP, FN and the sum of the IoU at every threshold.
    counts = sum((_counts(match) for match in matches), np.zeros((4, len(IOU_THRESHOLDS))))
    hits, wrong, lost, ious = counts
    precision = _shares(hits, hits + wrong + lost)
    f1 = _shares(2 * hits, 2 * hits + wrong + lost)
    quality = _shares(ious, hits + wrong / 2 + lost / 2)
    return ObjectScores(
        images=len(matches),
        truth_objects=segs.size,
        predicted_objects=int(hits[0] + wrong[0]),
        seg=float(segs.mean()) if segs.size else math.nan,
        thresholds=IOU_THRESHOLDS,
        average_precision=tuple(precision.tolist()),
        mean_average_precision=float(precision.mean()),
        f1=tuple(f1.tolist()),
        mean_f1=float(f1.mean()),
        panoptic_quality=tuple(quality.tolist()),
        mean_panoptic_quality=float(quality.mean()),
        splits=sum(int(match.split.sum()) for match in matches),
        merges=sum(int(match.merged.sum()) for match in matches),
        missed=sum(int(match.missed.sum()) for match in matches),
        spurious=sum(int(match.spurious.sum()) for match in matches),
    )


def _counts(match: ObjectMatch) -> Float[np.ndarray, "4 thresholds"]:
    """TP, FP, FN and the sum of the IoU over TP, at every threshold."""
    inside, iou = ~match.outside, match.iou
    counts = np.zeros((4, len(IOU_THRESHOLDS)))
    for column, threshold in enumerate(IOU_THRESHOLDS):
        pairs = match.matched(threshold)
        wrong = inside.sum() - inside[match.pairs[pairs, 1]].sum()
        counts[:, column] = pairs.size, wrong, match.truth_ids.size - pairs.size, iou[pairs].sum()
    return counts


def _runs(
    truth: Integer[np.ndarray, "..."], predicted: Integer[np.ndarray, "..."], ignored: Bool[np.ndarray, "..."]
) -> tuple[Integer[np.ndarray, "runs"], Integer[np.ndarray, "runs"], Bool[np.ndarray, "runs"], Int[np.ndarray, "runs"]]:
    """What all three say, and for how many pixels on, wherever one of them changes in reading order.

    Objects are wider than a pixel, so there are far fewer runs than pixels, and sorting them costs far less.
    """
    layers = truth.ravel(), predicted.ravel(), ignored.ravel()
    starts = np.ones(truth.size, dtype=np.bool_)
    starts[1:] = False
    for layer in layers:
        starts[1:] |= layer[1:] != layer[:-1]
    first = np.flatnonzero(starts)
    true, found, skipped = (layer[first] for layer in layers)
    return true, found, skipped, np.diff(first, append=truth.size)


def _totals(
    ids: Shaped[np.ndarray, "runs"], lengths: Int[np.ndarray, "runs"]
) -> tuple[Shaped[np.ndarray, "ids"], Int[np.ndarray, "ids"]]:
    """The numbers that occur, ascending, and the pixels of each."""
    distinct, positions = np.unique(ids, return_inverse=True)
    return distinct, _sums(positions, lengths, distinct.size)


def _sums(
    positions: Int[np.ndarray, "entries"], values: Int[np.ndarray, "entries"], size: int
) -> Int[np.ndarray, "size"]:
    """Sum of the values at every position; bincount adds in float64, exact up to 2^53 pixels."""
    return np.bincount(positions, weights=values, minlength=size).astype(np.int64)


def _shares(parts: Float[np.ndarray, "n"], wholes: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Quotients; NaN where there is no whole."""
    return np.divide(parts, wholes, out=np.full(wholes.shape, np.nan), where=wholes > 0)
