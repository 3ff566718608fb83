"""Finding the reader, writing and reading back, and a message for every file that is no image."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image as Pillow

from useg.errors import ImageError, MissingError, OutputError
from useg.images import (
    LABEL_SUFFIXES,
    SUFFIXES,
    Image,
    image_suffix,
    is_image,
    is_image_file,
    label_suffix,
    read,
    read_header,
    read_mask,
    write_image,
    write_labels,
    write_picture,
    write_probabilities,
)

in_tmp = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_names_of_image_files() -> None:
    assert all(is_image_file(f"folder/x{suffix}") and is_image_file(f"X{suffix.upper()}") for suffix in SUFFIXES)
    assert is_image_file("a.ome.tif") and not is_image_file("a.txt") and not is_image_file("._a.png")


def test_first_bytes_count_not_the_suffix(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Pillow.fromarray(array).save(tmp_path / "png.tif", "PNG")
    tifffile.imwrite(tmp_path / "tiff.png", array)
    for name in ("png.tif", "tiff.png"):
        np.testing.assert_array_equal(read(tmp_path / name).array[0], array)
        assert read_header(tmp_path / name).size == (3, 4)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.nii.gz", b"\x1f\x8b123", "damaged"),
        ("a.dcm", b"hello", "damaged"),
        ("a.h5", b"\x89HDF\r\n", "cannot read HDF5"),
        ("a.npz", b"PK", r"save it as \.npy"),
        ("a", b"\0" * 128 + b"DICM", "DICOM without pixels"),
        ("a.png", b"", "0 bytes"),
        ("a.png", b"hello", "starts with b'hello'"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "damaged"),
        ("a.tif", b"II*\0", "damaged"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    for reader in (read, read_header, read_mask):
        with pytest.raises(ImageError, match=said) as caught:
            reader(file)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"gone\.png: there is no such file"):
        read(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_mask(tmp_path)


@in_tmp
@given(
    st.sampled_from(
        [(".png", 255, 2), (".png", 65535, 2), (".tif", 255, 3), (".tiff", 65535, 2), (".tif", 2**32 - 1, 3)]
    ),
    st.data(),
)
def test_labels_come_back(tmp_path: Path, kind: tuple[str, int, int], data: st.DataObject) -> None:
    suffix, high, dims = kind
    shape = data.draw(array_shapes(min_dims=2, max_dims=dims, min_side=2, max_side=6))
    labels = data.draw(arrays(np.int64, shape, elements=st.integers(0, high)))
    write_labels(tmp_path / f"a{suffix}", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}"), labels)
    assert [file.name for file in tmp_path.glob(".*")] == []


def test_label_png_is_not_black_to_the_eye(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, 255]])
    write_labels(tmp_path / "a.png", labels, colours=[(1, 2, 3), (4, 5, 6)])
    with Pillow.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        seen = np.asarray(picture.convert("RGB"))
    assert seen[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert seen[1].max(axis=-1).min() >= 128


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("a.jpg", np.zeros((2, 2), int), "'.jpg'"),
        ("a.png", np.zeros((2, 2, 2), int), r"write \.tif"),
        ("a.png", np.full((2, 2), 65536), r"write \.tif"),
        ("a.tif", np.array([[-1, 0]]), r"-1\.\.0"),
        ("a.tif", np.array([[2**32]]), "2\\^32"),
        ("a.tif", np.zeros((0, 2), int), "shape"),
        ("a.tif", np.zeros((1, 1, 2, 2), int), "Z Y X"),
    ],
)
def test_labels_that_a_file_cannot_hold(tmp_path: Path, name: str, labels: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        write_labels(tmp_path / name, labels)
    assert list(tmp_path.iterdir()) == []


@in_tmp
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=4, min_side=2, max_side=5),
        elements=st.floats(0, 1, width=32),
    )
)
def test_probabilities_come_back(tmp_path: Path, scores: np.ndarray) -> None:
    file = tmp_path / "p.tif"
    spacing = (2.0, 0.5, 0.25)[-(scores.ndim - 1) :]
    write_probabilities(file, scores, like=Image(scores, "", spacing, "µm"))
    image = read(file)
    np.testing.assert_array_equal(image.array, scores)
    assert (image.spacing, image.unit, image.dtype) == (spacing, "µm", np.dtype(np.float32))
    assert image.axes == ("CYX" if scores.ndim == 3 else "CZYX")


def test_files_are_compressed_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    scores = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (2, 200, 1))
    for name in ("a.tif", "b.tif"):
        write_probabilities(tmp_path / name, scores)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert (tmp_path / "a.tif").stat().st_size < scores.nbytes / 5


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    write_picture(file, np.full((2, 2, 3), 9, np.uint8))
    before = file.read_bytes()

    def full(self: Pillow.Image, path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pillow.Image, "save", full)
    with pytest.raises(OutputError, match=r"a\.png: cannot be written \(No space left on device\)"):
        write_labels(file, np.ones((2, 2), int))
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def test_pictures_come_back(tmp_path: Path) -> None:
    rgb = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    write_picture(tmp_path / "a.png", rgb)
    np.testing.assert_array_equal(read(tmp_path / "a.png").array, np.moveaxis(rgb, -1, 0))
    write_picture(tmp_path / "new" / "gray.png", rgb[..., 0])
    np.testing.assert_array_equal(read(tmp_path / "new" / "gray.png").array[0], rgb[..., 0])
    with pytest.raises(ImageError, match="no pixels"):
        write_picture(tmp_path / "a.png", rgb[:0])


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]),
    st.integers(1, 5),
    st.sampled_from([None, (0.5, 0.25)]),
    st.integers(0, 99),
)
def test_images_come_back(dtype: str, channels: int, spacing: tuple[float, float] | None, seed: int) -> None:
    """Each number of each channel, and the pixel size, whichever format holds them."""
    pixels = np.random.default_rng(seed).integers(0, 120, (channels, 7, 9)).astype(dtype)
    like = Image(pixels, "CYX", spacing, "µm" if spacing else None)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"x{image_suffix(channels, pixels.dtype, spacing)}"
        write_image(path, pixels, like=like)
        back = read(path)
    assert (back.dtype, back.axes, back.spacing, back.unit) == (pixels.dtype, "CYX", spacing, like.unit)
    np.testing.assert_array_equal(back.array, pixels)


def test_images_that_a_file_cannot_hold(tmp_path: Path) -> None:
    deep = np.zeros((1, 4, 4), np.uint16)
    for name, said in (("x.png", "not of 1 x uint16"), ("x.jpg", "suffix")):
        with pytest.raises(ImageError, match=said):
            write_image(tmp_path / name, deep, like=Image(deep, "CYX"))
    assert not list(tmp_path.iterdir())


def test_the_room_is_light_to_import() -> None:
    heavy = "{'torch', 'scipy', 'skimage', 'matplotlib'}"
    code = f"import sys, useg.images, useg.pictures; sys.exit(str(sorted({heavy} & sys.modules.keys()) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_the_kind_of_label_image_for_each_kind_of_image(tmp_path: Path) -> None:
    labels = np.eye(4, dtype=int)
    for name, suffix in (
        ("a.png", ".png"), ("a.tiff", ".tiff"), ("a.npy", ".npy"), ("a.nii", ".nii"), ("a.nii.gz", ".nii.gz"),
        ("a.ome.zarr", ".ome.zarr"), ("b.zarr", ".zarr"),
    ):  # fmt: skip
        write_labels(tmp_path / name, labels)
        assert label_suffix(tmp_path / name) == suffix in LABEL_SUFFIXES
    write_picture(tmp_path / "a.jpg", np.zeros((4, 4), np.uint8))
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "a.tiff").rename(tmp_path / "tiff.png")
    expected = {"a.jpg": ".png", "IM0001": ".dcm", "tiff.png": ".tif", "gone.tif": ".png", ".": ".dcm"}
    assert {name: label_suffix(tmp_path / name) for name in expected} == expected
    assert [is_image(tmp_path / name) for name in expected] == [True, True, True, False, True]


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("kind", ["png8", "png16", "webp", "tif", "tif_planar"])
def test_alpha_is_a_channel_only_when_asked(kind: str, channels: int, tmp_path: Path) -> None:
    import imagecodecs

    if kind == "webp" and channels == 2:
        pytest.skip("WebP has no gray with alpha")
    deep = kind in ("png16", "tif")
    array = (
        np.random.default_rng(0).integers(1, 60000 if deep else 256, (9, 13, channels)).astype("u2" if deep else "u1")
    )
    path = tmp_path / f"a.{kind.removesuffix('8').removesuffix('16').removesuffix('_planar')}"
    if kind.startswith("png"):
        path.write_bytes(imagecodecs.png_encode(array))
    elif kind == "webp":
        path.write_bytes(imagecodecs.webp_encode(array, lossless=True))
    else:
        planar = kind == "tif_planar"
        tifffile.imwrite(
            path,
            np.moveaxis(array, -1, 0) if planar else array,
            photometric="rgb" if channels == 4 else "minisblack",
            planarconfig="separate" if planar else "contig",
            extrasamples=["unassalpha"],
        )
    wanted = np.moveaxis(array, -1, 0)
    np.testing.assert_array_equal(read(path).array, wanted[:-1])
    np.testing.assert_array_equal(read(path, alpha=True).array, wanted)


def test_what_has_no_alpha_is_read_as_ever(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (9, 13), np.uint8)
    write_picture(tmp_path / "a.png", array)
    np.save(tmp_path / "a.npy", array)
    for name in ("a.png", "a.npy"):
        np.testing.assert_array_equal(read(tmp_path / name, alpha=True).array, array[None])
