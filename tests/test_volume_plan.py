"""The axes of volumes: each takes part where its edge is like the shortest one, and the network that comes of it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import make_card
from useg.data.dataset import Example
from useg.data.legend import Legend
from useg.data.spacing import common_spacing
from useg.plan import make_plan
from useg.recipes import CROP
from useg.settings import Settings
from useg.unet.settings import UNetSettings
from useg.volume_plan import ALIKE, COARSEST, DEEPEST, THICK, cube, plan_axes

TWO = Legend(values=[0, 1], names=["background", "organ"])
edges_of = st.tuples(*[st.floats(0.2, 12)] * 3)
sizes = st.tuples(*[st.integers(1, 200)] * 3)


def volumes(size: tuple[int, ...], spacing: tuple[float, ...] | None = None, unit: str | None = "mm") -> list[Example]:
    labels = np.zeros(size, np.uint8)
    labels[:, size[1] // 4 : size[1] // 2] = 1
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 50, (1, *size)).astype(np.uint8) + labels * np.uint8(40) for _ in range(3)]
    return [Example(str(i), image, labels, spacing, unit=unit) for i, image in enumerate(images)]


@given(edges_of, sizes)
def test_an_axis_takes_part_where_its_edge_is_like_the_shortest(
    edges: tuple[float, ...], voxels: tuple[int, ...]
) -> None:
    found = plan_axes(edges, voxels)
    network = UNetSettings(dims=3, padding="same", depth=found.depth, flat=found.flat, pools=found.pools)
    assert 1 <= found.depth <= DEEPEST
    edge, left = np.array(edges), np.array(voxels)
    left[left == left.max()] = max(left.max(), 2 * COARSEST)
    for level in range(found.depth):
        factors = np.array([axis.factor(level) for axis in network.axes])
        enough = left >= 2 * COARSEST
        alike = edge < ALIKE * edge[enough].min()
        assert (factors == np.where(alike & enough, 2, 1)).all()
        assert ([axis.kernel(level) == 3 for axis in network.axes] == alike).all()
        edge, left = edge * factors, left // factors
    # Either as deep as may be, or no axis has voxels left for one pooling more.
    assert found.depth == DEEPEST or (left < 2 * COARSEST).all()


@given(st.floats(0.01, 100), sizes)
def test_equal_edges_are_a_network_that_treats_axes_alike(edge: float, voxels: tuple[int, ...]) -> None:
    found = plan_axes([edge] * 3, voxels)
    assert found.flat == ()
    assert found.pools == () or min(voxels) < COARSEST * 2**found.depth


@given(edges_of, st.floats(0.1, 10))
def test_the_unit_does_not_matter(edges: tuple[float, ...], factor: float) -> None:
    # Rounding may move an edge across the limit; whole binary factors cannot.
    factor = float(2.0 ** round(factor))
    assert plan_axes(edges, (64, 64, 64)) == plan_axes([factor * e for e in edges], (64, 64, 64))


@given(edges_of, sizes)
def test_a_crop_is_a_cube_in_space_as_far_as_the_volume_goes(edges: tuple[float, ...], size: tuple[int, ...]) -> None:
    crop = cube(edges, size, 64**3)
    side = max(n * e for n, e in zip(crop, edges, strict=True))
    for n, whole, edge in zip(crop, size, edges, strict=True):
        assert 1 <= n <= whole
        assert n == whole or n * edge >= side - max(edges)
    assert np.prod(crop) <= 1.6 * 64**3  # rounding of short axes


@settings(max_examples=12)
@given(
    st.tuples(st.integers(4, 24), st.integers(16, 90), st.integers(16, 90)),
    st.sampled_from([(1.0, 1.0, 1.0), (2.5, 1.0, 1.0), (5.0, 0.7, 0.7), (0.3, 0.3, 0.9)]),
)
def test_the_plan_follows_the_voxels(size: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    plan = make_plan(volumes(size, spacing), TWO, Settings())
    network, crop, augment = plan.settings.network, plan.settings.samples.crop, plan.settings.augment
    if spacing[0] > THICK * min(spacing) or size[0] < 2 * COARSEST:
        assert (network.neighbours, crop[0], augment.within_slices, augment.tilt) == (1, 3, True, 0)
    else:
        expected = plan_axes(spacing, cube(spacing, size, CROP[3] ** 3))
        assert (network.depth, network.flat, network.pools) == (expected.depth, expected.flat, expected.pools)
        # Nothing tilts thick slices into one another.
        assert (augment.tilt > 0) == (max(spacing) < ALIKE * min(spacing))
        assert network.neighbours is None and not augment.within_slices
    assert all(axis.fits(n) for axis, n in zip(network.axes, crop, strict=True))
    assert augment.spacing == spacing
    assert Settings.model_validate(plan.settings.model_dump()) == plan.settings
    [why] = [reason for reason in plan.reasons if reason.startswith("axes:")]
    assert " x ".join(f"{edge:.3g}" for edge in spacing) + " mm" in why


@pytest.mark.parametrize(
    ("spacing", "asked", "expected"),
    [
        ((1.0, 1.0, 1.0), {"network.neighbours": 2}, 2),
        ((9.0, 1.0, 1.0), {"network.neighbours": 0}, 0),
        ((9.0, 1.0, 1.0), {"network.flat": [2, 0, 0]}, None),
    ],
)
def test_the_users_word_on_slices_holds(
    spacing: tuple[float, ...], asked: dict[str, int | list[int]], expected: int | None
) -> None:
    plan = make_plan(volumes((12, 40, 40), spacing), TWO, Settings(), asked).settings
    assert plan.network.neighbours == expected
    assert plan.augment.within_slices == (expected is not None)


def test_a_model_of_slices_is_gone_on_with_in_slices() -> None:
    start = make_card(UNetSettings(dims=3, depth=1, width=2, padding="same", neighbours=2))
    plan = make_plan(volumes((12, 40, 40)), TWO, Settings(), None, None, start).settings
    assert (plan.network.neighbours, plan.samples.crop[0], plan.augment.within_slices) == (2, 5, True)


@pytest.mark.parametrize("unknown", [{"spacing": None}, {"unit": "µm"}])
def test_volumes_that_do_not_all_know_their_voxels_are_taken_as_equal(unknown: dict[str, str | None]) -> None:
    train = volumes((12, 40, 40), (2.5, 1.0, 1.0))
    assert common_spacing(train) == (2.5, 1.0, 1.0)
    train[1] = replace(train[1], **unknown)
    assert common_spacing(train) is None
    plan = make_plan(train, TWO, Settings())
    assert plan.settings.network.flat == () and plan.settings.augment.spacing == ()
    assert any("edges are taken as equal" in reason for reason in plan.reasons)


def test_the_median_of_the_voxels_decides() -> None:
    train = [e for edge in (1.0, 4.0, 5.0) for e in volumes((12, 40, 40), (edge, 1.0, 1.0))[:1]]
    assert common_spacing(train) == (4.0, 1.0, 1.0)
