"""Score a model on the images held out of its training, and find out there how its objects are told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from useg.data.dataset import Example, evenly
from useg.evaluate import image_of, predict_examples
from useg.labels import IGNORE, annotated
from useg.metrics.calibration import Calibration, calibrate
from useg.metrics.objects import ObjectScores, match_objects, object_scores
from useg.metrics.overlap import OverlapScores
from useg.objects.separate import confidence, find_settings, separate
from useg.objects.settings import SeparateSettings
from useg.parts import centre, count, find, middle
from useg.predict import Prediction, Predictor, calibration_of, most_probable
from useg.scores import Scored, score
from useg.unet.model import ModelCard

CALIBRATED_ON = 100_000
"""Held-out pixels, evenly spread, on which the calibration is found."""
TUNED_ON = 8
"""Images of each part, evenly spread, on which the numbers that part objects are found."""
TUNED_EDGE = 1024
"""Of larger images the middle, so many pixels along an axis: each of some thirty settings is tried on all of it."""

HELD = 1 << 28
"""Bytes of probabilities that are held until all images are predicted; those of further ones are made once more."""
MOST_JUDGED, MOST_OF_ALL = 1 << 24, 1 << 28
"""Pixels of an image and of all together that are predicted and scored where images are too large for memory."""

Item = TypeVar("Item")
Parted = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""True ids, predicted ids, and pixels that nobody annotated, of one image."""


def within_memory(held_out: Sequence[Example]) -> tuple[list[Example], str]:
    """Of images that are too large for memory what is predicted and scored, and a sentence where that is not all.

    Predictions are held in memory: some 60 bytes a pixel of one image, and a few of all of them.
    """
    some = [_at_most(example, MOST_JUDGED) for example in held_out]
    cut = sum(one is not other for one, other in zip(some, held_out, strict=True))
    most = max(1, int(len(some) * min(1.0, MOST_OF_ALL / max(1, sum(e.labels.size for e in some)))))
    judged, told = [some[i] for i in evenly(len(some), most)], []
    if cut:
        told.append(f"of {cut} of {len(some)} held-out images the middle, {MOST_JUDGED / 1e6:.3g} million pixels")
    if len(judged) < len(some):
        told.append(f"{len(judged)} of {len(some)} held-out images, evenly spread")
    return judged, f"validation: only {'; '.join(told)}: as much as is predicted in memory" if told else ""


def _at_most(example: Example, pixels: int) -> Example:
    """The middle of an image that has more pixels."""
    if example.labels.size <= pixels:
        return example
    cut = middle(example.labels.shape, pixels)
    objects = None if example.objects is None else example.objects[cut]
    return replace(example, image=example.image[(slice(None), *cut)], labels=example.labels[cut], objects=objects)


def validate(
    predictor: Predictor,
    held_out: Sequence[Example],
    train: Sequence[Example],
    watch: Callable[[Example, Prediction], None] = lambda example, prediction: None,
) -> tuple[OverlapScores, ObjectScores | None, ModelCard]:
    """Scores of pixels, scores of objects where the masks number them, and the card with what was found out.

    That is the calibration with which the held-out pixels' probabilities are most honest, and what parts objects best.
    Labels are scored as the card gives them, calibrated.

    What parts them best is found on both parts, each weighing the same: the few objects of one or two held-out images
    leave it to chance, and the images trained on look better than they should at any threshold, but still show which
    one parts what touches. Only held-out images are scored, and `watch` is shown these, see `useg.watch.Watcher`.

    Args:
        predictor: gives what is not calibrated yet, as its card says: temperature 1.
    """
    chances: list[np.ndarray] = []
    instances = predictor.card.masks == "instances"

    def keep(example: Example, prediction: Prediction) -> None:
        watch(example, prediction)
        if instances:  # a byte a pixel: all of them are held at once
            chances.append(confidence(prediction.probabilities[1]))

    overlap, found = _calibrate(predictor, held_out, keep)
    card = predictor.card.model_copy(update={"temperature": found.temperature, "class_bias": list(found.shift)})
    if not instances:
        return overlap, None, card
    scores, apart = _part_objects(predictor, held_out, chances, train)
    objects = apart.calibrated(*found)
    return overlap, scores, card.model_copy(update={"objects": objects})


def uncalibrated(card: ModelCard) -> ModelCard:
    """The card of the same model before it was calibrated: it parts the same objects of its probabilities of then."""
    objects = None if card.objects is None else card.objects.calibrated(*calibration_of(card).undone)
    return card.model_copy(update={"temperature": 1.0, "class_bias": [], "objects": objects})


def _calibrate(
    predictor: Predictor, held_out: Sequence[Example], watch: Callable[[Example, Prediction], None]
) -> tuple[OverlapScores, Calibration]:
    """The calibration that the held-out pixels ask for, and the scores of the labels that it gives."""
    pixels: list[tuple[np.ndarray, np.ndarray]] = []

    def keep(example: Example, prediction: Prediction) -> None:
        watch(example, prediction)
        pixels.append(_some_pixels(example, prediction, CALIBRATED_ON // len(held_out)))

    predicted, room = [], HELD
    for each in predict_examples(predictor, held_out, keep=True, watch=keep):
        assert each.probabilities is not None
        room -= each.probabilities.nbytes
        predicted.append(each if room >= 0 else replace(each, probabilities=None))
    found = calibrate(*(np.concatenate(part, axis=-1) for part in zip(*pixels, strict=True)))

    def calibrated(each: Scored, example: Example) -> Scored:
        probabilities = each.probabilities
        if probabilities is None:
            probabilities = predictor.predict(image_of(example)).probabilities
        return replace(each, labels=most_probable(found.weigh(probabilities)), probabilities=None)

    scored = list(map(calibrated, predicted, held_out))
    return score(scored, predictor.card.network.classes, surfaces="none").overlap, found


def _part_objects(
    predictor: Predictor, held_out: Sequence[Example], chances: Sequence[np.ndarray], train: Sequence[Example]
) -> tuple[ObjectScores, SeparateSettings]:
    """What parts objects best, found on both parts, and how it parts those of the held-out ones."""
    cases = [
        (chance, example.objects, example.labels == IGNORE)
        for chance, example in zip(chances, held_out, strict=True)
        if example.objects is not None
    ]
    apart = [_middle(case) for case in _spread(cases)]
    seen = [
        _middle(
            (confidence(predictor.predict(example.image).probabilities[1]), example.objects, example.labels == IGNORE)
        )
        for example in (_at_most(each, MOST_JUDGED) for each in _spread(train))
        if example.objects is not None
    ]

    def judge(images: Sequence[Parted]) -> float:
        parts = images[: len(apart)], images[len(apart) :]
        qualities = [panoptic_quality(part) for part in parts if any(truth.any() for truth, _, _ in part)]
        return float(np.mean(qualities)) if qualities else 0.0

    found = find_settings([*apart, *seen], judge)
    return _scores([(truth, separate(chance, found), ignored) for chance, truth, ignored in cases]), found


def _some_pixels(example: Example, prediction: Prediction, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `k n` and classes of annotated pixels of an image, evenly spread."""
    chosen = find(example.labels, annotated, evenly(count(example.labels, annotated), most))
    probabilities = prediction.probabilities.reshape(len(prediction.probabilities), -1)
    return probabilities[:, chosen], example.labels[np.unravel_index(chosen, example.labels.shape)]


def panoptic_quality(images: Sequence[Parted]) -> float:
    """Panoptic quality at IoU 0.5, 0..1: one number that minds missed, false, merged and badly drawn objects."""
    return _scores(images).panoptic_quality[0]


def _spread(items: Sequence[Item]) -> list[Item]:
    """Up to TUNED_ON of them, evenly spread."""
    return [items[i] for i in evenly(len(items), TUNED_ON)]


def _middle(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, ids and mask of an image, no larger than TUNED_EDGE along each axis."""
    cut = centre(case[1].shape, TUNED_EDGE)
    return case[0][cut], case[1][cut], case[2][cut]


def _scores(images: Sequence[Parted]) -> ObjectScores:
    return object_scores([match_objects(truth, found, ignored=ignored) for truth, found, ignored in images])
