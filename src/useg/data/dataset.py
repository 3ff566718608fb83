"""Folders of images and masks -> pairs -> examples in memory.

find_layout   DATA                  -> Layout (the folders to train on, to validate on, to report on)
find_pairs    a folder of the form  -> list of Pair
              images/ + masks/
load_example  Pair + Legend         -> Example (image as in the file, labels 0..K-1 and IGNORE)
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from useg.data.legend import Fault, Legend, to_classes
from useg.errors import DataError, MissingError
from useg.images import files

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
DOUBLE_SUFFIXES = (".nii.gz", ".ome.tiff", ".ome.tif", ".ome.zarr")


@dataclass(frozen=True)
class Pair:
    """One annotated image: its name (the stem that both files share) and the two files."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Layout:
    """Which folders (each with images/ and masks/) a data set has; `folder` is what the user pointed at."""

    train: Path
    val: Path | None
    test: Path | None
    folder: Path


@dataclass(frozen=True, eq=False)
class Example:
    """One annotated image in memory: gray values as in the file, labels 0..K-1 and IGNORE, pixel size.

    `spacing` is the edge length of a pixel along each axis of the labels, in the unit of the file, or None.
    """

    name: str
    image: Shaped[np.ndarray, "c *space"]
    labels: UInt8[np.ndarray, "*space"]
    spacing: tuple[float, ...] | None = None


def stem_of(path: Path) -> str:
    """Name without suffix (.nii.gz and .ome.tif count as one), in Unicode NFC: macOS splits umlauts."""
    name = unicodedata.normalize("NFC", path.name)
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
    return " x ".join(str(int(n)) for n in size) + (" (height x width)" if len(size) == 2 else "")


def find_layout(folder: Path) -> Layout:
    """Say which folders to use: `folder` itself when it has images/, else its train/, val/ and test/.

    Raises MissingError when the folder is not there, DataError when it has neither form.
    """
    _require_folder(folder, "give the folder that holds images/ and masks/")
    if (folder / "images").is_dir():
        return Layout(train=folder, val=None, test=None, folder=folder)
    found: dict[str, Path | None] = {}
    for part, names in SPLIT_NAMES.items():
        held = [folder / name for name in names if (folder / name / "images").is_dir()]
        found[part] = held[0] if held else None
    train = found["train"]
    if train is None:
        raise DataError(
            f"{folder}: there is no images/ folder here and no train/images/; put the images into images/ "
            f"and their masks, under the same names, into masks/"
        )
    return Layout(train=train, val=found["val"], test=found["test"], folder=folder)


def find_pairs(folder: Path) -> list[Pair]:
    """Pair images/NAME.* with masks/NAME.* (any suffixes), sorted by name with 2 before 10.

    Raises MissingError for a missing folder or a missing partner, DataError for an empty folder or two files
    of one stem.
    """
    _require_folder(folder, "give the folder that holds images/ and masks/")
    image_folder, mask_folder = folder / "images", folder / "masks"
    _require_folder(image_folder, "put the images there")
    _require_folder(mask_folder, "put one mask an image there, under the same name")
    images, masks = files_by_stem(image_folder), files_by_stem(mask_folder)
    if not images.keys() & masks.keys():
        raise MissingError(
            f"{folder}: no mask has the name of an image (images/{min(images.values()).name}, "
            f"masks/{min(masks.values()).name}); name each mask as its image"
        )
    _require_partners(images, masks, mask_folder, "mask", "annotate the image or take it out of images/")
    _require_partners(masks, images, image_folder, "image", "add the image or take the mask out of masks/")
    return [Pair(name, images[name], masks[name]) for name in sorted(images, key=natural_key)]


def find_partners(folder: Path, names: Iterable[str], what: str) -> dict[str, Path]:
    """The file in `folder` for every name (a stem); files of other names are passed over.

    `what` says in messages what these files are, such as "region". Raises MissingError when the folder or one of
    the files is not there.
    """
    _require_folder(folder, f"give the folder that holds one {what} an image")
    files_there, found = files_by_stem(folder), {}
    for name in names:
        if name not in files_there:
            raise MissingError(f"{folder}: there is no {what} for {name}; add {name}.png")
        found[name] = files_there[name]
    return found


def _require_folder(folder: Path, remedy: str) -> None:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise MissingError(f"{folder}: {what}; {remedy}")


def _require_partners(mine: dict[str, Path], theirs: dict[str, Path], folder: Path, kind: str, remedy: str) -> None:
    alone = sorted(mine.keys() - theirs.keys(), key=natural_key)
    if alone:
        more = f" (nor for {len(alone) - 1} more)" if len(alone) > 1 else ""
        raise MissingError(f"{mine[alone[0]]}: there is no {kind} for it in {folder}{more}; {remedy}")


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Image files of a folder by stem; hidden files and files of other kinds are passed over."""
    found: dict[str, Path] = {}
    passed: Counter[str] = Counter()
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "Thumbs.db":
            continue
        if not files.is_image_file(path):
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


def load_example(pair: Pair, legend: Legend) -> Example:
    """Read one pair. Raises ImageError for an unreadable file, DataError for a mask that does not fit."""
    image = files.read(pair.image)
    labels = to_classes(files.read_mask(pair.mask), legend, pair.mask)
    if image.array.shape[1:] != labels.shape:
        raise DataError(size_fault(pair, image.array.shape[1:], labels.shape).line)
    spacing = None if image.spacing is None else tuple(float(edge) for edge in image.spacing)
    return Example(pair.name, image.array, labels, spacing)


def load_examples(
    pairs: Sequence[Pair], legend: Legend, progress: Callable[[int, int], None] | None = None
) -> list[Example]:
    """Read all pairs in order; `progress(done, total)` is called after each."""
    examples = []
    for done, pair in enumerate(pairs, 1):
        examples.append(load_example(pair, legend))
        if progress is not None:
            progress(done, len(pairs))
    return examples


def size_fault(pair: Pair, image: Sequence[int], mask: Sequence[int]) -> Fault:
    """What to say of a mask whose size is not that of its image."""
    turned = (
        "turn the mask by 90 degrees" if tuple(mask) == tuple(image)[::-1] else "save the mask in the size of its image"
    )
    return Fault(pair.mask, f"the mask is {describe_size(mask)}, its image {describe_size(image)}", turned)
