"""Stores: written block by block, made into files that say what the in-memory writers say."""

import json
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from useg.errors import ImageError, OutputError, SizeError
from useg.images import (
    Header,
    Image,
    LabelStore,
    level_headers,
    open_windows,
    read,
    read_mask,
    write_labels,
    write_labels_from,
    write_probabilities_from,
)
from useg.images.image import InStore, OnMap

in_tmp = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
UTM = OnMap((0.5, 0.0, 7e5, 0.0, -0.5, 3e6), rasterio.CRS.from_epsg(32616).to_wkt())
COLOURS = [(0, 0, 0), (200, 10, 20)]


def filled(path: Path, array: np.ndarray, chunk: tuple[int, ...], planes: int | None = None) -> LabelStore:
    size = array.shape if planes is None else array.shape[1:]
    store = LabelStore.create(path, size, array.dtype, chunk, planes=planes)
    for block in store.blocks():
        store.write(block, array[(..., *block)])
    return store


def whole(store: LabelStore) -> tuple[slice, ...]:
    return (slice(None),) * len(store.size)


@in_tmp
@given(data=st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    size = tuple(data.draw(st.lists(st.integers(1, 20), min_size=2, max_size=3)))
    chunk = tuple(data.draw(st.integers(1, 9)) for _ in size)
    planes = data.draw(st.sampled_from([None, 1, 3]))
    dtype = data.draw(st.sampled_from(["u1", "u2", "i4", "u4", "f4"]))
    shape = size if planes is None else (planes, *size)
    array = np.random.default_rng(0).integers(0, 3, shape).astype(dtype)
    store = filled(tmp_path_factory.mktemp("store") / "a", array, chunk, planes)
    store.sync(whole(store))
    for other in (LabelStore.open(store.path), pickle.loads(pickle.dumps(store))):
        assert (other.size, other.dtype, other.chunk, other.planes) == (size, array.dtype, store.chunk, planes)
        window = tuple(slice(n // 3, n) for n in size)
        np.testing.assert_array_equal(other.read(window), array[(..., *window)])
        if planes:
            np.testing.assert_array_equal(other.read(window, plane=planes - 1), array[(-1, *window)])


def test_empty_chunks_are_written_and_told_from_missing_ones(tmp_path: Path) -> None:
    store = LabelStore.create(tmp_path / "a", (30, 40), "u1", (16, 16))
    first, second = (slice(0, 16), slice(0, 16)), (slice(16, 30), slice(32, 40))
    store.write(first, np.zeros((16, 16), np.uint8))
    store.sync(first)
    assert store.holds(first) and not store.holds(second) and not store.holds(whole(store))
    assert [file.relative_to(store.path).as_posix() for file in store.files(second)] == ["0/c/1/2"]
    assert all(file.is_file() for file in store.files(first))
    with pytest.raises(OutputError, match=r"a: lacks 0/c/1/2; write"):
        store.sync(second)
    np.testing.assert_array_equal(store.read(second), np.zeros((14, 8)))
    for name in ("a.tif", "a.npy", "a.ome.zarr", "a.png"):
        with pytest.raises(ImageError, match=r"a: its window \[\d+:\d+, \d+:\d+\] was not written"):
            write_labels_from(tmp_path / name, store)
        assert not (tmp_path / name).exists()


def test_windows_across_chunks_are_refused(tmp_path: Path) -> None:
    store = LabelStore.create(tmp_path / "a", (30, 40), np.uint8, (16, 16))
    for window in ((slice(0, 15), slice(0, 16)), (slice(1, 16), slice(0, 16)), (slice(0, 16), slice(0, 39))):
        with pytest.raises(SizeError, match="is not on the borders of chunks"):
            store.write(window, np.zeros([p.stop - p.start for p in window], np.uint8))
    with pytest.raises(SizeError, match=r"\(3, 3\) numbers for the window \[0:16, 0:16\]"):
        store.write((slice(0, 16), slice(0, 16)), np.zeros((3, 3), np.uint8))
    with pytest.raises(OutputError, match="is there already"):
        LabelStore.create(tmp_path / "a", (30, 40), np.uint8, (16, 16))
    with pytest.raises(ImageError, match="cannot be decoded"):
        LabelStore.open(tmp_path / "b")


def _fill(store: LabelStore, block: tuple[slice, ...]) -> None:
    rows, columns = np.ogrid[block]
    store.write(block, (rows * 50 + columns).astype(np.int32))
    store.sync(block)


def test_several_processes_write(tmp_path: Path) -> None:
    store = LabelStore.create(tmp_path / "a", (40, 50), np.int32, (16, 16))
    blocks = list(store.blocks())
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        list(workers.map(_fill, [store] * len(blocks), blocks))
    np.testing.assert_array_equal(store.written(whole(store)), np.arange(2000).reshape(40, 50))


def like(dims: int, kind: str) -> Header:
    if kind == "map":
        return Header(1, (8, 8), np.dtype(np.uint8), "CYX", (0.5, 0.5), "m", UTM)
    place = InStore((5.0,) * dims, "0.5") if kind == "store" else None
    return Header(1, (8,) * dims, np.dtype(np.uint8), "CZYX"[-dims - 1 :], (3.0, 2.0, 1.0)[-dims:], "µm", place)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4"])
@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [
        ("a.tif", (1100, 2100), "plain"), ("a.tif", (700, 90), "plain"), ("a.tif", (3, 530, 540), "plain"),
        ("a.tif", (1100, 2100), "map"), ("a.tif", (90, 100), "map"),
        ("a.npy", (530, 70), "plain"), ("a.npy", (5, 53, 70), "plain"),
        ("a.ome.zarr", (1100, 2100), "store"), ("a.ome.zarr", (3, 1030, 54), "store"), ("a.ome.zarr", (9, 9), "plain"),
        ("a.png", (90, 100), "plain"), ("a.nii.gz", (3, 53, 54), "plain"),
    ],
)  # fmt: skip
def test_files_of_a_store_are_those_of_the_array(
    tmp_path: Path, name: str, size: tuple[int, ...], kind: str, dtype: str
) -> None:
    high = {"u1": 3, "u2": 300, "i4": 70000}[dtype]
    if (name, dtype) == ("a.png", "i4"):
        high = 300
    labels = np.random.default_rng(0).integers(0, high, size).astype(dtype)
    labels.flat[0] = high
    labels[tuple(slice(0, 64) for _ in size)] //= 2
    about = like(len(size), kind)
    store = filled(tmp_path / "work" / "labels", labels, tuple(min(n, 256) for n in (4, 256, 256)[-len(size) :]))
    write_labels_from(tmp_path / "new" / name, store, colours=COLOURS, names=["a", "b"], like=about)
    write_labels(tmp_path / "old" / name, labels, colours=COLOURS, names=["a", "b"], like=about)
    new, old = tmp_path / "new" / name, tmp_path / "old" / name
    np.testing.assert_array_equal(read_mask(new), labels)
    ours, theirs = read(new), read(old)
    assert (ours.axes, ours.spacing, ours.unit, ours.place) == (theirs.axes, theirs.spacing, theirs.unit, theirs.place)
    if "zarr" not in name:
        assert ours.dtype == theirs.dtype
        assert store.path.exists()
    headers = level_headers(new)
    if (name == "a.tif" and len(size) == 2) or "zarr" in name:
        assert max(headers[-1].size) <= 1024 and len(headers) == 1 + max(0, int(np.ceil(np.log2(max(size) / 1024))))
    for level, header in enumerate(headers):
        every = (slice(None, None, 2**level),) * len(size)
        if kind != "map" and name != "a.png":  # GDAL takes another pixel of four; a picture is read in its colours
            with open_windows(new, level=level) as windows:
                np.testing.assert_array_equal(windows.read([slice(None)] * len(size))[0], labels[every])
        if header.spacing and ours.spacing:
            assert header.spacing == tuple(2**level * edge for edge in ours.spacing)


def test_ome_zarr_of_a_store_is_what_viewers_expect(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 4, (1500, 300)).astype(np.uint8)
    write_labels(tmp_path / "old.ome.zarr", labels, colours=COLOURS, like=like(2, "store"))
    (tmp_path / "new.ome.zarr").mkdir()  # something to replace
    store = filled(tmp_path / "labels", labels, (256, 256))
    write_labels_from(tmp_path / "new.ome.zarr", store, colours=COLOURS, like=like(2, "store"))
    assert not store.path.exists()
    new, old = (
        json.loads((tmp_path / f"{n}.ome.zarr/zarr.json").read_text())["attributes"]["ome"] for n in ("new", "old")
    )
    assert new["image-label"] == old["image-label"] and new["version"] == old["version"] == "0.5"
    image = new["multiscales"][0]
    assert image["axes"] == old["multiscales"][0]["axes"]
    assert image["datasets"][0] == old["multiscales"][0]["datasets"][0]
    assert [each["path"] for each in image["datasets"]] == ["0", "1"]
    assert image["datasets"][1]["coordinateTransformations"][0] == {"type": "scale", "scale": [4.0, 2.0]}
    group = zarr.open_group(str(tmp_path / "new.ome.zarr"), mode="r")
    for level in ("0", "1"):
        array: Any = group[level]
        assert array.metadata.dimension_names == ("y", "x")


@pytest.mark.parametrize("kind", ["plain", "map"])
@pytest.mark.parametrize("name", ["a.tif", "a.npy", "a.ome.zarr"])
@pytest.mark.parametrize("size", [(530, 600), (3, 60, 70)])
def test_scores(tmp_path: Path, name: str, kind: str, size: tuple[int, ...]) -> None:
    scores = np.random.default_rng(0).random((3, *size), np.float32)
    about = like(len(size), kind)
    store = filled(tmp_path / "scores", scores, (256,) * len(size), planes=3)
    if kind == "map" and len(size) == 3:
        if name == "a.tif":
            with pytest.raises(ImageError, match="no volume"):
                write_probabilities_from(tmp_path / name, store, like=about)
        return
    write_probabilities_from(tmp_path / name, store, like=about)
    back = read(tmp_path / name)
    np.testing.assert_array_equal(back.array, scores)
    assert back.dtype == np.float32
    if name != "a.npy":
        assert (back.spacing, back.unit) == (about.spacing, about.unit)
    if name == "a.tif":
        assert back.place == about.place


def test_palette_and_tiles(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (600, 700)).astype(np.uint8)
    store = filled(tmp_path / "labels", labels, (256, 256))
    write_labels_from(tmp_path / "map.tif", store, colours=[(9, 8, 7), (1, 2, 3)], like=like(2, "map"))
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.colormap(1)[0][:3] == (9, 8, 7) and file.colormap(1)[1][:3] == (1, 2, 3)
        assert file.profile["compress"] == "deflate" and file.profile["tiled"]
    write_labels_from(tmp_path / "plain.tif", store, like=like(2, "plain"))
    with tifffile.TiffFile(tmp_path / "plain.tif") as tiff:
        assert tiff.pages.first.is_tiled and tiff.pages.first.compression == 8


def test_what_no_file_can_hold(tmp_path: Path) -> None:
    store = filled(tmp_path / "low", np.full((9, 9), -1, np.int32), (9, 9))
    with pytest.raises(ImageError, match=r"low: holds -1\.\.0 in \[0:9, 0:9\]; labels are 0"):
        write_labels_from(tmp_path / "a.tif", store)
    scores = filled(tmp_path / "scores", np.zeros((2, 9, 9), np.float32), (9, 9), planes=2)
    with pytest.raises(ImageError, match="holds no labels"):
        write_labels_from(tmp_path / "a.tif", scores)
    with pytest.raises(ImageError, match="has no axis of classes"):
        write_probabilities_from(tmp_path / "a.tif", store)
    with pytest.raises(ImageError, match="cannot write the suffix"):
        write_probabilities_from(tmp_path / "a.png", scores)
    with pytest.raises(ImageError, match="cannot write the suffix"):
        write_labels_from(tmp_path / "a.jpg", store)


def test_a_damaged_chunk_leaves_no_file(tmp_path: Path) -> None:
    store = filled(tmp_path / "a", np.ones((600, 700), np.uint8), (256, 256))
    file = next(store.files((slice(256, 300), slice(0, 9))))
    file.write_bytes(file.read_bytes()[:-5])
    write_labels(tmp_path / "a.tif", np.ones((3, 3), int))
    for name in ("a.tif", "b.npy", "b.ome.zarr"):
        with pytest.raises(ImageError, match=r"a: its window .* cannot be decoded"):
            write_labels_from(tmp_path / name, store)
    with pytest.raises(ImageError, match="cannot be decoded"):
        write_labels_from(tmp_path / "map.tif", store, like=like(2, "map"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.tif"]
    assert read_mask(tmp_path / "a.tif").shape == (3, 3) and store.path.exists()


def test_what_the_disk_refuses_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        LabelStore.create(tmp_path / "file" / "a", (9, 9), np.uint8, (9, 9))
    store = filled(tmp_path / "a", np.ones((9, 9), np.uint8), (9, 9))
    for name in ("a.tif", "a.npy", "a.ome.zarr"):
        with pytest.raises(OutputError, match="cannot be written"):
            write_labels_from(tmp_path / "file" / name, store)
    assert store.holds(whole(store))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zarr.storage._local._put", full)
    with pytest.raises(OutputError, match=r"a: cannot be written \(No space left on device\)"):
        store.write(whole(store), np.ones((9, 9), np.uint8))


def test_an_image_may_be_what_the_labels_are_like(tmp_path: Path) -> None:
    store = filled(tmp_path / "a", np.ones((9, 9), np.uint8), (9, 9))
    write_labels_from(tmp_path / "a.tif", store, like=Image(np.zeros((1, 9, 9)), "CYX", (2.0, 1.0), "µm"))
    assert read(tmp_path / "a.tif").spacing == (2.0, 1.0)
