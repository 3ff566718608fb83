"""Pictures of a report: what is seen is what was scored, and all of it stays in a budget of bytes."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reports import card_of, case, shown

from useg.data.dataset import Example
from useg.labels import IGNORE
from useg.objects.settings import SeparateSettings
from useg.pictures.overlay import ERROR_LEGEND, error_kinds
from useg.predict import Prediction
from useg.report.content import Picture
from useg.report.gallery import LARGEST_EDGE, MOST_COLOURS, SMALLEST_EDGE, Gallery
from useg.report.gather import report_of
from useg.scored_picture import sheet_for
from useg.scores import Scored, score


def opened(png: bytes) -> np.ndarray:
    """Red, green, blue and opacity of each pixel, as a browser sees them."""
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGBA"))


def picture_of(gallery: Gallery, number: int = 0) -> Picture:
    picture = gallery.shown[number].picture
    assert picture is not None
    return picture


@settings(max_examples=15)
@given(number=st.integers(0, 99), classes=st.integers(2, 12), wrong=st.floats(0, 1))
def test_layers_show_classes_in_their_colours_and_errors_by_their_legend(
    number: int, classes: int, wrong: float
) -> None:
    card = card_of(classes)
    example, prediction = case(card, number, wrong=wrong)
    example.labels[:4] = IGNORE
    gallery = shown(card, [(example, prediction)])
    picture = picture_of(gallery)
    for layer, labels in ((picture.truth, example.labels), (picture.prediction, prediction.labels)):
        seen = opened(layer)
        for k, kind in enumerate(card.classes[1:], 1):
            here = (labels == k) & (example.labels != IGNORE)
            assert (seen[here][:, :3] == kind.colour).all()
            assert (seen[here][:, 3] > 0).all()
        assert (seen[(labels == 0) & (example.labels != IGNORE)][:, 3] == 0).all()
    kinds, seen = error_kinds(example.labels, prediction.labels), opened(picture.errors)
    assert ((seen[..., 3] > 0) == (kinds > 0)).all()
    for position, (_, colour) in enumerate(ERROR_LEGEND, 1):
        assert (seen[kinds == position][:, :3] == colour).all()
    counted = example.labels != IGNORE
    assert gallery.shown[0].wrong == pytest.approx((prediction.labels != example.labels)[counted].mean())


def test_gray_stays_gray_colours_stay_and_large_images_shrink_in_proportion() -> None:
    for channels, mode in ((1, "L"), (3, "RGB")):
        card = card_of(2, channels)
        example, prediction = case(card, 1, size=(300, 2000))
        if channels == 3:
            example.image[0] //= 2
        picture = picture_of(shown(card, [(example, prediction)]))
        with Image.open(io.BytesIO(picture.image)) as image:
            assert image.mode == mode
            assert image.size == (picture.width, picture.height) == (LARGEST_EDGE, round(300 * LARGEST_EDGE / 2000))
        assert opened(picture.errors).shape[:2] == (picture.height, picture.width)


def test_pictures_shrink_to_the_budget_and_keep_the_colours() -> None:
    card, size = card_of(3), (200, 320)
    cases = [case(card, i, size=size) for i in range(6)]
    free = shown(card, cases)
    budget = sum(picture_of(free, i).size for i in range(6)) // 2
    tight = Gallery(card, budget)
    for each in cases:
        tight.add(*each)
    pictures = [picture_of(tight, i) for i in range(6)]
    assert sum(picture.size for picture in pictures) <= budget
    assert {(p.width, p.height) for p in pictures} == {(tight.edge, round(tight.edge * 200 / 320))}
    assert SMALLEST_EDGE <= tight.edge < 320
    # Borders are drawn anew, at any size in the colours of the classes alone.
    for picture in pictures:
        seen = opened(picture.truth)
        assert {tuple(c) for c in seen[seen[..., 3] > 0][:, :3]} == {c.colour for c in card.classes[1:]}
        assert 255 in seen[..., 3]


def test_beyond_the_smallest_size_the_best_images_lose_their_pictures() -> None:
    card = card_of(2)
    cases = [
        case(card, i, size=(SMALLEST_EDGE, SMALLEST_EDGE), wrong=wrong) for i, wrong in enumerate((0.5, 0.1, 0.3, 0.2))
    ]
    gallery = Gallery(card, budget=sum(picture_of(shown(card, [each])).size for each in cases) * 2 // 3)
    for each in cases:
        gallery.add(*each)
    left = [each.picture is not None for each in gallery.shown]
    assert 0 < sum(left) < 4
    kept, gone = (
        [s.wrong for s, there in zip(gallery.shown, left, strict=True) if there is which] for which in (True, False)
    )
    assert min(kept) >= max(gone)
    assert gallery.edge == SMALLEST_EDGE


def test_of_a_volume_its_planes_are_shown() -> None:
    """As they are of the volume: the errors on paper are those between the truth and the prediction on paper."""
    card = card_of(2)
    example, prediction = case(card, 3, size=(5, 40, 56))
    gallery = shown(card, [(example, prediction)])
    sheet = sheet_for(example, prediction)
    assert sheet is not None and len(sheet.slices) > 0
    picture = picture_of(gallery)
    assert (picture.height, picture.width) == sheet.size
    kinds = error_kinds(sheet.draw(example.labels), sheet.draw(prediction.labels))
    assert ((opened(picture.errors)[..., 3] > 0) == (kinds > 0)).all()
    told = gallery.shown[0]
    assert (told.size, told.planes) == ("5 x 40 x 56 voxels", sheet.words)
    scored = score([Scored("a", example.labels, prediction.labels)], 2)
    assert report_of(scored, card, gallery, data="x", command="", seconds=0.0).pixels == "voxels"
    assert told.wrong == pytest.approx((prediction.labels != example.labels).mean())


def test_objects_have_colours_of_their_own_and_more_objects_than_colours_go_round() -> None:
    card = card_of(2, masks="instances", objects=SeparateSettings(threshold=0.5, seed_threshold=0.6, smallest=1))
    side = 3 * (MOST_COLOURS + 20)
    ids = np.zeros((8, side), np.int32)
    for number in range(MOST_COLOURS + 10):
        ids[2:6, 3 * number : 3 * number + 2] = number + 1
    labels = (ids > 0).astype(np.uint8)
    probabilities = np.stack([1.0 - labels, labels]).astype(np.float32)
    gallery = shown(card, [(Example("a", ids[None], labels, objects=ids), Prediction(labels, probabilities, []))])
    truth = opened(picture_of(gallery).truth)
    assert ((truth[..., 3] > 0) == (ids > 0)).all()
    colours = [tuple(truth[3, 3 * number, :3]) for number in range(MOST_COLOURS + 10)]
    assert len(set(colours)) == MOST_COLOURS
    assert colours[MOST_COLOURS:] == colours[:10]
