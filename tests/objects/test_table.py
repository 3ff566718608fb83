"""Tables: the numbers are those of numpy, lengths follow the pixel size, and the file reads back."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from useg.errors import SettingsError, SizeError
from useg.objects.table import object_table, write_table

IMAGES = npst.arrays(
    np.int32, npst.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6), elements=st.integers(0, 3)
)


@given(IMAGES)
def test_numbers_are_numpys(labels: np.ndarray) -> None:
    image = np.random.default_rng(0).random((2, *labels.shape), np.float32)
    table = object_table(labels, image)
    ids = np.unique(labels[labels > 0])
    np.testing.assert_array_equal(table["label"], ids)
    assert {len(column) for column in table.values()} == {len(ids)}
    axes = "zyx"[-labels.ndim :]
    for row, number in enumerate(ids):
        where = labels == number
        assert table["area_px" if labels.ndim == 2 else "volume_px"][row] == where.sum()
        for axis, places in zip(axes, np.nonzero(where), strict=True):
            assert table[f"centroid_{axis}_px"][row] == pytest.approx(places.mean() + 0.5)
            assert table[f"begin_{axis}_px"][row] == places.min()
            assert table[f"end_{axis}_px"][row] == places.max() + 1
        for channel in (0, 1):
            inside = image[channel][where]
            assert table[f"intensity_mean_c{channel}"][row] == pytest.approx(inside.mean())
            assert table[f"intensity_min_c{channel}"][row] == inside.min()
            assert table[f"intensity_max_c{channel}"][row] == inside.max()


def disc(height: float = 20.5, width: float = 20.5) -> np.ndarray:
    y, x = np.ogrid[:60, :60]
    return (((y - 30) / height) ** 2 + ((x - 30) / width) ** 2 <= 1).astype(np.int32)


def test_a_disc() -> None:
    table = object_table(disc())
    assert table["major_axis_px"] == pytest.approx(41, abs=0.5)
    assert table["equivalent_diameter_px"] == pytest.approx(41, abs=0.5)
    assert table["eccentricity"] == pytest.approx(0, abs=0.05)
    assert table["perimeter_px"] == pytest.approx(np.pi * 41, rel=0.05)
    assert table["solidity"][0] > 0.97
    assert "intensity_mean_c0" not in table


def test_pixel_size_scales_lengths_and_areas() -> None:
    plain, scaled = object_table(disc()), object_table(disc(), spacing=(0.5, 0.5), unit="µm")
    np.testing.assert_array_equal(scaled["area_px"], plain["area_px"])
    np.testing.assert_allclose(scaled["area_um2"], plain["area_px"] * 0.25)
    for name in ("major_axis", "minor_axis", "perimeter", "equivalent_diameter"):
        np.testing.assert_allclose(scaled[f"{name}_um"], plain[f"{name}_px"] * 0.5)
    for name in ("centroid_y_px", "centroid_x_px", "solidity", "eccentricity"):
        np.testing.assert_allclose(scaled[name], plain[name], atol=1e-6)


def test_pixels_that_are_not_square() -> None:
    """An ellipse of pixels that is a disc in truth."""
    table = object_table(disc(height=10.25), spacing=(2.0, 1.0), unit="mm")
    assert table["eccentricity"] == pytest.approx(0, abs=0.3)  # a ratio of 0.95
    assert table["major_axis_mm"] == pytest.approx(41, abs=1)
    assert "perimeter_mm" not in table
    assert table["centroid_y_px"] == pytest.approx(30.5)


def test_volumes_have_volumes() -> None:
    labels = np.zeros((4, 5, 6), np.uint16)
    labels[1:3, 1:4, 2:4] = 9
    table = object_table(labels, spacing=(2.0, 0.5, 0.5))
    assert table["volume_px"] == 12
    assert table["volume_units3"] == pytest.approx(6)
    assert "solidity" not in table


def test_no_objects() -> None:
    labels = np.zeros((4, 5), int)
    table = object_table(labels, np.zeros((1, 4, 5)), (1.0, 1.0), "nm")
    assert list(table) == list(object_table(labels + 1, np.zeros((1, 4, 5)), (1.0, 1.0), "nm"))
    assert all(len(column) == 0 for column in table.values())


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(SizeError):
        object_table(np.ones((4, 5), int), np.zeros((1, 5, 4)))
    with pytest.raises(SizeError):
        object_table(np.ones(4, int))
    for spacing in ((1.0,), (1.0, 0.0), (1.0, float("nan"))):
        with pytest.raises(SettingsError, match="spacing"):
            object_table(np.ones((4, 5), int), spacing=spacing)


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    labels = np.zeros((6, 6), int)
    labels[1, 1], labels[3:6, 2:6] = 1, 300
    columns = object_table(labels, np.ones((1, 6, 6), np.float32) / 3, (0.1, 0.1), "μm")
    write_table(path, columns)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(columns)
    assert [row["label"] for row in rows] == ["1", "300"]
    for name, column in columns.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], column, rtol=1e-7)
    assert rows[1]["area_um2"] == "0.12"
    write_table(path, {"label": [1, 2], "x": [0.5, float("nan")]})
    assert path.read_text() == "label,x\n1,0.5\n2,\n"
    with pytest.raises(SettingsError, match="x: 1"):
        write_table(path, {"label": [1, 2], "x": [0.5]})
