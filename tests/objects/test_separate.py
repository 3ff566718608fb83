"""Objects out of probabilities: equal to a plain pixel-by-pixel flood, and whole, connected, in order."""

from collections import Counter
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from useg.errors import DataError, SizeError
from useg.objects import chunks, grow
from useg.objects.separate import confidence, find_settings, separate
from useg.objects.settings import SeparateSettings


def fields(size: tuple[int, ...] = (24, 31)) -> st.SearchStrategy[np.ndarray]:
    """Probabilities from speckle to hills, as many pixels of each as of any other."""

    def draw(seed: int, blur: float) -> np.ndarray:
        noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), blur)
        ranks = noise.ravel().argsort().argsort().reshape(size)
        return (ranks / (noise.size - 1)).astype(np.float32)

    return st.builds(draw, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 2.0, 3.0]))


def thresholds() -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)).map(lambda pair: (min(pair), max(pair)))


def around(pixel: tuple[int, ...], size: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Its neighbours across edges, in the order that decides between equals."""
    for axis, step in product(range(len(size)), (-1, 1)):
        if 0 <= pixel[axis] + step < size[axis]:
            yield (*pixel[:axis], pixel[axis] + step, *pixel[axis + 1 :])


def in_order(labels: np.ndarray) -> np.ndarray:
    """Numbers 1, 2, .. in the order of the first pixels."""
    ids, first = np.unique(labels, return_index=True)
    result = np.zeros(labels.shape, np.int32)
    for number, k in enumerate((k for _, k in sorted(zip(first, ids, strict=True)) if k), 1):
        result[labels == k] = number
    return result


def flood(sure: np.ndarray, region: np.ndarray, labels: np.ndarray, low: int, high: int) -> None:
    """Grow the seeds in a region, pixel by pixel, then give away what is left."""
    free = {tuple(pixel) for pixel in np.argwhere(region & (labels == 0)).tolist()}
    levels = grow.LEVELS[sure.ndim]
    for level in range(1, levels + 1):
        cut = high - (high - low) * level // levels
        for _ in range(grow.STEPS):
            taken = {}
            for pixel in free:
                beside = [near for near in around(pixel, sure.shape) if labels[near]]
                if beside and sure[pixel] > cut:
                    taken[pixel] = labels[max(beside, key=lambda near: sure[near])]  # of equals max takes the first
            for pixel, number in taken.items():
                labels[pixel] = number
            free -= set(taken)
    left, count = ndimage.label(region & (labels == 0))
    grown = labels.copy()
    for piece in range(1, count + 1):
        pixels = [tuple(pixel) for pixel in np.argwhere(left == piece).tolist()]
        edges = Counter(int(grown[near]) for pixel in pixels for near in around(pixel, sure.shape) if grown[near])
        labels[left == piece] = min(edges, key=lambda number: (-edges[number], number))


def plain(probability: np.ndarray, settings: SeparateSettings) -> np.ndarray:
    """The same objects by the book: one region after the other, then one object after the other."""
    sure = np.rint(255 * probability).astype(int)
    seeds, count = ndimage.label(sure > 255 * settings.seed_threshold)
    for seed in range(1, count + 1):
        if 10 * np.count_nonzero(seeds == seed) < settings.smallest:
            seeds[seeds == seed] = 0
    labels = in_order(seeds)
    regions, count = ndimage.label(sure > 255 * settings.threshold)
    for k in range(1, count + 1):
        region = regions == k
        inside = set(labels[region].tolist()) - {0}
        if len(inside) == 1:
            labels[region] = inside.pop()
        elif inside:
            flood(sure, region, labels, int(255 * settings.threshold), int(255 * settings.seed_threshold))
    ids, sizes = np.unique(labels[labels > 0], return_counts=True)
    for small in ids[sizes < settings.smallest]:
        labels[labels == small] = 0
    result = in_order(labels)
    # Background that the object alone cuts off from the edge; around others too it is not the object's.
    corners = np.ones((3,) * labels.ndim)
    holes, count = ndimage.label(result == 0, corners)
    filled = result.copy()
    for hole in range(1, count + 1):
        pixels = holes == hole
        beside = set(np.unique(result[ndimage.binary_dilation(pixels) & ~pixels]))
        inner = np.pad(np.ones([n - 2 for n in labels.shape], bool), 1)
        if len(beside) == 1 and not (pixels & ~inner).any():
            filled[pixels] = beside.pop()
    return filled


@given(fields(), thresholds(), st.sampled_from([1, 5, 30]), st.sampled_from([(1, 1), (1, 3), (4, 16)]))
def test_equal_to_the_plain_flood(
    probability: np.ndarray, pair: tuple[float, float], smallest: int, reach: tuple[int, int]
) -> None:
    """Whatever the reach, and the part of an image that is looked up at once."""
    settings = SeparateSettings(threshold=pair[0], seed_threshold=pair[1], smallest=smallest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "_AT_ONCE", 17)
        patch.setattr(grow, "STEPS", reach[0])
        patch.setitem(grow.LEVELS, 2, reach[1])
        labels = separate(probability, settings)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, plain(probability, settings))


@given(fields((7, 9, 8)), thresholds(), st.sampled_from([1, 8]), st.sampled_from([1, 8]))
def test_volumes_too(probability: np.ndarray, pair: tuple[float, float], smallest: int, levels: int) -> None:
    settings = SeparateSettings(threshold=pair[0], seed_threshold=pair[1], smallest=smallest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grow, "STEPS", 1)
        patch.setitem(grow.LEVELS, 3, levels)
        np.testing.assert_array_equal(separate(probability, settings), plain(probability, settings))


@given(fields(), thresholds())
def test_a_byte_a_pixel_is_enough(probability: np.ndarray, pair: tuple[float, float]) -> None:
    sure = confidence(probability)
    assert sure.dtype == np.uint8
    assert np.abs(sure / 255 - probability).max() <= 0.5 / 255 + 1e-6
    settings = SeparateSettings(threshold=pair[0], seed_threshold=pair[1])
    np.testing.assert_array_equal(separate(sure, settings), separate(probability, settings))


@given(fields(), thresholds(), st.sampled_from([1, 5, 30]))
def test_objects_are_whole(probability: np.ndarray, pair: tuple[float, float], smallest: int) -> None:
    labels = separate(probability, SeparateSettings(threshold=pair[0], seed_threshold=pair[1], smallest=smallest))
    ids, first, sizes = np.unique(labels[labels > 0], return_index=True, return_counts=True)
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))
    assert (np.diff(first) > 0).all()
    assert (sizes >= smallest).all()
    sure = confidence(probability)
    filled = ndimage.binary_fill_holes(sure > 255 * pair[0])
    assert (filled[labels > 0]).all()
    for number in ids:
        assert ndimage.label(labels == number)[1] == 1
        assert sure[labels == number].max() > 255 * pair[1]


@given(fields(), st.floats(0.05, 0.95), st.sampled_from([(0,), (1,), (0, 1)]))
def test_a_flipped_image_has_flipped_objects(probability: np.ndarray, threshold: float, axes: tuple[int]) -> None:
    settings = SeparateSettings(threshold=threshold, seed_threshold=threshold, smallest=3)
    there = separate(probability, settings)
    back = np.flip(separate(np.ascontiguousarray(np.flip(probability, axes)), settings), axes)
    pairs = set(zip(there.ravel().tolist(), back.ravel().tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert all((a == 0) == (b == 0) for a, b in pairs)


def discs(size: tuple[int, int], centres: list[tuple[float, float]], radius: float) -> np.ndarray:
    """Soft discs; where two meet the probability dips between their middles."""
    y, x = np.ogrid[: size[0], : size[1]]
    away = np.min([np.hypot(y - a, x - b) for a, b in centres], axis=0)
    return np.clip(0.5 + (radius - away) / 10, 0, 1).astype(np.float32)


def test_two_touching_discs_are_parted() -> None:
    probability = discs((40, 60), [(20, 20), (20, 38)], 10)
    together = separate(probability, SeparateSettings(threshold=0.5, seed_threshold=0.5))
    apart = separate(probability, SeparateSettings(threshold=0.5, seed_threshold=0.8))
    assert together.max() == 1
    assert apart.max() == 2
    np.testing.assert_array_equal(apart > 0, together > 0)
    assert apart[20, 20] != apart[20, 38]
    sizes = np.bincount(apart.ravel())[1:]
    assert abs(int(sizes[0]) - int(sizes[1])) <= 20  # the column between the two


def test_small_ones_and_faint_ones_are_dropped() -> None:
    probability = np.zeros((20, 20), np.float32)
    probability[2:4, 2:4] = 0.9  # 4 pixels
    probability[8:14, 8:14] = 0.9
    probability[16:19, 2:12] = 0.6  # no seed
    settings = SeparateSettings(threshold=0.5, seed_threshold=0.8, smallest=5)
    labels = separate(probability, settings)
    assert labels.max() == 1
    assert (labels > 0).sum() == 36


def test_a_speck_of_noise_is_no_seed() -> None:
    probability = np.full((10, 10), 0.6, np.float32)
    probability[5, 5] = 0.9
    settings = SeparateSettings(threshold=0.5, seed_threshold=0.8, smallest=10)
    assert separate(probability, settings).max() == 1
    assert separate(probability, settings.model_copy(update={"smallest": 11})).max() == 0


def test_holes() -> None:
    probability = np.zeros((12, 30), np.float32)
    probability[1:9, 1:9] = 1
    probability[3:5, 3:5] = 0  # a hole
    probability[0:9, 11:20] = 1
    probability[0:5, 14:16] = 0  # open at the edge of the image
    probability[1:9, 21:29] = 1
    probability[3:7, 23:27] = 0
    probability[4:6, 24:26] = 1  # an object of its own in the hole of another
    labels = separate(probability)
    assert labels.max() == 4
    assert (labels[1:9, 1:9] == labels[1, 1]).all()
    assert (labels[0:5, 14:16] == 0).all()
    assert (labels[3, 23:27] == 0).all()


@pytest.mark.parametrize("size", [(8, 9), (0, 5), (3, 4, 5), (1, 1)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_even_images(size: tuple[int, ...], value: float) -> None:
    labels = separate(np.full(size, value, np.float32), SeparateSettings(threshold=0.5, seed_threshold=0.9))
    assert labels.shape == size
    assert (labels == value).all()


def test_what_is_no_probability_is_told() -> None:
    for wrong in (np.nan, -3.0, 7.0):
        with pytest.raises(DataError, match="before the softmax"):
            separate(np.array([[0.5, wrong]], np.float32))
    with pytest.raises(SizeError, match="Y X"):
        separate(np.zeros((2, 2, 2, 2), np.float32))
    with pytest.raises(ValidationError, match="below threshold"):
        SeparateSettings(threshold=0.6, seed_threshold=0.4)


def share_of_exact_objects(images: list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]) -> float:
    """True objects that were found to the pixel, of all true and found ones."""
    exact = total = 0
    for truth, labels, _ in images:
        found = {np.flatnonzero(labels == k).tobytes() for k in range(1, labels.max() + 1)}
        true = {np.flatnonzero(truth == k).tobytes() for k in range(1, truth.max() + 1)}
        exact, total = exact + len(found & true), total + len(found | true)
    return exact / total


def test_settings_are_found() -> None:
    """Bars of 0.65 with a bridge of 0.55 to a bar beside, noise of 0.45 around all and specks of 0.99 in it."""
    probability, truth = np.full((60, 60), 0.1, np.float32), np.zeros((60, 60), np.int32)
    for k, row in enumerate(range(4, 50, 12)):
        probability[row - 2 : row + 8, 4:50] = 0.35
        probability[row : row + 6, 5:45] = 0.55
        probability[row : row + 6, 5:22] = probability[row : row + 6, 28:45] = 0.65
        truth[row : row + 6, 5:25], truth[row : row + 6, 25:45] = 2 * k + 1, 2 * k + 2
    probability[::13, 55] = 0.99  # specks
    found = find_settings([(probability, truth, None), (probability, truth, truth > 90)], share_of_exact_objects)
    assert found.threshold in (0.4, 0.5)
    assert found.seed_threshold == 0.6
    assert found.smallest == 30


def test_ties_go_to_the_ordinary() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[2:12, 2:12] = 1
    found = find_settings([((truth > 0).astype(np.float32), truth, None)], share_of_exact_objects)
    assert found == SeparateSettings(threshold=0.5, seed_threshold=0.8, smallest=25)


def test_settings_without_any_object_or_score() -> None:
    empty = np.zeros((5, 5), np.uint8)
    found = find_settings([(empty.astype(np.float32), empty, None)], lambda images: float("nan"))
    assert found.threshold == 0.5
    with pytest.raises(DataError, match="no image"):
        find_settings([], lambda images: 1.0)
    with pytest.raises(SizeError, match="image 0"):
        find_settings([(np.zeros((4, 4), np.float32), empty, None)], lambda images: 1.0)
