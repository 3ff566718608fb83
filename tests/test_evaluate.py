"""Evaluation: numbers by hand, masks in any spelling, regions, and the folders of any tool."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from useg.errors import DataError, MissingError, SettingsError
from useg.images.files import write_labels, write_probabilities
from useg.images.image import Image
from useg.labels import IGNORE
from useg.metrics.overlap import confusion_matrix
from useg.score_files import score_folders
from useg.scores import Scored, dice_of, score

MASKS = npst.arrays(np.uint8, (5, 6), elements=st.integers(0, 1))


def write_all(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    for name, mask in masks.items():
        write_labels(folder / f"{name}.png", mask)
    return folder


@settings(max_examples=30, deadline=None)
@given(truth=MASKS, labels=MASKS)
def test_dice_is_that_of_sets(truth: np.ndarray, labels: np.ndarray) -> None:
    found = dice_of(confusion_matrix(truth, labels, 2))
    for k in (0, 1):
        both = (truth == k).sum() + (labels == k).sum()
        hits = ((truth == k) & (labels == k)).sum()
        assert np.isnan(found[k]) if both == 0 else found[k] == pytest.approx(2 * hits / both)


def test_empty_masks_stand_apart() -> None:
    full, empty = np.eye(4, dtype=np.uint8), np.zeros((4, 4), np.uint8)
    result = score([Scored("full", full, full), Scored("empty", empty, empty), Scored("alarm", empty, full)], 2)
    assert result.overlap.image_dice[1] == 1.0
    assert result.overlap.empty_images == (0, 2)
    assert result.overlap.false_alarms == (0, 1)
    assert result.overlap.false_alarm_pixels == (0, 4)
    assert result.images[0] == ("full", (1.0, 1.0))
    document = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert document["per_image"][1] == {"name": "empty", "dice": [1.0, None]}


@settings(max_examples=20, deadline=None)
@given(truth=MASKS, labels=MASKS, within=npst.arrays(np.bool_, (5, 6)))
def test_within_leaves_out_what_is_outside(truth: np.ndarray, labels: np.ndarray, within: np.ndarray) -> None:
    one = score([Scored("a", truth, labels, within=within)], 2)
    other = score([Scored("a", np.where(within, truth, IGNORE).astype(np.uint8), labels)], 2)
    assert json.dumps(one.as_dict()) == json.dumps(other.as_dict())
    assert one.overlap.pixels == within.sum()


@settings(max_examples=10, deadline=None)
@given(masks=st.lists(MASKS.filter(lambda m: 0 < m.sum() < m.size), min_size=4, max_size=4))
def test_masks_of_0_255_and_of_0_1_say_the_same(
    masks: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spellings")
    truths, labels = ({"a": masks[i], "b": masks[i + 1]} for i in (0, 2))
    found = []
    for scale in (1, 255):
        write_all(folder / f"masks{scale}", {k: v * np.uint8(scale) for k, v in truths.items()})
        write_all(folder / f"labels{scale}", {k: v * np.uint8(scale) for k, v in labels.items()})
    for mask in (1, 255):
        for label in (1, 255):
            _, result = score_folders(folder / f"labels{label}", folder / f"masks{mask}")
            found.append(json.dumps(result.as_dict()))
    assert len(set(found)) == 1


def test_a_perfect_prediction_has_perfect_regions(tmp_path: Path) -> None:
    mask = np.ones((24, 24), np.uint8)
    mask[:, 12] = 0
    write_all(tmp_path / "masks", {"a": mask})
    write_all(tmp_path / "labels", {"a": mask})
    _, result = score_folders(str(tmp_path / "labels"), str(tmp_path / "masks"), region_class=1)
    assert result.regions is not None
    assert result.regions.best.v_rand == pytest.approx(1)
    assert result.regions.best.v_info == pytest.approx(1)
    assert result.regions.warping_error == 0
    # A gap in the wall joins the two.
    joined = mask.copy()
    joined[11:13, 12] = 1
    write_all(tmp_path / "joined", {"a": joined})
    _, result = score_folders(tmp_path / "joined", tmp_path / "masks", region_class=1)
    assert result.regions is not None
    assert result.regions.best.v_rand < 0.9
    assert result.regions.warping_error > 0
    # Probabilities beside the labels are what the regions come from: a lower gap is closed by a higher threshold.
    soft = np.where(mask == 1, 0.9, 0.1).astype(np.float32)
    soft[11:13, 12] = 0.6
    write_probabilities(tmp_path / "joined/a_probabilities.tif", np.stack([1 - soft, soft]))
    _, result = score_folders(tmp_path / "joined", tmp_path / "masks", region_class=1)
    assert result.regions is not None
    assert result.regions.best.v_rand == pytest.approx(1)
    assert result.regions.best.threshold > 0.59


def test_folders_that_do_not_match(tmp_path: Path) -> None:
    mask = np.eye(8, dtype=np.uint8)
    write_all(tmp_path / "masks", {"a": mask, "b": mask})
    write_all(tmp_path / "labels", {"a": mask})
    with pytest.raises(MissingError, match=r"no prediction for b"):
        score_folders(tmp_path / "labels", tmp_path / "masks")
    write_all(tmp_path / "labels", {"b": np.eye(9, dtype=np.uint8)})
    with pytest.raises(DataError, match=r"labels.b\.png: it is 9 x 9 .*masks.b\.png is 8 x 8"):
        score_folders(tmp_path / "labels", tmp_path / "masks")
    write_all(tmp_path / "labels", {"b": mask * np.uint8(3)})
    with pytest.raises(DataError, match=r"b\.png: the value 3"):
        score_folders(tmp_path / "labels", tmp_path / "masks")


def test_names_of_the_classes_come_with_the_scores(tmp_path: Path) -> None:
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4) % 3
    write_all(tmp_path / "masks", {"a": mask})
    names, result = score_folders(tmp_path / "masks", tmp_path / "masks")
    assert len(names) == len(result.overlap.dice) == 3
    assert result.overlap.dice == (1, 1, 1)


def test_regions_count_within_only() -> None:
    """A wall that is missing outside of what counts joins nothing that counts."""
    truth = np.ones((12, 24), np.uint8)
    truth[:, 12] = truth[6] = 0
    joined = truth.copy()
    joined[9:, 12] = 1
    within = np.zeros(truth.shape, bool)
    within[:6] = True
    regions = [score([Scored("a", truth, joined, within=w)], 2, region_class=1).regions for w in (None, within)]
    assert regions[0] is not None and regions[1] is not None
    assert regions[0].best.v_rand < 0.9 and regions[0].warping_error > 0
    assert regions[1].best.v_rand == pytest.approx(1) and regions[1].warping_error == 0


def test_folders_and_probabilities_that_do_not_fit_are_named(tmp_path: Path) -> None:
    mask = np.eye(8, dtype=np.uint8)
    predictions = write_all(tmp_path / "labels", {"a": mask})
    with pytest.raises(MissingError, match="nowhere: there is no such folder"):
        score_folders(predictions, tmp_path / "nowhere")
    masks = write_all(tmp_path / "masks", {"a": mask})
    write_probabilities(predictions / "a_probabilities.tif", np.zeros((1, 8, 8), np.float32))
    with pytest.raises(DataError, match=r"a_probabilities\.tif: it has the shape \(1, 8, 8\), but 2 classes"):
        score_folders(predictions, masks, region_class=1)


@pytest.mark.parametrize("region_class", [-1, 2])
def test_regions_of_a_class_that_is_not_there(region_class: int) -> None:
    mask = np.eye(4, dtype=np.uint8)
    with pytest.raises(SettingsError, match="no such class; there are 0 to 1"):
        score([Scored("a", mask, mask)], 2, region_class)


def test_false_alarms_over_masks_that_are_all_empty(tmp_path: Path) -> None:
    empty, alarm = np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)
    masks = write_all(tmp_path / "masks", {"a": empty, "b": empty})
    predictions = write_all(tmp_path / "predictions", {"a": empty, "b": alarm})
    names, found = score_folders(predictions, masks)
    assert len(names) == 2
    assert (found.overlap.empty_images[1], found.overlap.false_alarms[1], found.overlap.false_alarm_pixels[1]) == (
        2,
        1,
        4,
    )


def test_a_predicted_class_that_no_mask_holds_is_a_false_alarm(tmp_path: Path) -> None:
    truth = np.eye(4, dtype=np.uint8)
    masks = write_all(tmp_path / "masks", {"a": truth})
    predictions = write_all(tmp_path / "predictions", {"a": np.where(truth, 1, 2).astype(np.uint8)})
    names, found = score_folders(predictions, masks)
    assert len(names) == 3
    assert found.overlap.false_alarm_pixels[2] == 12


def squares(first: int) -> np.ndarray:
    """Nine squares, numbered from `first`."""
    ids = np.zeros((60, 60), np.uint16)
    for k in range(9):
        y, x = 4 + 19 * (k // 3), 4 + 19 * (k % 3)
        ids[y : y + 12, x : x + 12] = first + k
    return ids


def test_objects_are_scored_whatever_their_numbers(tmp_path: Path) -> None:
    truth, predicted = squares(1), squares(400)
    write_all(tmp_path / "masks", {"a": truth, "b": squares(20)})
    write_all(tmp_path / "same", {"a": predicted, "b": squares(3)})
    _, result = score_folders(tmp_path / "same", tmp_path / "masks")
    assert result.objects is not None
    assert (result.objects.seg, result.objects.average_precision[0]) == (1, 1)
    # One number for all: its pieces are what was found.
    write_all(tmp_path / "pieces", {n: np.where(truth > 0, 255, 0).astype(np.uint8) for n in "ab"})
    _, result = score_folders(tmp_path / "pieces", tmp_path / "masks")
    assert result.objects is not None
    assert (result.objects.predicted_objects, result.objects.seg) == (18, 1)
    # Two squares as one object.
    merged = np.where(predicted == 401, 400, predicted).astype(np.uint16)
    merged[4:16, 16:23] = 400
    write_all(tmp_path / "merged", {"a": merged, "b": squares(3)})
    _, result = score_folders(tmp_path / "merged", tmp_path / "masks")
    assert result.objects is not None
    assert result.objects.merges == 1
    assert result.objects.seg < 1
    assert json.loads(json.dumps(result.as_dict(), allow_nan=False))["objects"]["truth_objects"] == 18


def test_classes_have_no_objects(tmp_path: Path) -> None:
    write_all(tmp_path / "masks", {"a": np.eye(8, dtype=np.uint8)})
    _, result = score_folders(tmp_path / "masks", tmp_path / "masks")
    assert result.objects is None


def test_surfaces_are_measured_in_the_unit_of_the_pixel_size() -> None:
    """Of volumes always, of images when asked; in pixels where one image does not know its size."""
    truth = np.zeros((3, 6, 8), np.uint8)
    truth[:, 2:4] = 1
    moved = np.roll(truth, 1, axis=1)
    known = Scored("a", truth, moved, spacing=(5.0, 2.0, 2.0), unit="mm")
    found = score([known], 2)
    assert found.surfaces is not None and found.surfaces.unit == "mm"
    assert found.surfaces.hausdorff95[1] == pytest.approx(2) and found.surfaces.average[1] == pytest.approx(1)
    document = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert document["surfaces"]["average"] == [None, pytest.approx(1)]
    assert document["per_image"][0]["hausdorff95"] == [None, pytest.approx(2)]
    mixed = score([known, Scored("b", truth, moved)], 2).surfaces
    assert mixed is not None and mixed.unit == "voxels" and mixed.hausdorff95[1] == pytest.approx(1)
    assert score([known], 2, surfaces="none").surfaces is None
    flat = Scored("c", truth[0], moved[0])
    assert score([flat], 2).surfaces is None
    asked = score([flat], 2, surfaces="all").surfaces
    assert asked is not None and asked.unit == "pixels"


def test_surfaces_of_files(tmp_path: Path) -> None:
    cube = np.zeros((6, 7, 8), np.uint8)
    cube[2:4, 2:5, 2:5] = 1
    like = Image(cube[None], "CZYX", (4.0, 1.0, 1.0), "mm")
    for folder, mask in (("masks", cube), ("labels", np.roll(cube, 1, axis=0))):
        (tmp_path / folder).mkdir()
        write_labels(tmp_path / folder / "a.nii.gz", mask, like=like)
    found = score_folders(tmp_path / "labels", tmp_path / "masks")[1].surfaces
    assert found is not None and found.unit == "mm" and found.hausdorff95[1] == pytest.approx(4)
