"""NumPy files: every shape that is an image, and nothing that would run."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from useg.errors import ImageError
from useg.images import read, read_header, read_mask, write_labels

in_tmp = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("shape", "size", "axes"),
    [
        ((5, 6), (1, 5, 6), "CYX"),
        ((3, 5, 6), (3, 5, 6), "CYX"),
        ((5, 6, 3), (3, 5, 6), "CYX"),
        ((7, 5, 6), (1, 7, 5, 6), "CZYX"),
        ((2, 7, 5, 6), (2, 7, 5, 6), "CZYX"),
        ((7, 5, 6, 2), (2, 7, 5, 6), "CZYX"),
    ],
)
@pytest.mark.parametrize("dtype", ["?", "u1", ">u2", "<i4", "f2", ">f8"])
def test_shapes_and_number_types(
    tmp_path: Path, shape: tuple[int, ...], size: tuple[int, ...], axes: str, dtype: str
) -> None:
    file = tmp_path / "a.npy"
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    np.save(file, array if dtype != "u1" else np.asfortranarray(array))
    image, header = read(file), read_header(file)
    assert (image.array.shape, image.axes) == (size, axes)
    assert image.dtype.isnative and image.dtype == (np.uint8 if dtype == "?" else np.dtype(dtype).newbyteorder("="))
    assert (header.channels, header.size, header.dtype, header.axes) == (size[0], size[1:], image.dtype, axes)
    expected = np.moveaxis(array, -1, 0) if size[0] > 1 and shape[-1] == size[0] else array.reshape(size)
    np.testing.assert_array_equal(image.array, expected)


@in_tmp
@given(st.data())
def test_labels_come_back(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=6).filter(lambda s: s[-1] > 4))
    labels = data.draw(arrays(np.int64, shape, elements=st.integers(0, 2**32 - 1)))
    write_labels(tmp_path / "a.npy", labels)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.npy"), labels)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was run",)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    array = np.empty((2, 2), object)
    array[:] = [[_Bomb(), 1], [2, 3]]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ImageError, match=r"a\.npy: holds Python objects"):
        read(tmp_path / "a.npy")
    with pytest.raises(ImageError, match=r"b\.npy: is no image"):
        read(tmp_path / "b.npy")


def test_a_size_that_the_file_cannot_hold(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, np.zeros((5, 6), np.uint8))
    file.write_bytes(file.read_bytes().replace(b"(5, 6)", b"(50000, 60000)", 1))
    with pytest.raises(ImageError):
        read(file)
    np.save(file, np.zeros((500, 600), np.uint8))
    file.write_bytes(file.read_bytes()[:-1])
    for reader in (read, read_header):
        with pytest.raises(ImageError, match=r"300000 bytes of pixels, the file has 299999; it is incomplete"):
            reader(file)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(5), r"has the shape \(5,\)"),
        (np.zeros((9, 9, 9, 9)), "has the shape"),
        (np.zeros((2, 2), complex), "complex128 numbers"),
        (np.array([["a", "b"]]), "<U1 numbers"),
        (np.zeros((0, 5)), "no image"),
    ],
)
def test_arrays_that_are_no_image(tmp_path: Path, array: np.ndarray, said: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImageError, match=said):
        read(tmp_path / "a.npy")
