"""Overlap of two label images: confusion matrix, pixel accuracy, Dice and IoU.

    Dice = 2 TP / (2 TP + FP + FN)        Dice, Ecology 26 (1945) 297; the F1 score of the pixels
    IoU  =   TP / (  TP + FP + FN)        Jaccard, Bull. Soc. Vaud. Sci. Nat. 37 (1901) 547

One confusion matrix an image is all that the scores need, so images can be counted one by one and forgotten.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from useg.errors import DataError, SettingsError
from useg.labels import IGNORE

__all__ = ["IGNORE", "OverlapScores", "confusion_matrix", "overlap_scores"]


def confusion_matrix(
    truth: Integer[np.ndarray, "..."],
    labels: Integer[np.ndarray, "..."],
    classes: int,
    *,
    within: Bool[np.ndarray, "..."] | None = None,
) -> Int[np.ndarray, "k k"]:
    """Count the pixels of every true class (row) that were given every class (column).

    Args:
        truth: annotated labels `[Z] Y X`, 0..classes-1, or IGNORE where nobody annotated.
        labels: predicted labels of the same shape, 0..classes-1 wherever a pixel counts.
        classes: number of classes, 1..255 (255 itself means "not annotated").
        within: pixels that count; all of them by default. Of the same shape.

    Returns:
        `classes x classes` counts, int64; pixels IGNORE in the truth or outside `within` are left out.

    Raises:
        DataError: the shapes differ, or a counted pixel holds a label that is not a class.
        SettingsError: `classes` is not 1..255.

    >>> confusion_matrix(np.array([0, 0, 1, IGNORE]), np.array([0, 1, 1, 0]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    if not 1 <= classes <= IGNORE:
        raise SettingsError(f"classes is {classes}; give 1..{IGNORE}, since {IGNORE} marks what is not annotated")
    if labels.shape != truth.shape:
        raise DataError(f"the prediction has shape {labels.shape} and its truth {truth.shape}; give them the same size")
    counted = truth != IGNORE
    if within is not None:
        if within.shape != truth.shape:
            raise DataError(f"within has shape {within.shape} and the truth {truth.shape}; give the same shape")
        counted &= within
    rows, columns = truth[counted], labels[counted]
    for name, values in (("truth", rows), ("prediction", columns)):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            wrong = values.min() if values.min() < 0 else values.max()
            raise DataError(
                f"the {name} holds the label {wrong}, not one of the {classes} classes 0..{classes - 1}; "
                "map it to a class first, or check the number of classes"
            )
    # int64 first: uint8 labels would overflow in the product.
    cells = rows.astype(np.int64) * classes + columns.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class OverlapScores:
    """What the confusion matrices of a set of images say. Scores are 0..1; NaN where nothing can be said.

    *Pooled* scores count all pixels of all images together, so large objects weigh more. *Image* scores are
    computed per image and averaged over the images whose truth holds the class. An image without the class
    never enters that average (its Dice would be 1 or 0 by a single pixel): such images are reported apart, in
    `empty_images` and `false_alarms`. Tuples have one entry a class.
    """

    images: int
    """Images given."""
    unannotated_images: int
    """Images without one counted pixel; they enter nothing below."""
    pixels: int
    """Pixels counted."""
    confusion: tuple[tuple[int, ...], ...]
    """Sum of the matrices: rows truth, columns prediction."""
    pixel_accuracy: float
    """Counted pixels that have the right class."""
    dice: tuple[float, ...]
    """Pooled Dice; NaN for a class that neither truth nor prediction holds."""
    iou: tuple[float, ...]
    """Pooled IoU; NaN likewise."""
    image_dice: tuple[float, ...]
    """Mean Dice of the images whose truth holds the class; NaN if there is none."""
    image_iou: tuple[float, ...]
    """Mean IoU of the images whose truth holds the class; NaN if there is none."""
    empty_images: tuple[int, ...]
    """Annotated images whose truth lacks the class."""
    false_alarms: tuple[int, ...]
    """Those of the empty images in which the class was predicted nevertheless."""
    false_alarm_pixels: tuple[int, ...]
    """Pixels so predicted, over all empty images."""
    mean_dice: float
    """Mean of `dice` over the classes that the truth holds, class 0 among them."""
    mean_iou: float
    """Mean of `iou` over the classes that the truth holds, class 0 among them."""
    foreground_dice: float
    """Mean of `dice` over the classes that the truth holds, without class 0."""
    foreground_iou: float
    """Mean of `iou` over the classes that the truth holds, without class 0."""

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None (for NaN), ready for JSON."""
        return {name: plain(value) for name, value in asdict(self).items()}


def overlap_scores(confusions: Sequence[Int[np.ndarray, "k k"]]) -> OverlapScores:
    """Sum up the confusion matrices of a set of images, one matrix an image.

    Args:
        confusions: what `confusion_matrix` returns, all of the same number of classes.

    Raises:
        DataError: there is no matrix, or they differ in the number of classes.
    """
    if len(confusions) == 0:
        raise DataError("no image was scored; give at least one pair of truth and prediction")
    sizes = sorted({matrix.shape for matrix in confusions})
    if len(sizes) > 1:
        raise DataError(f"the confusion matrices have the shapes {sizes}; score all images with the same classes")

    stack = np.stack(confusions).astype(np.int64)
    annotated = stack.sum(axis=(1, 2)) > 0
    hits = np.diagonal(stack, axis1=1, axis2=2)
    true, predicted = stack.sum(axis=2), stack.sum(axis=1)  # image x class
    present = true > 0
    empty = ~present & annotated[:, None]
    alarm_pixels = np.where(empty, predicted, 0)

    dice, iou = dice_and_iou(hits.sum(axis=0), true.sum(axis=0), predicted.sum(axis=0))
    each_dice, each_iou = dice_and_iou(hits, true, predicted)
    total = stack.sum(axis=0)
    ever = present.any(axis=0)
    foreground = ever & (np.arange(ever.size) > 0)
    return OverlapScores(
        images=len(stack),
        unannotated_images=int((~annotated).sum()),
        pixels=int(total.sum()),
        confusion=tuple(tuple(int(cell) for cell in row) for row in total),
        pixel_accuracy=float(np.trace(total) / total.sum()) if total.any() else math.nan,
        dice=_floats(dice),
        iou=_floats(iou),
        image_dice=tuple(_mean(each_dice[:, k], present[:, k]) for k in range(ever.size)),
        image_iou=tuple(_mean(each_iou[:, k], present[:, k]) for k in range(ever.size)),
        empty_images=_ints(empty.sum(axis=0)),
        false_alarms=_ints((alarm_pixels > 0).sum(axis=0)),
        false_alarm_pixels=_ints(alarm_pixels.sum(axis=0)),
        mean_dice=_mean(dice, ever),
        mean_iou=_mean(iou, ever),
        foreground_dice=_mean(dice, foreground),
        foreground_iou=_mean(iou, foreground),
    )


def mean_foreground(scores: Sequence[float] | Float[np.ndarray, "k"]) -> float | None:
    """Mean of the scores of all classes but class 0, without those that are NaN; None where nothing is left.

    >>> mean_foreground([0.9, 0.5, 0.7, float("nan")])
    0.6
    """
    known = [float(score) for score in scores[1:] if not math.isnan(score)]
    return sum(known) / len(known) if known else None


def mean_of_chosen(scores: Float[np.ndarray, "*n k"], chosen: Bool[np.ndarray, "*n k"]) -> Float[np.ndarray, "*n"]:
    """Mean over the chosen classes, along the last axis; NaN where there are none."""
    sums, counts = np.where(chosen, scores, 0).sum(-1), chosen.sum(-1)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def dice_and_iou(
    hits: Int[np.ndarray, "*n"], true: Int[np.ndarray, "*n"], predicted: Int[np.ndarray, "*n"]
) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
    """Dice and IoU from TP, TP + FN and TP + FP; NaN where all three are 0."""
    both = true + predicted  # 2 TP + FP + FN
    nothing = np.full(both.shape, np.nan)
    dice = np.divide(2.0 * hits, both, out=nothing.copy(), where=both > 0)
    iou = np.divide(hits, both - hits, out=nothing.copy(), where=both > 0)
    return dice, iou


def _mean(values: Float[np.ndarray, "n"], chosen: Bool[np.ndarray, "n"]) -> float:
    return float(values[chosen].mean()) if chosen.any() else math.nan


def _floats(values: Float[np.ndarray, "n"]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _ints(values: Int[np.ndarray, "n"]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def plain(value: Any) -> Any:
    """Tuples become lists and NaN becomes None, which JSON lacks."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
