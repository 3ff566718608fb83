"""Pictures of scored images and volumes."""

from dataclasses import replace

import numpy as np

from models import make_card
from useg.data.dataset import Example
from useg.objects.settings import SeparateSettings
from useg.predict import Prediction
from useg.scored_picture import picture_of, sheet_for
from useg.unet.settings import UNetSettings


def scored(size: tuple[int, ...], spacing: tuple[float, ...] | None = None) -> tuple[Example, Prediction]:
    """A block of class 1, and a prediction that is a row off."""
    labels = np.zeros(size, np.uint8)
    labels[tuple(slice(n // 4, n // 2) for n in size)] = 1
    found = np.roll(labels, 1, axis=-2)
    image = (100 * labels + np.arange(size[-1])).astype(np.uint8)[None]
    both = np.stack([found == 0, found == 1]).astype(np.float32)
    return Example("a", image, labels, spacing), Prediction(found, both, [])


def test_volumes_and_images_have_a_picture_with_and_without_objects() -> None:
    for size in ((40, 50), (8, 40, 50)):
        card = make_card(UNetSettings(classes=2, dims=len(size), padding="same", depth=1, width=4))
        example, prediction = scored(size)
        picture = picture_of(example, prediction, card)
        assert picture.dtype == np.uint8 and picture.shape[1] > 4 * 256
        numbered = replace(example, objects=example.labels.astype(np.int32))
        parted = card.model_copy(update={"objects": SeparateSettings(threshold=0.5, seed_threshold=0.6, smallest=1)})
        assert picture_of(numbered, prediction, parted).shape == picture.shape


def test_a_volume_is_laid_out_through_what_is_annotated_else_found() -> None:
    example, prediction = scored((8, 40, 50), (4.0, 1.0, 1.0))
    sheet = sheet_for(example, prediction)
    assert sheet is not None
    assert sheet.through == (2, 10, 12)
    assert len(sheet.planes[1].rows) == 4 * 8
    assert set(sheet.slices) <= {2, 3}
    empty = replace(example, labels=np.zeros_like(example.labels))
    found = sheet_for(empty, prediction)
    assert found is not None and found.through == (2, 11, 12)
    assert sheet_for(*scored((40, 50))) is None
