"""Validation finds how objects are parted, scores them, and leaves models of classes alone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

import useg.validate as room
from useg.data.dataset import Example
from useg.evaluate import evaluate
from useg.labels import IGNORE
from useg.metrics.calibration import Calibration
from useg.predict import Predictor, PredictSettings
from useg.unet.model import ClassInfo, InputSeen, ModelCard
from useg.unet.normalise import NormaliseSettings
from useg.unet.settings import UNetSettings
from useg.validate import uncalibrated, validate, within_memory

SIZE = (96, 96)


def card(masks: str) -> ModelCard:
    return ModelCard.model_validate(
        {
            "version": "0",
            "network": UNetSettings(depth=1, width=2, padding="same"),
            "normalise": NormaliseSettings(kind="fixed", mean=[0.0], std=[1.0]),
            "classes": [ClassInfo(name=n, colour=(0, 0, k), value=k) for k, n in enumerate(("background", "object"))],
            "masks": masks,
            "score_shift": [0.0, 0.0],
            "input": InputSeen(dtype="float32", low=[0.0], high=[1.0]),
        }
    )


def gray(tile: np.ndarray, keep: Sequence[slice]) -> np.ndarray:
    """An engine that takes gray values for the probability of objects."""
    p = np.clip(tile[0], 0, 1)[tuple(keep)]
    return np.stack([1 - p, p]).astype(np.float32)


def discs(weak_line: float) -> Example:
    """Pairs of squares that share an edge; the image is less sure of the line between them than of their insides."""
    objects, chance = np.zeros(SIZE, np.int32), np.full(SIZE, 0.05, np.float32)
    for k, (y, x) in enumerate((y, x) for y in (6, 36, 66) for x in (6, 50)):
        for half in (0, 1):
            place = np.s_[y : y + 20, x + 18 * half : x + 18 * half + 18]
            objects[place] = 2 * k + half + 1
            chance[place] = 0.95
        chance[y : y + 20, x + 17 : x + 19] = weak_line
    return Example("a", chance[None], (objects > 0).astype(np.uint8), objects=objects)


def test_what_is_too_large_for_memory_is_judged_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [discs(0.65)] * 5
    assert within_memory(images) == (images, "")
    monkeypatch.setattr(room, "MOST_JUDGED", 50 * 50)
    some, told = within_memory(images)
    assert len(some) == 5 and all(e.labels.size <= 50 * 50 for e in some)
    for example in some:
        assert example.objects is not None and example.objects.shape == example.labels.shape == example.image.shape[1:]
        assert np.array_equal(example.labels, images[0].labels[23:73, 23:73])
    assert told.startswith("validation: only of 5 of 5 held-out images the middle, 0.0025 million pixels")
    monkeypatch.setattr(room, "MOST_OF_ALL", 2 * 50 * 50)
    some, told = within_memory(images)
    assert len(some) == 2 and "2 of 5 held-out images" in told


def test_what_parts_touching_objects_is_found() -> None:
    predictor = Predictor(card("instances"), gray, PredictSettings(device="cpu", precision="float32"))
    overlap, objects, found = validate(predictor, [discs(0.65), discs(0.65)], [discs(0.6)])
    assert overlap.foreground_dice > 0.99
    assert objects is not None and found.objects is not None
    # The line is above the edge of objects and below their seeds.
    assert found.objects.threshold < 0.65 <= found.objects.seed_threshold
    assert (objects.truth_objects, objects.predicted_objects, objects.merges) == (24, 24, 0)
    assert objects.panoptic_quality[0] > 0.9
    # What the model keeps gives the same objects to who predicts.
    assert found.temperature < 1  # the image was right more often than its gray values said
    mend = Calibration(found.temperature, tuple(found.class_bias))

    def mended(tile: np.ndarray, keep: Sequence[slice]) -> np.ndarray:
        return mend.apply(gray(tile, keep))

    calibrated = Predictor(found, mended, predictor.settings)
    apart = calibrated.objects(calibrated.predict(discs(0.65).image))
    assert apart.max() == 12
    # Nor does it matter to who is shown what is not calibrated yet.
    before = uncalibrated(found)
    assert (before.temperature, before.class_bias) == (1, []) and before.objects != found.objects
    plain = Predictor(before, gray, predictor.settings)
    np.testing.assert_array_equal(plain.objects(plain.predict(discs(0.65).image)), apart)


@pytest.mark.parametrize("masks", ["classes", "instances"])
def test_labels_are_scored_as_the_model_will_give_them(masks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image says 0.4 of what is an object more often than not."""
    rng, example = np.random.default_rng(0), discs(0.4)
    chance = np.where(example.labels == 1, 0.4, 0.05) + rng.normal(0, 0.02, SIZE)
    example = replace(example, image=chance[None].clip(0, 1).astype(np.float32))
    plain = Predictor(card(masks), gray, PredictSettings(device="cpu", precision="float32"))
    overlap, _, found = validate(plain, [example, example], [])
    assert overlap.dice[1] > 0.99 > 0 == evaluate(plain, [example]).overlap.dice[1]
    mend = Calibration(found.temperature, tuple(found.class_bias))
    mended = Predictor(found, lambda tile, keep: mend.apply(gray(tile, keep)), plain.settings)
    scores, before = evaluate(mended, [example, example]), evaluate(plain, [example, example]).reliability
    assert scores.overlap == overlap
    assert before is not None and scores.uncalibrated is not None and scores.reliability is not None
    assert scores.uncalibrated.error == pytest.approx(before.error, abs=1e-3)
    assert scores.reliability.error < 0.5 * before.error
    monkeypatch.setattr(room, "HELD", 0)
    assert validate(plain, [example, example], [])[0] == overlap


def test_few_held_out_objects_do_not_decide_alone() -> None:
    """One object apart says nothing of how to part; the images trained on do."""
    example = discs(0.65)
    assert example.objects is not None
    lonely = Example("b", example.image[:, :26, :24], example.labels[:26, :24], objects=example.objects[:26, :24])
    predictor = Predictor(card("instances"), gray, PredictSettings(device="cpu", precision="float32"))
    _, objects, found = validate(predictor, [lonely], [example])
    assert objects is not None and found.objects is not None
    assert objects.truth_objects == 1
    assert found.objects.threshold < 0.65 <= found.objects.seed_threshold


def test_what_nobody_annotated_is_not_held_against_a_model() -> None:
    example = discs(0.1)
    assert example.objects is not None
    hidden = np.where(example.objects > 6, 0, example.objects).astype(np.int32)
    labels = np.where(hidden > 0, 1, IGNORE).astype(np.uint8)
    partly = Example("a", example.image, labels, objects=hidden)
    predictor = Predictor(card("instances"), gray, PredictSettings(device="cpu", precision="float32"))
    _, objects, _ = validate(predictor, [partly], [])
    assert objects is not None
    assert (objects.truth_objects, objects.spurious, objects.missed) == (6, 0, 0)
    assert objects.average_precision[0] == 1


def test_models_of_classes_have_no_objects() -> None:
    predictor = Predictor(card("classes"), gray, PredictSettings(device="cpu", precision="float32"))
    overlap, objects, found = validate(predictor, [discs(0.5)], [])
    assert overlap.images == 1
    assert objects is None
    assert found.objects is None
