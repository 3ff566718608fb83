"""Volumes taken to one voxel size: what is where stays there, and what has the size already is not touched."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.data.dataset import Example
from useg.data.known import checksums
from useg.data.spacing import common_spacing, largest_ratio, scaled_size, to_common_spacing
from useg.inputs import describe_input

edges = st.floats(0.4, 3)


def ball(spacing: tuple[float, ...], extent: float = 24.0, dtype: str = "int16") -> Example:
    """A ball of radius 7 in the middle of a cube, in voxels of any size."""
    size = [max(1, round(extent / edge)) for edge in spacing]
    places = [(np.arange(n) + 0.5) * extent / n - extent / 2 for n in size]
    far = np.sqrt(sum(p**2 for p in np.meshgrid(*places, indexing="ij")))
    labels = (far < 7).astype(np.uint8)
    image = (np.clip(10 - far, -5, 5) * 100)[None].astype(dtype)
    return Example("x".join(map(str, spacing)), image, labels, spacing, unit="mm", objects=labels.astype(np.int32))


@settings(max_examples=20)
@given(st.lists(st.tuples(edges, edges, edges), min_size=1, max_size=3))
def test_scaled_volumes_show_the_same_thing(spacings: list[tuple[float, float, float]]) -> None:
    volumes = [ball(spacing) for spacing in spacings]
    target = common_spacing(volumes)
    assert target is not None
    found, told = to_common_spacing(volumes)
    for old, new in zip(volumes, found, strict=True):
        assert old.spacing is not None
        if largest_ratio(old.spacing, target) <= 1.1:
            assert new is old
            continue
        assert "median voxel" in told and new.original is old and new.spacing == target
        assert new.labels.shape == scaled_size(old.labels.shape, old.spacing, target)
        assert (new.image.dtype, new.labels.dtype) == (old.image.dtype, old.labels.dtype)
        assert new.objects is not None and (new.objects == new.labels).all()
        # As much of space, by the voxels that are there; the coarser of both knows the ball's size least.
        share = abs(float(new.labels.mean()) - float(old.labels.mean()))
        assert share < 0.03 * max(*old.spacing, *target)
        assert old.image.min() <= new.image.min() and new.image.max() <= old.image.max()
    assert checksums(found) == checksums(volumes)  # known again by the pixels of their files
    if told:
        assert describe_input(found).spacing == pytest.approx(target)


@pytest.mark.parametrize("changes", [{"spacing": None}, {"unit": None}, {"unit": "µm"}, {"spacing": (40.0, 1.0, 1.0)}])
def test_what_has_no_common_size_is_not_scaled(changes: dict[str, None]) -> None:
    volumes = [ball((1.0, 1.0, 1.0)), ball((2.0, 1.0, 1.0)), replace(ball((1.0, 1.0, 1.0)), **changes)]
    if changes == {"unit": None}:
        volumes = [replace(e, unit=None) for e in volumes]
    assert all(new is old for new, old in zip(to_common_spacing(volumes)[0], volumes, strict=True))


def test_images_stay_as_they_are() -> None:
    flat = [replace(e, image=e.image[:, 0], labels=e.labels[0], objects=None) for e in map(ball, [(1.0,) * 3] * 2)]
    found, told = to_common_spacing([flat[0], replace(flat[1], spacing=(3.0,) * 3)])
    assert found[0] is flat[0] and not told


def test_the_median_is_planned() -> None:
    volumes = [ball((edge, 1.0, 1.0)) for edge in (1.0, 4.0, 2.0)]
    found, told = to_common_spacing(volumes)
    assert [e.labels.shape for e in found] == [(12, 24, 24)] * 3
    assert told.startswith("voxels: 2 of 3 volumes to train on are scaled to the median voxel, 2 x 1 x 1 mm")
