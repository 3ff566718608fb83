"""Frames of a film of which only some objects are painted."""

from pathlib import Path

import numpy as np
import pytest

from useg.data.layouts import find_layout
from useg.data.prepare import check_layout, prepare
from useg.images.files import write_labels, write_picture
from useg.labels import IGNORE


def film(folder: Path, painted: list[int], name: str = "01_t{:03}", places: bool = False) -> Path:
    """Frames of nine textured squares, of which so many are painted; with `places`, each frame is of another place."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 60, (96, 96))
    for frame, number in enumerate(painted):
        scene = rng.integers(0, 60, (96, 96)) if places else scene
        ids = np.zeros((96, 96), np.uint16)
        for k in range(9):
            y, x = 30 * (k // 3), 30 * (k % 3)
            ids[y : y + 20, x : x + 20] = k + 1
        image = 60 + scene + rng.integers(0, 60, ids.shape)
        write_picture(folder / "images" / f"{name.format(frame)}.png", image.astype(np.uint8))
        write_labels(folder / "masks" / f"{name.format(frame)}.png", np.where(ids <= number, ids, 0))
    return folder


def partial(folder: Path) -> set[str]:
    return check_layout(find_layout(folder)).partial


@pytest.mark.parametrize(
    ("painted", "found"),
    [
        ([9, 9, 8, 9, 3], {4}),
        ([2, 9, 9, 9], {0}),
        ([9, 9, 4, 9], {2}),
        ([9, 8, 7, 5, 4, 3, 2], set()),  # a film in which cells leave one by one
        ([9, 5, 9, 6, 9], set()),
    ],
)
def test_frames_with_far_fewer_objects_than_their_neighbours(
    painted: list[int], found: set[int], tmp_path: Path
) -> None:
    assert partial(film(tmp_path, painted)) == {f"01_t{frame:03}" for frame in found}


def test_numbered_images_of_other_places_are_no_film(tmp_path: Path) -> None:
    assert partial(film(tmp_path, [9, 9, 2, 9, 9, 3], places=True)) == set()


def test_images_without_an_order_are_not_compared(tmp_path: Path) -> None:
    for index, number in enumerate([9, 9, 2, 9]):
        film(tmp_path, [number], "abcd"[index] * 3)
    assert partial(tmp_path) == set()


def test_what_is_unpainted_there_is_not_learned(tmp_path: Path) -> None:
    folder = film(tmp_path, [9, 9, 8, 9, 3])
    prepared = prepare(folder)
    (problem,) = prepared.problems
    assert "01_t004" in problem.message
    assert "--unlabelled background" in problem.remedy
    examples = {e.name: e for e in [*prepared.parts.train, *prepared.parts.validation]}
    last = examples["01_t004"].labels
    assert set(np.unique(last)) == {1, IGNORE}
    assert (last == 1).sum() == 3 * 400
    assert all(IGNORE not in e.labels for name, e in examples.items() if name != "01_t004")
    # The user's word: these are all.
    said = prepare(folder, unlabelled="background")
    assert not said.problems
    assert all(IGNORE not in e.labels for e in [*said.parts.train, *said.parts.validation])


def discs(folder: Path, inside: bool) -> Path:
    """Images of discs 20 pixels wide; `inside`: none is drawn where the edge would cut it."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:200, :200]
    for index in range(6):
        ids = np.zeros((200, 200), np.uint16)
        for y, x in rng.uniform(-10, 210, (40, 2)):
            disc = (rows - y) ** 2 + (columns - x) ** 2 <= 100
            if not ids[disc].any() and not (inside and not 10 < min(y, x) <= max(y, x) < 189):
                ids[disc] = ids.max() + 1
        image = 60 + rng.integers(0, 60, ids.shape) + 40 * (ids > 0)
        write_picture(folder / "images" / f"{'abcdef'[index] * 3}.png", image.astype(np.uint8))
        write_labels(folder / "masks" / f"{'abcdef'[index] * 3}.png", ids)
    return folder


def test_objects_that_edges_cut_and_nobody_painted(tmp_path: Path) -> None:
    everywhere = check_layout(find_layout(discs(tmp_path / "all", inside=False)))
    assert (everywhere.margin, everywhere.problems) == (0, [])
    folder = discs(tmp_path / "inside", inside=True)
    check = check_layout(find_layout(folder))
    (problem,) = check.problems
    assert "counts as not annotated" in problem.message
    assert 19 <= check.margin <= 21
    prepared = prepare(folder)
    for example in [*prepared.parts.train, *prepared.parts.validation]:
        assert (example.labels[: check.margin] != 0).all()
        assert (example.labels[:, -check.margin :] != 0).all()
        assert IGNORE not in example.labels[check.margin : -check.margin, check.margin : -check.margin]
    assert check_layout(find_layout(folder), unlabelled="background").margin == 0


def test_markers_say_it_themselves(tmp_path: Path) -> None:
    folder = film(tmp_path, [9, 9, 8, 9, 3])
    spots = np.zeros((96, 96), np.uint8)
    spots[10 + 30 * np.arange(3)[:, None], 10 + 30 * np.arange(3)] = np.arange(1, 10).reshape(3, 3)
    for frame in range(5):
        write_labels(folder / "markers" / f"01_t{frame:03}.png", spots)
    layout = find_layout(folder)
    assert layout.kind == "images/ + masks/ + markers/"
    assert check_layout(layout).partial == set()
    prepared = prepare(folder)
    examples = {e.name: e.labels for e in [*prepared.parts.train, *prepared.parts.validation]}
    assert IGNORE not in examples["01_t000"]
    last = examples["01_t004"]
    assert (last[60:80, 60:80] == IGNORE).all()  # an object that is marked and not painted
    assert (last[0:20, 0:80] != IGNORE).mean() > 0.9  # between those that are
