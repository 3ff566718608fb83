"""GeoTIFF: what is predicted lies where the image lies, as rasterio sees it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from useg.errors import ImageError
from useg.images import read, read_header, read_mask, write_labels, write_probabilities
from useg.images.image import Image, OnMap

in_tmp = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
UNIT = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
UTM, DEGREES = "EPSG:32616", "EPSG:4326"
CUSTOM = rasterio.CRS.from_proj4("+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +datum=NAD83 +units=m")


def save(file: Path, bands: np.ndarray, crs: Any, transform: Any, **options: Any) -> None:
    count, height, width = bands.shape
    with rasterio.open(
        file, "w", driver="GTiff", count=count, height=height, width=width, dtype=bands.dtype,
        crs=crs, transform=transform, **options,
    ) as new:  # fmt: skip
        new.write(bands)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of rasterio, in `bounds`
@in_tmp
@given(
    st.sampled_from([UTM, DEGREES, CUSTOM]),
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e3),
    st.floats(-3, 3),
    st.sampled_from([255, 65535, 2**32 - 1]),
    st.data(),
)
def test_labels_lie_where_the_image_lies(
    tmp_path: Path, crs: Any, east: float, step: float, angle: float, high: int, data: st.DataObject
) -> None:
    corner, turn = rasterio.Affine.translation(east, 5e6), rasterio.Affine.rotation(angle)
    transform = corner @ turn @ rasterio.Affine.scale(step, -step)
    save(tmp_path / "image.tif", np.ones((3, 6, 7), np.int16), crs, transform)
    image, header = read(tmp_path / "image.tif"), read_header(tmp_path / "image.tif")
    assert isinstance(image.place, OnMap) and image.place == header.place and image.spacing == header.spacing
    labels = data.draw(arrays(np.int64, (6, 7), elements=st.integers(0, high)))
    write_labels(tmp_path / "labels.tif", labels, like=image)
    np.testing.assert_array_equal(read_mask(tmp_path / "labels.tif"), labels)
    assert read(tmp_path / "labels.tif").place == image.place
    with rasterio.open(tmp_path / "image.tif") as a, rasterio.open(tmp_path / "labels.tif") as b:
        assert a.crs == b.crs and a.transform == b.transform and a.bounds == b.bounds
        np.testing.assert_array_equal(b.read(1), labels)


def test_pixel_size_and_unit(tmp_path: Path) -> None:
    bands = np.ones((1, 4, 5), np.uint16)
    save(tmp_path / "m.tif", bands, UTM, rasterio.Affine(0.5, 0, 7e5, 0, -0.25, 3e6))
    save(tmp_path / "d.tif", bands, DEGREES, rasterio.Affine(1e-5, 0, 10, 0, -1e-5, 50))
    save(tmp_path / "turned.tif", bands, UTM, rasterio.Affine(0.5, 0.1, 7e5, 0.1, -0.5, 3e6))
    save(tmp_path / "nowhere.tif", bands, None, rasterio.Affine(0.5, 0, 7e5, 0, -0.5, 3e6))
    found = {name: read(tmp_path / f"{name}.tif") for name in ("m", "d", "turned", "nowhere")}
    assert (found["m"].spacing, found["m"].unit) == ((0.25, 0.5), "m")
    assert (found["d"].spacing, found["d"].unit) == (pytest.approx((1e-5, 1e-5)), "degree")
    assert all(found[name].spacing is None and found[name].place for name in ("turned", "nowhere"))
    assert found["nowhere"].place == OnMap((0.5, 0.0, 7e5, 0.0, -0.5, 3e6), "")


def test_label_colours_are_a_palette_that_maps_show(tmp_path: Path) -> None:
    wkt = rasterio.CRS.from_string(UTM).to_wkt()
    like = Image(
        np.zeros((1, 300, 300), np.uint8),
        "CYX",
        place=OnMap(UNIT, wkt),
    )
    labels = np.zeros((300, 300), int)
    labels[0, 0] = 1
    write_labels(tmp_path / "a.tif", labels, colours=[(9, 8, 7), (1, 2, 3)], like=like)
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.colormap(1)[0][:3] == (9, 8, 7) and file.colormap(1)[1][:3] == (1, 2, 3)
        assert file.profile["compress"] == "deflate" and file.profile["tiled"]


def test_probabilities_lie_there_too(tmp_path: Path) -> None:
    save(tmp_path / "image.tif", np.ones((1, 6, 7), np.uint8), UTM, rasterio.Affine(2, 0, 7e5, 0, -2, 3e6))
    image = read(tmp_path / "image.tif")
    scores = np.random.default_rng(0).random((3, 6, 7), np.float32)
    write_probabilities(tmp_path / "p.tif", scores, like=image)
    back = read(tmp_path / "p.tif")
    np.testing.assert_array_equal(back.array, scores)
    assert (back.place, back.spacing, back.unit) == (image.place, (2.0, 2.0), "m")


def test_a_georeference_places_the_pixels_as_they_are_stored(tmp_path: Path) -> None:
    import tifffile

    array = np.arange(20, dtype=np.uint8).reshape(4, 5)
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32616)
    tags = [(274, "H", 1, 6, True), (34735, "H", len(keys), keys, True), (33550, "d", 3, (1.0, 1.0, 0.0), True),
            (33922, "d", 6, (0.0, 0.0, 0.0, 7e5, 3e6, 0.0), True)]  # fmt: skip
    tifffile.imwrite(tmp_path / "a.tif", array, extratags=tags)
    image = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.array[0], array)
    assert image.place is not None


def test_what_gdal_says_of_damage_is_not_heard(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a.tif", np.ones((1, 6, 7), np.uint8), UTM, rasterio.Affine(2, 0, 7e5, 0, -2, 3e6))
    data = (tmp_path / "a.tif").read_bytes()
    citation = b"WGS 84 / UTM zone 16N|"
    assert citation in data
    for place in range(data.index(citation) - 40, data.index(citation) + 40):
        (tmp_path / "b.tif").write_bytes(data[:place] + b"\xff\xfe" + data[place + 2 :])
        with suppress(ImageError):
            read(tmp_path / "b.tif")
    # PROJ itself, in C, says that it lacks a table when a unit is damaged; nothing but that.
    said = [line for line in capfd.readouterr().err.splitlines() if "proj.db" not in line]
    assert said == []


def test_a_plain_tiff_stays_one(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", np.eye(4, dtype=int), like=Image(np.zeros((1, 4, 4)), "CYX", (1.0, 2.0), "µm"))
    back = read(tmp_path / "a.tif")
    assert (back.place, back.spacing, back.unit) == (None, (1.0, 2.0), "µm")


def test_volumes_have_no_place_on_a_map(tmp_path: Path) -> None:
    like = Image(np.zeros((1, 2, 3, 4), np.uint8), "CZYX", place=OnMap(UNIT, ""))
    with pytest.raises(ImageError, match=r"no volume of shape \(2, 3, 4\)"):
        write_labels(tmp_path / "a.tif", np.zeros((2, 3, 4), int), like=like)
