"""Outlines: drawn again they are the same pixels, and QuPath and ImageJ can read their files."""

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage
from skimage.measure import points_in_poly

from useg.errors import MissingExtraError, OutputError, SettingsError, SizeError
from useg.objects.outlines import Polygon, outline, write_geojson, write_rois

IMAGES = npst.arrays(np.int32, npst.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3))


def inside(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre is in a ring."""
    y, x = np.indices(size)
    return points_in_poly(np.stack([x.ravel(), y.ravel()], axis=1) + 0.5, ring).reshape(size)


def drawn(outlines: list[tuple[int, list[Polygon]]], size: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(size, np.int64)
    for label, polygons in outlines:
        for exterior, holes in polygons:
            piece = inside(np.asarray(exterior), size)
            for hole in holes:
                there = inside(np.asarray(hole), size)
                assert piece[there].all()  # a hole lies in its own polygon
                piece &= ~there
            assert not labels[piece].any()
            labels[piece] = label
    return labels


@given(IMAGES)
def test_drawn_again_they_are_the_same_pixels(labels: np.ndarray) -> None:
    np.testing.assert_array_equal(drawn(outline(labels), labels.shape), labels)


@given(IMAGES)
def test_rings_are_as_geojson_wants_them(labels: np.ndarray) -> None:
    found = outline(labels)
    assert [label for label, _ in found] == sorted(set(np.unique(labels)) - {0})
    for label, polygons in found:
        assert len(polygons) == ndimage.label(labels == label)[1]
        for exterior, holes in polygons:
            for ring, sign in ((exterior, 1), *((hole, -1) for hole in holes)):
                x, y = ring.T
                assert sign * (x @ np.roll(y, -1) - y @ np.roll(x, -1)) > 0
                assert len(np.unique(ring, axis=0)) == len(ring)  # it never meets itself
                steps = np.roll(ring, -1, axis=0) - ring
                assert ((steps == 0).sum(axis=1) == 1).all()
                assert ((steps[:, 0] == 0) != (np.roll(steps, -1, axis=0)[:, 0] == 0)).all()  # corners only


def test_one_pixel() -> None:
    labels = np.zeros((3, 4), np.uint16)
    labels[1, 2] = 300
    [(label, [(exterior, holes)])] = outline(labels)
    assert label == 300 and not holes
    assert exterior.tolist() == [[2, 1], [3, 1], [3, 2], [2, 2]]


def test_large_objects_numbers_and_none() -> None:
    y, x = np.ogrid[:90, :120]
    labels = np.where(np.hypot(y - 45, x - 60) < 40, 2**31 - 1, 0)
    labels[np.hypot(y - 45, x - 60) < 20] = 7
    np.testing.assert_array_equal(drawn(outline(labels), labels.shape), labels)
    assert outline(np.zeros((4, 5), int)) == []
    assert outline(np.zeros((0, 5), int)) == []
    with pytest.raises(SizeError, match="3 axes"):
        outline(np.zeros((2, 2, 2), int))


@given(IMAGES)
def test_geojson(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("outlines") / "a.geojson"
    numbers = np.unique(labels[labels > 0])
    write_geojson(path, labels, name="Zelle", properties={"label": numbers, "area_um2": numbers * 1.5})
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["type"] == "FeatureCollection"
    found = []
    for feature in document["features"]:
        assert feature["type"] == "Feature"
        about, shape = feature["properties"], feature["geometry"]
        assert about["objectType"] == "detection"
        assert about["classification"] == {"name": "Zelle", "color": [230, 159, 0]}
        assert about["measurements"] == {"area_um2": about["label"] * 1.5}
        pieces = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
        assert all(ring[0] == ring[-1] for piece in pieces for ring in piece)
        found.append((about["label"], [Polygon(piece[0], piece[1:]) for piece in pieces]))
    np.testing.assert_array_equal(drawn(found, labels.shape), labels)


def test_geojson_without_measurements(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    write_geojson(path, np.ones((2, 2), int), properties={"label": [1], "solidity": [np.nan]}, kind="annotation")
    [feature] = json.loads(path.read_text())["features"]
    assert feature["properties"]["measurements"] == {}
    assert feature["properties"]["objectType"] == "annotation"
    write_geojson(path, np.ones((2, 2), int))
    [feature] = json.loads(path.read_text())["features"]
    assert "measurements" not in feature["properties"]
    with pytest.raises(SettingsError, match="label"):
        write_geojson(path, np.ones((2, 2), int), properties={"area": [4]})
    with pytest.raises(OutputError):
        write_geojson(path / "b.geojson", np.ones((2, 2), int))


@given(IMAGES)
def test_rois(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> None:
    roifile = pytest.importorskip("roifile")
    path = tmp_path_factory.mktemp("outlines") / "a.zip"
    write_rois(path, labels)
    bytes_of_it = path.read_bytes()
    write_rois(path, labels)
    assert path.read_bytes() == bytes_of_it
    if not labels.any():
        return
    again = np.zeros(labels.shape, np.int64)
    for roi in roifile.roiread(path):
        odd = np.zeros(labels.shape, bool)  # ImageJ fills composites by the even-odd rule
        for ring in roi.coordinates(multi=True):
            odd ^= inside(ring[:-1] if (ring[0] == ring[-1]).all() else ring, labels.shape)
        again[odd] = int(roi.name)
        rows, columns = np.nonzero(odd)
        assert (roi.top, roi.left) == (rows.min(), columns.min())
        assert (roi.bottom, roi.right) == (rows.max() + 1, columns.max() + 1)
    np.testing.assert_array_equal(again, labels)


def test_without_roifile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "roifile":
            raise ImportError(name="roifile")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'useg\[imagej\]'"):
        write_rois(tmp_path / "a.zip", np.ones((2, 2), int))
    assert not list(tmp_path.iterdir())
