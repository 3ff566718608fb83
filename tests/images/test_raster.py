"""PNG, JPEG, BMP, GIF, WebP: bit depths, palettes, alpha, orientation, lies and damage."""

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow
from PIL import ImageOps

from useg.errors import ImageError
from useg.images import read, read_header, read_mask

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RGB = np.arange(36, dtype=np.uint8).reshape(3, 4, 3) * 7
in_tmp = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: pillow does not write all that others do."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif", ".webp"])
def test_lossless_formats_give_the_pixels_back(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    Pillow.fromarray(RGB if suffix == ".webp" else GRAY).save(file, lossless=True)
    image = read(file)
    expected = np.moveaxis(RGB, -1, 0) if suffix == ".webp" else GRAY[None]
    np.testing.assert_array_equal(image.array, expected)
    assert image.axes == "CYX" and image.path == file and image.spacing is None


@in_tmp
@given(arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3, 4]))))
def test_16_bit_png_keeps_its_numbers_and_drops_alpha(tmp_path: Path, array: np.ndarray) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(imagecodecs.png_encode(array[..., 0] if array.shape[-1] == 1 else array))
    image = read(file)
    kept = 1 if array.shape[-1] <= 2 else 3
    np.testing.assert_array_equal(image.array, np.moveaxis(array[..., :kept], -1, 0))
    header = read_header(file)
    assert (header.channels, header.size, header.dtype) == (kept, array.shape[:2], np.dtype(np.uint16))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_low_bit_gray_keeps_the_stored_numbers(tmp_path: Path, bits: int) -> None:
    file = tmp_path / "a.png"
    numbers = list(range(2**bits))[-4:] if bits > 1 else [0, 1, 1, 0]
    packed = int("".join(f"{n:0{bits}b}" for n in numbers).ljust(8 * ((4 * bits + 7) // 8), "0"), 2)
    file.write_bytes(png(4, 1, bits, 0, b"\0" + packed.to_bytes((4 * bits + 7) // 8, "big")))
    assert read(file).array.tolist() == [[numbers]]
    assert read(file).dtype == np.uint8
    assert read_mask(file).tolist() == [numbers]


@pytest.mark.parametrize(("mode", "channels"), [("LA", 1), ("RGBA", 3), ("CMYK", 3), ("L", 1), ("RGB", 3)])
def test_alpha_is_no_channel_and_cmyk_is_rgb(tmp_path: Path, mode: str, channels: int) -> None:
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Pillow.fromarray(RGB).convert(mode).save(file)
    assert read(file).channels == read_header(file).channels == channels


def test_palette_is_colour_for_an_image_and_index_for_a_mask(tmp_path: Path) -> None:
    index = np.array([[0, 1], [2, 1]], np.uint8)
    for name, palette, channels in [
        ("c", [9, 9, 9, 255, 0, 0, 0, 8, 0], 3),
        ("g", [9] * 3 + [50] * 3 + [7] * 3, 1),
    ]:
        picture = Pillow.fromarray(index, "L")
        picture.putpalette(palette)
        for suffix in (".png", ".gif"):
            file = tmp_path / (name + suffix)
            picture.save(file, optimize=False)
            expected = np.array(palette, np.uint8).reshape(3, 3)[index]
            np.testing.assert_array_equal(read(file).array, np.moveaxis(expected, -1, 0)[:channels])
            assert read_header(file).channels == channels
            np.testing.assert_array_equal(read_mask(file), index)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    file = tmp_path / f"a{suffix}"
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    Pillow.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))).save(file, exif=exif)
    with Pillow.open(file) as picture:
        expected = np.moveaxis(np.asarray(ImageOps.exif_transpose(picture)), -1, 0)
    image = read(file)
    np.testing.assert_array_equal(image.array, expected)
    assert read_header(file).size == image.size
    assert image.array.flags.c_contiguous


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_give_their_first_frame(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    frames = [Pillow.fromarray(np.full((8, 8, 3), n, np.uint8)) for n in (40, 200)]
    frames[0].save(file, save_all=True, append_images=frames[1:], lossless=True)
    assert (read(file).array == 40).all()


def test_more_pixels_than_pillow_dares_are_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 5)
    file = tmp_path / "a.png"
    Pillow.fromarray(GRAY).save(file)
    np.testing.assert_array_equal(read(file).array[0], GRAY)


@pytest.mark.parametrize("size", [(65_000, 65_000), (20_000, 20_000), (0, 4)])
def test_a_header_that_lies_is_refused_before_decoding(tmp_path: Path, size: tuple[int, int]) -> None:
    file = tmp_path / "bomb.png"
    file.write_bytes(png(*size, 8, 0, b"\0" * 100))
    with pytest.raises(ImageError, match=r"bomb\.png"):
        read(file)


def test_the_limit_is_the_callers(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Pillow.fromarray(GRAY).save(file)
    with pytest.raises(ImageError, match="max_bytes"):
        read(file, max_bytes=11)
    read(file, max_bytes=12)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_every_truncation_loads_or_is_an_image_error(tmp_path: Path, form: str) -> None:
    stream = io.BytesIO()
    Pillow.fromarray(RGB).save(stream, form)
    data = stream.getvalue()
    file = tmp_path / "cut"
    for end in range(0, len(data), max(1, len(data) // 80)):
        file.write_bytes(data[:end])
        for reader in (read, read_header, read_mask):
            try:
                reader(file)
            except ImageError as error:
                assert str(file) in str(error) and "\n" not in str(error)


@in_tmp
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP"]), st.data())
def test_any_damage_loads_or_is_an_image_error(tmp_path: Path, form: str, data: st.DataObject) -> None:
    stream = io.BytesIO()
    Pillow.fromarray(RGB).save(stream, form)
    bad = bytearray(stream.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(bad) - 1), min_size=1, max_size=4)):
        bad[place] = data.draw(st.integers(0, 255))
    file = tmp_path / "damaged"
    file.write_bytes(bad)
    try:
        read(file, max_bytes=2**20)
    except ImageError as error:
        assert str(file) in str(error)
