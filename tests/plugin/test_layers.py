"""Arrays of layers as images: whatever their kind and their axes, the pixels are those that are seen."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from models import SMALL, make_card
from useg.errors import DataError, ImageError
from useg.images.image import COLOUR
from useg.plugin.layers import (
    inside_of,
    labels_of_layer,
    painted_colours,
    painted_values,
    plane_of,
    rectangle,
    windows_of_layer,
)
from useg.unet.model import ClassInfo
from useg.unet.settings import UNetSettings


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("wrap", [np.asarray, lambda a: da.from_array(a, chunks=4), zarr.array, lambda a: [a, a[::2]]])
@pytest.mark.parametrize("front", [(), (1,), (5,), (1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("channels", [0, 3, 4])
def test_a_layer_is_read_as_it_is_seen(wrap, front: tuple[int, ...], channels: int) -> None:
    array = noise(*front, 7, 9, *([channels] if channels else []))
    found = windows_of_layer(wrap(array), name="cells", colour=channels > 0)
    plain = array.reshape(*(n for n in front if n != 1), 7, 9, max(1, channels))[..., :3]
    expected = np.moveaxis(plain, -1, 0)
    assert (found.header.channels, *found.header.size) == expected.shape
    assert np.array_equal(found.read(found.whole), expected)
    part = tuple(slice(1, 4) for _ in found.header.size)
    assert np.array_equal(found.read(part), expected[(slice(None), *part)])
    if 5 in front:
        plane = plane_of(found, 2)
        assert plane.path == Path("cells_002") and plane.header.size == (7, 9)
        assert np.array_equal(plane.read(plane.whole), expected[:, 2])


def test_only_what_is_looked_at_is_computed() -> None:
    array = da.from_array(noise(6, 400, 400), chunks=(1, 100, 100))
    asked = []
    told = array.map_blocks(lambda block: asked.append(1) or block, dtype=array.dtype, meta=noise(1, 1, 1))
    found = windows_of_layer(told, name="large")
    assert found.chunk == (1, 100, 100)
    found.read((slice(0, 1), slice(0, 100), slice(50, 150)))
    assert len(asked) == 2


@pytest.mark.parametrize(("dtype", "stored"), [("bool", "uint8"), ("float16", "float32"), (">u2", "uint16")])
def test_numbers_that_files_hold(dtype: str, stored: str) -> None:
    found = windows_of_layer(noise(8, 8, dtype=dtype), name="x")
    assert found.header.dtype == stored and found.read(found.whole).dtype == stored


def test_what_is_no_image_is_refused() -> None:
    for array in (noise(2, 3, 8, 8), noise(8), noise(8, 8, dtype="complex64"), noise(0, 8)):
        with pytest.raises(ImageError, match=r"^stain: "):
            windows_of_layer(array, name="stain")


def test_the_pixel_size_is_known_only_with_a_unit() -> None:
    known = windows_of_layer(noise(1, 4, 8, 8), name="x", scale=(1.0, 2.0, 0.5, 0.5), unit="µm").header
    assert (known.spacing, known.unit) == ((2.0, 0.5, 0.5), "µm")
    assert windows_of_layer(noise(8, 8), name="x", scale=(0.5, 0.5)).header.spacing is None


def test_labels_of_another_size_are_refused() -> None:
    image = windows_of_layer(noise(1, 8, 9), name="cells")
    assert labels_of_layer(noise(1, 8, 9), name="painted", like=image).shape == (8, 9)
    with pytest.raises(DataError, match=r"^painted: is of 9 x 8 \(height x width\), and the image cells of 8 x 9"):
        labels_of_layer(noise(9, 8), name="painted", like=image)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 30), st.integers(1, 30), st.sampled_from([None, 0, 2]))
def test_a_suggested_rectangle_holds_the_pixels_of_its_window(top: int, high: int, left: int, wide: int, z) -> None:
    size = (40, 60) if z is None else (3, 40, 60)
    window = (slice(top, top + high), slice(left, left + wide))
    expected = np.zeros(size, bool)
    expected[window if z is None else (z, *window)] = True
    assert np.array_equal(inside_of([rectangle(window, z)], size), expected)


def test_classes_have_the_numbers_of_the_masks() -> None:
    def card(*values: int):
        classes = [ClassInfo(name=str(v), colour=(v & 255, 1, 2), value=v) for v in values]
        return make_card(UNetSettings.model_validate({**SMALL, "classes": len(values)}), classes=classes)

    assert painted_values(card(1, 3)) == [1, 3] and painted_colours(card(0, 3)) == {3: (3, 1, 2)}
    assert painted_values(card(0, COLOUR + 0xFF0000)) == [0, 1]
