"""OME-Zarr 0.4 and 0.5: axes, pixel size, translation; and no filter that runs code."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from useg.errors import ImageError
from useg.images import is_image_file, read, read_header, read_mask, write_labels
from useg.images.image import InStore

in_tmp = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def save(
    folder: Path,
    array: np.ndarray,
    axes: str,
    version: str,
    scale: list[float] | None = None,
    shift: list[float] | None = None,
    unit: str | None = "micrometer",
) -> None:
    kinds = {"t": "time", "c": "channel"}
    named: list[dict[str, Any]] = [{"name": a, "type": kinds.get(a, "space")} for a in axes]
    for axis in named:
        if axis["type"] == "space" and unit:
            axis["unit"] = unit
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": scale or [1.0] * len(axes)}]
    if shift:
        steps.append({"type": "translation", "translation": shift})
    levels = [{"path": "0", "coordinateTransformations": steps}, {"path": "1", "coordinateTransformations": steps}]
    image = {"axes": named, "datasets": levels}
    described: dict[str, Any] = {"ome": {"version": "0.5", "multiscales": [image]}}
    if version == "0.4":
        described = {"multiscales": [image | {"version": "0.4"}]}
    group = zarr.create_group(str(folder), zarr_format=2 if version == "0.4" else 3, attributes=described)
    for name, pixels in (("0", array), ("1", array[..., ::2, ::2])):
        level = group.create_array(name, shape=pixels.shape, dtype=pixels.dtype, chunks=(2,) * pixels.ndim)
        level[...] = pixels


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "i4", "f4"])
@pytest.mark.parametrize(
    ("axes", "shape", "size"),
    [
        ("yx", (4, 5), (1, 4, 5)),
        ("cyx", (2, 4, 5), (2, 4, 5)),
        ("zyx", (3, 4, 5), (1, 3, 4, 5)),
        ("tczyx", (1, 2, 3, 4, 5), (2, 3, 4, 5)),
        ("tczyx", (1, 2, 1, 4, 5), (2, 4, 5)),
    ],
)
def test_axes_and_number_types(
    tmp_path: Path, version: str, dtype: str, axes: str, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    full = {"t": 1.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
    save(tmp_path / "a.ome.zarr", array, axes, version, [full[a] for a in axes])
    image, header = read(tmp_path / "a.ome.zarr"), read_header(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(image.array, array.reshape(size))
    assert image.dtype == (np.uint8 if dtype == "?" else np.dtype(dtype))
    assert image.axes == ("CYX" if len(size) == 3 else "CZYX")
    assert (image.spacing, image.unit) == ((2.0, 0.5, 0.25)[-len(size) + 1 :], "µm")
    assert (header.channels, header.size, header.dtype, header.axes) == (size[0], size[1:], image.dtype, image.axes)
    assert (header.spacing, header.unit, header.place) == (image.spacing, image.unit, image.place)


def test_time_takes_the_place_of_depth_but_not_beside_it(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(3, 1, 1, 4, 5)
    save(tmp_path / "a.zarr", array, "tczyx", "0.5", [9.0, 1, 1, 2, 2])
    image = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(image.array, array.reshape(1, 3, 4, 5))
    assert image.axes == "CZYX" and image.spacing is None
    save(tmp_path / "b.zarr", np.zeros((3, 1, 2, 4, 5), np.uint8), "tczyx", "0.5")
    with pytest.raises(ImageError, match="3 along T, 2 along Z"):
        read(tmp_path / "b.zarr")


@in_tmp
@given(
    arrays(np.int64, st.sampled_from([(5, 6), (2, 5, 6)]), elements=st.integers(0, 2**32 - 1)),
    st.sampled_from(["0.4", "0.5"]),
    st.sampled_from(["micrometer", "nanometer", None]),
    st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3),
    st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3),
    st.integers(0, 2**60),
)
def test_labels_come_back_in_their_place(
    tmp_path: Path,
    labels: np.ndarray,
    version: str,
    unit: str | None,
    scale: list[float],
    shift: list[float],
    number: int,
) -> None:
    dims, source = labels.ndim, tmp_path / f"{number}.zarr"
    if source.exists():
        return
    save(source, np.zeros(labels.shape, np.uint8), "zyx"[-dims:], version, scale[-dims:], shift[-dims:], unit)
    image = read(source)
    assert image.place == InStore(tuple(shift[-dims:]), version) and image.spacing == tuple(scale[-dims:])
    write_labels(tmp_path / "a.ome.zarr", labels, colours=[(0, 0, 0), (1, 2, 3)], like=image)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.ome.zarr"), labels)
    back = read(tmp_path / "a.ome.zarr")
    assert (back.place, back.spacing, back.unit, back.axes) == (image.place, image.spacing, image.unit, image.axes)
    group = zarr.open_group(str(tmp_path / "a.ome.zarr"), mode="r")
    np.testing.assert_array_equal(group["0"][...], labels)  # type: ignore[index]
    assert group.metadata.zarr_format == (2 if version == "0.4" else 3)


def test_colours_of_labels(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.ome.zarr", np.array([[0, 1], [2, 0]]), colours=[(0, 0, 0), (1, 2, 3), (4, 5, 6)])
    described = json.loads((tmp_path / "a.ome.zarr/zarr.json").read_text())["attributes"]["ome"]
    assert described["image-label"]["colors"] == [
        {"label-value": 1, "rgba": [1, 2, 3, 255]},
        {"label-value": 2, "rgba": [4, 5, 6, 255]},
    ]
    assert is_image_file(tmp_path / "a.ome.zarr")


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was run",)


@pytest.mark.parametrize("where", ["filters", "compressor"])
def test_a_filter_that_runs_code_is_refused(tmp_path: Path, where: str) -> None:
    folder = tmp_path / "a.zarr"
    save(folder, np.zeros((2, 2), np.uint8), "yx", "0.4")
    described = json.loads((folder / "0/.zarray").read_text())
    described |= {"compressor": None, "filters": None, "fill_value": 0}
    described[where] = {"id": "pickle"} if where == "compressor" else [{"id": "pickle"}]
    (folder / "0/.zarray").write_text(json.dumps(described))
    (folder / "0/0.0").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ImageError, match=r"a\.zarr: is compressed with pickle"):
        read(folder)


def change(folder: Path, file: str, **keys: Any) -> None:
    described = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(described | keys))


def test_sizes_are_claims(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    save(folder, np.zeros((2, 2), np.uint8), "yx", "0.4")
    change(folder, "0/.zarray", shape=[10**6, 10**6])
    with pytest.raises(ImageError, match="max_bytes"):
        read(folder)
    change(folder, "0/.zarray", shape=[10, 10], chunks=[10**6, 10**6])
    with pytest.raises(ImageError, match="chunks of 1000000000000 bytes"):
        read(folder)


@pytest.mark.parametrize(
    ("file", "keys", "said"),
    [
        (".zattrs", {"multiscales": []}, "without an OME-Zarr image"),
        (".zattrs", {"multiscales": [{"axes": [], "datasets": [{"path": "../b"}]}]}, "lies outside"),
        (".zattrs", {"multiscales": [{"axes": [], "datasets": [{"path": "7"}]}]}, "lacks 7"),
        (".zattrs", {"multiscales": [{"axes": [{"name": "q"}], "datasets": [{"path": "0"}]}]}, "has the axes"),
        (".zattrs", {"multiscales": [{}]}, "cannot be decoded"),
        ("0/.zarray", {"dtype": "|O"}, "holds |O values"),
        ("0/.zarray", {"dtype": [["a", "<i4"]]}, "values; save real numbers"),
    ],
)
def test_folders_that_are_no_image(tmp_path: Path, file: str, keys: dict[str, Any], said: str) -> None:
    folder = tmp_path / "a.zarr"
    save(folder, np.zeros((2, 2), np.uint8), "yx", "0.4")
    change(folder, file, **keys)
    for reader in (read, read_header, read_mask):
        with pytest.raises(ImageError) as caught:
            reader(folder)
        assert said in str(caught.value) and str(folder) in str(caught.value)


def test_an_empty_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(ImageError, match=r"without OME-Zarr metadata"):
        read(tmp_path / "a.zarr")
