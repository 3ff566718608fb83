"""OME-Zarr 0.4 and 0.5: the full-resolution level of the first image of a folder, through zarr (extra `zarr`).

Axes become C[Z]YX as for TIFF: an axis of time takes the place of a missing depth. A level's scale is the pixel size,
its translation is kept. Zarr files name the filters that decode them, and one of them runs code (pickle); only those
that cannot are let in.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

from useg.atomic import move_folder, sync, telling
from useg.errors import ImageError, extra
from useg.images.image import MAX_BYTES, About, Header, Image, InStore, Layout, check_claim, label_colours, layout_of
from useg.images.polite import decoding, encoding
from useg.images.store import LabelStore
from useg.images.windows import Window, Windows, pick_level

_MOST_JSON = 2**24
_SAFE = {
    "blosc", "zlib", "gzip", "zstd", "lz4", "bz2", "lzma", "delta", "fixedscaleoffset", "shuffle", "bitround",
    "packbits", "crc32", "crc32c", "adler32", "bytes", "transpose", "sharding_indexed",
}  # fmt: skip
_UNITS = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "centimeter": "cm", "meter": "m"}


class _Level(NamedTuple):
    """A level of the pyramid: its folder, its array's JSON, and what the image says of it."""

    folder: Path
    array: dict[str, Any]
    layout: Layout
    spacing: tuple[float, ...] | None
    unit: str | None
    place: InStore


def opens(path: Path, head: bytes) -> bool:
    """Whether this is the folder of a Zarr group, or called .zarr."""
    marked = any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))
    return path.is_dir() and (marked or path.name.lower().endswith(".zarr"))


def read(path: Path, *, indices: bool = False, max_bytes: int = MAX_BYTES) -> Image:
    """Decode the full-resolution level.

    Args:
        path: the folder.
        indices: no difference here: a label image holds plain numbers.
        max_bytes: largest decoded size allowed.

    Returns:
        The image, `C Y X` or `C Z Y X`, with its translation as `InStore`.

    Raises:
        MissingExtraError: zarr is not installed.
        ImageError: the folder is no OME-Zarr image of version 0.4 or 0.5, is damaged, or too large.
    """
    with extra(path, "zarr"):
        import zarr
    with decoding(path):
        level = _levels(path)[0]
        header = _header(path, level)
        check_claim(path, header, max_bytes=max_bytes, file_bytes=None)
        chunks = level.array.get("chunks") or level.array["chunk_grid"]["configuration"]["chunk_shape"]
        _check_chunks(path, chunks, header.dtype, max_bytes)
        stored: Any = zarr.open_array(str(level.folder), mode="r")
        array = level.layout.sorted(np.asarray(stored[...]))
        array = np.ascontiguousarray(array, dtype=header.dtype)
    return Image(array, header.axes, header.spacing, header.unit, path, header.place)


def read_header(path: Path) -> Header:
    """What the folder says of its image, without decoding a pixel; needs no library.

    Raises:
        ImageError: the folder is no OME-Zarr image of version 0.4 or 0.5, or is damaged.
    """
    with decoding(path):
        return _header(path, _levels(path)[0])


def open_windows(path: Path, *, indices: bool = False, alpha: bool = False, level: int = 0) -> Windows:
    """Open a level of the image. A chunk that is not stored reads as the array's fill value, as the format has it.

    Args:
        path: the folder.
        indices: no difference here: a label image holds plain numbers.
        alpha: no difference here: there is none.
        level: of the pyramid; 0 is the full resolution.

    Raises:
        MissingExtraError: zarr is not installed.
        ImageError: the folder is no OME-Zarr image of version 0.4 or 0.5, is damaged, or has no such level.
    """
    with extra(path, "zarr"):
        import zarr
    with decoding(path):
        found = _levels(path, all_of_them=True)
        headers = tuple(_header(path, each) for each in found)
        header = pick_level(path, headers, level)
        check_claim(path, header, max_bytes=None, file_bytes=None)
        layout = found[level].layout
        stored: Any = zarr.open_array(str(found[level].folder), mode="r")
        # Of a shard, only the chunks within are decoded.
        _check_chunks(path, stored.chunks, header.dtype, MAX_BYTES)
    chunk = tuple(int(stored.chunks[axis]) for axis in layout.order[-len(header.size) :])

    def fetch(window: Window) -> np.ndarray:
        return layout.sorted(np.asarray(stored[layout.selection(window)]))

    return Windows(path, header, chunk, headers, fetch)


def write_labels(path: Path, labels: Integer[np.ndarray, "*space"], about: About) -> None:
    """Write label numbers as an image of one level, in the version of OME-Zarr that the image had (else 0.5).

    Raises:
        MissingExtraError: zarr is not installed.
        ImageError: the folder cannot be written.
    """
    with extra(path, "zarr"):
        import zarr
    version = about.place.version if isinstance(about.place, InStore) else "0.5"
    old = version == "0.4"
    described = described_as(about, "zyx"[-labels.ndim :], version, highest=int(labels.max()))
    chunks = tuple(min(edge, 1024 if labels.ndim == 2 else 128) for edge in labels.shape)
    with encoding(path, folder=True) as temporary:
        group = zarr.create_group(str(temporary), zarr_format=2 if old else 3, attributes=described)
        # The specification asks for chunks in folders, and from 0.5 on for the names of the axes at the array.
        options: dict[str, Any] = (
            {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
            if old
            else {"dimension_names": list("zyx"[-labels.ndim :])}
        )
        array = group.create_array("0", shape=labels.shape, dtype=labels.dtype, chunks=chunks, **options)
        array[...] = labels


def write_stored(path: Path, store: LabelStore, about: About) -> None:
    """Make an OME-Zarr 0.5 image of a store, with lower levels, and move it to `path`; the store is there no more.

    Raises:
        ImageError: a chunk of the store is missing or damaged.
        OutputError: the disk is full, may not be written, or `path` is on another one.
    """
    with extra(path, "zarr"):
        import zarr
    highest = store.highest() if store.planes is None and store.dtype.kind in "iu" else None
    lower = store.lower_levels()
    ratios = [[2**level.level] * len(store.size) for level in lower]
    described = described_as(about, store.axes, "0.5", highest=highest, ratios=ratios)
    with telling(path):
        zarr.open_group(str(store.path), mode="r+", zarr_format=3).update_attributes(described)
        sync(store.path / "zarr.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        move_folder(store.path, path)


def described_as(
    about: About, axes: str, version: str, *, highest: int | None, ratios: Sequence[Sequence[int]] = ()
) -> dict[str, Any]:
    """The attributes of an image's group.

    Args:
        about: pixel size, translation and colours.
        axes: a letter an axis, "yx", "zyx", or with "c" before them.
        version: "0.4" or "0.5".
        highest: the highest label, or None where these are no labels.
        ratios: how many pixels of the full resolution a pixel of each lower level stands for, along each axis of space.
    """
    space = axes.removeprefix("c")
    names = {ours: theirs for theirs, ours in _UNITS.items()}
    spatial: list[dict[str, str]] = [{"name": name, "type": "space"} for name in space]
    if about.unit:
        spatial = [axis | {"unit": names.get(about.unit, about.unit)} for axis in spatial]
    channel: list[dict[str, str]] = [{"name": "c", "type": "channel"}] * (len(axes) - len(space))
    scale = about.spacing(len(space)) or (1.0,) * len(space)
    shift = about.place.translation if isinstance(about.place, InStore) else (0.0,) * len(space)
    datasets = []
    # Every second pixel is taken, from the first: the centre of the first stays where it is.
    for number, ratio in enumerate([(1,) * len(space), *ratios]):
        steps = [edge * times for edge, times in zip(scale, ratio, strict=True)]
        transforms = [
            {"type": "scale", "scale": [1.0] * len(channel) + steps},
            {"type": "translation", "translation": [0.0] * len(channel) + list(shift)},
        ]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    image: dict[str, Any] = {"axes": channel + spatial, "datasets": datasets}
    label: dict[str, Any] = {}
    if highest is not None:
        table = [
            {"label-value": label, "rgba": [*colour, 255]} for label, colour in enumerate(label_colours(about)) if label
        ]
        label = {"image-label": {"colors": table[:highest]}}
    if version == "0.4":
        label = {key: {"version": "0.4", **value} for key, value in label.items()}
        return {"multiscales": [image | {"version": "0.4"}], **label}
    return {"ome": {"version": "0.5", "multiscales": [image], **label}}


def _levels(path: Path, *, all_of_them: bool = False) -> list[_Level]:
    """Read the JSON of the image, and of its first level or of all."""
    described, version = _described(path)
    images = described.get("multiscales")
    if not isinstance(images, list) or not images:
        raise ImageError(f"{path}: is a Zarr folder without an OME-Zarr image (multiscales); give the image's folder")
    stored = images[0]["datasets"]
    return [_level(path, images[0], each, version) for each in (stored if all_of_them else stored[:1])]


def _level(path: Path, image: dict[str, Any], stored: dict[str, Any], version: str) -> _Level:
    folder = path / str(stored["path"])
    if not folder.resolve().is_relative_to(path.resolve()):
        raise ImageError(f"{path}: a level of it lies outside of it ({stored['path']!r}); it is damaged")
    array = _json(path, folder / ("zarr.json" if version == "0.5" else ".zarray"))
    names = [axis["name"] for axis in image["axes"]]
    layout = layout_of(path, "".join(name[:1].upper() for name in names), [int(n) for n in array["shape"]])
    if len(names) != len(array["shape"]):
        raise ImageError(f"{path}: names {len(names)} axes for an array of {len(array['shape'])}; it is damaged")
    scale, shift = _transforms(stored, image, len(names))
    place = names.index("z") if layout.real_depth else None
    wanted = [place] if len(layout.axes) == 4 else []
    wanted += [names.index("y"), names.index("x")]
    units = {image["axes"][i].get("unit") for i in wanted if i is not None}
    unit = units.pop() if len(units) == 1 else None
    spacing = None
    if scale and None not in wanted and all(math.isfinite(scale[i]) and scale[i] > 0 for i in wanted if i is not None):
        spacing = tuple(scale[i] for i in wanted if i is not None)
    translation = tuple(shift[i] if i is not None else 0.0 for i in wanted)
    return _Level(
        folder, array, layout, spacing, _UNITS.get(str(unit), unit) if spacing else None, InStore(translation, version)
    )


def _described(path: Path) -> tuple[dict[str, Any], str]:
    """The attributes of the group, and which version of OME-Zarr they follow."""
    if (path / "zarr.json").is_file():
        attributes = _json(path, path / "zarr.json").get("attributes") or {}
        return attributes.get("ome") or {}, "0.5"
    if not (path / ".zattrs").is_file():
        raise ImageError(f"{path}: is a folder without OME-Zarr metadata (.zattrs or zarr.json); it is incomplete")
    return _json(path, path / ".zattrs"), "0.4"


def _json(path: Path, file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ImageError(f"{path}: lacks {file.relative_to(path)}; it is incomplete, copy it again")
    if file.stat().st_size > _MOST_JSON:
        raise ImageError(f"{path}: {file.name} has {file.stat().st_size} bytes; it is damaged")
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ImageError(f"{path}: {file.name} is no JSON object; it is damaged")
    return found


def _transforms(level: dict[str, Any], image: dict[str, Any], dims: int) -> tuple[list[float] | None, list[float]]:
    """Scale and translation of each axis: those of the level, then those of the whole image."""
    scale, shift, known = [1.0] * dims, [0.0] * dims, False
    for step in [*level.get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]:
        numbers = [float(number) for number in step.get(step["type"], [])]
        if len(numbers) != dims:
            continue
        if step["type"] == "scale":
            known = True
            scale, shift = ([a * b for a, b in zip(one, numbers, strict=True)] for one in (scale, shift))
        elif step["type"] == "translation":
            shift = [a + b for a, b in zip(shift, numbers, strict=True)]
    return scale if known else None, shift


def _header(path: Path, level: _Level) -> Header:
    array, layout = level.array, level.layout
    named = array.get("data_type", array.get("dtype"))
    dtype = np.dtype(named) if isinstance(named, str) else np.dtype(object)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ImageError(f"{path}: holds {named} values; save real numbers or integers")
    unsafe = sorted(_codecs(array) - _SAFE)
    if unsafe:
        raise ImageError(f"{path}: is compressed with {', '.join(unsafe)}, which is not read; save it with zstd")
    number = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
    channels, *size = layout.shape
    return Header(channels, tuple(size), number, layout.axes, level.spacing, level.unit, level.place)


def _codecs(array: dict[str, Any]) -> set[str]:
    """Names of all codecs of an array, those inside of shards too."""
    found = set()
    for codec in [array.get("compressor"), *(array.get("filters") or []), *(array.get("codecs") or [])]:
        if codec is not None:
            found.add(str(codec.get("id", codec.get("name"))).removeprefix("numcodecs."))
            inner = codec.get("configuration") or {}
            found |= _codecs({"codecs": [*(inner.get("codecs") or []), *(inner.get("index_codecs") or [])]})
    return found


def _check_chunks(path: Path, chunks: Sequence[int], dtype: np.dtype[Any], max_bytes: int) -> None:
    """A chunk is decoded whole, so its size is held against the limit too."""
    stored = math.prod(int(n) for n in chunks) * dtype.itemsize
    if stored > max_bytes:
        raise ImageError(f"{path}: its header says chunks of {stored} bytes; it is damaged, save it again")
