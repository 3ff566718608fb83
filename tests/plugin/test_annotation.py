"""Painted labels in a project: training sees what was painted, and nothing where nobody annotated."""

from pathlib import Path

import numpy as np
import pytest

from useg.data.prepare import read_annotated
from useg.errors import DataError, OutputError, SettingsError
from useg.images import Windows, read, read_mask
from useg.labels import IGNORE
from useg.plugin.annotation import DENSE, OBJECTS, SPARSE, keep_annotation
from useg.plugin.layers import windows_of_layer

SIZE = (64, 80)


def image_of(*shape: int, name: str = "cells", seed: int = 0, colour: bool = False) -> Windows:
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return windows_of_layer(array, name=name, colour=colour)


def painted(*values: int, size: tuple[int, ...] = SIZE) -> np.ndarray:
    """A column of each value, and 0 beside them."""
    labels = np.zeros(size, np.int64)
    for k, value in enumerate(values):
        labels[..., 4:-4, 10 * k : 10 * k + 10] = value
    return labels


def test_what_is_not_painted_is_not_annotated(tmp_path: Path) -> None:
    labels = painted(1, 2)
    project = keep_annotation(tmp_path / "p", image_of(*SIZE), labels, SPARSE, colours={2: (9, 8, 7)})
    assert np.array_equal(read_mask(project.masks.mask("cells")), labels)
    found = read_annotated(project.folder)
    assert np.array_equal(found.examples[0].labels, np.where(labels == 0, IGNORE, labels - 1))
    assert found.legend.names == ["class 1", "class 2"] and found.legend.palette[1] == (9, 8, 7)


def test_outside_of_the_shapes_nothing_is_annotated(tmp_path: Path) -> None:
    labels, inside = painted(3), np.zeros(SIZE, bool)
    inside[:40] = True
    project = keep_annotation(tmp_path / "p", image_of(*SIZE), labels, DENSE, inside=inside)
    (example,) = read_annotated(project.folder).examples
    assert np.array_equal(example.labels, np.where(inside, labels // 3, IGNORE))


def test_objects_keep_their_numbers(tmp_path: Path) -> None:
    labels, inside = painted(1, 2, 70000), np.ones(SIZE, bool)
    inside[:, 60:] = False
    project = keep_annotation(tmp_path / "p", image_of(*SIZE), labels, OBJECTS, inside=inside)
    (example,) = read_annotated(project.folder).examples
    assert np.array_equal(example.labels, np.where(inside, labels > 0, IGNORE))
    assert example.objects is not None and len(np.unique(example.objects[inside])) == 4
    assert np.array_equal(project.labels("cells", "mask").array[inside], labels[inside])


@pytest.mark.parametrize("colour", [False, True])
def test_of_a_stack_the_painted_slices_are_annotated(tmp_path: Path, colour: bool) -> None:
    labels = painted(1, size=(4, *SIZE))
    labels[[0, 3]] = 0
    image = image_of(4, *SIZE, *([3] if colour else []), colour=colour)
    project = keep_annotation(tmp_path / "p", image, labels, DENSE)
    stored = read(project.stock.path("cells"))
    assert np.array_equal(stored.array, image.read([slice(0, n) for n in image.header.size]))
    examples = read_annotated(project.folder).examples
    assert [each.name for each in examples] == ["cells_001", "cells_002"]
    assert all(np.array_equal(each.labels, labels[1]) for each in examples)


def test_painting_on_and_a_second_image_go_into_the_same_project(tmp_path: Path) -> None:
    for number, (name, values) in enumerate([("a", (1, 3)), ("a", (1, 3, 5)), ("b", (2, 3))]):
        image = image_of(*SIZE, name=name, seed=ord(name))
        project = keep_annotation(tmp_path / "p", image, painted(*values), SPARSE)
        assert len(project.kept()) == 1 + (number == 2)
    found = read_annotated(project.folder)
    assert found.legend.values == [1, 2, 3, 5]
    assert [set(np.unique(each.labels)) for each in found.examples] == [{0, 2, 3, IGNORE}, {1, 2, IGNORE}]


def test_another_image_of_the_same_name_is_refused(tmp_path: Path) -> None:
    keep_annotation(tmp_path / "p", image_of(*SIZE), painted(1, 2), SPARSE)
    with pytest.raises(OutputError, match="cells: there is another image of this name"):
        keep_annotation(tmp_path / "p", image_of(*SIZE, seed=1), painted(1, 2), SPARSE)


def test_a_project_keeps_its_meaning(tmp_path: Path) -> None:
    keep_annotation(tmp_path / "p", image_of(*SIZE), painted(1, 2), SPARSE)
    for meaning in (DENSE, OBJECTS):
        with pytest.raises(SettingsError, match=f"was annotated as '{SPARSE}'"):
            keep_annotation(tmp_path / "p", image_of(*SIZE), painted(1, 2), meaning)
    (example,) = read_annotated(tmp_path / "p").examples
    assert set(np.unique(example.labels)) == {0, 1, IGNORE}


@pytest.mark.parametrize(
    ("values", "meaning", "told"),
    [
        ((), SPARSE, "nothing is painted"),
        ((2,), SPARSE, "nothing to tell it from"),
        ((1, 300), SPARSE, "2 numbers up to 300"),
        ((), OBJECTS, "nothing is painted"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_before_anything_is_written(
    tmp_path: Path, values: tuple[int, ...], meaning: str, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        keep_annotation(tmp_path / "p", image_of(*SIZE), painted(*values), meaning)
    assert not (tmp_path / "p").exists()
