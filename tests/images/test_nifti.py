"""NIfTI: axes, scaling, affine and units, as nibabel writes and reads them."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.affines import voxel_sizes

import useg.images.windows as room
from useg.errors import ImageError
from useg.images import read, read_header, read_mask, write_labels
from useg.images.files import open_once
from useg.images.image import InBody

in_tmp = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
OBLIQUE = np.array([[-2.0, 0.1, 0.0, 90], [0.1, 1.9, -0.7, -126], [0, 0.7, 2.1, -72], [0, 0, 0, 1]])


def save(file: Path, array: np.ndarray, kind: Any = nibabel.Nifti1Image) -> None:
    image = kind(array, OBLIQUE)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, file)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "u2", "i4", "f4", "f8"])
def test_number_types(tmp_path: Path, suffix: str, kind: Any, dtype: str) -> None:
    file = tmp_path / f"a{suffix}"
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    save(file, array, kind=kind)
    image, header = read(file), read_header(file)
    np.testing.assert_array_equal(image.array, array.T[None])
    assert image.dtype == np.dtype(dtype).newbyteorder("=") and image.dtype.isnative
    assert (header.channels, header.size, header.dtype, header.axes) == (1, (5, 4, 3), image.dtype, "CZYX")
    assert (header.spacing, header.unit, header.place) == (image.spacing, image.unit, image.place)
    assert image.spacing == pytest.approx(voxel_sizes(OBLIQUE)[::-1], rel=1e-5) and image.unit == "mm"
    assert isinstance(image.place, InBody) and image.place.frame == "aligned"
    np.testing.assert_array_equal(np.array(image.place.affine), OBLIQUE.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "size", "axes"),
    [
        ((4, 5), (1, 5, 4), "CYX"),
        ((4, 5, 1), (1, 5, 4), "CYX"),
        ((4, 5, 1, 1, 1), (1, 5, 4), "CYX"),
        ((4, 5, 6, 2), (2, 6, 5, 4), "CZYX"),
        ((4, 5, 1, 2), (2, 5, 4), "CYX"),
    ],
)
def test_axes(tmp_path: Path, shape: tuple[int, ...], size: tuple[int, ...], axes: str) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(np.int16)
    save(tmp_path / "a.nii.gz", array)
    image = read(tmp_path / "a.nii.gz")
    assert (image.axes, image.array.shape) == (axes, size)
    np.testing.assert_array_equal(image.array, array.T.reshape(size))
    assert image.spacing is not None and len(image.spacing) == len(image.size)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 9), (4, 5, 9, 1), (4, 5, 9, 2)])
@pytest.mark.parametrize("slope", [None, 0.3])
def test_read_once_in_parts_it_is_what_is_read_whole(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], slope: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"a{suffix}"
    image = nibabel.Nifti1Image(np.arange(np.prod(shape)).reshape(shape).astype(np.int16), OBLIQUE)
    image.header.set_slope_inter(slope, None if slope is None else -2)
    nibabel.save(image, file)
    monkeypatch.setattr(room, "_BAND_BYTES", 100)
    whole = read(file)
    with open_once(file) as windows:
        found = np.zeros(whole.array.shape, windows.header.dtype)
        bands = list(windows.bands())
        for window in bands:
            found[(slice(None), *window)] = windows.read(window)
    assert found.dtype == whole.dtype and np.array_equal(found, whole.array)
    assert len(bands) > 1 or len(shape) == 2


def test_colours_are_channels(tmp_path: Path) -> None:
    array = np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3)
    packed = np.ascontiguousarray(array).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    save(tmp_path / "a.nii", packed)
    np.testing.assert_array_equal(read(tmp_path / "a.nii").array, array.T)
    assert read_header(tmp_path / "a.nii").channels == 3


def test_scaling_of_the_header_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "a.nii.gz")
    found, expected = read(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "a.nii.gz").get_fdata()
    assert found.dtype == read_header(tmp_path / "a.nii.gz").dtype == np.float32
    np.testing.assert_allclose(found.array[0], expected.T, rtol=1e-6)


@in_tmp
@given(
    arrays(np.int64, st.sampled_from([(5, 6), (2, 5, 6), (4, 1, 3)]), elements=st.integers(0, 2**32 - 1)),
    st.sampled_from([".nii", ".nii.gz"]),
    st.sampled_from(["scanner", "aligned", "mni", "unknown"]),
    st.sampled_from(["mm", "micron", "unknown"]),
    st.integers(0, 2**32 - 1),
)
def test_labels_come_back_in_their_place(
    tmp_path: Path, labels: np.ndarray, suffix: str, frame: str, unit: str, seed: int
) -> None:
    affine = OBLIQUE + np.random.default_rng(seed).uniform(-0.3, 0.3, (4, 4)) * [[1], [1], [1], [0]]
    source = nibabel.Nifti1Image(np.zeros(labels.T.shape, np.float32), affine)
    source.set_sform(affine, frame)
    source.header.set_xyzt_units(unit)
    nibabel.save(source, tmp_path / "source.nii.gz")
    image = read(tmp_path / "source.nii.gz")
    write_labels(tmp_path / f"a{suffix}", labels, like=image)
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}"), labels)
    back = read(tmp_path / f"a{suffix}")
    assert (back.place, back.spacing, back.unit, back.axes) == (image.place, image.spacing, image.unit, image.axes)
    if frame != "unknown":  # then nibabel trusts the sizes only
        written = nibabel.load(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(written.affine, nibabel.load(tmp_path / "source.nii.gz").affine)


def test_the_same_labels_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_labels(tmp_path / name, np.eye(5, dtype=int))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_size_that_the_file_cannot_hold(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", np.zeros((30, 40, 50), np.int16))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    (tmp_path / "cut.nii").write_bytes(data[:-1])
    data[42:48] = np.array([30000, 30000, 30], "<i2").tobytes()
    (tmp_path / "lie.nii").write_bytes(data)
    (tmp_path / "lie.nii.gz").write_bytes(gzip.compress(bytes(data)))
    for name in ("cut.nii", "lie.nii", "lie.nii.gz"):
        with pytest.raises(ImageError, match=rf"{name}: its header says \d+ bytes of pixels, the file has"):
            read(tmp_path / name)
    with pytest.raises(ImageError, match="max_bytes"):
        read(tmp_path / "a.nii", max_bytes=100)


@pytest.mark.parametrize(
    ("array", "said"),
    [(np.zeros((2, 2, 2, 2, 2), np.int16), "x y z channel"), (np.zeros((3, 4, 5), "c8"), "complex64")],
)
def test_what_is_no_image(tmp_path: Path, array: np.ndarray, said: str) -> None:
    save(tmp_path / "a.nii.gz", array)
    with pytest.raises(ImageError, match=said):
        read(tmp_path / "a.nii.gz")
