"""Windows: each is that part of what `read` gives, in every format, and no more is read than is needed."""

import json
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from useg.errors import ImageError
from useg.images import (
    Windows,
    is_image_file,
    label_suffix,
    level_headers,
    open_windows,
    read,
    read_header,
    windows_of,
    write_labels,
)
from useg.images.image import Image, InStore, OnMap

in_tmp = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Y, X, Z = 75, 101, 4


def noise(*shape: int, dtype: str = "u1") -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    high = {"u1": 256, "u2": 65536}.get(dtype, 1000)
    return rng.integers(0, high, shape).astype(dtype)


def tif(array: np.ndarray, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tifffile.imwrite(folder / "a.tif", array, **{"photometric": "minisblack", **options})
        return folder / "a.tif"

    return write


def pyramid(array: np.ndarray, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with tifffile.TiffWriter(folder / "a.tif", ome=options.pop("ome", False)) as writer:
            writer.write(array, subifds=2, tile=(32, 32), **options)
            options.pop("metadata", None)
            for step in (2, 4):
                writer.write(array[::step, ::step], subfiletype=1, tile=(32, 32), metadata=None, **options)
        return folder / "a.tif"

    return write


def separate_pages(folder: Path) -> Path:
    """Plain pages that do not lie beside one another in the file."""
    with tifffile.TiffWriter(folder / "a.tif") as writer:
        for page in noise(Z, Y, X, dtype="u2"):
            writer.write(page, contiguous=False, metadata=None)
    return folder / "a.tif"


def one_bit(folder: Path, compression: str | None, white: int) -> Path:
    Pillow.fromarray(noise(Y, X) > 99).save(folder / "a.tif", compression=compression, tiffinfo={262: white})
    return folder / "a.tif"


def geo(shape: tuple[int, ...], dtype: str = "u1", **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        count, height, width = shape
        place = rasterio.Affine(0.5, 0, 7e5, 0, -0.25, 3e6)
        profile = {
            "driver": "GTiff",
            "count": count,
            "height": height,
            "width": width,
            "dtype": np.dtype(dtype),
        } | options
        with rasterio.open(folder / "a.tif", "w", crs="EPSG:32616", transform=place, **profile) as new:
            if not options.get("SPARSE_OK"):
                new.write(noise(*shape, dtype=dtype))
        return folder / "a.tif"

    return write


def ome(array: np.ndarray, axes: str, version: str, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        levels, stored = [], [array, array[..., ::2, ::2]]
        for number in range(2):
            scale = [{"z": 2.0, "y": 0.5, "x": 0.25}.get(a, 1.0) * (1 + number * (a in "yx")) for a in axes]
            steps = [
                {"type": "scale", "scale": scale},
                {"type": "translation", "translation": [3.0 * number for _ in axes]},
            ]
            levels.append({"path": str(number), "coordinateTransformations": steps})
        named = [{"name": a, "type": {"t": "time", "c": "channel"}.get(a, "space"), "unit": "micrometer"} for a in axes]
        image = {"axes": named, "datasets": levels}
        described: dict[str, Any] = {"ome": {"version": "0.5", "multiscales": [image]}}
        if version == "0.4":
            described = {"multiscales": [image | {"version": "0.4"}]}
        group = zarr.create_group(
            str(folder / "a.zarr"), zarr_format=2 if version == "0.4" else 3, attributes=described
        )
        for level, pixels in zip("01", stored, strict=True):
            kinds = {"chunks": (*(1,) * (array.ndim - 2), 16, 16)} | options
            group.create_array(level, shape=pixels.shape, dtype=pixels.dtype, **kinds)[...] = pixels
        return folder / "a.zarr"

    return write


def npy(array: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "a.npy", array)
        return folder / "a.npy"

    return write


def png(folder: Path, array: np.ndarray) -> Path:
    Pillow.fromarray(array).save(folder / "a.png")
    return folder / "a.png"


def labels(folder: Path, name: str) -> Path:
    write_labels(folder / name, noise(Z, Y, X), like=Image(noise(1, Z, Y, X), "CZYX", (3.0, 2.0, 1.0), "mm"))
    return folder / name


PALETTE = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
RGB = {"photometric": "rgb"}
KINDS: dict[str, Callable[[Path], Path]] = {
    "plain": tif(noise(Y, X)),
    "big-endian": tif(noise(Y, X, dtype="u2"), byteorder=">"),
    "big-endian tiles": tif(noise(Y, X, dtype="f4"), byteorder=">", tile=(32, 48), compression="zlib", predictor=3),
    "bigtiff lzw strips": tif(noise(Y, X, dtype="u2"), bigtiff=True, compression="lzw", rowsperstrip=7, predictor=2),
    "one strip": tif(noise(Y, X), compression="zlib", rowsperstrip=Y),
    "zstd float tiles": tif(noise(Y, X, dtype="f4"), compression="zstd", tile=(16, 32)),
    "half floats": tif(noise(Y, X, dtype="f2"), tile=(16, 16)),
    "rgb strips": tif(noise(Y, X, 3), compression="zlib", rowsperstrip=10, **RGB),
    "rgb planes": tif(noise(3, Y, X), planarconfig="separate", tile=(32, 32), compression="zlib", **RGB),
    "rgb planes plain": tif(noise(3, Y, X), planarconfig="separate", **RGB),
    "rgba": tif(noise(Y, X, 4), extrasamples=["unassalpha"], tile=(32, 32), **RGB),
    "jpeg": tif(noise(Y, X, 3), compression="jpeg", tile=(32, 32), **RGB),
    "jpeg strips": tif(noise(Y, X, 3), compression="jpeg", rowsperstrip=16, **RGB),
    "palette": tif(noise(Y, X), photometric="palette", colormap=PALETTE, tile=(32, 32)),
    "palette planes": tif(noise(Z, Y, X), photometric="palette", colormap=PALETTE),
    "cmyk": tif(noise(Y, X, 4), photometric="separated", planarconfig="contig", tile=(32, 32)),
    "white is zero": lambda folder: one_bit(folder, None, 0),
    "fax": lambda folder: one_bit(folder, "group4", 0),
    "one bit tiles": tif(noise(Y, X) > 99, tile=(32, 32)),
    "turned": tif(noise(Y, X), compression="zlib", rowsperstrip=8, extratags=[(274, "H", 1, 6, True)]),
    "volume": tif(noise(Z, Y, X, dtype="u2"), metadata={"axes": "ZYX"}),
    "volume tiles": tif(noise(Z, Y, X), metadata={"axes": "ZYX"}, tile=(32, 32), compression="lzw"),
    "volume of depth tiles": tif(noise(Z, Y, X), volumetric=True, tile=(2, 32, 32), metadata={"axes": "ZYX"}),
    "pages": separate_pages,
    "imagej": tif(noise(Z, 2, Y, X, dtype="u2"), imagej=True, metadata={"axes": "ZCYX"}),
    "channels tiled": tif(noise(Z, 2, Y, X), metadata={"axes": "ZCYX"}, tile=(32, 32), compression="zlib"),
    "ome": tif(noise(2, Z, Y, X), ome=True, metadata={"axes": "CZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}),
    "jpeg in one strip": tif(noise(Y, X, 3), compression="jpeg", rowsperstrip=Y, **RGB),
    "pyramid": pyramid(noise(Y, X, 3), photometric="rgb", compression="zlib"),
    "ome pyramid": pyramid(
        noise(Y, X), ome=True, photometric="minisblack", metadata={"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
    ),
    "geo": geo((2, Y, X), "u2"),
    "geo tiles": geo((3, Y, X), tiled=True, blockxsize=32, blockysize=16, compress="deflate", predictor=2),
    "geo without tiles": geo((1, Y, X), tiled=True, blockxsize=32, blockysize=16, SPARSE_OK=True, nodata=7),
    "zarr 0.4": ome(noise(2, Y, X, dtype="u2"), "cyx", "0.4"),
    "zarr 0.5": ome(noise(Z, 2, Y, X), "zcyx", "0.5"),
    "zarr 0.5 in time": ome(noise(1, 2, 1, Y, X, dtype="f4"), "tczyx", "0.5"),
    "zarr bool": ome(noise(Y, X) > 99, "yx", "0.5"),
    "zarr shards": ome(noise(Y, X), "yx", "0.5", shards=(32, 64)),
    "npy": npy(noise(Y, X, 3)),
    "npy fortran": npy(np.asfortranarray(noise(Z, Y, X).astype(">i2"))),
    "npy bool": npy(noise(Y, X) > 99),
    "png": lambda folder: png(folder, noise(Y, X, 3)),
    "png rgba": lambda folder: png(folder, noise(Y, X, 4)),
    "nifti": lambda folder: labels(folder, "a.nii.gz"),
}


@pytest.fixture(params=KINDS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return KINDS[request.param](tmp_path)


@in_tmp
@given(data=st.data())
def test_windows_are_parts_of_the_whole(file: Path, data: st.DataObject) -> None:
    alpha = data.draw(st.booleans())
    whole = read(file, alpha=alpha)
    with open_windows(file, alpha=alpha) as windows:
        assert len(windows.chunk) == len(whole.size) and windows.path == file
        about = windows.header
        assert (about.channels, about.size, about.dtype) == (whole.channels, whole.size, whole.dtype)
        assert (about.axes, about.spacing, about.unit) == (whole.axes, whole.spacing, whole.unit)
        assert about.place == whole.place
        for _ in range(3):
            starts = [data.draw(st.integers(0, n - 1)) for n in whole.size]
            ends = [data.draw(st.integers(start + 1, n + 3)) for start, n in zip(starts, whole.size, strict=True)]
            window = tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))
            part = windows.read(window)
            np.testing.assert_array_equal(part, whole.array[(slice(None), *window)])
            assert part.dtype == whole.dtype and part.dtype.isnative and part.flags.c_contiguous
        steps = [data.draw(st.integers(1, n + 1)) for n in whole.size]
        every = tuple(slice(None, None, step) for step in steps)
        np.testing.assert_array_equal(windows.strided(steps), whole.array[(slice(None), *every)])


def test_threads_and_other_processes_read_the_same(file: Path) -> None:
    whole = read(file)
    rows = [(*(slice(None) for _ in whole.size[:-2]), slice(top, top + 9), slice(5, 99)) for top in range(0, Y, 6)]
    with open_windows(file) as windows, ThreadPoolExecutor(4) as threads:
        for window, part in zip(rows, threads.map(windows.read, rows), strict=True):
            np.testing.assert_array_equal(part, whole.array[(slice(None), *window)])
        other: Windows = pickle.loads(pickle.dumps(windows))
    with other:
        np.testing.assert_array_equal(other.read(rows[3]), whole.array[(slice(None), *rows[3])])


def test_windows_that_are_none(file: Path) -> None:
    with open_windows(file) as windows:
        full = [slice(None)] * len(windows.header.size)
        for bad in ([slice(3, 3), *full[1:]], [slice(0, 4, 2), *full[1:]], full[1:], [slice(9999, None), *full[1:]]):
            with pytest.raises(ImageError, match=r"a\.\S+: has no window"):
                windows.read(bad)
    with pytest.raises(ImageError, match=r"a\.\S+: has no level 9; it has 0: "):
        open_windows(file, level=9)


@pytest.mark.parametrize("seen", [16, 2000])
def test_strided_reads_part_by_part(monkeypatch: pytest.MonkeyPatch, file: Path, seen: int) -> None:
    monkeypatch.setattr("useg.images.windows._BAND_BYTES", seen)
    whole = read(file).array
    with open_windows(file) as windows:
        steps = [1] * (whole.ndim - 3) + [5, 7]
        np.testing.assert_array_equal(windows.strided(steps), whole[..., ::5, ::7])


@pytest.mark.parametrize("kind", ["pyramid", "ome pyramid", "zarr 0.4", "zarr 0.5"])
def test_levels(tmp_path: Path, kind: str) -> None:
    file = KINDS[kind](tmp_path)
    whole, headers = read(file), level_headers(file)
    assert len(headers) == (2 if "zarr" in kind else 3)
    assert headers[0].spacing == whole.spacing
    for level, header in enumerate(headers):
        step = 2**level
        with open_windows(file, level=level) as windows:
            small = whole.array[..., ::step, ::step]
            assert windows.header == header and header.size == small.shape[1:]
            np.testing.assert_array_equal(windows.read([slice(None)] * len(header.size)), small)
        if whole.spacing and header.spacing:
            assert header.spacing[-2:] == tuple(step * size for size in whole.spacing[-2:])
            assert header.unit == whole.unit
        if isinstance(header.place, InStore):
            assert header.place.translation[-1] == 3.0 * level


def test_an_image_alone_has_one_level(tmp_path: Path) -> None:
    for kind in ("png", "npy", "plain", "geo"):
        file = KINDS[kind](tmp_path)
        assert level_headers(file) == [read_header(file)]


def test_overviews_lie_on_the_map(tmp_path: Path) -> None:
    file = geo((1, 600, 800), tiled=True, blockxsize=256, blockysize=256)(tmp_path)
    with rasterio.open(file, "r+") as new:
        new.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    full, *lower = level_headers(file)
    assert [header.size for header in lower] == [(300, 400), (150, 200)]
    assert [header.spacing for header in lower] == [(0.5, 1.0), (1.0, 2.0)]
    assert isinstance(full.place, OnMap) and isinstance(lower[0].place, OnMap)
    assert lower[0].place.transform == (1.0, 0, 7e5, 0, -0.5, 3e6)
    with open_windows(file, level=1) as windows, rasterio.open(file, overview_level=0) as seen:
        np.testing.assert_array_equal(windows.read([slice(7, 300), slice(3, 99)]), seen.read()[:, 7:300, 3:99])


APERIO = "Aperio Image Library v11.2.1 \r\n{w}x{h} [0,0 {w}x{h}] ({t}x{t}) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"


def slide(file: Path, array: np.ndarray, description: str = APERIO) -> None:
    height, width = array.shape[:2]
    said = description.format(w=width, h=height, t=32)
    options: dict[str, Any] = {"photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(file, bigtiff=True) as writer:
        writer.write(array, tile=(32, 32), description=said, **options)
        writer.write(array[::8, ::8], rowsperstrip=16, description=said, **options)  # its thumbnail
        writer.write(array[::4, ::4], tile=(32, 32), description=said, **options)


def test_a_slide_knows_its_pixel_size_and_levels(tmp_path: Path) -> None:
    file, array = tmp_path / "a.svs", noise(200, 320, 3)
    slide(file, array)
    image, header = read(file), read_header(file)
    assert (image.axes, image.channels, image.size) == ("CYX", 3, (200, 320))
    assert (image.spacing, image.unit) == ((0.499, 0.499), "µm") == (header.spacing, header.unit)
    np.testing.assert_array_equal(image.array, np.moveaxis(tifffile.imread(file), -1, 0))
    headers = level_headers(file)
    assert [each.size for each in headers] == [(200, 320), (50, 80)]
    assert headers[1].spacing == pytest.approx((1.996, 1.996))
    with open_windows(file) as windows, open_windows(file, level=1) as low:
        window = (slice(30, 100), slice(11, 290))
        np.testing.assert_array_equal(windows.read(window), image.array[(slice(None), *window)])
        assert windows.chunk == (32, 32) and low.header == headers[1]
        assert low.read([slice(None)] * 2).shape == (3, 50, 80)
    assert is_image_file("a.SVS") and label_suffix(file) == ".tif"
    with pytest.raises(ImageError, match="max_bytes"):
        read(file, max_bytes=1000)


def test_a_slide_without_a_pixel_size(tmp_path: Path) -> None:
    slide(tmp_path / "a.svs", noise(64, 64, 3), APERIO.partition("|MPP")[0])
    assert read_header(tmp_path / "a.svs").spacing is None


def test_the_picture_of_a_slide_is_not_the_slide(tmp_path: Path) -> None:
    Pillow.fromarray(noise(Y, X, 3)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").rename(tmp_path / "a.mrxs")
    with pytest.raises(ImageError, match="is a MIRAX slide"):
        read(tmp_path / "a.mrxs")


@pytest.mark.parametrize("kind", sorted({*KINDS} - {name for name in KINDS if "zarr" in name}))
def test_every_truncation_is_an_image_error(tmp_path: Path, kind: str) -> None:
    file = KINDS[kind](tmp_path)
    data = file.read_bytes()
    whole = read(file).array
    for end in sorted({len(data) - 1, *range(1, len(data), max(1, len(data) // 12))}):
        file.write_bytes(data[:end])
        try:
            with open_windows(file) as windows:
                found = windows.read([slice(None)] * len(windows.header.size))
            # What was cut off may be a description that nothing needs.
            np.testing.assert_array_equal(found, whole)
        except ImageError as error:
            assert str(file) in str(error) and "\n" not in str(error)


def damaged(file: Path) -> Path:
    """Its first strip, tile or chunk is overwritten."""
    if file.is_dir():
        part = next(path for path in sorted((file / "0").rglob("*")) if path.is_file() and "json" not in path.name)
        if part.name.startswith("."):
            part = file / "0/0.0.0"
        part.write_bytes(b"\xff" * part.stat().st_size)
        return file
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        start, count = page.dataoffsets[0], page.databytecounts[0]
    data = bytearray(file.read_bytes())
    data[start : start + count] = b"\xff" * count
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("kind", ["zarr 0.4", "zarr 0.5", "zarr shards", "rgb strips", "volume tiles", "geo tiles"])
def test_a_corrupt_chunk_names_the_window(tmp_path: Path, kind: str) -> None:
    file = damaged(KINDS[kind](tmp_path))
    with open_windows(file) as windows:
        window = [slice(0, 3)] * len(windows.header.size)
        said = r"a\.\w+: its window \[0:3, 0:3(, 0:3)?\] cannot be decoded \(.*\); it is damaged"
        with pytest.raises(ImageError, match=said) as caught:
            windows.read(window)
        assert "\n" not in str(caught.value)


def test_a_closed_file_is_an_image_error(tmp_path: Path) -> None:
    windows = open_windows(KINDS["volume tiles"](tmp_path))
    windows.close()
    with pytest.raises(ImageError, match="cannot be decoded"):
        windows.read([slice(0, 3)] * 3)


def test_a_chunk_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    file = KINDS["zarr 0.4"](tmp_path)
    said = json.loads((file / "0/.zarray").read_text())
    (file / "0/.zarray").write_text(json.dumps(said | {"shape": [2, 10**6, 10**6], "chunks": [1, 10**6, 10**6]}))
    with pytest.raises(ImageError, match="chunks of 2000000000000 bytes"):
        open_windows(file)
    tifffile.imwrite(tmp_path / "b.tif", noise(64, 64), compression="zstd", tile=(32, 32), metadata=None)
    data = bytearray((tmp_path / "b.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "b.tif") as tiff:
        for name in ("TileWidth", "TileLength"):
            tag = tiff.pages.first.tags[name]
            data[tag.valueoffset : tag.valueoffset + 4] = struct.pack(tiff.byteorder + "I", 2**20)
    (tmp_path / "b.tif").write_bytes(data)
    with pytest.raises(ImageError, match=rf"b\.tif: its header says strips or tiles of {2**40} bytes"):
        open_windows(tmp_path / "b.tif")


@pytest.mark.parametrize("kind", ["turned", "volume of depth tiles"])
def test_what_is_decoded_whole_has_the_limit_of_whole_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("useg.images.tiff_windows.MAX_BYTES", 5000)
    with pytest.raises(ImageError, match=r"a\.tif: its header says .* more than"):
        open_windows(KINDS[kind](tmp_path))


@pytest.mark.parametrize("kind", ["one strip", "rgba"])
def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("useg.images.tiff_windows._KEPT_BYTES", 2 * 32 * 32 * 4)
    file = KINDS[kind](tmp_path)
    whole = read(file).array
    with open_windows(file) as windows:
        for _ in range(2):
            for top in range(0, Y, 20):
                np.testing.assert_array_equal(
                    windows.read((slice(top, top + 30), slice(9, 90)))[:, :20], whole[:, top : top + 30, 9:90][:, :20]
                )


def test_a_slide_of_several_focal_planes_is_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32), "metadata": None, "contiguous": False}
    said = APERIO.format(w=64, h=64, t=32)
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        for size in (64, 16, 64):
            writer.write(noise(size, size, 3), description=said, **options)
    for opener in (open_windows, read, read_header):
        with pytest.raises(ImageError, match="holds 2 focal planes"):
            opener(tmp_path / "a.svs")


def test_a_filter_that_runs_code_is_refused(tmp_path: Path) -> None:
    file = KINDS["zarr 0.4"](tmp_path)
    said = json.loads((file / "0/.zarray").read_text())
    (file / "0/.zarray").write_text(json.dumps(said | {"filters": [{"id": "pickle"}]}))
    with pytest.raises(ImageError, match="is compressed with pickle"):
        open_windows(file)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[{}, 1]], object), allow_pickle=True)
    with pytest.raises(ImageError, match="holds Python objects"):
        open_windows(tmp_path / "a.npy")


def traced(work: Callable[[], object]) -> int:
    """Most bytes that Python's and NumPy's memory grew by."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_larger_than_memory(tmp_path: Path) -> None:
    """40 GB in OME-Zarr and in TIFF, of which nothing is stored, and 1 GB of a sparse .npy."""
    edge = 200_000
    axes = [{"name": name, "type": "space"} for name in "yx"]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": []}]}
    said = {"ome": {"version": "0.5", "multiscales": [image]}}
    group = zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=3, attributes=said)
    group.create_array("0", shape=(edge, edge), dtype="u1", chunks=(1024, 1024), fill_value=7)
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=1, height=edge, width=edge, dtype=np.uint8, tiled=True,
        blockxsize=4096, blockysize=4096, SPARSE_OK=True, nodata=7, crs="EPSG:32616",
        transform=rasterio.Affine(1, 0, 7e5, 0, -1, 3e6), compress="deflate",
    ):  # fmt: skip
        pass
    np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (2**15, 2**15)).flush()
    for name in ("a.zarr", "a.tif", "a.npy"):

        def work(file: Path = tmp_path / name) -> None:
            with open_windows(file) as windows:
                size = windows.header.size
                far = windows.read([slice(n - 300, n - 100) for n in size])
                assert far.shape == (1, 200, 200) and (far == (0 if file.suffix == ".npy" else 7)).all()
                few = windows.strided([n // 4 for n in size])
                assert few.shape == (1, 4, 4)

        assert traced(work) < 200 * 2**20
    with pytest.raises(ImageError, match="max_bytes"):
        read(tmp_path / "a.zarr")


def test_arrays_behind_the_same_face() -> None:
    dask_array = pytest.importorskip("dask.array")
    array = noise(2, Y, X, dtype="u2")
    for given_array, chunk in (
        (array, (1, 1)),
        (array.astype(">u2"), (1, 1)),
        (dask_array.from_array(array, chunks=(2, 30, 40)), (30, 40)),
    ):
        windows = windows_of(given_array, spacing=(2.0, 1.0), unit="µm")
        assert windows.header.spacing == (2.0, 1.0) and windows.chunk == chunk
        window = (slice(3, 50), slice(0, 99))
        part = windows.read(window)
        np.testing.assert_array_equal(part, array[(slice(None), *window)])
        assert part.dtype == np.uint16 and part.flags.c_contiguous
        np.testing.assert_array_equal(windows.strided((3, 4)), array[:, ::3, ::4])
        again = pickle.loads(pickle.dumps(windows))
        np.testing.assert_array_equal(again.read(window), part)
    assert windows_of(array > 3).read([slice(None)] * 2).dtype == np.uint8
    for bad in (np.zeros((3, 4)), np.zeros((1, 0, 4)), np.zeros((1, 3, 4), complex)):
        with pytest.raises(ImageError, match="this array: has the shape"):
            windows_of(bad)
