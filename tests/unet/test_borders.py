"""Border weights: against one distance transform an object, worked by hand, and the gap between touching objects."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

import useg.unet.borders as room
from useg.errors import DataError
from useg.unet.borders import (
    PLUGIN,
    BorderSettings,
    background_field,
    border_field,
    border_fields,
    border_weights,
    part_objects,
    touching_share,
)

few = settings(max_examples=60)
PAPER = BorderSettings()
SPACINGS = [None, (1.0, 1.0, 1.0), (3.0, 1.0, 1.3), (0.2, 0.5, 0.11)]


@st.composite
def label_images(draw: st.DrawFn, smallest: int = 1) -> np.ndarray:
    """Blobs, specks or mosaics without background, in two or three dimensions, their ids with gaps between them."""
    size = draw(st.lists(st.integers(smallest, 24), min_size=2, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    edge = draw(st.sampled_from([1, 2, 5]))
    coarse = rng.integers(0, draw(st.sampled_from([2, 4, 40])), [-(-n // edge) for n in size])
    coarse[rng.random(coarse.shape) < draw(st.sampled_from([0.0, 0.5, 0.95]))] = 0
    ids = np.kron(coarse, np.ones([edge] * len(size), int))[tuple(map(slice, size))]
    return (ids * draw(st.sampled_from([1, 7, 1 << 40]))).astype(np.int64)


def distances(ids: np.ndarray, spacing: tuple[float, ...] | None) -> np.ndarray:
    """Distance of each pixel to each object, one transform an object, sorted: `objects *size`."""
    steps = [edge / min(spacing) for edge in spacing] if spacing else None
    each = [ndimage.distance_transform_edt(ids != number, sampling=steps) for number in np.unique(ids[ids != 0])]
    return np.sort(each, axis=0)


@settings(max_examples=25)
@given(ids=label_images(), spacing=st.sampled_from(SPACINGS), box=st.sampled_from([200, 900]))
def test_in_boxes_all_is_as_in_one_piece(ids: np.ndarray, spacing: tuple[float, ...] | None, box: int) -> None:
    near = BorderSettings(sigma=1.0)
    whole = border_fields(ids, near, of_dims(spacing, ids)), touching_share(ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "BOX", box)
        assert np.array_equal(border_fields(ids, near, of_dims(spacing, ids)), whole[0])
        assert touching_share(ids) == whole[1]


def of_dims(spacing: tuple[float, ...] | None, ids: np.ndarray) -> tuple[float, ...] | None:
    return spacing and spacing[: ids.ndim]


def neighbours(ids: np.ndarray, reach: int = 1) -> set[tuple[int, int]]:
    """Pairs of different objects within `reach` pixels of each other, pixel by pixel."""
    pairs = set()
    padded = np.pad(ids, reach)
    inner = tuple(slice(reach, -reach) for _ in ids.shape)
    for offset in product(range(-reach, reach + 1), repeat=ids.ndim):
        other = np.roll(padded, offset, range(ids.ndim))[inner]
        found = (ids != 0) & (other != 0) & (ids != other)
        pairs |= set(zip(ids[found].tolist(), other[found].tolist(), strict=True))
    return pairs


@few
@given(ids=label_images(), spacing=st.sampled_from(SPACINGS), chosen=st.sampled_from([PAPER, PLUGIN]))
def test_field_is_that_of_one_distance_transform_an_object(
    ids: np.ndarray, spacing: tuple[float, ...] | None, chosen: BorderSettings
) -> None:
    field = border_field(ids, chosen, of_dims(spacing, ids))
    each = distances(ids, of_dims(spacing, ids))
    if len(each) < 2:
        assert not field.any()
        return
    expected = chosen.weight * np.exp(-((each[0] + each[1]) ** 2) / (2 * chosen.sigma**2))
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-4)


@few
@given(ids=label_images(), spacing=st.sampled_from(SPACINGS))
def test_background_factor_is_the_formula(ids: np.ndarray, spacing: tuple[float, ...] | None) -> None:
    field = background_field(ids, PLUGIN, of_dims(spacing, ids))
    assert (background_field(ids, PAPER) == 1).all()
    if ids.any():
        nearest = distances(ids, of_dims(spacing, ids))[0]
        np.testing.assert_allclose(field, 0.1 + 0.9 * np.exp(-(nearest**2) / 200), rtol=0, atol=1e-5)
        assert (field[ids != 0] == 1).all()
    else:
        np.testing.assert_allclose(field, 0.1)


@few
@given(ids=label_images(), chosen=st.sampled_from([PAPER, PLUGIN]))
def test_only_the_background_carries_the_border_term(ids: np.ndarray, chosen: BorderSettings) -> None:
    weights = border_weights(ids, chosen, (0.5, 2.0))
    assert weights.dtype == np.float32
    assert (weights[ids != 0] == 2).all()
    both = 0.5 * background_field(ids, chosen) + border_field(ids, chosen)
    np.testing.assert_allclose(weights[ids == 0], both[ids == 0], rtol=1e-6)


@pytest.mark.parametrize("spacing", [None, (2.0, 1.0), (1.0, 2.0)])
def test_two_objects_by_hand(spacing: tuple[float, float] | None) -> None:
    """A gap of 5 pixels along axis 0: from its middle, 3 pixels to each side, d_1 + d_2 = 6 of them."""
    ids = np.zeros((15, 8), np.uint8)
    ids[:5], ids[10:] = 1, 2
    pixel = spacing[0] if spacing else 1.0
    weights = border_weights(ids, PAPER, spacing=spacing)
    long = 6 * pixel
    np.testing.assert_allclose(weights[5:10], 1 + 10 * math.exp(-(long**2) / 50), rtol=1e-5)
    assert (weights[ids != 0] == 1).all()
    # Inside an object, d_1 = 0 and d_2 is the distance to the other: 6 pixels at the edge, 7 one further in.
    field = border_field(ids, PAPER, spacing)
    np.testing.assert_allclose(field[4], 10 * math.exp(-(long**2) / 50), rtol=1e-5)
    np.testing.assert_allclose(field[3], 10 * math.exp(-((7 * pixel) ** 2) / 50), rtol=1e-5)


def test_the_plug_in_by_hand() -> None:
    """Beside two objects in a row, 10 pixels from one and 16 from the other."""
    ids = np.zeros((1, 60), np.int32)
    ids[0, 20:23], ids[0, 26:29] = 5, 9
    weights = border_weights(ids, PLUGIN)
    factor = 0.1 + 0.9 * math.exp(-(10**2) / 200)
    assert weights[0, 10] == pytest.approx(factor + 50 * math.exp(-(26**2) / 72), abs=1e-4)
    assert weights[0, 24] == pytest.approx(0.1 + 0.9 * math.exp(-4 / 200) + 50 * math.exp(-16 / 72), rel=1e-5)
    assert weights[0, 59] == pytest.approx(0.1 + 0.9 * math.exp(-(31**2) / 200), abs=1e-4)


@pytest.mark.parametrize("size", [(9, 7), (4, 5, 6), (0, 3)])
def test_with_fewer_than_two_objects_nothing_is_added(size: tuple[int, ...]) -> None:
    ids = np.zeros(size, np.int32)
    for _ in range(2):
        assert not border_field(ids, PAPER).any()
        assert (border_weights(ids, PAPER) == 1).all()
        ids[2:, 1:3] = 3


def test_weight_0_turns_the_term_off() -> None:
    ids = np.arange(12).reshape(3, 4)
    for weight in (0.0, 1e-6):
        assert not border_field(ids, BorderSettings(weight=weight)).any()


@few
@given(ids=label_images(), seed=st.integers(0, 99))
def test_what_the_ids_are_does_not_matter(ids: np.ndarray, seed: int) -> None:
    found = np.unique(ids[ids != 0])
    rng = np.random.default_rng(seed)
    chosen = np.iinfo(np.uint64).max - rng.permutation(len(found)).astype(np.uint64)
    others = np.zeros(ids.shape, np.uint64)
    for old, new in zip(found, chosen, strict=True):
        others[ids == old] = new
    np.testing.assert_array_equal(border_field(ids, PAPER), border_field(others, PAPER))
    assert touching_share(ids) == touching_share(others)
    assert not neighbours(part_objects(others).view(np.int64))


@few
@given(ids=label_images(smallest=2))
def test_the_order_of_the_axes_does_not_matter(ids: np.ndarray) -> None:
    """But for what is negligible. A view that is not contiguous is one of the two."""
    steps = (2.0, 1.0, 3.0)[: ids.ndim]
    turned = border_field(ids.T, PAPER, steps[::-1]).T
    np.testing.assert_allclose(border_field(ids, PAPER, steps), turned, rtol=0, atol=2e-5)


def test_more_rows_than_one_block() -> None:
    """Blocks are worked on one by one; their seams must not show."""
    rng = np.random.default_rng(0)
    ids = np.zeros((700, 300), np.int32)
    ids[rng.integers(0, 700, 12), rng.integers(0, 300, 12)] = range(1, 13)
    each = distances(ids, None)
    expected = 10 * np.exp(-((each[0] + each[1]) ** 2) / 50)
    np.testing.assert_allclose(border_field(ids, PAPER), expected, rtol=0, atol=1e-4)


@few
@given(ids=label_images())
def test_no_two_objects_touch_after_parting(ids: np.ndarray) -> None:
    before = ids.copy()
    parted = part_objects(ids)
    np.testing.assert_array_equal(ids, before)
    assert parted.dtype == ids.dtype
    assert not neighbours(parted)
    assert touching_share(parted, gap=0)[0] == 0
    components, count = ndimage.label(parted != 0, np.ones([3] * ids.ndim))
    for number in range(1, count + 1):
        assert len(np.unique(parted[components == number])) == 1
    # Only pixels that touched another object were cut, and those of one of the two at most.
    cut = parted != ids
    assert not parted[cut].any()
    for place in np.argwhere(cut):
        around = before[tuple(slice(max(0, i - 1), i + 2) for i in place)]
        own = before[tuple(place)]
        rivals = set(around[(around != 0) & (around != own)].tolist())
        assert rivals
        area = (before == own).sum()
        assert any(((before == rival).sum(), rival) < (area, own) for rival in rivals)
    np.testing.assert_array_equal(part_objects(ids), parted)
    np.testing.assert_array_equal(part_objects(parted), parted)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_gap_is_one_pixel_wide_and_the_larger_object_gives_it(axis: int) -> None:
    ids = np.full((12, 12, 12)[: max(2, axis + 1)], 4)
    np.moveaxis(ids, axis, 0)[7:] = 3
    np.moveaxis(ids, axis, 0)[11:] = 0
    parted = np.moveaxis(part_objects(ids), axis, 0)
    assert (parted[:6] == 4).all()
    assert (parted[6] == 0).all()
    assert (parted[7:11] == 3).all()


def test_small_objects_survive_among_large_ones() -> None:
    ids = np.ones((9, 9), int)
    ids[4, 4] = 2
    ids[0, 0] = 3
    parted = part_objects(ids)
    assert parted[4, 4] == 2
    assert parted[0, 0] == 3
    assert (parted[3:6, 3:6] != 0).sum() == 1
    # Of two single pixels, the lower id stays.
    np.testing.assert_array_equal(part_objects(np.array([[9, 5]])), [[0, 5]])


@few
@given(ids=label_images(), widen=st.integers(1, 3))
def test_a_wider_gap_is_the_gap_grown(ids: np.ndarray, widen: int) -> None:
    cut = (part_objects(ids) == 0) & (ids != 0)
    grown = ndimage.binary_dilation(cut, np.ones([2 * widen + 1] * ids.ndim)) if cut.any() else cut
    np.testing.assert_array_equal(part_objects(ids, widen), np.where(grown, 0, ids))


def test_objects_apart_stay_as_they_are() -> None:
    ids = np.array([[1, 1, 0, 2], [1, 1, 0, 2], [0, 0, 0, 0], [3, 3, 3, 0]], np.uint16)
    np.testing.assert_array_equal(part_objects(ids), ids)
    assert part_objects(np.zeros((0, 4), np.int32)).shape == (0, 4)


@few
@given(ids=label_images(), gap=st.integers(0, 2))
def test_touching_share_is_a_count_of_pairs(ids: np.ndarray, gap: int) -> None:
    touching = {number for pair in neighbours(ids, gap + 1) for number in pair}
    assert touching_share(ids, gap) == (len(touching), len(np.unique(ids[ids != 0])))


def test_touching_share_by_hand() -> None:
    """1 and 2 with a line between them, 2 and 3 corner to corner, 4 two pixels away from 3."""
    ids = np.array([[1, 0, 2, 0, 0, 0, 0], [1, 0, 2, 0, 0, 0, 0], [0, 0, 0, 3, 0, 0, 4]])
    assert touching_share(ids) == (3, 4)
    assert touching_share(ids, gap=0) == (2, 4)
    assert touching_share(ids, gap=2) == (4, 4)
    assert touching_share(np.zeros((3, 3), np.uint8)) == (0, 0)


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, math.nan), (1.0, math.inf), (1.0, 1.0, 1.0)])
def test_pixel_sizes_that_cannot_be(spacing: tuple[float, ...]) -> None:
    for call in (border_field, background_field):
        with pytest.raises(DataError, match="one positive number an axis"):
            call(np.zeros((3, 3), np.uint8), PAPER, spacing)


@pytest.mark.parametrize("wrong", [{"weight": -1}, {"sigma": 0}, {"background": 1.5}, {"w0": 3}, {"weight": math.inf}])
def test_settings_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        BorderSettings(**wrong)
