"""TIFF: number types, colours, axes, pixel sizes, layouts and damage."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from useg.errors import ImageError
from useg.images import read, read_header, read_mask

in_tmp = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"]


def numbers(shape: tuple[int, ...], dtype: str = "u2") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def check_header(file: Path) -> None:
    image, header = read(file), read_header(file)
    assert (header.channels, header.size, header.dtype) == (image.channels, image.size, image.dtype)
    assert (header.axes, header.spacing, header.unit) == (image.axes, image.spacing, image.unit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_every_number_type_and_byte_order(tmp_path: Path, dtype: str, byteorder: Any) -> None:
    file = tmp_path / "a.tif"
    array = numbers((5, 6), dtype)
    tifffile.imwrite(file, array, byteorder=byteorder)
    image = read(file)
    np.testing.assert_array_equal(image.array, array[None])
    assert image.dtype == np.dtype(dtype) and image.dtype.isnative
    check_header(file)


def test_non_finite_values_stay(tmp_path: Path) -> None:
    array = np.array([[np.nan, np.inf], [-np.inf, 1]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", array)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array[0], array)


@pytest.mark.parametrize("options", [
    {"compression": "lzw"}, {"compression": "zlib", "predictor": 2}, {"compression": "packbits"},
    {"compression": "zstd"}, {"tile": (16, 16)}, {"tile": (16, 16), "compression": "zlib"},
    {"rowsperstrip": 3}, {"bigtiff": True}, {"planarconfig": "separate"}, {"planarconfig": "contig"},
])  # fmt: skip
def test_every_layout_gives_the_same_rgb(tmp_path: Path, options: dict[str, Any]) -> None:
    array = numbers((20, 33, 3), "u1")
    stored = np.moveaxis(array, -1, 0) if options.get("planarconfig") == "separate" else array
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **options)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, np.moveaxis(array, -1, 0))
    check_header(tmp_path / "a.tif")


def test_jpeg_in_tiff_is_rgb(tmp_path: Path) -> None:
    array = np.full((32, 32, 3), (200, 60, 20), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", compression="jpeg")
    image = read(tmp_path / "a.tif").array.astype(int)
    assert np.abs(image[:, 9, 9] - (200, 60, 20)).max() < 6


@pytest.mark.parametrize(
    ("samples", "extra", "channels"),
    [(4, ["unassalpha"], 3), (4, ["assocalpha"], 3), (4, ["unspecified"], 4), (2, ["unassalpha"], 1)],
)
def test_alpha_is_dropped_and_other_bands_stay(tmp_path: Path, samples: int, extra: list[str], channels: int) -> None:
    array = numbers((7, 8, samples), "u2")
    photometric = "rgb" if samples > 2 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", array, photometric=photometric, extrasamples=extra, planarconfig="contig")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, np.moveaxis(array, -1, 0)[:channels])
    check_header(tmp_path / "a.tif")


@pytest.mark.parametrize("gray", [True, False])
def test_palette(tmp_path: Path, gray: bool) -> None:
    index = np.array([[0, 1], [2, 255]], np.uint8)
    table = np.zeros((3, 256), np.uint16)
    table[:, 1], table[:, 2] = 257 * 40, 257 * 90
    table[0, 255] = 65535
    if gray:
        table[:, 255] = 65535
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=table)
    expected = (table >> 8).astype(np.uint8)[:, index]
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, expected[:1] if gray else expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), index)
    check_header(tmp_path / "a.tif")


def test_cmyk(tmp_path: Path) -> None:
    cmyk = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255], [0, 51, 0, 0]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", cmyk, photometric="separated", planarconfig="contig")
    rgb = read(tmp_path / "a.tif").array[:, 0].T.tolist()
    assert rgb == [[255, 255, 255], [0, 255, 255], [0, 0, 0], [255, 204, 255]]
    check_header(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "group4"])
@pytest.mark.parametrize("white_is_zero", [True, False])
def test_1_bit_has_white_as_one(tmp_path: Path, compression: str | None, white_is_zero: bool) -> None:
    white = np.arange(60).reshape(5, 12) % 7 == 0
    options: dict[str, Any] = {"tiffinfo": {262: 0 if white_is_zero else 1}}
    Pillow.fromarray(white).save(tmp_path / "a.tif", compression=compression, **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        stored_inverted = file.series[0].keyframe.photometric == 0
    raw = tifffile.imread(tmp_path / "a.tif")
    expected = ~raw if stored_inverted else raw
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.array[0], expected.astype(np.uint8))
    assert image.dtype == np.uint8
    with Pillow.open(tmp_path / "a.tif") as picture:
        np.testing.assert_array_equal(image.array[0], np.asarray(picture))


@pytest.mark.parametrize(
    ("axes", "shape", "wanted", "size"),
    [
        ("YX", (4, 5), "CYX", (1, 4, 5)),
        ("ZYX", (3, 4, 5), "CZYX", (1, 3, 4, 5)),
        ("TYX", (3, 4, 5), "CZYX", (1, 3, 4, 5)),
        ("CYX", (2, 4, 5), "CYX", (2, 4, 5)),
        ("ZCYX", (3, 2, 4, 5), "CZYX", (2, 3, 4, 5)),
        ("CZYX", (2, 3, 4, 5), "CZYX", (2, 3, 4, 5)),
        ("QYX", (3, 4, 5), "CZYX", (1, 3, 4, 5)),
    ],
)
def test_axes(tmp_path: Path, axes: str, shape: tuple[int, ...], wanted: str, size: tuple[int, ...]) -> None:
    array = numbers(shape)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", metadata={"axes": axes})
    image = read(tmp_path / "a.tif")
    assert (image.axes, image.array.shape) == (wanted, size)
    expected = array.swapaxes(0, 1) if axes == "ZCYX" else array
    np.testing.assert_array_equal(image.array.reshape(expected.shape), expected)
    check_header(tmp_path / "a.tif")


def test_depth_and_time_together_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers((2, 3, 4, 5)), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(ImageError, match=r"a\.tif: .*2 along T, 3 along Z.*one time point"):
        read(tmp_path / "a.tif")


def test_first_level_of_a_pyramid_and_first_series(tmp_path: Path) -> None:
    array = numbers((32, 32))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(array, subifds=1)
        writer.write(array[::2, ::2], subfiletype=1)
        writer.write(numbers((9, 9), "f4"))
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array, array[None])


def test_imagej_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", numbers((3, 4, 5)), imagej=True, resolution=(4, 2),
        metadata={"axes": "ZYX", "spacing": 1.5, "unit": "micron"},
    )  # fmt: skip
    image = read(tmp_path / "a.tif")
    assert image.spacing == pytest.approx((1.5, 0.5, 0.25)) and image.unit == "µm"
    check_header(tmp_path / "a.tif")


def test_imagej_pixels_have_no_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers((4, 5)), imagej=True, resolution=(1, 1), metadata={"unit": "pixel"})
    assert read(tmp_path / "a.tif").spacing is None


def test_ome_pixel_size(tmp_path: Path) -> None:
    metadata = {"axes": "CZYX", "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.3, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", numbers((2, 3, 4, 5)), photometric="minisblack", metadata=metadata)
    image = read(tmp_path / "a.ome.tif")
    assert (image.axes, image.spacing, image.unit) == ("CZYX", (2.0, 0.3, 0.2), "µm")
    check_header(tmp_path / "a.ome.tif")


def test_printers_resolution_is_no_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers((4, 5)), resolution=(72, 72), resolutionunit="INCH")
    assert read(tmp_path / "a.tif").spacing is None


@pytest.mark.parametrize(("orientation", "quarter_turns"), [(1, 0), (3, 2), (6, 3), (8, 1), (99, 0)])
def test_orientation_tag(tmp_path: Path, orientation: int, quarter_turns: int) -> None:
    array = numbers((4, 5), "u1")
    tifffile.imwrite(tmp_path / "a.tif", array, extratags=[(274, "H", 1, orientation, True)])
    np.testing.assert_array_equal(read(tmp_path / "a.tif").array[0], np.rot90(array, quarter_turns))
    check_header(tmp_path / "a.tif")


def test_a_size_that_the_file_cannot_hold(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, numbers((40, 50), "u1"), metadata=None)
    with tifffile.TiffFile(file) as tiff:
        tags = [tiff.series[0].keyframe.tags[name] for name in ("ImageLength", "RowsPerStrip")]
        places, order = [(tag.valueoffset, tag.dtype) for tag in tags], tiff.byteorder
    for claim in (60_000, 4_000):
        data = bytearray(file.read_bytes())
        for place, kind in places:
            data[place : place + 2] = struct.pack(order + "H", claim)
            assert kind in (3, 4)
        (tmp_path / "lie.tif").write_bytes(data)
        with pytest.raises(ImageError, match=r"lie\.tif: .*incomplete"):
            read(tmp_path / "lie.tif")
    with pytest.raises(ImageError, match="max_bytes"):
        read(file, max_bytes=1999)


def test_more_strips_than_the_file_has(tmp_path: Path) -> None:
    """No compression bounds what zstd may hold, so the count of strips must."""
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, numbers((40, 50), "u1"), compression="zstd", rowsperstrip=8, metadata=None)
    with tifffile.TiffFile(file) as tiff:
        tag, order = tiff.series[0].keyframe.tags["ImageLength"], tiff.byteorder
    data = bytearray(file.read_bytes())
    data[tag.valueoffset : tag.valueoffset + 4] = struct.pack(order + "I", 8_000_000)
    assert tag.dtype == 4
    file.write_bytes(data)
    with pytest.raises(ImageError, match=r"1000000 strips or tiles, the file has 5; it is incomplete"):
        read(file)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"imagej": True}])
def test_every_truncation_loads_or_is_an_image_error(tmp_path: Path, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers((2, 6, 7)), **options)
    data = (tmp_path / "a.tif").read_bytes()
    file = tmp_path / "cut.tif"
    for end in range(0, len(data), max(1, len(data) // 60)):
        file.write_bytes(data[:end])
        for reader in (read, read_header, read_mask):
            try:
                reader(file)
            except ImageError as error:
                assert str(file) in str(error) and "\n" not in str(error)


@in_tmp
@given(st.sampled_from([None, "zlib", "packbits"]), st.data())
def test_any_damage_loads_or_is_an_image_error(tmp_path: Path, compression: str | None, data: st.DataObject) -> None:
    file = tmp_path / "damaged.tif"
    tifffile.imwrite(file, numbers((6, 7)), compression=compression)
    bad = bytearray(file.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(bad) - 1), min_size=1, max_size=4)):
        bad[place] = data.draw(st.integers(0, 255))
    file.write_bytes(bad)
    try:
        read(file, max_bytes=2**20)
    except ImageError as error:
        assert str(file) in str(error)


def test_one_part_of_a_split_ome_file_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", numbers((2, 4, 5)), photometric="minisblack", metadata={"axes": "ZYX"})
    data = (tmp_path / "a.ome.tif").read_bytes()
    assert data.count(b'SizeZ="2"') == 1 and data.count(b'PlaneCount="2"') == 1
    # The header now says four planes, of which this file holds two.
    data = data.replace(b'SizeZ="2"', b'SizeZ="4"')
    (tmp_path / "part.ome.tif").write_bytes(data)
    with pytest.raises(ImageError, match=r"part\.ome\.tif: is one part of an image in several files"):
        read(tmp_path / "part.ome.tif")
