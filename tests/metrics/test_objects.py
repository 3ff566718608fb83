"""Object scores: worked by hand, and against their definitions over all pairs of objects of random images."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import linear_sum_assignment

from useg.errors import DataError, SettingsError
from useg.metrics.objects import IOU_THRESHOLDS, ObjectScores, match_objects, object_scores

NOTHING = np.zeros((4, 4), dtype=int)


def scores(truth: np.ndarray, predicted: np.ndarray, ignored: np.ndarray | None = None) -> ObjectScores:
    return object_scores([match_objects(truth, predicted, ignored=ignored)])


def errors(found: ObjectScores) -> tuple[int, int, int, int]:
    return found.splits, found.merges, found.missed, found.spurious


# The reference: one boolean mask an object, every pair looked at, nothing shared with the code under test.


def masks(labels: np.ndarray, ignored: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """Mask in counted pixels, and whether most of the object is ignored; of all objects with a counted pixel."""
    found = []
    for number in sorted(set(labels.ravel().tolist()) - {0}):
        whole = labels == number
        seen = whole & ~ignored
        if seen.any():
            found.append((seen, (whole & ignored).sum() > whole.sum() / 2))
    return found


def reference(images: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, object]:
    seg, true_count = [], 0
    totals = {threshold: np.zeros(4) for threshold in IOU_THRESHOLDS}
    splits = merges = missed = spurious = 0
    for truth, predicted, ignored in images:
        true = [mask for mask, _ in masks(np.where(ignored, 0, truth), ignored)]
        found = masks(predicted, ignored)
        true_count += len(true)
        iou = np.zeros((len(true), len(found)))
        for i, r in enumerate(true):
            best = 0.0
            for j, (s, _) in enumerate(found):
                iou[i, j] = (r & s).sum() / (r | s).sum()
                if (r & s).sum() > 0.5 * r.sum():
                    best = iou[i, j]
            seg.append(best)
            splits += sum((r & s).sum() > 0.5 * s.sum() and not outside for s, outside in found) >= 2
            missed += (r & (predicted == 0)).sum() > 0.5 * r.sum()
        for s, outside in found:
            merges += sum((r & s).sum() > 0.5 * r.sum() for r in true) >= 2
            spurious += (s & (truth == 0)).sum() > 0.5 * s.sum() and not outside
        for threshold, total in totals.items():
            # As many pairs as possible; then as few false positives as possible.
            good = np.zeros((len(true), len(found)))
            for j, (_, outside) in enumerate(found):
                good[:, j] = (iou[:, j] >= threshold) * (1 if outside else 1.001)
            rows, columns = linear_sum_assignment(good, maximize=True)
            pairs = [(i, j) for i, j in zip(rows, columns, strict=True) if good[i, j]]
            matched = {j for _, j in pairs}
            wrong = sum(j not in matched and not outside for j, (_, outside) in enumerate(found))
            total += len(pairs), wrong, len(true) - len(pairs), sum(iou[i, j] for i, j in pairs)

    def ratio(part: float, whole: float) -> float:
        return part / whole if whole else math.nan

    precision = [ratio(tp, tp + fp + fn) for tp, fp, fn, _ in totals.values()]
    f1 = [ratio(2 * tp, 2 * tp + fp + fn) for tp, fp, fn, _ in totals.values()]
    quality = [ratio(iou, tp + fp / 2 + fn / 2) for tp, fp, fn, iou in totals.values()]
    return {
        "images": len(images),
        "truth_objects": true_count,
        "predicted_objects": totals[0.5][0] + totals[0.5][1],
        "seg": ratio(sum(seg), len(seg)),
        "thresholds": IOU_THRESHOLDS,
        "average_precision": precision,
        "mean_average_precision": sum(precision) / 10,
        "f1": f1,
        "mean_f1": sum(f1) / 10,
        "panoptic_quality": quality,
        "mean_panoptic_quality": sum(quality) / 10,
        "splits": splits,
        "merges": merges,
        "missed": missed,
        "spurious": spurious,
    }


@st.composite
def images(draw: st.DrawFn, ignoring: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, prediction and ignored pixels; the prediction is the truth with errors, or has little to do with it.

    Lines of one to three dimensions in runs, so that objects of several pixels are common, halves and wholes too.
    """
    shape = draw(st.sampled_from([(12,), (24,), (4, 6), (2, 3, 4)]))
    size = math.prod(shape)

    def lines(numbers: st.SearchStrategy[int]) -> np.ndarray:
        runs = draw(st.lists(st.tuples(numbers, st.integers(1, 6)), min_size=size, max_size=size))
        return np.repeat([number for number, _ in runs], [length for _, length in runs])[:size].reshape(shape)

    truth = lines(st.sampled_from([0, 1, 2, 3, 70000]))
    predicted = lines(st.sampled_from([0, 1, 2, 9]))
    if draw(st.booleans()):
        kept = draw(npst.arrays(np.bool_, shape, elements=st.sampled_from([True, True, True, False])))
        predicted = np.where(kept, truth, predicted)
    ignored = np.zeros(shape, dtype=bool)
    if ignoring and draw(st.booleans()):
        ignored = lines(st.integers(0, 1)).astype(bool)
    return truth, predicted, ignored


@given(st.lists(images(), min_size=1, max_size=3))
def test_scores_are_their_definitions(several: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    found = object_scores([match_objects(truth, predicted, ignored=mask) for truth, predicted, mask in several])
    wanted = reference(several)
    assert set(found.as_dict()) == set(wanted)
    for name, value in wanted.items():
        assert getattr(found, name) == pytest.approx(value, nan_ok=True), name


@given(images())
def test_scores_keep_their_range(image: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    found = scores(*image)
    for values in (found.average_precision, found.f1, found.panoptic_quality):
        for value, following in pairwise(values):
            assert math.isnan(value) or 0 <= following <= value <= 1
    assert math.isnan(found.seg) or 0 <= found.seg <= 1
    # What is missed or spurious is matched at no threshold.
    match = match_objects(image[0], image[1], ignored=image[2])
    rows, columns = match.pairs[match.matched(0.5)].T
    assert not match.missed[rows].any() and not match.spurious[columns].any()
    assert rows.size == np.unique(rows).size == np.unique(columns).size


@given(images(ignoring=False))
def test_an_image_agrees_with_itself(image: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    truth = image[0]
    found = scores(truth, truth)
    if truth.any():
        assert found.seg == found.mean_average_precision == found.mean_f1 == found.mean_panoptic_quality == 1
    assert errors(found) == (0, 0, 0, 0)


@given(images(), st.permutations([1, 2, 3, 9, 70000]))
def test_numbers_do_not_matter(image: tuple[np.ndarray, np.ndarray, np.ndarray], order: list[int]) -> None:
    truth, predicted, ignored = image
    renamed = np.zeros_like(predicted)
    for number, other in zip([1, 2, 3, 9, 70000], order, strict=True):
        renamed[predicted == number] = other
    wanted = vars(scores(truth, predicted, ignored))
    for other_numbers in (renamed, renamed.astype(np.uint64) * np.uint64(2**47)):
        for name, value in vars(scores(truth, other_numbers, ignored)).items():
            assert value == pytest.approx(wanted[name], nan_ok=True), name


@given(images(ignoring=False))
def test_truth_and_prediction_mirror_each_other(image: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    here, there = scores(image[0], image[1]), scores(image[1], image[0])
    assert here.average_precision == pytest.approx(there.average_precision, nan_ok=True)
    assert here.panoptic_quality == pytest.approx(there.panoptic_quality, nan_ok=True)
    splits, merges, missed, spurious = errors(there)
    assert errors(here) == (merges, splits, spurious, missed)


def test_a_match_by_hand() -> None:
    """R = 5 has 6 pixels, R = 8 has 4; S = 2 has 5, of which 4 in R = 5 and 1 in none; S = 300 is R = 8."""
    truth = np.array([[5, 5, 5, 5, 5, 5, 0], [8, 8, 0, 0, 0, 0, 0], [8, 8, 0, 0, 0, 0, 0]], dtype=np.uint8)
    predicted = np.zeros_like(truth, dtype=np.int16)
    predicted[0, 2:7], predicted[1:, :2] = 2, 300
    match = match_objects(truth, predicted)
    assert match.truth_ids.tolist() == [5, 8] and match.truth_areas.tolist() == [6, 4]
    assert match.predicted_ids.tolist() == [2, 300] and match.predicted_areas.tolist() == [5, 4]
    assert match.pairs.tolist() == [[0, 0], [1, 1]] and match.shared.tolist() == [4, 4]
    assert match.iou == pytest.approx([4 / 7, 1]) and match.seg == pytest.approx([4 / 7, 1])
    assert match.matched(0.5).tolist() == [0, 1] and match.matched(0.6).tolist() == [1]
    found = object_scores([match])
    assert found.seg == pytest.approx((4 / 7 + 1) / 2)
    assert found.average_precision == pytest.approx([1] * 2 + [1 / 3] * 8)
    assert found.f1 == pytest.approx([1] * 2 + [1 / 2] * 8)
    assert found.panoptic_quality == pytest.approx([(4 / 7 + 1) / 2] * 2 + [1 / 2] * 8)
    assert found.mean_average_precision == pytest.approx((2 + 8 / 3) / 10)
    assert found.mean_f1 == pytest.approx(0.6)


def test_all_merged() -> None:
    """Three objects of 4 pixels taken for one of 12: it holds all three, at an IoU of 1/3 each."""
    truth = np.repeat([1, 2, 3], 4)
    found = scores(truth, np.ones(12, dtype=int))
    assert errors(found) == (0, 1, 0, 0)
    assert found.seg == pytest.approx(1 / 3)
    assert found.mean_average_precision == found.mean_f1 == found.mean_panoptic_quality == 0
    assert (found.truth_objects, found.predicted_objects) == (3, 1)


def test_one_split() -> None:
    """An object of 10 pixels in pieces of 6 and 4: the larger matches up to IoU 0.6, the other is left over."""
    found = scores(np.full(10, 3), np.repeat([1, 2], [6, 4]))
    assert errors(found) == (1, 0, 0, 0)
    assert found.seg == 0.6
    assert found.average_precision == (0.5,) * 3 + (0,) * 7
    assert found.panoptic_quality == pytest.approx([0.6 / 1.5] * 3 + [0] * 7)


def test_an_iou_of_exactly_a_half_matches_one_of_two() -> None:
    """Each half has IoU 1/2 but holds no more than half: one match at 0.5, and SEG is 0."""
    for truth, predicted in ((np.full(6, 1), np.repeat([1, 2], 3)), (np.repeat([1, 2], 3), np.full(6, 1))):
        found = scores(truth, predicted)
        assert found.average_precision == (0.5,) + (0,) * 9
        assert found.f1[0] == pytest.approx(2 / 3) and found.panoptic_quality[0] == pytest.approx(0.5 / 1.5)
    assert scores(np.full(6, 1), np.repeat([1, 2], 3)).seg == 0
    assert scores(np.repeat([1, 2], 3), np.full(6, 1)).seg == 0.5


@pytest.mark.parametrize("step", range(10, 20))
def test_an_iou_of_exactly_a_threshold_matches(step: int) -> None:
    truth, predicted = np.ones(20, dtype=int), (np.arange(20) < step).astype(int)
    assert sum(scores(truth, predicted).average_precision) == step - 9


def test_nothing_predicted() -> None:
    truth = np.repeat([0, 1, 2], 4)
    found = scores(truth, np.zeros(12, dtype=int))
    assert errors(found) == (0, 0, 2, 0)
    assert found.seg == found.mean_average_precision == found.mean_f1 == found.mean_panoptic_quality == 0
    assert (found.truth_objects, found.predicted_objects) == (2, 0)


def test_nothing_to_find() -> None:
    """SEG says nothing without an object of the truth; the others punish what was predicted."""
    found = scores(np.zeros(4, dtype=int), np.array([0, 1, 0, 2]))
    assert math.isnan(found.seg) and found.mean_average_precision == 0
    assert errors(found) == (0, 0, 0, 2)


def test_both_empty_says_nothing() -> None:
    found = scores(NOTHING, NOTHING)
    assert math.isnan(found.seg) and math.isnan(found.mean_average_precision)
    told = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert told["seg"] is None and told["mean_f1"] is None and told["panoptic_quality"] == [None] * 10
    assert told["thresholds"] == list(IOU_THRESHOLDS) and told["truth_objects"] == 0
    assert scores(np.zeros((0, 3), dtype=int), np.zeros((0, 3), dtype=int)).truth_objects == 0


def test_objects_of_all_images_are_pooled() -> None:
    """Two objects missed in one image, one found in another, a third image empty: one of three, not a half."""
    pair, one = np.array([1, 0, 2]), np.array([5, 5, 5])
    found = object_scores([match_objects(*both) for both in ((pair, 0 * pair), (one, one), (0 * one, 0 * one))])
    assert found.images == 3
    assert found.seg == pytest.approx(1 / 3) and found.mean_average_precision == pytest.approx(1 / 3)
    assert found.mean_f1 == pytest.approx(1 / 2)


def test_an_ignored_region_takes_a_false_positive_away() -> None:
    truth = np.array([1, 1, 0, 0, 0, 0])
    predicted = np.array([1, 1, 0, 2, 2, 2])
    assert scores(truth, predicted).average_precision[0] == 0.5
    half = np.array([0, 0, 0, 1, 0, 0], dtype=bool)  # one pixel of three: the object still counts
    assert scores(truth, predicted, half).average_precision[0] == 0.5
    most = np.array([0, 0, 0, 1, 1, 0], dtype=bool)
    found = scores(truth, predicted, most)
    assert found.mean_average_precision == found.seg == 1
    assert found.predicted_objects == 1 and errors(found) == (0, 0, 0, 0)
    assert match_objects(truth, predicted, ignored=most).outside.tolist() == [False, True]
    whole = np.array([0, 0, 0, 1, 1, 1], dtype=bool)
    assert match_objects(truth, predicted, ignored=whole).predicted_ids.tolist() == [1]


def test_ignored_pixels_enter_no_area() -> None:
    """A prediction that goes on where nobody annotated is right if it is right where somebody did."""
    truth = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    predicted = np.array([6, 6, 6, 6, 6, 6, 6, 6])
    ignored = np.arange(8) >= 3
    found = scores(truth, predicted, ignored)
    assert found.seg == found.mean_average_precision == 1 and found.predicted_objects == 1
    assert match_objects(truth, predicted, ignored=ignored).predicted_areas.tolist() == [3]
    drawn_too = match_objects(np.where(ignored, 3, truth), predicted, ignored=ignored)
    assert drawn_too.truth_ids.tolist() == [1] and drawn_too.shared.tolist() == [3]


def test_of_two_halves_the_one_outside_is_forgiven() -> None:
    truth = np.array([1, 1, 0, 0, 0])
    ignored = np.arange(5) >= 2
    for predicted in ([1, 2, 1, 1, 1], [2, 1, 1, 1, 1]):
        found = scores(truth, np.array(predicted), ignored)
        assert found.average_precision[:2] == (1, 0) and found.predicted_objects == 1


def test_bad_input() -> None:
    flat = np.zeros((2, 3), dtype=int)
    with pytest.raises(DataError, match=r"prediction has shape \(3, 2\) and the truth \(2, 3\)"):
        match_objects(flat, flat.T)
    with pytest.raises(DataError, match="mask of ignored pixels has shape"):
        match_objects(flat, flat, ignored=np.zeros(6, dtype=bool))
    with pytest.raises(DataError, match="truth holds the object -1"):
        match_objects(flat - 1, flat)
    with pytest.raises(DataError, match="prediction holds the object -3"):
        match_objects(flat, flat - 3)
    with pytest.raises(DataError, match="no image"):
        object_scores([])
    for threshold in (0.4, 1.1, math.nan):
        with pytest.raises(SettingsError, match=r"give 0\.5\.\.1"):
            match_objects(flat, flat).matched(threshold)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_volumes_are_scored_as_their_slices(data: st.DataObject) -> None:
    """One slice, or the same one again and again, has the scores of the image."""
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=2, max_side=8))
    truth, predicted = (data.draw(npst.arrays(np.int32, shape, elements=st.integers(0, 4))) for _ in range(2))
    ignored = data.draw(npst.arrays(np.bool_, shape))
    flat = object_scores([match_objects(truth, predicted, ignored=ignored)])
    for slices in (1, 3):
        volume = (np.repeat(each[None], slices, axis=0) for each in (truth, predicted, ignored))
        found = object_scores([match_objects(next(volume), next(volume), ignored=next(volume))])
        for name, value in vars(found).items():
            assert value == pytest.approx(vars(flat)[name], nan_ok=True), name
