"""NRRD: axes, encodings, spaces and units, as pynrrd writes and reads them."""

import bz2
import gzip
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from useg.errors import ImageError
from useg.images import read, read_header, read_mask, write_labels
from useg.images.image import Image, InBody

in_tmp = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
pytestmark = pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")
DIRECTIONS = np.array([[-2.0, 0.1, 0.0], [0.1, 1.9, -0.7], [0, 0.7, 2.1]])
ORIGIN = np.array([90.0, -126, -72])
SPACES = ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "3D-right-handed"]


def save(file: Path, array: np.ndarray, **fields: Any) -> None:
    """`array` is x, y, z."""
    known = {"space": SPACES[0], "space directions": DIRECTIONS, "space origin": ORIGIN}
    nrrd.write(str(file), array, {**known, **{name.replace("_", " "): value for name, value in fields.items()}})


@pytest.mark.parametrize("packed", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("dtype", ["u1", ">i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_encodings_and_number_types(tmp_path: Path, suffix: str, packed: str, dtype: str) -> None:
    array = np.arange(60).reshape(3, 4, 5).astype(dtype)
    save(tmp_path / f"a{suffix}", array, encoding=packed)
    image, header = read(tmp_path / f"a{suffix}"), read_header(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.array, array.T[None])
    assert image.dtype == np.dtype(dtype).newbyteorder("=") and image.dtype.isnative
    assert (header.channels, header.size, header.dtype, header.axes) == (1, (5, 4, 3), image.dtype, "CZYX")
    assert (header.spacing, header.unit, header.place) == (image.spacing, image.unit, image.place)
    assert image.spacing == pytest.approx(np.linalg.norm(DIRECTIONS, axis=1)[::-1], rel=1e-5) and image.unit == "mm"


@pytest.mark.parametrize("space", SPACES)
def test_the_affine_points_where_the_file_says(tmp_path: Path, space: str) -> None:
    save(tmp_path / "a.nrrd", np.zeros((3, 4, 5), np.uint8), space=space)
    place = read(tmp_path / "a.nrrd").place
    assert isinstance(place, InBody) and place.space == space
    told = ORIGIN + np.array([2, 3, 4]) @ DIRECTIONS
    right = {SPACES[0]: told * [-1, -1, 1], SPACES[2]: told * [-1, 1, 1]}.get(space, told)
    np.testing.assert_allclose((np.array(place.affine) @ [2, 3, 4, 1])[:3], right, atol=1e-12)


@in_tmp
@given(
    arrays(np.int64, st.sampled_from([(5, 6), (2, 5, 6), (4, 1, 3)]), elements=st.integers(0, 2**32 - 1)),
    st.sampled_from(SPACES),
    st.integers(0, 2**32 - 1),
)
def test_labels_come_back_in_their_place(tmp_path: Path, labels: np.ndarray, space: str, seed: int) -> None:
    turned = DIRECTIONS + np.random.default_rng(seed).uniform(-0.3, 0.3, (3, 3))
    volume = labels if labels.ndim == 3 else labels[None]
    save(tmp_path / "a.nrrd", np.zeros(volume.T.shape, np.float32), space=space, space_directions=turned)
    image = read(tmp_path / "a.nrrd")
    write_labels(tmp_path / "b.nrrd", labels, like=image)
    np.testing.assert_array_equal(read_mask(tmp_path / "b.nrrd"), labels)
    back = read(tmp_path / "b.nrrd")
    assert (back.place, back.spacing, back.unit, back.axes) == (image.place, image.spacing, image.unit, image.axes)
    _, one = nrrd.read(str(tmp_path / "a.nrrd"))
    array, other = nrrd.read(str(tmp_path / "b.nrrd"))
    np.testing.assert_array_equal(array, volume.T)
    for name in ("space", "space directions", "space origin"):
        np.testing.assert_array_equal(one[name], other[name])


def test_nifti_and_nrrd_lie_in_the_same_place(tmp_path: Path) -> None:
    save(tmp_path / "a.nrrd", np.zeros((3, 4, 5), np.uint8))
    image, labels = read(tmp_path / "a.nrrd"), np.ones((5, 4, 3), int)
    write_labels(tmp_path / "b.nii.gz", labels, like=image)
    write_labels(tmp_path / "c.nrrd", labels, like=read(tmp_path / "b.nii.gz"))
    flip = np.diag([-1, -1, 1, 1])
    columns = np.c_[DIRECTIONS.T, ORIGIN]
    np.testing.assert_allclose(nibabel.load(tmp_path / "b.nii.gz").affine, flip @ np.r_[columns, [[0, 0, 0, 1]]])
    _, header = nrrd.read(str(tmp_path / "c.nrrd"))
    np.testing.assert_allclose(np.c_[np.array(header["space directions"]).T, header["space origin"]], columns, 1e-6)


def test_channels_come_first(tmp_path: Path) -> None:
    colours = np.arange(3 * 4 * 5 * 6, dtype=np.uint8).reshape(3, 4, 5, 6)
    inside, beyond = np.full((4, 3), np.nan), ["RGB-color", *["domain"] * 3]
    inside[1:] = DIRECTIONS
    save(tmp_path / "a.nrrd", colours, space_directions=inside, kinds=beyond)
    image = read(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(image.array, colours.transpose(0, 3, 2, 1))
    assert (image.channels, image.axes) == (3, "CZYX") and image.spacing is not None and len(image.spacing) == 3
    last = np.moveaxis(colours, 0, -1)
    save(tmp_path / "b.nrrd", last, space_directions=np.roll(inside, -1, axis=0), kinds=beyond[::-1])
    np.testing.assert_array_equal(read(tmp_path / "b.nrrd").array, image.array)
    nrrd.write(str(tmp_path / "c.nrrd"), colours[:, :, :, 0], {"kinds": ["RGB-color", "domain", "domain"]})
    assert (read(tmp_path / "c.nrrd").axes, read(tmp_path / "c.nrrd").array.shape) == ("CYX", (3, 5, 4))


def test_pixel_sizes_without_a_space(tmp_path: Path) -> None:
    labels = np.eye(4, dtype=int)
    like = Image(np.zeros((1, 4, 4), np.uint8), "CYX", (0.5, 0.25), "µm")
    write_labels(tmp_path / "a.nrrd", labels, like=like)
    back = read(tmp_path / "a.nrrd")
    assert (back.spacing, back.unit, back.place, back.axes) == ((0.5, 0.25), "µm", None, "CYX")
    told = read_header(written(tmp_path, "b.nrrd", bytes(8), spacings="3 4 5", units='"µm" "µm" "µm"'))
    assert (told.spacing, told.unit) == ((5, 4, 3), "µm")


def test_a_plane_of_two_dimensions(tmp_path: Path) -> None:
    space = {"space dimension": 2, "space directions": np.diag([0.5, 0.25]), "space origin": [3.0, 4.0]}
    nrrd.write(str(tmp_path / "a.nrrd"), np.zeros((5, 4), np.uint8), dict(space))
    image = read(tmp_path / "a.nrrd")
    assert (image.axes, image.spacing, image.unit) == ("CYX", (0.25, 0.5), None)
    write_labels(tmp_path / "b.nrrd", np.eye(4, 5, dtype=int), like=image)
    array, header = nrrd.read(str(tmp_path / "b.nrrd"))
    np.testing.assert_array_equal(array, np.eye(5, 4))
    for name, value in space.items():
        np.testing.assert_array_equal(header[name], value)


def test_the_same_labels_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nrrd", "b.nrrd"):
        write_labels(tmp_path / name, np.eye(5, dtype=int))
    data = (tmp_path / "a.nrrd").read_bytes()
    assert data == (tmp_path / "b.nrrd").read_bytes() and b"#" not in data.partition(b"\n\n")[0]


def written(folder: Path, name: str, data: bytes, **fields: str) -> Path:
    """A file of 2 x 2 x 2 bytes, unless `fields` say otherwise."""
    known = {"type": "uchar", "dimension": "3", "sizes": "2 2 2", "encoding": "raw"}
    lines = [f"{key.replace('_', ' ')}: {value}" for key, value in {**known, **fields}.items()]
    (folder / name).write_bytes("\n".join(["NRRD0004", *lines, "", ""]).encode() + data)
    return folder / name


def test_a_size_that_the_file_cannot_hold(tmp_path: Path) -> None:
    for packed, data in (("raw", bytes(7)), ("gzip", gzip.compress(bytes(7))), ("bzip2", bz2.compress(bytes(7)))):
        with pytest.raises(ImageError, match=r"its header says 8 samples, .*it is incomplete"):
            read(written(tmp_path, "a.nrrd", data, encoding=packed))
    with pytest.raises(ImageError, match=r"says 8 samples, ascii"):
        read_header(written(tmp_path, "a.nrrd", b"1 2 3", encoding="ascii"))
    lie = {"sizes": "30000 30000 30", "encoding": "gzip"}
    with pytest.raises(ImageError, match=r"a\.nrrd: its header says 27000000000 samples"):
        read_header(written(tmp_path, "a.nrrd", gzip.compress(bytes(8)), **lie))
    with pytest.raises(ImageError, match="max_bytes"):
        read(written(tmp_path, "a.nrrd", bz2.compress(bytes(8)), sizes="30000 30000 30", encoding="bzip2"))
    # What the file holds beyond its sizes is never expanded.
    bomb = gzip.compress(bytes(2**25))
    assert read(written(tmp_path, "a.nrrd", bomb, encoding="gzip")).array.shape == (1, 2, 2, 2)


def test_data_lie_beside_their_header(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out.raw").write_bytes(bytes(range(8)))
    (tmp_path / "in" / "here.raw").write_bytes(b"skipped\n!" + bytes(range(8)))
    (tmp_path / "in" / "link.raw").symlink_to(tmp_path / "out.raw")
    for outside in ("../out.raw", str(tmp_path / "out.raw"), "link.raw", "LIST", "%03d.raw 1 3 1"):
        with pytest.raises(ImageError, match=r"only one file in the same folder|is not beside it"):
            read(written(tmp_path / "in", "a.nhdr", b"", data_file=outside))
    for byte_skip in ("1", "-1"):
        file = written(tmp_path / "in", "a.nhdr", b"", data_file="here.raw", line_skip="1", byte_skip=byte_skip)
        np.testing.assert_array_equal(read(file).array.ravel(), np.arange(8))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "block"}, "holds block numbers"),
        ({"encoding": "hex"}, "encoded as hex"),
        ({"sizes": "2 2"}, "of dimension 3"),
        ({"sizes": "2 0 2"}, "save it again"),
        ({"dimension": "4", "sizes": "1 2 2 2"}, "4 lie in space"),
        ({"kinds": "vector list domain"}, "1 lie in space"),
        ({"byte_skip": "-2"}, "skips 0 lines and -2 bytes"),
    ],
)
def test_what_is_no_image(tmp_path: Path, fields: dict[str, str], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        read(written(tmp_path, "a.nrrd", bytes(8), **fields))
