"""DICOM: Hounsfield units, colours, series sorted by position, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from dicoms import save
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless, RLELossless

from useg.errors import ImageError
from useg.images import is_image_file, is_series, read, read_header, read_mask
from useg.images.image import InBody


def numbers(shape: tuple[int, ...], dtype: str = "<u2") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def check_header(path: Path) -> None:
    image, header = read(path), read_header(path)
    assert (header.channels, header.size, header.dtype) == (image.channels, image.size, image.dtype)
    assert (header.axes, header.spacing, header.unit, header.place) == (
        image.axes,
        image.spacing,
        image.unit,
        image.place,
    )


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", "<i2"])
def test_number_types(tmp_path: Path, dtype: str) -> None:
    save(tmp_path / "a.dcm", numbers((5, 7), dtype))
    image = read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.array[0], numbers((5, 7), dtype))
    assert image.dtype == np.dtype(dtype)
    assert (image.axes, image.spacing, image.unit) == ("CYX", (0.5, 0.25), "mm")
    # Left and posterior become right and anterior.
    assert image.place == InBody(
        ((-0.25, 0.0, 0.0, -1.5), (0.0, -0.5, 0.0, 2.5), (0.0, 0.0, 1.0, 3.0), (0.0, 0.0, 0.0, 1.0)), "scanner"
    )
    check_header(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("bits", "slope", "intercept", "dtype"),
    [(12, 1, -1024, "i2"), (16, 1, -1024, "i4"), (12, 2, 0, "i2"), (16, 0.5, 0, "f4"), (16, 1, 0, "u2")],
)
def test_rescaled_to_hounsfield(tmp_path: Path, bits: int, slope: float, intercept: float, dtype: str) -> None:
    array = np.array([[0, 1, 1000], [1024, 2000, 4095]], "<u2")
    save(tmp_path / "a.dcm", array, BitsStored=bits, HighBit=bits - 1, RescaleSlope=slope, RescaleIntercept=intercept)
    image = read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.array[0], array.astype(float) * slope + intercept)
    assert image.dtype == np.dtype(dtype)
    check_header(tmp_path / "a.dcm")


def test_black_is_white_is_turned(tmp_path: Path) -> None:
    array = np.array([[0, 10], [4095, 7]], "<u2")
    save(tmp_path / "a.dcm", array, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array[0], 4095 - array)
    check_header(tmp_path / "a.dcm")


def test_colours_and_palettes(tmp_path: Path) -> None:
    rgb = numbers((4, 5, 3), "u1")
    save(tmp_path / "a.dcm", rgb)
    np.testing.assert_array_equal(read(tmp_path / "a.dcm").array, np.moveaxis(rgb, -1, 0))
    check_header(tmp_path / "a.dcm")
    index = np.array([[0, 1], [2, 1]], np.uint8)
    table = {"Red": [0, 9, 200, 0], "Green": [1, 8, 100, 0], "Blue": [2, 7, 50, 0]}
    tags = {f"{name}PaletteColorLookupTableData": bytes(values) for name, values in table.items()}
    tags |= {f"{name}PaletteColorLookupTableDescriptor": [4, 0, 8] for name in table}  # type: ignore[misc]
    save(tmp_path / "p.dcm", index, PhotometricInterpretation="PALETTE COLOR", **tags)
    expected = np.array([table["Red"], table["Green"], table["Blue"]])[:, index]
    np.testing.assert_array_equal(read(tmp_path / "p.dcm").array, expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "p.dcm"), index)
    check_header(tmp_path / "p.dcm")


def test_frames_are_depth_and_a_single_one_is_none(tmp_path: Path) -> None:
    save(tmp_path / "a.dcm", numbers((3, 4, 5)), NumberOfFrames=3, SpacingBetweenSlices=2.5)
    image = read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.array, numbers((3, 4, 5))[None])
    assert (image.axes, image.spacing) == ("CZYX", (2.5, 0.5, 0.25))
    check_header(tmp_path / "a.dcm")
    save(tmp_path / "b.dcm", numbers((1, 4, 5)), NumberOfFrames=1)
    assert read(tmp_path / "b.dcm").axes == "CYX"


def make_series(folder: Path, depths: list[float], **options: object) -> None:
    folder.mkdir(exist_ok=True)
    for index, z in enumerate(depths):
        save(folder / f"IM{index}", np.full((4, 5), index, "<i2"), position=(1.5, -2.5, z), **options)


def test_a_series_is_sorted_by_position(tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    make_series(folder, [3.0, -3.0, 0.0, 1.5, -1.5], RescaleSlope=1, RescaleIntercept=-5)
    (folder / "notes.txt").write_text("no slice")
    image = read(folder)
    assert image.array[0, :, 0, 0].tolist() == [1 - 5, 4 - 5, 2 - 5, 3 - 5, 0 - 5]
    assert (image.axes, image.spacing, image.unit) == ("CZYX", (1.5, 0.5, 0.25), "mm")
    assert image.place and image.place.affine[2] == (0.0, 0.0, 1.5, -3.0)  # type: ignore[union-attr]
    assert is_series(folder) and not is_series(folder / "IM0") and not is_series(tmp_path)
    check_header(folder)


def test_series_that_are_none(tmp_path: Path) -> None:
    make_series(tmp_path / "gap", [0.0, 1.0, 2.0, 4.0])
    make_series(tmp_path / "twice", [0.0, 1.0, 1.0])
    for name, said in (("gap", "1 to 2 mm apart"), ("twice", "0 to 1 mm apart")):
        with pytest.raises(ImageError, match=said):
            read(tmp_path / name)
    make_series(tmp_path / "two", [0.0, 1.0])
    save(tmp_path / "two" / "other", numbers((4, 5)), series="b", position=(0, 0, 2))
    with pytest.raises(ImageError, match=r"holds 2 DICOM series \(IM1, other\)"):
        read(tmp_path / "two")
    make_series(tmp_path / "sizes", [0.0, 1.0])
    save(tmp_path / "sizes" / "large", numbers((8, 9)), position=(0, 0, 2))
    with pytest.raises(ImageError, match="differ in size"):
        read(tmp_path / "sizes")
    make_series(tmp_path / "nowhere", [0.0, 1.0], ImagePositionPatient=None)
    with pytest.raises(ImageError, match="lack a position"):
        read(tmp_path / "nowhere")


def test_without_a_place_there_is_none(tmp_path: Path) -> None:
    save(tmp_path / "a.dcm", numbers((4, 5)), ImagePositionPatient=None, PixelSpacing=None)
    image = read(tmp_path / "a.dcm")
    assert (image.place, image.spacing, image.unit) == (None, None, None)


def test_a_size_that_the_file_cannot_hold(tmp_path: Path) -> None:
    save(tmp_path / "a.dcm", numbers((4, 5)), Rows=60000, Columns=60000)
    with pytest.raises(ImageError, match=r"a\.dcm: its header says 3600000000 samples, the file has \d+ bytes"):
        read(tmp_path / "a.dcm")
    save(tmp_path / "b.dcm", numbers((40, 50)))
    with pytest.raises(ImageError, match="max_bytes"):
        read(tmp_path / "b.dcm", max_bytes=100)
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "b.dcm").read_bytes()[:-1000])
    with pytest.raises(ImageError, match="incomplete"):
        read(tmp_path / "cut.dcm")


def test_compressed_pixels(tmp_path: Path) -> None:
    for name, kind in (("rle", RLELossless), ("jpegls", JPEGLSLossless)):
        one = save(tmp_path / "plain.dcm", numbers((40, 50)))
        one.compress(kind)
        one.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
        np.testing.assert_array_equal(read(tmp_path / f"{name}.dcm").array[0], numbers((40, 50)))
    one = dcmread(tmp_path / "rle.dcm")
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    one.save_as(tmp_path / "lossless.dcm")
    with pytest.raises(ImageError, match=r"cannot decode JPEG Lossless.*save it uncompressed"):
        read(tmp_path / "lossless.dcm")


def test_what_is_no_image(tmp_path: Path) -> None:
    one = save(tmp_path / "a.dcm", numbers((4, 5)))
    for name in ("Rows", "Columns", "PixelData"):
        delattr(one, name)
    one.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(ImageError, match=r"is DICOM without pixels \(CT Image Storage\)"):
        read(tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes(b"no DICOM at all")
    with pytest.raises(ImageError, match=r"b\.dcm: cannot be decoded"):
        read(tmp_path / "b.dcm")


def test_names(tmp_path: Path) -> None:
    assert is_image_file("a.dcm") and is_image_file("A.IMA") and not is_image_file("IM0001")
    save(tmp_path / "IM0001", numbers((4, 5)))
    shutil.copy(tmp_path / "IM0001", tmp_path / "called.png")
    for name in ("IM0001", "called.png"):
        np.testing.assert_array_equal(read(tmp_path / name).array[0], numbers((4, 5)))
