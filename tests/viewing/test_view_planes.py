"""Planes across slices are those of the array, and no plane takes more reading than it may."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from useg.errors import ImageError, MissingError
from useg.images import Header, Windows, windows_of
from useg.pictures.planes import LONGEST
from useg.viewing import planes
from useg.viewing.display import BYTES
from useg.viewing.planes import FEWEST, MOST, read_plane, render_layer_plane, render_plane
from useg.viewing.pool import Pyramids
from useg.viewing.pyramid import Pyramid

AXES = {"y": (1, 2), "x": (2, 1)}
"""Of `Z Y X`, the one that is cut, and the one along the plane."""


class Counted:
    """An array as windows in chunks, and how many bytes of it were decoded."""

    def __init__(self, array: np.ndarray, chunk: tuple[int, ...]) -> None:
        self.array, self.chunk, self.decoded = array, chunk, 0
        header = Header(array.shape[0], array.shape[1:], array.dtype, "CZYX")
        self.windows = Windows(Path("some.zarr"), header, chunk, (header,), self.fetch)

    def fetch(self, window: tuple[slice, ...]) -> np.ndarray:
        counts = [-(-part.stop // n) - part.start // n for part, n in zip(window, self.chunk, strict=True)]
        sample = self.array.shape[0] * self.array.dtype.itemsize
        self.decoded += int(np.prod(counts)) * int(np.prod(self.chunk)) * sample
        return self.array[(slice(None), *window)]


def seen(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@given(data=st.data())
def test_a_plane_is_that_of_the_array_or_of_every_nth_slice_where_reading_is_bounded(data: st.DataObject) -> None:
    size = data.draw(st.tuples(st.sampled_from([1, 7, 70, 130, 250]), st.integers(1, 40), st.integers(1, 40)))
    array = np.random.default_rng(0).integers(0, 2**16, (data.draw(st.integers(1, 2)), *size), np.uint16)
    thin = data.draw(st.sampled_from([1, 2, 3, 30]))
    chunk = (min(thin, size[0]), *(data.draw(st.integers(1, min(n, 30))) for n in size[1:]))
    axis = data.draw(st.sampled_from(["y", "x"]))
    cut, across = AXES[axis]
    index = data.draw(st.integers(0, size[cut] - 1))
    layers, wide = (-(-size[k] // chunk[k]) for k in (0, across))
    layer = len(array) * 2 * chunk[0] * chunk[cut] * chunk[across] * wide
    most = layer * data.draw(st.sampled_from([0, FEWEST - 1, FEWEST, (FEWEST + layers) // 2, layers])) + 1
    source = Counted(array, chunk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planes, "MOST", most)
        patch.setattr(planes, "_PAGE", 1)
        if min(FEWEST, layers) * layer > most:
            with pytest.raises(ImageError, match=r"some\.zarr: is too large for this plane.* MiB"):
                read_plane(source.windows, axis, index)
            assert source.decoded == 0
            return
        found = read_plane(source.windows, axis, index)
    step = -(-size[0] // found.shape[1])
    assert (found[:, ::-1] == np.take(array, index, axis=1 + cut)[:, ::step]).all()
    assert source.decoded <= most
    if layers * layer <= most:
        assert (step, source.decoded) == (1, layers * layer)
    else:
        assert found.shape[1] > FEWEST / 2


@pytest.mark.parametrize("axis", ["y", "x"])
def test_a_long_plane_has_no_more_pixels_than_are_shown(axis: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, (1, LONGEST + 5, 9, 2 * LONGEST + 1), np.uint8)
    found = read_plane(windows_of(array if axis == "y" else array.swapaxes(2, 3)), axis, 4)
    assert (found[0, ::-1] == array[0, ::2, 4, ::3]).all()
    assert max(found.shape) <= LONGEST


def test_a_mapped_volume_too_large_for_one_plane_has_the_other(tmp_path: Path) -> None:
    """A column lies in all pages of a file, a row in few. Nothing is on the disk here but the last byte."""
    volume = np.memmap(tmp_path / "large", np.uint8, "w+", shape=(1, 100, 3000, 5000))
    windows = windows_of(volume, path=tmp_path / "large")
    assert volume.nbytes > 10 * MOST
    with pytest.raises(ImageError, match="large: is too large"):
        read_plane(windows, "x", 7)
    assert read_plane(windows, "y", 7).shape == (1, 100, 1000)


@settings(max_examples=10)
@given(level=st.integers(0, 2), index=st.integers(0, 2999))
def test_of_several_levels_the_finest_is_taken_that_takes_not_too_much(level: int, index: int) -> None:
    """Of levels 0, 1 and 2 those below `level` would take more than may be read."""
    arrays = [np.full((1, 70, 3000 // 2**k, 3), k + 1, np.uint8) for k in range(3)]
    sources = {k: Counted(array, (1, *array.shape[2:])).windows for k, array in enumerate(arrays)}
    pyramid = Pyramid(sources[0].header, "1", (BYTES,), sources)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planes, "MOST", 64 * arrays[level].shape[2] * 3)
        patch.setattr(planes, "LONGEST", 3000)
        assert set(np.unique(seen(render_plane(pyramid, "y", index)))) == {level + 1}


def test_images_and_layers_are_drawn_as_their_tiles_are(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 2**16, (7, 30, 40), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "ZYX"}, imagej=True)
    pyramids = Pyramids(tmp_path / "cache")
    with pyramids.borrow(tmp_path / "a.tif") as pyramid:
        drawn = seen(render_plane(pyramid, "x", 39, low=0.0, high=65535.0))
        assert np.abs(drawn[::-1] - stack[:, :, 39] / 257).max() <= 0.5
        for axis, index in (("y", 30), ("x", 40), ("y", -1)):
            with pytest.raises(MissingError, match="plane"):
                render_plane(pyramid, axis, index)
        with pytest.raises(MissingError, match="channel"):
            render_plane(pyramid, "y", 0, channel=1)
    pyramids.close()
    values = (stack >> 8).astype(np.uint8)
    layer = Image.open(io.BytesIO(render_layer_plane(values, "y", 3, palette="magma"))).convert("RGBA")
    assert (np.asarray(layer)[::-1, :, 3] == values[:, 3]).all()
    with pytest.raises(MissingError, match="flat"):
        render_layer_plane(values[0], "y", 3, palette="magma")
