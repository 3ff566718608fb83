"""Sizes against the real network, dependence against its gradients, tile plans by their invariants."""

import re
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from useg.errors import SizeError
from useg.unet.geometry import Geometry, mirror, plan_tiles
from useg.unet.network import UNet
from useg.unet.settings import UNetSettings, article_settings


@st.composite
def axes_apart(draw: st.DrawFn, depth: int) -> Geometry:
    """An axis of a volume that the finest levels, and maybe the deepest poolings, leave alone."""
    depth = draw(st.integers(1, depth))
    flat = draw(st.integers(0, depth))
    pools = draw(st.none() | st.integers(0, depth - flat))
    padding, up_kernel = draw(st.sampled_from(["valid", "same"])), draw(st.sampled_from([2, 3]))
    return Geometry(depth, padding, up_kernel, draw(st.sampled_from([1, 3])), 1, flat, pools)


@st.composite
def slices(draw: st.DrawFn, depth: int) -> Geometry:
    """The first axis of 2.5-D: a slice and its neighbours."""
    padding, context = draw(st.sampled_from(["valid", "same"])), draw(st.integers(0, 3))
    return Geometry(depth, padding, flat=depth + 1, pools=0, context=context)


def all_forms(depth: int) -> st.SearchStrategy[Geometry]:
    """Every form of the network up to a depth; one that works on patches has a head of its own."""
    padding, up_kernel = st.sampled_from(["valid", "same"]), st.sampled_from([2, 3])
    head_kernel, patch = st.sampled_from([1, 3]), st.sampled_from([2, 4])
    return st.one_of(
        st.builds(Geometry, st.integers(0, depth), padding, up_kernel, head_kernel),
        st.builds(Geometry, st.integers(0, min(2, depth)), padding, up_kernel, st.just(1), patch),
        axes_apart(min(2, depth)),
        slices(min(2, depth)),
    )


geometries = all_forms(4)
few = settings(max_examples=60, deadline=None)


def walk(geometry: Geometry, size: int) -> int | None:
    """Output size by walking through the layers one after another; None where one of them cannot be applied."""
    depth, flat = geometry.depth, geometry.flat
    halved = range(flat, depth if geometry.pools is None else flat + geometry.pools)
    losses = [4 if geometry.padding == "valid" and level >= flat else 0 for level in range(depth + 1)]
    factors = [2 if level in halved else 1 for level in range(depth)]
    size -= 2 * geometry.context
    if size % geometry.patch:
        return None
    size //= geometry.patch
    for loss, factor in zip(losses, factors, strict=False):
        size -= loss
        if size <= 0 or size % factor:
            return None
        size //= factor
    size -= losses[depth]
    for loss, factor in reversed(list(zip(losses, factors, strict=False))):
        size = factor * size - loss
    return geometry.patch * size if size > 0 else None


def small_network(geometry: Geometry, dims: int = 2) -> UNet:
    """A network with this first axis; one that is unlike the others makes it one of volumes."""
    apart: dict[str, object] = {}
    if geometry.flat > geometry.depth:
        dims, apart = 3, {"neighbours": geometry.context}
    elif geometry.flat or geometry.pools is not None:
        dims, levels = 3, geometry.depth
        halved = levels - geometry.flat if geometry.pools is None else geometry.pools
        apart = {"flat": (geometry.flat, 0, 0), "pools": (halved, levels, levels)}
    settings = UNetSettings(
        dims=dims,
        depth=geometry.depth,
        width=1,
        padding=geometry.padding,
        up_kernel=geometry.up_kernel,
        head="1x1" if geometry.head_kernel == 1 else "3x3",
        patch=geometry.patch,
        **apart,
    )
    return UNet.from_settings(settings)


def others(network: UNet) -> list[int]:
    """The smallest sizes of all axes but the first."""
    return [axis.smallest for axis in network.axes[1:]]


def middle_of(scores: torch.Tensor, pixel: int) -> torch.Tensor:
    """The score of a pixel along the first axis, in the middle of the others."""
    return scores[(0, 0, pixel, *(n // 2 for n in scores.shape[3:]))]


def test_the_sizes_of_the_paper() -> None:
    paper = UNetSettings().geometry
    assert paper.output_size(572) == 388
    assert (paper.shrink, paper.margin, paper.stride, paper.smallest) == (184, 92, 16, 188)
    assert (paper.lead, paper.trail) == (0, 0)


def test_the_sizes_of_the_article() -> None:
    article = article_settings().geometry
    assert article.output_size(284) == 196
    # Its padded layers make a border up, so some of the 196 pixels are not those of a larger image.
    assert article.lead > 0
    assert article.trail > 0


def valid_sizes(geometry: Geometry) -> Iterator[int]:
    """Every input size that fits, from the smallest up."""
    size = geometry.smallest
    while True:
        yield size
        size += geometry.stride


@few
@given(geometry=geometries, size=st.integers(1, 700))
def test_what_fits_is_what_the_layers_take(geometry: Geometry, size: int) -> None:
    expected = walk(geometry, size)
    assert geometry.fits(size) == (expected is not None)
    if expected is not None:
        assert geometry.output_size(size) == expected


@settings(max_examples=30, deadline=None)
@given(geometry=all_forms(3), dims=st.sampled_from([2, 3]), rank=st.integers(0, 6))
def test_output_size_is_that_of_the_real_network(geometry: Geometry, dims: int, rank: int) -> None:
    with torch.device("meta"):
        network = small_network(geometry, dims).eval()
    sizes = [next(islice(valid_sizes(geometry), rank, None)), *others(network)]
    scores = network(torch.empty(1, 1, *sizes, device="meta"))
    assert list(scores.shape[2:]) == [axis.output_size(n) for axis, n in zip(network.axes, sizes, strict=True)]


@few
@given(geometry=geometries, size=st.integers(1, 700))
def test_a_size_that_does_not_fit_is_told_its_neighbours(geometry: Geometry, size: int) -> None:
    if geometry.fits(size):
        assert geometry.fit_up(size) == size
        return
    with pytest.raises(SizeError, match="the nearest sizes that do") as caught:
        geometry.output_size(size)
    assert f"{size} pixels" in str(caught.value)
    named = [int(n) for n in re.findall(r"\d+", str(caught.value).rpartition(":")[2])]
    # Exactly the next fitting size on either side, found by looking at every size in between.
    below = next((s for s in range(size, 0, -1) if walk(geometry, s) is not None), None)
    above = next(s for s in range(size, size + 2000) if walk(geometry, s) is not None)
    assert named == [s for s in (below, above) if s is not None]


@few
@given(geometry=geometries)
def test_valid_sizes_are_all_that_fit(geometry: Geometry) -> None:
    sizes = list(islice(valid_sizes(geometry), 4))
    assert sizes == [s for s in range(1, sizes[-1] + 1) if walk(geometry, s) is not None]


def transparent(geometry: Geometry) -> UNet:
    """The network with positive weights and averages for maxima: a gradient is zero only where nothing connects."""
    network = small_network(geometry).double().eval()
    average = nn.AvgPool2d if network.settings.dims == 2 else nn.AvgPool3d
    network.pools = nn.ModuleList(average(pool.kernel_size) for pool in network.pools)
    with torch.no_grad():
        for weight in network.parameters():
            weight.uniform_(0.2, 1.0)
    return network


@settings(max_examples=20, deadline=None)
@given(geometry=all_forms(3), strides=st.integers(0, 5))
def test_needs_is_exactly_what_the_gradient_reaches(geometry: Geometry, strides: int) -> None:
    size = geometry.smallest + strides * geometry.stride
    network = transparent(geometry)
    image = torch.rand(1, 1, size, *others(network), dtype=torch.float64, requires_grad=True)
    scores = network(image)
    out = scores.shape[2]
    for pixel in {0, 1, out // 2, out // 2 + 1, out - 1} & set(range(out)):
        (gradient,) = torch.autograd.grad(middle_of(scores, pixel), image, retain_graph=True)
        reached = gradient[0, 0].abs().flatten(1).sum(1).nonzero().flatten().tolist()
        first, last = geometry.needs(pixel, pixel + 1)
        assert (max(first, 0), min(last, size)) == (reached[0], reached[-1] + 1)
        assert reached == list(range(reached[0], reached[-1] + 1))


@settings(max_examples=16, deadline=None)
@given(geometry=all_forms(2))
def test_some_pixel_reaches_the_whole_receptive_field(geometry: Geometry) -> None:
    size = geometry.fit_up(geometry.shrink + 2 * geometry.receptive_field + geometry.stride)
    network = transparent(geometry)
    image = torch.rand(1, 1, size, *others(network), dtype=torch.float64, requires_grad=True)
    scores = network(image)
    start = (scores.shape[2] - geometry.stride) // 2
    spans = []
    for pixel in range(start, start + geometry.stride):
        (gradient,) = torch.autograd.grad(middle_of(scores, pixel), image, retain_graph=True)
        reached = gradient[0, 0].abs().flatten(1).sum(1).nonzero().flatten()
        spans.append(int(reached[-1] - reached[0]) + 1)
    assert max(spans) == geometry.receptive_field


@settings(max_examples=20, deadline=None)
@given(geometry=all_forms(2), seed=st.integers(0, 99))
def test_pixels_outside_needs_change_nothing(geometry: Geometry, seed: int) -> None:
    """With the real network, maxima and all: noise everywhere but in `needs` leaves the pixel as it was."""
    torch.manual_seed(seed)
    network = small_network(geometry).double().eval()
    size = geometry.fit_up(geometry.shrink + geometry.receptive_field)
    image = torch.randn(1, 1, size, *others(network), dtype=torch.float64)
    out = geometry.output_size(size)
    pixel = seed % out
    first, last = geometry.needs(pixel, pixel + 1)
    other = torch.randn_like(image)
    other[:, :, max(first, 0) : last] = image[:, :, max(first, 0) : last]
    with torch.no_grad():
        difference = network(image)[:, :, pixel] - network(other)[:, :, pixel]
    assert difference.abs().max() < 1e-12


@few
@given(geometry=geometries, size=st.integers(1, 300), core=st.integers(1, 300))
def test_tiles_cover_an_axis_once_and_keep_clean_pixels_only(geometry: Geometry, size: int, core: int) -> None:
    spans = geometry.tiles(size, core)
    covered = [pixel for span in spans for pixel in range(span.start, span.stop)]
    assert covered == list(range(size))
    around = geometry.context
    end = geometry.fit_up(size + 2 * around) - around
    for span in spans:
        output = geometry.output_size(span.length)
        assert 0 <= span.keep.start < span.keep.stop <= output
        # Output pixel `skip` of the tile lies over the first pixel of the core.
        assert span.first + geometry.margin + span.skip == span.start
        # Tiles stand on one grid, and what the core needs lies within the tile or beyond the image for good.
        assert (span.first - spans[0].first) % geometry.stride == 0
        first, last = geometry.needs(span.keep.start, span.keep.stop)
        if geometry.padding == "valid":
            assert first >= 0
            assert last <= span.length
        else:
            assert first >= 0 or span.first == -around
            assert last <= span.length or span.last == end
            assert -around <= span.first < span.last <= end


@few
@given(geometry=geometries, size=st.integers(1, 600), largest=st.integers(1, 600))
def test_tiles_stay_within_the_limit(geometry: Geometry, size: int, largest: int) -> None:
    spans = geometry.tiles_within(size, largest)
    assert max(span.length for span in spans) <= max(largest, geometry.smallest_tile)
    for count in (1, 2):  # as few as fit, with one halo less at each border
        core = -(-size // (count * geometry.stride)) * geometry.stride
        fewer = geometry.tiles(size, core)
        if max(span.length for span in fewer) <= largest:
            assert len(spans) <= len(fewer)


def test_the_smallest_tile_can_be_larger_than_its_core_and_its_halo() -> None:
    """Both of its ends stand on the grid: with depth 2 a core of 4 needs 44 + 3 pixels, and the tile reads 52."""
    geometry = Geometry(2, "same")
    assert geometry.smallest_tile == 52
    assert {span.length for span in geometry.tiles(400, 4)[20:-20]} == {52}
    assert Geometry(4, "valid").smallest_tile == 16 + 184 + 4  # the next size that fits: 204


@few
@given(
    axes=st.lists(geometries, min_size=3, max_size=3),
    size=st.lists(st.integers(1, 30), min_size=2, max_size=3),
    largest=st.integers(1, 200),
)
def test_the_cores_of_a_plan_cover_every_pixel_once(axes: list[Geometry], size: list[int], largest: int) -> None:
    count = np.zeros(size, int)
    for tile in plan_tiles(axes[: len(size)], size, [largest] * len(size)):
        count[tile.core] += 1
        assert all(k.stop - k.start == c.stop - c.start for k, c in zip(tile.keep, tile.core, strict=True))
        assert all(axis.fits(n) for axis, n in zip(axes, tile.shape, strict=False))
    assert (count == 1).all()


@few
@given(size=st.integers(1, 12), before=st.integers(0, 60), after=st.integers(0, 60))
def test_mirror_is_reflection_as_numpy_pads(size: int, before: int, after: int) -> None:
    image = np.arange(size)
    expected = np.pad(image, (before, after), mode="reflect")
    np.testing.assert_array_equal(mirror(np.arange(-before, size + after), size), expected)
