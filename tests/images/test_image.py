"""The rules that all formats share: orientation, claims of a header, labels, silence."""

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from useg.errors import ImageError
from useg.images import Header, Image, as_labels
from useg.images.image import COLOUR, check_claim, decoding, oriented

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


def test_whatever_a_decoder_raises_is_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(ImageError, match=r"bad\.png: cannot be decoded \(one two\)") as caught,
        decoding(tmp_path / "bad.png"),
    ):
        raise RuntimeError("one\n two")
    assert "\n" not in str(caught.value)


def test_warnings_are_silent_inside_and_back_outside_from_any_thread() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with decoding(Path("a")):
            inside.set()
            leave.wait(10)
            warnings.warn("unheard", stacklevel=1)

    thread = threading.Thread(target=other)
    with decoding(Path("b")):
        thread.start()
        inside.wait(10)
        warnings.warn("unheard", stacklevel=1)
    leave.set()
    thread.join()
    assert warnings.filters == before
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)
