"""Surface distances: against brute force, and what must hold of any two surfaces."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from useg.errors import DataError
from useg.labels import IGNORE
from useg.metrics.surface import surface_distances, surface_scores

SHAPES = npst.array_shapes(min_dims=2, max_dims=3, max_side=6)
EDGES = st.floats(0.1, 5)


@st.composite
def cases(draw: st.DrawFn, unknown: bool = True) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    shape = draw(SHAPES)
    values = [0, 1, 2, IGNORE] if unknown else [0, 1, 2]
    truth = draw(npst.arrays(np.uint8, shape, elements=st.sampled_from(values)))
    labels = draw(npst.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    return truth, labels, tuple(draw(EDGES) for _ in shape)


def surface_of(truth: np.ndarray, labels: np.ndarray, k: int) -> list[tuple[int, ...]]:
    """By the words of the docstring, one pixel after the other."""
    found = []
    for place in itertools.product(*map(range, labels.shape)):
        if labels[place] != k or truth[place] == IGNORE:
            continue
        for axis, step in itertools.product(range(labels.ndim), (-1, 1)):
            there = tuple(n + step * (i == axis) for i, n in enumerate(place))
            beyond = not 0 <= there[axis] < labels.shape[axis]
            if beyond or (truth[there] != IGNORE and labels[there] != k):
                found.append(place)
                break
    return found


@settings(deadline=None, max_examples=60)
@given(cases())
def test_equals_brute_force(case: tuple[np.ndarray, np.ndarray, tuple[float, ...]]) -> None:
    truth, labels, spacing = case
    found = surface_distances(truth, labels, 3, spacing=spacing)
    assert found[0].true == found[0].predicted == 0
    for k in (1, 2):
        a, b = (np.array(surface_of(truth, side, k)).reshape(-1, truth.ndim) * spacing for side in (truth, labels))
        assert (found[k].true, found[k].predicted) == (len(a), len(b))
        if not len(a) or not len(b):
            assert math.isnan(found[k].hausdorff95) and math.isnan(found[k].average)
            continue
        apart = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
        one, other = apart.min(1), apart.min(0)
        assert found[k].hausdorff95 == pytest.approx(max(np.percentile(one, 95), np.percentile(other, 95)))
        assert found[k].average == pytest.approx((one.sum() + other.sum()) / (len(one) + len(other)))


@settings(deadline=None, max_examples=40)
@given(cases(unknown=False))
def test_is_symmetric_and_0_of_equals(case: tuple[np.ndarray, np.ndarray, tuple[float, ...]]) -> None:
    truth, labels, spacing = case
    one, other = (surface_distances(*sides, 3, spacing=spacing) for sides in ((truth, labels), (labels, truth)))
    for here, there in zip(one, other, strict=True):
        assert (here.true, here.predicted) == (there.predicted, there.true)
        np.testing.assert_allclose(here[:2], there[:2])
    for same in surface_distances(labels, labels, 3, spacing=spacing):
        assert same[:2] == (0, 0) or same.true == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_plate_that_moved(axis: int, steps: int) -> None:
    """A plate of one pixel's thickness lies as far from where it was as it went."""
    spacing = (2.5, 0.7, 1.2)
    plate = np.zeros((20, 21, 22), np.uint8)
    np.moveaxis(plate, axis, 0)[6] = 1
    found = surface_distances(plate, np.roll(plate, steps, axis), 2, spacing=spacing)[1]
    assert found[:2] == pytest.approx((steps * spacing[axis],) * 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cube_that_moved(axis: int) -> None:
    """Its front and its back go as far as it moved, its sides stay in place; the Hausdorff distance is the step."""
    spacing = (3.0, 1.0, 1.5)
    cube = np.zeros((24, 24, 24), np.uint8)
    cube[8:14, 8:14, 8:14] = 1
    found = surface_distances(cube, np.roll(cube, 3, axis), 2, spacing=spacing)[1]
    assert found.hausdorff95 == pytest.approx(3 * spacing[axis])
    assert 0 < found.average < 3 * spacing[axis]


@settings(deadline=None, max_examples=30)
@given(cases(), st.data())
def test_within_is_the_same_as_not_annotated(
    case: tuple[np.ndarray, np.ndarray, tuple[float, ...]], data: st.DataObject
) -> None:
    truth, labels, spacing = case
    within = data.draw(npst.arrays(np.bool_, truth.shape))
    one = surface_distances(truth, labels, 3, spacing=spacing, within=within)
    other = surface_distances(np.where(within, truth, IGNORE).astype(np.uint8), labels, 3, spacing=spacing)
    np.testing.assert_array_equal(one, other)


def test_what_cannot_be_measured_stands_apart() -> None:
    full, empty = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    full[1:3, 1:3, 1:3] = 1
    sides = [(full, full), (full, empty), (empty, full), (empty, empty)]
    found = surface_scores([surface_distances(*each, 2) for each in sides], "voxels")
    assert (found.images[1], found.missed[1], found.false_alarms[1]) == (1, 1, 1)
    assert found.hausdorff95[1] == found.average[1] == 0 and math.isnan(found.average[0])
    document = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert document["hausdorff95"] == [None, 0] and document["unit"] == "voxels"


def test_bad_input() -> None:
    flat = np.zeros((2, 3), int)
    with pytest.raises(DataError, match="the prediction has shape"):
        surface_distances(flat, flat.T, 2)
    with pytest.raises(DataError, match="the region has shape"):
        surface_distances(flat, flat, 2, within=np.ones((3, 2), bool))
    with pytest.raises(DataError, match="give 2 numbers"):
        surface_distances(flat, flat, 2, spacing=(1.0, 1.0, 1.0))
    with pytest.raises(DataError, match="no image"):
        surface_scores([], "mm")
