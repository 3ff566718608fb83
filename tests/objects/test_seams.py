"""Objects found in chunks are those found in memory: the same pixels, the same numbers."""

import pickle
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from useg.errors import SizeError
from useg.objects import grow
from useg.objects.chunks import Grid, Window
from useg.objects.seams import separate_chunked
from useg.objects.separate import separate
from useg.objects.settings import SeparateSettings

Edges = tuple[tuple[int, ...], ...]
STORES: dict[str, "Kept"] = {}


class Kept:
    """A store as on disk: it hands out what nobody can change, takes copies, and is found again by its name."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self.array, self.most = name, array, 0
        STORES[name] = self

    def __reduce__(self) -> tuple[Callable[[str], "Kept"], tuple[str]]:
        return stored, (self.name,)

    def read(self, window: Window) -> np.ndarray:
        part = self.array[window].copy()
        part.flags.writeable = False
        self.most = max(self.most, part.size)
        return part

    def write(self, window: Window, array: np.ndarray) -> None:
        assert array.dtype == self.array.dtype
        assert array.shape == self.array[window].shape
        self.array[window] = array


def stored(name: str) -> Kept:
    return STORES[name]


def chunked(
    confidence: np.ndarray, grid: Grid, wanted: SeparateSettings, map_chunks: Callable[..., Iterable[Any]] = map
) -> np.ndarray:
    def scratch(name: str) -> Kept:
        return Kept(name, np.full(confidence.shape, 7, np.int32))

    result = scratch("result")
    source = Kept("confidence", confidence)
    count = separate_chunked(source, result, grid, wanted, scratch=scratch, map_chunks=map_chunks)
    assert count == result.array.max(initial=0)
    return result.array


def drawn(size: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    """Confidences: speckle, hills, plateaus, a network through all of the image, shells around others, one object."""

    def draw(seed: int, kind: str, blur: float, steps: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        noise = ndimage.gaussian_filter(rng.normal(size=size), blur)
        height = noise.ravel().argsort().argsort().reshape(size) / (noise.size - 1)
        if kind == "network":
            height = 1 - abs(2 * height - 1)
        if kind == "shells":
            away = np.sqrt(
                sum((g - n * rng.uniform(0.3, 0.7)) ** 2 for g, n in zip(np.indices(size), size, strict=True))
            )
            height = np.clip(0.5 + 0.5 * np.cos(away * rng.uniform(0.8, 2)) + 0.2 * (height - 0.5), 0, 1)
        if kind == "one":
            height = 0.7 + 0.3 * height
        return (np.round(height * steps) * (255 // steps)).astype(np.uint8)

    return st.builds(
        draw,
        st.integers(0, 2**32 - 1),
        st.sampled_from(["hills", "network", "shells", "one"]),
        st.sampled_from([0.0, 0.7, 1.5, 3.0]),
        st.sampled_from([3, 7, 255]),
    )


@st.composite
def cut(draw: st.DrawFn, size: tuple[int, ...]) -> Edges:
    """Edges of chunks: random cuts along each axis, or one a pixel along one of them."""
    thin = draw(st.sampled_from([None, *range(len(size))]))
    most = 2 if thin is None else 1
    edges = [
        range(n + 1) if axis == thin else (0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=most))), n)
        for axis, n in enumerate(size)
    ]
    return tuple(map(tuple, edges))


def some_settings() -> st.SearchStrategy[SeparateSettings]:
    def build(one: float, other: float, smallest: int) -> SeparateSettings:
        return SeparateSettings(threshold=min(one, other), seed_threshold=max(one, other), smallest=smallest)

    share = st.floats(0.05, 0.95)
    return st.builds(build, share, share, st.sampled_from([1, 2, 15, 40]))


PLANE, SPACE = (12, 15), (5, 6, 7)
REACHES = [(1, 1), (1, 3), (2, 2)]


@settings(max_examples=50)
@given(drawn(PLANE), cut(PLANE), some_settings(), st.sampled_from(REACHES))
def test_the_same_as_in_memory(
    confidence: np.ndarray, edges: Edges, wanted: SeparateSettings, reach: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, 2, reach)
        np.testing.assert_array_equal(chunked(confidence, Grid(edges), wanted), separate(confidence, wanted))


@settings(max_examples=50)
@given(drawn(SPACE), cut(SPACE), some_settings(), st.sampled_from(REACHES))
def test_the_same_in_space(
    confidence: np.ndarray, edges: Edges, wanted: SeparateSettings, reach: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, 3, reach)
        np.testing.assert_array_equal(chunked(confidence, Grid(edges), wanted), separate(confidence, wanted))


def shorten(patch: pytest.MonkeyPatch, dims: int, reach: tuple[int, int]) -> None:
    """Another reach, so that small images have pixels beyond it."""
    patch.setattr(grow, "STEPS", reach[0])
    patch.setitem(grow.LEVELS, dims, reach[1])
    patch.setitem(grow.REACH, dims, reach[0] * reach[1])


@settings(max_examples=25)
@given(drawn(PLANE), cut(PLANE), some_settings(), st.randoms(use_true_random=False))
def test_any_worker_any_order_and_twice(
    confidence: np.ndarray, edges: Edges, wanted: SeparateSettings, random: Any
) -> None:
    """What is done with a chunk can be sent elsewhere, and done again while its pass goes on."""

    def elsewhere(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        sent = [pickle.dumps((function, item)) for item in items]
        results: list[Any] = [None] * len(sent)
        for k in random.sample(list(range(len(sent))) * 2, 2 * len(sent)):
            there, item = pickle.loads(sent[k])
            result = pickle.dumps(there(item))
            assert results[k] in (None, result)
            results[k] = result
        return [pickle.loads(result) for result in results]

    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, 2, (1, 3))
        found = chunked(confidence, Grid(edges), wanted, elsewhere)
        np.testing.assert_array_equal(found, separate(confidence, wanted))


def test_only_a_chunk_and_its_halo_are_read() -> None:
    hills = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(250, 300)), 6)
    confidence = np.round(255 * (hills - hills.min()) / np.ptp(hills)).astype(np.uint8)
    wanted = SeparateSettings(threshold=0.3, seed_threshold=0.6, smallest=20)
    found = chunked(confidence, Grid.regular(confidence.shape, (40, 50)), wanted)
    np.testing.assert_array_equal(found, separate(confidence, wanted))
    assert found.max() > 20
    halo = 2 * grow.REACH[2]
    assert 40 * 50 < max(store.most for store in STORES.values()) <= (40 + halo) * (50 + halo)


@pytest.mark.parametrize(("between", "reach"), [(229, grow.REACH[2]), (128, grow.STEPS)])
def test_how_far_a_seed_reaches(between: int, reach: int) -> None:
    """A bar with a seed at each end: the middle, which neither reaches, goes as one piece to the first of them."""
    confidence = np.zeros((3, 4 * grow.REACH[2]), np.uint8)
    confidence[1] = between  # above all levels, or above the last one only
    confidence[1, :2] = confidence[1, -2:] = 250
    wanted = SeparateSettings(threshold=0.5, seed_threshold=0.9)
    labels = separate(confidence, wanted)
    assert (labels[1, : -2 - reach] == 1).all()
    assert (labels[1, -2 - reach :] == 2).all()
    end = confidence.shape[1]
    just_seen = Grid(((0, 1, 3), (0, 2 + reach - 1, end - 2 - reach + 1, end)))  # the halo ends at the seeds
    for grid in (just_seen, Grid.regular(confidence.shape, (1, 50))):
        np.testing.assert_array_equal(chunked(confidence, grid, wanted), labels)


@pytest.mark.parametrize("size", [(0, 5), (3, 0, 4), (1, 1)])
@pytest.mark.parametrize("value", [0, 255])
def test_hardly_any_pixels(size: tuple[int, ...], value: int) -> None:
    confidence = np.full(size, value, np.uint8)
    found = chunked(confidence, Grid.regular(size, (2,) * len(size)), SeparateSettings())
    assert (found == value // 255).all()


def test_an_image_has_two_or_three_axes() -> None:
    with pytest.raises(SizeError, match="4 axes"):
        chunked(np.zeros((2, 2, 2, 2), np.uint8), Grid.regular((2,) * 4, (1,) * 4), SeparateSettings())
