"""The rules that all formats share: orientation, claims of a header, labels, axes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from useg.errors import ImageError
from useg.images import Header, Image, as_labels
from useg.images.image import COLOUR, About, check_claim, label_colours, layout_of, oriented

GIBI = Header(1, (32768, 32768), np.dtype(np.uint8), "CYX")


def test_image_describes_itself() -> None:
    image = Image(np.zeros((2, 3, 4, 5), np.uint16), "CZYX")
    assert (image.channels, image.size, image.dtype) == (2, (3, 4, 5), np.dtype(np.uint16))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_that_of_pillow(orientation: int) -> None:
    names = [
        None,
        Pillow.Transpose.FLIP_LEFT_RIGHT,
        Pillow.Transpose.ROTATE_180,
        Pillow.Transpose.FLIP_TOP_BOTTOM,
        Pillow.Transpose.TRANSPOSE,
        Pillow.Transpose.ROTATE_270,
        Pillow.Transpose.TRANSVERSE,
        Pillow.Transpose.ROTATE_90,
    ]
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    name = names[orientation - 1]
    expected = array if name is None else np.asarray(Pillow.fromarray(array).transpose(name))
    np.testing.assert_array_equal(oriented(array[None], orientation), expected[None])


def test_claims_are_held_against_limit_and_file(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    check_claim(file, GIBI, max_bytes=2**30, file_bytes=2**20)
    with pytest.raises(ImageError, match=r"a\.png: .*32768 x 32768 pixels, 1\.0 GiB .* 0\.5 GiB"):
        check_claim(file, GIBI, max_bytes=2**29, file_bytes=2**20)
    with pytest.raises(ImageError, match=r"only 100 bytes"):
        check_claim(file, GIBI, max_bytes=2**30, file_bytes=100)
    check_claim(file, GIBI, max_bytes=2**30, file_bytes=None)
    with pytest.raises(ImageError, match="no image"):
        check_claim(file, Header(1, (0, 5), np.dtype(np.uint8), "CYX"), max_bytes=1, file_bytes=None)


def test_labels_from_equal_channels_and_whole_floats() -> None:
    gray = np.array([[0, 1], [2, 300]], np.uint16)
    np.testing.assert_array_equal(as_labels(Image(np.stack([gray] * 3), "CYX")), gray)
    labels = as_labels(Image(gray[None].astype(np.float64), "CYX"))
    np.testing.assert_array_equal(labels, gray)
    assert labels.dtype == np.int32


def test_colours_are_numbers_and_black_is_0() -> None:
    red, black, green = (255, 0, 0), (0, 0, 0), (1, 128, 2)
    array = np.array([[red, black, green]], np.uint8).transpose(2, 0, 1)
    np.testing.assert_array_equal(as_labels(Image(array, "CYX")), [[COLOUR + 0xFF0000, 0, COLOUR + 0x018002]])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.arange(12, dtype=np.uint16).reshape(3, 2, 2), "3 different channels"),
        (np.arange(8, dtype=np.uint8).reshape(2, 2, 2), "2 different channels"),
        (np.full((1, 2, 2), 0.5, np.float32), "fractions"),
        (np.array([[[0, np.nan]]], np.float32), "non-finite"),
        (np.array([[[0, 1e30]]], np.float32), "1e"),
    ],
)
def test_no_labels(array: np.ndarray, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        as_labels(Image(array, "CYX", path=Path("mask.tif")))


def test_layout_names_what_it_cannot_place() -> None:
    path = Path("a.tif")
    assert layout_of(path, "TCZYX", (1, 2, 3, 4, 5)) == ((0, 1, 2, 3, 4), (2, 3, 4, 5), "CZYX", True)
    assert layout_of(path, "TYXS", (7, 4, 5, 3)) == ((3, 0, 1, 2), (3, 7, 4, 5), "CZYX", False)
    for axes, shape, said in (("ZX", (2, 3), "has the axes 'ZX'"), ("TZYX", (2, 3, 4, 5), "2 along T, 3 along Z")):
        with pytest.raises(ImageError, match=said):
            layout_of(path, axes, shape)


def test_what_labels_carry() -> None:
    image = Image(np.zeros((1, 2, 3), np.uint8), "CYX", (2.0, 3.0), "nm")
    assert About(like=image).spacing(2) == (2.0, 3.0) and About(like=image).spacing(3) is None
    assert About().spacing(2) is None and (About().unit, About().place, About(like=image).unit) == (None, None, "nm")
    colours = label_colours(About(colours=[(1, 2, 3)]))
    assert len(set(colours)) == 256 and colours[:2] == [(1, 2, 3), (128, 0, 0)]
