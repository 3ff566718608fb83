"""Real files that break naive readers: what each becomes, checked by another reader, or how it is refused.

GDAL (rasterio) is the other reader of pictures; NIfTI and DICOM are taken apart by hand.
"""

import gzip
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import rasterio
from pydicom import dcmread
from pydicom.encaps import get_frame

from useg.errors import ImageError
from useg.images import read, read_header, read_mask
from useg.images.image import COLOUR, InBody, OnMap

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Becomes:
    """Shape `C [Z] Y X` and type; and how what GDAL gives differs from that on purpose."""

    shape: tuple[int, ...]
    dtype: str
    turns: int = 0  # quarter turns that the EXIF orientation asks for; GDAL shows pixels as stored
    transposed: bool = False
    white: int = 0  # GDAL paints one bit with this number, we keep 1
    tolerance: float = 0.0  # JPEG decoders agree to some gray values on average


TABLE: dict[str, Becomes | str] = {
    "SYNTHETIC_truncated_mask.png": "cannot be decoded (image file is truncated); it is damaged or incomplete",
    "chase_mask_1bit.png": Becomes((1, 960, 999), "uint8"),
    "dicom_examples_jpeg2k.dcm": Becomes((3, 480, 640), "uint8"),
    "dicom_liver_1frame.dcm": Becomes((1, 512, 512), "uint8"),
    "drive_mask_1st_manual.gif": Becomes((1, 584, 565), "uint8"),
    "dubai_palette_image.jpg": Becomes((3, 544, 509), "uint8", tolerance=1),
    "dubai_rgb_mask.png": Becomes((3, 658, 682), "uint8"),
    "epfl_membranes_mask_LA.png": Becomes((1, 768, 1024), "uint8"),
    "exif_Landscape_5.jpg": Becomes((3, 1200, 1800), "uint8", transposed=True, tolerance=1),
    "exif_Portrait_6.jpg": Becomes((3, 1800, 1200), "uint8", turns=3, tolerance=1),
    "geo_int16_custom_proj.tif": Becomes((3, 512, 512), "int16"),
    "geo_pan1.tif": Becomes((1, 600, 600), "uint16"),
    "geo_sar_masked.tif": Becomes((4, 200, 200), "float32"),
    "isbi_jpegmask_0_image.jpg": Becomes((1, 512, 512), "uint8"),
    "isbi_jpegmask_7_image.jpg": Becomes((1, 512, 512), "uint8"),
    "labelme_voc_JPEGImages_2011_000003.jpg": Becomes((3, 338, 500), "uint8", tolerance=2),
    "lesav_fov_mask_palette.gif": Becomes((1, 1444, 1620), "uint8"),
    "nifti_example4d.nii.gz": Becomes((2, 24, 96, 128), "int16"),
    "oct_mask_wraparound_rgb.png": Becomes((3, 496, 768), "uint8"),
    "oct_size_mismatch_mask_256x256.png": Becomes((1, 256, 256), "uint8"),
    "pillow_16bit.MM.cropped.tif": Becomes((1, 64, 64), "uint16"),
    "pillow_broken_data_stream.png": "cannot be decoded (unrecognized data stream contents when reading image file)",
    "pillow_decompression_bomb.gif": "is a decompression bomb (Image size (4364696535 pixels)",
    "pillow_g4-multi.tiff": Becomes((1, 3, 4677, 3307), "uint8", white=255),
    "pillow_hopper.webp": Becomes((3, 128, 128), "uint8"),
    "pillow_hopper_orientation_3.jpg": Becomes((3, 128, 128), "uint8", turns=2, tolerance=1),
    "pillow_hopper_unknown_pixel_mode.tif": Becomes((3, 128, 128), "uint32"),
    "pillow_mode_16bit.png": Becomes((3, 64, 128), "uint16"),
    "pillow_mode_palette_1bit_alpha.png": Becomes((3, 64, 128), "uint8"),
    "pillow_no_palette.gif": Becomes((1, 1, 1), "uint8"),
    "pillow_pil_sample_cmyk.jpg": Becomes((3, 100, 100), "uint8", tolerance=1),
    "pillow_tRNS_null_1x1.png": Becomes((3, 1, 1), "uint8"),
    "pillow_tiff_strip_cmyk_jpeg.tif": Becomes((3, 100, 100), "uint8", tolerance=1),
    "pillow_tiff_strip_planar_raw_with_overviews.tif": Becomes((3, 374, 278), "uint8"),
    "pillow_total-pages-zero.tif": Becomes((1, 3, 2156, 1728), "uint8", white=255),
    "pillow_truncated_jpeg.jpg": "cannot be decoded (image file is truncated (8 bytes not processed))",
    "skimage__blobs_3d_fiji_skeleton.tif": Becomes((1, 30, 32, 32), "uint8"),
    "skimage_chessboard_GRAY_U16B.tif": Becomes((1, 200, 200), "uint16"),
    "skimage_multipage_rgb.tif": Becomes((3, 2, 10, 10), "float64"),
    "skimage_palette_gray.png": Becomes((1, 10, 10), "uint8"),
    "tiny.ome.tiff": Becomes((2, 6, 6), "uint8"),
}
REFUSED = {name: said for name, said in TABLE.items() if isinstance(said, str)}
READ = {name: becomes for name, becomes in TABLE.items() if isinstance(becomes, Becomes)}
BY_HAND = {"nifti_example4d.nii.gz", "dicom_examples_jpeg2k.dcm", "dicom_liver_1frame.dcm", "pillow_no_palette.gif"}


@pytest.fixture
def odd(real_data: Path) -> Path:
    return real_data / "odd-inputs"


def test_the_table_names_every_file(odd: Path) -> None:
    assert {file.name for file in odd.iterdir() if file.suffix != ".md"} == TABLE.keys() and len(TABLE) == 41


def by_gdal(file: Path, becomes: Becomes) -> np.ndarray:
    """The pixels that GDAL reads, in the layout that we promise."""
    pages = []
    planes = becomes.shape[1] if len(becomes.shape) == 4 else becomes.shape[0] if "ome" in file.name else 1
    for page in range(1, planes + 1):
        with rasterio.open(f"GTIFF_DIR:{page}:{file}" if planes > 1 else file) as opened:
            bands = opened.read()
            if opened.colorinterp[0] == rasterio.enums.ColorInterp.palette:
                table = np.zeros((256, 3), bands.dtype)
                for index, colour in opened.colormap(1).items():
                    table[index] = colour[:3]
                bands = np.moveaxis(table[bands[0]], -1, 0)
            pages.append(bands[: becomes.shape[0]])
    array = np.concatenate(pages) if "ome" in file.name else np.stack(pages, axis=1)
    array = array if len(becomes.shape) == 4 or "ome" in file.name else array[:, 0]
    array = np.rot90(array.swapaxes(-1, -2) if becomes.transposed else array, becomes.turns, (-2, -1))
    return array // becomes.white if becomes.white else array


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", sorted(READ))
def test_what_it_becomes(odd: Path, name: str) -> None:
    becomes, image, header = READ[name], read(odd / name), read_header(odd / name)
    assert (image.array.shape, str(image.dtype)) == (becomes.shape, becomes.dtype)
    assert image.axes == ("CYX" if len(becomes.shape) == 3 else "CZYX")
    assert (header.channels, header.size, header.dtype, header.axes) == (
        image.channels,
        image.size,
        image.dtype,
        image.axes,
    )
    assert (header.spacing, header.unit, header.place) == (image.spacing, image.unit, image.place)
    if name not in BY_HAND:
        expected = by_gdal(odd / name, becomes)
        if becomes.tolerance:
            assert np.abs(image.array.astype(float) - expected).mean() < becomes.tolerance
        else:
            np.testing.assert_array_equal(image.array, expected)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_how_it_is_refused(odd: Path, name: str) -> None:
    for reader in (read, read_mask):
        with pytest.raises(ImageError) as caught:
            reader(odd / name)
        assert str(caught.value).startswith(f"{odd / name}: {REFUSED[name]}")


def test_nifti_by_hand(odd: Path) -> None:
    raw = gzip.decompress((odd / "nifti_example4d.nii.gz").read_bytes())
    # The magic number 348 at the start says which way the bytes lie.
    order = "<" if raw[:4] == (348).to_bytes(4, "little") else ">"
    offset = int(np.frombuffer(raw, f"{order}f4", 1, 108)[0])
    stored = np.frombuffer(raw, f"{order}i2", 2 * 24 * 96 * 128, offset).reshape(2, 24, 96, 128)
    image = read(odd / "nifti_example4d.nii.gz")
    np.testing.assert_array_equal(image.array, stored)
    rows = np.frombuffer(raw, f"{order}f4", 12, 280).reshape(3, 4)
    assert isinstance(image.place, InBody)
    np.testing.assert_array_equal(np.array(image.place.affine)[:3], rows)
    assert (image.spacing, image.unit) == ((2.2, 2.0, 2.0), "mm")


def test_dicom_by_hand(odd: Path) -> None:
    codestream = get_frame(dcmread(odd / "dicom_examples_jpeg2k.dcm").PixelData, 0, number_of_frames=1)
    expected = imagecodecs.jpeg2k_decode(codestream)
    np.testing.assert_array_equal(read(odd / "dicom_examples_jpeg2k.dcm").array, np.moveaxis(expected, -1, 0))
    bits = (odd / "dicom_liver_1frame.dcm").read_bytes()[-512 * 512 // 8 :]
    mask = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little").reshape(512, 512)
    np.testing.assert_array_equal(read_mask(odd / "dicom_liver_1frame.dcm"), mask)
    assert 0 < mask.mean() < 0.5


def test_a_gif_of_one_pixel_by_hand(odd: Path) -> None:
    data = (odd / "pillow_no_palette.gif").read_bytes()
    assert data[6:10] == b"\1\0\1\0" and not data[10] & 0x80  # 1 x 1, no table of colours
    # LZW of nine bits a code, from the low bits on: clear (256), pixel 0, end (257).
    codes = int.from_bytes(data[data.index(b",") + 12 :][:4], "little")
    assert [codes >> shift & 511 for shift in (0, 9, 18)] == [256, 0, 257]
    assert read(odd / "pillow_no_palette.gif").array.tolist() == [[[0]]]


def test_masks_hold_their_numbers(odd: Path) -> None:
    for name, values in {
        "chase_mask_1bit.png": [0, 1],
        "lesav_fov_mask_palette.gif": [0, 1],
        "drive_mask_1st_manual.gif": [0, 255],
        "oct_size_mismatch_mask_256x256.png": [0, 1],
        "dicom_liver_1frame.dcm": [0, 1],
    }.items():
        assert np.unique(read_mask(odd / name)).tolist() == values
    assert np.unique(read_mask(odd / "epfl_membranes_mask_LA.png")).size > 2
    assert {254, 255} <= set(np.unique(read_mask(odd / "oct_mask_wraparound_rgb.png")).tolist())
    assert np.unique(read_mask(odd / "dubai_rgb_mask.png")).min() >= COLOUR


def test_ct_slices_by_hand(real_data: Path) -> None:
    folder = real_data / "dicom-ct-seg/images"
    files = {z: folder / f"ct3_{number}.dcm" for number, z in (("03", -128.69), ("02", -127.69), ("01", -126.69))}
    planes = []
    for z, file in files.items():
        image = read(file)
        # Slope 1, intercept -1024, and the pixels end the file.
        stored = np.frombuffer(file.read_bytes()[-2 * 512 * 512 :], "<i2").reshape(512, 512)
        np.testing.assert_array_equal(image.array[0], stored.astype(int) - 1024)
        assert isinstance(image.place, InBody) and image.place.affine[2][3] == pytest.approx(z, abs=1e-4)
        planes.append(image.array)
    series = read(folder)
    np.testing.assert_array_equal(series.array[0], np.concatenate(planes))
    assert (series.array.shape, series.spacing, series.unit) == ((1, 3, 512, 512), (1.0, 0.810547, 0.810547), "mm")
    with pytest.raises(ImageError, match=r"small_ct2: its slices lie 1\.25 to 202\.5 mm apart"):
        read(real_data / "dicom-ct-seg/small_ct2")


@pytest.mark.parametrize(
    ("name", "epsg", "spacing", "unit"),
    [("road_mask_input.tif", 4326, 2.7e-6, "degree"), ("sample_geotiff.tif", 32616, 0.5, "m")],
)
def test_georeferenced_images(real_data: Path, name: str, epsg: int, spacing: float, unit: str) -> None:
    file = real_data / "geotiff-spacenet-samples/images" / name
    image = read(file)
    assert image.spacing == pytest.approx((spacing, spacing)) and image.unit == unit
    assert isinstance(image.place, OnMap) and rasterio.CRS.from_wkt(image.place.crs).to_epsg() == epsg
    with rasterio.open(file) as opened:
        np.testing.assert_array_equal(image.array, opened.read())
        assert image.place.transform == tuple(opened.transform)[:6]


def test_nothing_is_said_and_memory_stays_below_a_gigabyte(real_data: Path) -> None:
    """In a process of its own, where a library's warnings and logs would reach the terminal."""
    code = """
import sys
from pathlib import Path
from useg.errors import UsegError
from useg.images import read, read_header, read_mask
for file in sorted(Path(sys.argv[1]).iterdir()):
    for reader in (read, read_header, read_mask):
        try:
            reader(file)
        except UsegError:
            pass
# getrusage would remember the peak of the process that started this one.
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")))
"""
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code, str(real_data / "odd-inputs")], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 1_000_000
