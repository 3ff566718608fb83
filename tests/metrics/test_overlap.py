"""Overlap: worked by hand, and against set arithmetic on random images."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from useg.errors import DataError, SettingsError
from useg.metrics.overlap import IGNORE, confusion_matrix, overlap_scores


def test_confusion_by_hand() -> None:
    truth = np.array([[0, 0, 1], [2, IGNORE, 1]], dtype=np.uint8)
    labels = np.array([[0, 2, 1], [2, 0, 0]], dtype=np.uint8)
    assert confusion_matrix(truth, labels, 3).tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 1]]
    within = np.array([[True, True, True], [False, True, False]])
    assert confusion_matrix(truth, labels, 3, within=within).tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_small_integers_do_not_overflow() -> None:
    truth = np.full((2, 2), 199, dtype=np.uint8)
    assert confusion_matrix(truth, truth, 200)[199, 199] == 4


def test_nothing_annotated_is_all_zero() -> None:
    nothing = np.full((3, 3), IGNORE)
    assert confusion_matrix(nothing, np.zeros((3, 3), dtype=int), 2).tolist() == [[0, 0], [0, 0]]


@given(st.data())
def test_confusion_counts_every_pair(data: st.DataObject) -> None:
    shape = data.draw(npst.array_shapes(min_dims=2, max_dims=3, max_side=6))
    truth = data.draw(npst.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, IGNORE])))
    labels = data.draw(npst.arrays(np.int64, shape, elements=st.integers(0, 2)))
    within = data.draw(npst.arrays(np.bool_, shape))
    counts = confusion_matrix(truth, labels, 3, within=within)
    for i in range(3):
        for j in range(3):
            assert counts[i, j] == ((truth == i) & (labels == j) & within).sum()


@pytest.mark.parametrize("wrong", [-1, 2, 255])
def test_a_counted_prediction_must_be_a_class(wrong: int) -> None:
    truth, labels = np.array([0, 1]), np.array([0, wrong])
    with pytest.raises(DataError, match=f"prediction holds the label {wrong}"):
        confusion_matrix(truth, labels, 2)
    truth[1] = IGNORE  # counts nowhere, so it may be anything
    assert confusion_matrix(truth, labels, 2).sum() == 1


def test_bad_input() -> None:
    flat = np.zeros((2, 3), dtype=int)
    with pytest.raises(DataError, match="truth holds the label 7"):
        confusion_matrix(flat + 7, flat, 2)
    with pytest.raises(DataError, match=r"\(3, 2\).*\(2, 3\)"):
        confusion_matrix(flat, flat.T, 2)
    with pytest.raises(DataError, match="within has shape"):
        confusion_matrix(flat, flat, 2, within=np.ones((3, 2), dtype=bool))
    for classes in (0, 256):
        with pytest.raises(SettingsError, match=f"classes is {classes}"):
            confusion_matrix(flat, flat, classes)
    with pytest.raises(DataError, match="no image"):
        overlap_scores([])
    with pytest.raises(DataError, match="same classes"):
        overlap_scores([np.zeros((2, 2), dtype=int), np.zeros((3, 3), dtype=int)])


def test_scores_by_hand() -> None:
    first = np.array([[6, 2], [1, 3]])  # class 1: TP 3, FP 2, FN 1
    clean = np.array([[9, 0], [0, 0]])  # empty, and rightly so
    alarm = np.array([[5, 4], [0, 0]])  # empty, but 4 pixels predicted
    blank = np.zeros((2, 2), dtype=int)  # not annotated at all
    scores = overlap_scores([first, clean, alarm, blank])
    assert (scores.images, scores.unannotated_images, scores.pixels) == (4, 1, 30)
    assert scores.confusion == ((20, 6), (1, 3))
    assert scores.pixel_accuracy == pytest.approx(23 / 30)
    assert scores.dice == pytest.approx((40 / 47, 6 / 13))
    assert scores.iou == pytest.approx((20 / 27, 3 / 10))
    assert scores.image_dice == pytest.approx(((12 / 15 + 1 + 10 / 14) / 3, 6 / 9))
    assert scores.image_iou == pytest.approx(((6 / 9 + 1 + 5 / 9) / 3, 3 / 6))
    assert scores.empty_images == (0, 2)
    assert scores.false_alarms == (0, 1)
    assert scores.false_alarm_pixels == (0, 4)
    assert scores.mean_dice == pytest.approx((40 / 47 + 6 / 13) / 2)
    assert scores.foreground_dice == pytest.approx(6 / 13)
    assert scores.mean_iou == pytest.approx((20 / 27 + 3 / 10) / 2)
    assert scores.foreground_iou == pytest.approx(3 / 10)


def test_classes_without_truth_are_told_apart() -> None:
    """Class 1 is nowhere; class 2 is only predicted: Dice 0, but in no mean over classes of the truth."""
    scores = overlap_scores([np.array([[5, 0, 1], [0, 0, 0], [0, 0, 0]])])
    assert math.isnan(scores.dice[1]) and math.isnan(scores.iou[1])
    assert scores.dice[2] == 0
    assert math.isnan(scores.image_dice[2])
    assert scores.mean_dice == scores.dice[0]
    assert math.isnan(scores.foreground_dice)
    plain = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert plain["dice"][1] is None and plain["foreground_dice"] is None
    assert plain["confusion"] == [[5, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_no_counted_pixel_says_nothing() -> None:
    scores = overlap_scores([np.zeros((2, 2), dtype=int)])
    assert scores.pixels == 0 and scores.empty_images == (0, 0)
    assert math.isnan(scores.pixel_accuracy) and math.isnan(scores.mean_dice)


@given(npst.arrays(np.int64, (3, 4, 4), elements=st.integers(0, 20)))
def test_dice_follows_from_iou_and_order_does_not_matter(stack: np.ndarray) -> None:
    scores = overlap_scores(list(stack))
    for dice, iou in zip(scores.dice, scores.iou, strict=True):
        assert dice == pytest.approx(2 * iou / (1 + iou), nan_ok=True)
    turned = overlap_scores(list(stack[::-1]))
    assert turned.image_dice == pytest.approx(scores.image_dice, nan_ok=True)
    assert overlap_scores([stack.sum(axis=0)]).dice == pytest.approx(scores.dice, nan_ok=True)
