"""Pairs of images and masks -> examples in memory. Which files are pairs is known to `layouts.py`.

find_pairs    a folder of the form  -> list of Pair
              images/ + masks/
load_example  Pair + Legend         -> Example (image as in the file, labels 0..K-1 and IGNORE)
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int32, Integer, Num, Shaped, UInt8

from useg.data.decode import Decoder
from useg.data.judge import Fault
from useg.data.legend import Legend, to_classes
from useg.data.outlines import Outlines
from useg.data.partial import unpainted
from useg.errors import DataError, MissingError
from useg.images import files
from useg.images.hounsfield import in_hounsfield
from useg.images.image import Image
from useg.labels import IGNORE
from useg.parts import parts, same

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "segmentations", "gt")
MARKER_FOLDERS = ("markers", "tracking_markers")
"""A spot on every object of an image, also on those that nobody painted, under the image's name."""
MARKS = ("mask", "masks", "seg", "segmentation", "label", "labels", "gt", "annotation")
"""Words that end the name of a mask: `x_mask.png` beside `x.png`."""
IN_MEMORY = Decoder()
DOUBLE_SUFFIXES = (".nii.gz", ".ome.tiff", ".ome.tif", ".ome.zarr")


@dataclass(frozen=True)
class Pair:
    """One annotated image: its name and the two files.

    `group` names what images belong together (a patient, a film), None where nobody said. `split` is the part that
    the data set itself puts the image into, "" where it does not. With `outlines` the mask is drawn from them, and
    `mask` is the file that they came from. With `page` both files are TIFFs of which this page, from 0, is meant.
    `markers` holds a spot on every object, where some of them are not painted. With `alpha` it is a channel of the
    image.
    """

    name: str
    image: Path
    mask: Path
    group: str | None = None
    split: Literal["", "train", "val", "test"] = ""
    outlines: Outlines | None = None
    page: int | None = None
    markers: Path | None = None
    alpha: bool = False

    @property
    def image_told(self) -> Path:
        """The image as messages name it: its file, and which page of it."""
        return self._told(self.image)

    @property
    def mask_told(self) -> Path:
        """The mask as messages name it."""
        return self._told(self.mask)

    def _told(self, path: Path) -> Path:
        return path if self.page is None else path.with_name(f"{path.name}, page {self.page + 1} ({self.name})")


@dataclass(frozen=True, eq=False)
class Example:
    """One annotated image: gray values as in the file, labels 0..K-1 and IGNORE, pixel size.

    Arrays are in memory, or memory-mapped where the data set is larger than that: looked at as a whole they are read
    part by part (`useg.parts`).

    `spacing` is the edge length of a pixel along each axis of the labels, in `unit`, or None. Images of
    one `group` are never divided between training and judging. `objects` holds the ids of objects (0 elsewhere) where
    the masks number objects; objects may touch.
    """

    name: str
    image: Shaped[np.ndarray, "c *space"]
    labels: UInt8[np.ndarray, "*space"]
    spacing: tuple[float, ...] | None = None
    group: str | None = None
    objects: Int32[np.ndarray, "*space"] | None = None
    unit: str | None = None
    original: Example | None = None
    hounsfield: bool = False


def evenly(count: int, most: int) -> list[int]:
    """Positions of at most `most` of `count` things, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist() if count else []


def middle_plane(array: Shaped[np.ndarray, "*any"], dims: int) -> Shaped[np.ndarray, "*plane"]:
    """Of a volume (`dims` 3, the last axes) the slice in the middle; an image as it is."""
    return array[..., array.shape[-3] // 2, :, :] if dims == 3 else array


def stem_of(path: Path) -> str:
    """Name without suffix (.nii.gz and .ome.tif count as one), in Unicode NFC: macOS splits umlauts.

    A folder of slices, often called by numbers with points, has none.
    """
    name = unicodedata.normalize("NFC", path.name)
    if path.is_dir() and not files.is_image_file(path):
        return name
    for suffix in DOUBLE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key that puts `img2` before `img10`; equal numbers (`1`, `01`) fall back to the text."""
    parts = re.split(r"(\d+)", name)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts)), name


def describe_size(size: Sequence[int]) -> str:
    """`512 x 768 (height x width)`, the way every message of this room gives a size."""
    axes = {2: " (height x width)", 3: " (depth x height x width)"}
    return " x ".join(str(int(n)) for n in size) + axes.get(len(size), "")


def folder_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The first folder in `folder` that has one of the names, or None."""
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def find_pairs(folder: Path) -> list[Pair]:
    """Pair images/NAME.* with masks/NAME.* or masks/NAME_mask.* (any suffixes), sorted by name with 2 before 10.

    Raises MissingError for a missing folder or a missing partner, DataError for an empty folder or two files
    of one stem.
    """
    require_folder(folder, "give the folder that holds images/ and masks/")
    image_folder = folder_of(folder, IMAGE_FOLDERS) or folder / "images"
    mask_folder = folder_of(folder, MASK_FOLDERS) or folder / "masks"
    require_folder(image_folder, "put the images there")
    require_folder(mask_folder, "put one mask an image there, under the same name")
    pairs = pair_up(files_by_stem(image_folder), files_by_stem(mask_folder), folder)
    marker_folder = folder_of(folder, MARKER_FOLDERS)
    markers = files_by_stem(marker_folder) if marker_folder else {}
    return [replace(pair, markers=markers.get(pair.name)) for pair in pairs]


def pair_up(images: dict[str, Path], masks: dict[str, Path], folder: Path) -> list[Pair]:
    """Images and masks of equal stems, sorted by name; where none is equal, masks may end in a word such as `_mask`.

    Raises MissingError where one of either is alone.
    """
    if not images.keys() & masks.keys():
        bare = {without_mark(name) or name: path for name, path in masks.items()}
        masks = bare if len(bare) == len(masks) else masks
    image_folder, mask_folder = (next(iter(each.values())).parent for each in (images, masks))
    if not images.keys() & masks.keys():
        one, other = (min(each.values()).relative_to(folder) for each in (images, masks))
        raise MissingError(f"{folder}: no mask has the name of an image ({one}, {other}); name each mask as its image")
    _require_partners(images, masks, mask_folder, "mask", f"annotate the image or take it out of {image_folder.name}/")
    _require_partners(
        masks, images, image_folder, "image", f"add the image or take the mask out of {mask_folder.name}/"
    )
    return [Pair(name, images[name], masks[name]) for name in sorted(images, key=natural_key)]


def without_mark(name: str) -> str | None:
    """`x` for `x_mask`, `x-seg`, `x.label`; None for a name that ends in no such word."""
    found = re.fullmatch(rf"(.+)[_\-. ]({'|'.join(MARKS)})", name, re.IGNORECASE)
    return found[1] if found else None


def find_partners(folder: Path, names: Iterable[str], what: str) -> dict[str, Path]:
    """The file in `folder` for every name (a stem); files of other names are passed over.

    `what` says in messages what these files are, such as "region". Raises MissingError when the folder or one of
    the files is not there.
    """
    require_folder(folder, f"give the folder that holds one {what} an image")
    files_there, found = files_by_stem(folder), {}
    for name in names:
        if name not in files_there:
            raise MissingError(f"{folder}: there is no {what} for {name}; add {name}.png")
        found[name] = files_there[name]
    return found


def require_folder(folder: Path, remedy: str) -> None:
    """Raise MissingError where there is no such folder."""
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise MissingError(f"{folder}: {what}; {remedy}")


def _require_partners(mine: dict[str, Path], theirs: dict[str, Path], folder: Path, kind: str, remedy: str) -> None:
    alone = sorted(mine.keys() - theirs.keys(), key=natural_key)
    if alone:
        more = f" (nor for {len(alone) - 1} more)" if len(alone) > 1 else ""
        raise MissingError(f"{mine[alone[0]]}: there is no {kind} for it in {folder}{more}; {remedy}")


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Image files of a folder by stem, and folders of DICOM slices; hidden and other files are passed over."""
    found: dict[str, Path] = {}
    passed: Counter[str] = Counter()
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "Thumbs.db":
            continue
        if not files.is_image_file(path) and not files.is_series(path):
            passed[path.name[len(stem_of(path)) :] or path.name] += 1
            continue
        name = stem_of(path)
        if name in found:
            raise DataError(f"{path}: {found[name].name} has the same name; keep one of the two")
        found[name] = path
    if not found:
        seen = ", ".join(f"{count} x {suffix}" for suffix, count in passed.most_common(3)) or "nothing"
        raise DataError(f"{folder}: no image that useg reads is in this folder ({seen}); put PNG or TIFF files there")
    return found


def read_image_of(pair: Pair, decoder: Decoder) -> Image:
    """A pair's image. Raises ImageError or MissingError for an unreadable file."""
    return decoder.image(pair.image, page=pair.page, alpha=pair.alpha)


def read_mask_of(pair: Pair, decoder: Decoder) -> Integer[np.ndarray, "*space"]:
    """The values of a pair's mask, read or drawn. Raises ImageError or MissingError for an unreadable file."""
    return decoder.mask(pair.mask, page=pair.page, outlines=pair.outlines)


def in_channels(image: Num[np.ndarray, "c *space"], channels: int | None) -> Num[np.ndarray, "k *space"]:
    """The image with so many channels, where that changes nothing: gray saved as RGB and back; else as it is."""
    if channels == 1 and image.shape[0] == 3 and all(same(image[0], other) for other in image[1:]):
        return image[:1]
    if channels == 3 and image.shape[0] == 1:
        return np.broadcast_to(image, (3, *image.shape[1:]))
    return image


def load_example(pair: Pair, legend: Legend, channels: int | None = None, decoder: Decoder = IN_MEMORY) -> Example:
    """Read one pair; gray and RGB become one another where `channels` asks for it.

    Raises ImageError for an unreadable file, DataError for a mask that does not fit.
    """
    image, mask = read_image_of(pair, decoder), read_mask_of(pair, decoder)
    labels = to_classes(mask, legend, pair.mask_told, decoder.new)
    if image.array.shape[1:] != labels.shape:
        raise DataError(size_fault(pair, image.array.shape[1:], labels.shape).line)
    spacing = None if image.spacing is None else tuple(float(edge) for edge in image.spacing)
    objects = None
    if legend.kind == "instances":
        objects = decoder.new(mask.shape, np.int32)
        for part, value, label in zip(parts(objects), parts(mask), parts(labels), strict=True):
            part[...] = np.where(label == 1, value, 0)
        if pair.markers is not None:
            labels[unpainted(objects, _markers_of(pair, objects.shape))] = IGNORE
    pixels, is_ct = in_channels(image.array, channels), in_hounsfield(pair.image)
    return Example(pair.name, pixels, labels, spacing, pair.group, objects, image.unit, hounsfield=is_ct)


def _markers_of(pair: Pair, size: Sequence[int]) -> Integer[np.ndarray, "*space"]:
    assert pair.markers is not None
    markers = files.read_mask(pair.markers)
    if markers.shape != tuple(size):
        raise DataError(
            f"{pair.markers}: the markers are {describe_size(markers.shape)}, the mask is {describe_size(size)}; "
            "give both the same size"
        )
    return markers


def load_examples(
    pairs: Sequence[Pair],
    legend: Legend,
    progress: Callable[[int, int], None] | None = None,
    channels: int | None = None,
    decoder: Decoder = IN_MEMORY,
) -> list[Example]:
    """Read all pairs in order; `progress(done, total)` is called after each."""
    examples = []
    for done, pair in enumerate(pairs, 1):
        examples.append(load_example(pair, legend, channels, decoder))
        if progress is not None:
            progress(done, len(pairs))
    return examples


def size_fault(pair: Pair, image: Sequence[int], mask: Sequence[int]) -> Fault:
    """What to say of a mask whose size is not that of its image."""
    turned = (
        "turn the mask by 90 degrees" if tuple(mask) == tuple(image)[::-1] else "save the mask in the size of its image"
    )
    return Fault(pair.mask_told, f"the mask is {describe_size(mask)}, its image {describe_size(image)}", turned)
