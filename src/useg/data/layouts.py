"""How people arrange data sets: one table of recognisers, tried in turn; the first that fits reads the pairs.

find_layout   DATA (a folder, or a CSV or JSON file)  -> Layout (pairs to train on, validate on, report on)
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from useg.data.dataset import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    Pair,
    files_by_stem,
    find_pairs,
    folder_of,
    natural_key,
    pair_up,
    stem_of,
    without_mark,
)
from useg.data.legend import Entry
from useg.data.legend_file import NAMES as LEGEND_NAMES
from useg.data.legend_file import find_legend, from_json
from useg.data.outlines import from_coco, from_labelme, is_coco, is_labelme, load_json
from useg.data.project_file import PROJECT, Kind, is_project, read_project
from useg.data.stacks import Pages, annotated_pages, find_stacks, is_volume, read_stacks, whole_stacks
from useg.errors import DataError, MissingError
from useg.images import files

SPLIT_NAMES: dict[Literal["train", "val", "test"], tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}


@dataclass(frozen=True)
class Layout:
    """The pairs of a data set by part, how it was recognised, and what its legend says.

    `folder` is what the user pointed at, `kind` words such as "images/ + masks/ in train/, test/"; `legend` is the
    file that `entries` came from, None without one. `masks` is what the data set itself says that its masks hold; such
    masks mark what nobody annotated, and 0 is background in them.
    """

    folder: Path
    kind: str
    train: list[Pair]
    val: list[Pair]
    test: list[Pair]
    entries: tuple[Entry, ...] = ()
    legend: Path | None = None
    masks: Kind | None = None


@dataclass(frozen=True)
class _Found:
    kind: str
    pairs: list[Pair]
    entries: tuple[Entry, ...] = ()
    legend: Path | None = None
    masks: Kind | None = None


@dataclass(frozen=True)
class Recogniser:
    """One row of the table: what it looks like to people, whether a path looks so, and how its pairs are read."""

    looks: str
    fits: Callable[[Path], bool]
    read: Callable[[Path], _Found]


def find_layout(path: Path, *, alpha: bool = False, pages: Pages = "images") -> Layout:
    """Recognise a data set and list its pairs.

    Args:
        path: its folder, or a table. alpha: whether it is a channel of the images.
        pages: whether the pages of a stack are images, or one volume.

    Raises MissingError when the path or a partner is not there, DataError when no recogniser fits.
    """
    if not path.exists():
        raise MissingError(f"{path}: there is no such folder; give the folder that holds images/ and masks/")
    found = _recognise(path)
    if found is None:
        seen = ", ".join(sorted(p.name + "/" * p.is_dir() for p in path.iterdir())[:6]) if path.is_dir() else "a file"
        raise DataError(
            f"{path}: no layout that useg knows (it sees {seen or 'nothing'}), for example there is no images/ folder "
            f"here; put the images into images/ and their masks, under the same names, into masks/, or see "
            f"`useg check --help`"
        )
    pairs, kind = [replace(pair, alpha=alpha) for pair in found.pairs], found.kind
    if pages == "volume" and any(pair.page is not None for pair in pairs):
        pairs = whole_stacks(pairs)
        kind = f"stacks of pages, each a volume ({len(pairs)} volumes)"
    parts = {part: [p for p in pairs if (p.split or "train") == part] for part in SPLIT_NAMES}
    if not parts["train"]:
        raise DataError(f"{path}: every image is set apart for validation or test; leave some to train on")
    entries, legend = found.entries, found.legend
    if path.is_dir() and not entries and (own := find_legend(path)):
        legend, entries = own[0], tuple(own[1])
    return Layout(path, kind, parts["train"], parts["val"], parts["test"], entries, legend, found.masks)


def _recognise(path: Path) -> _Found | None:
    return next((each.read(path) for each in RECOGNISERS if each.fits(path)), None)


def _split_folders(folder: Path) -> dict[Literal["train", "val", "test"], Path]:
    found = {part: folder_of(folder, names) for part, names in SPLIT_NAMES.items()}
    return {part: place for part, place in found.items() if place is not None}


def _read_splits(folder: Path) -> _Found:
    """Each of train/, val/, test/ in whatever layout it has itself; test/ may be without masks."""
    pairs: list[Pair] = []
    entries: tuple[Entry, ...] = ()
    kinds, places, legend = [], [], None
    for part, place in _split_folders(folder).items():
        if part == "test" and folder_of(place, IMAGE_FOLDERS) and not folder_of(place, MASK_FOLDERS):
            continue
        found = _recognise(place)
        if found is None:
            raise DataError(f"{place}: no layout that useg knows; put images/ and masks/ into it")
        # A stack alone in test/ is a volume where those in train/ are volumes.
        there = whole_stacks(found.pairs) if pairs and is_volume(pairs[0]) else found.pairs
        pairs += [replace(pair, split=part) for pair in there]
        kinds.append(found.kind)
        places.append(f"{place.name}/")
        entries, legend = (entries, legend) if entries else (found.entries, found.legend)
        if not entries and (own := find_legend(place)):
            legend, entries = own[0], tuple(own[1])
    return _Found(f"{kinds[0]} in {', '.join(places)}", pairs, entries, legend)


def _read_folders(folder: Path) -> _Found:
    pairs = find_pairs(folder)
    spots = next((f" + {pair.markers.parent.name}/" for pair in pairs if pair.markers), "")
    return _Found(f"{pairs[0].image.parent.name}/ + {pairs[0].mask.parent.name}/{spots}", pairs)


def read_kept(folder: Path) -> list[Pair]:
    """Those images of a project that have a mask; all others are not annotated yet.

    Raises MissingError for a mask without its image, DataError for two files of one name or where there is no mask.
    """
    image_folder, mask_folder = folder_of(folder, IMAGE_FOLDERS), folder_of(folder, MASK_FOLDERS)
    if image_folder is None or mask_folder is None or not any(map(files.is_image_file, mask_folder.iterdir())):
        raise DataError(f"{folder}: no image of this project has a mask yet; annotate some, `useg serve` shows them")
    images, masks = files_by_stem(image_folder), files_by_stem(mask_folder)
    marked = {} if images.keys() & masks.keys() else {without_mark(name) or name: name for name in masks}
    kept = {name: path for name, path in images.items() if name in masks or name in marked}
    return pair_up(kept or images, masks, folder)


def _read_project(folder: Path) -> _Found:
    """Pages of stacks are images, those of which something is annotated."""
    legend = find_legend(folder)
    void = next((each.value for each in legend[1] if each.ignore), None) if legend else None
    pairs = [page for pair in read_kept(folder) for page in annotated_pages(pair, void)]
    return _Found(f"a project ({PROJECT}), images that have a mask", pairs, masks=read_project(folder).kind)


def _read_nnunet(folder: Path) -> _Found:
    """imagesTr/ and labelsTr/, and imagesTs/ with labelsTs/; channel 0000 ends the names of images."""
    pairs: list[Pair] = []
    for part, end in (("train", "Tr"), ("test", "Ts")):
        if not (folder / f"labels{end}").is_dir() or not (folder / f"images{end}").is_dir():
            continue
        images = {}
        for name, path in files_by_stem(folder / f"images{end}").items():
            found = re.fullmatch(r"(.+)_(\d{4})", name)
            if found and found[2] != "0000":
                raise DataError(f"{path}: is a second channel in a file of its own; join the channels of an image")
            images[found[1] if found else name] = path
        masks = files_by_stem(folder / f"labels{end}")
        pairs += [replace(pair, split=part) for pair in pair_up(images, masks, folder)]  # type: ignore[arg-type]
    described = folder / "dataset.json"
    document = load_json(described)
    if not isinstance(document, Mapping) or "labels" not in document:
        return _Found("nnU-Net (imagesTr/ + labelsTr/)", pairs)
    try:
        entries = tuple(from_json(document))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{described}: its labels cannot be used ({error}); give each name one number") from error
    return _Found("nnU-Net (imagesTr/ + labelsTr/, dataset.json)", pairs, entries, described)


def _film_folders(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if re.fullmatch(r"\d\d", p.name) and _seg(p).is_dir()]


def _seg(film: Path) -> Path:
    return film.with_name(f"{film.name}_GT") / "SEG"


def _read_ctc(folder: Path) -> _Found:
    """01/t000.tif with 01_GT/SEG/man_seg000.tif; frames without a mask are many, and passed over."""
    pairs = []
    for film in _film_folders(folder):
        frames = {int(m[1]): p for name, p in files_by_stem(film).items() if (m := re.fullmatch(r"t(\d+)", name))}
        for name, mask in files_by_stem(_seg(film)).items():
            number = re.fullmatch(r"man_seg(\d+)", name)
            if number is None:
                raise DataError(f"{mask}: is not named man_segNNN as the Cell Tracking Challenge does; rename it")
            if int(number[1]) not in frames:
                raise MissingError(f"{mask}: there is no frame t{number[1]} in {film}; add it or take the mask out")
            spots = _seg(film).with_name("TRA") / f"man_track{number[1]}{mask.suffix}"
            name = f"{film.name}_t{number[1]}"
            pairs.append(Pair(name, frames[int(number[1])], mask, markers=spots if spots.is_file() else None))
    films = ", ".join(f"{film.name}/" for film in _film_folders(folder))
    return _Found(f"Cell Tracking Challenge, {films}", sorted(pairs, key=lambda p: natural_key(p.name)))


def _only(path: Path, suffixes: Sequence[str], fits: Callable[[Path], bool]) -> Path | None:
    """The path itself, or the one file of its folder, that has such a suffix and fits."""
    if path.is_file():
        return path if path.suffix.lower() in suffixes and fits(path) else None
    return next((p for p in sorted(path.iterdir()) if p.suffix.lower() in suffixes and p.is_file() and fits(p)), None)


def _rows(table: Path) -> list[dict[str, str]]:
    """Rows by heading, in lower case; [] where there are no columns `image` and `mask`."""
    if table.name in LEGEND_NAMES:
        return []
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        reader = csv.DictReader(stream, delimiter="\t" if table.suffix.lower() == ".tsv" else ",")
        heading = {name: (name or "").strip().lower() for name in reader.fieldnames or ()}
        if not {"image", "mask"} <= set(heading.values()):
            return []
        return [{heading.get(k, ""): (v or "").strip() for k, v in row.items() if isinstance(v, str)} for row in reader]


def _table(path: Path) -> Path | None:
    return _only(path, (".csv", ".tsv"), lambda p: bool(_rows(p)))


def _read_table(path: Path) -> _Found:
    table = _table(path)
    assert table is not None  # the recogniser looked
    parts = {name: part for part, names in SPLIT_NAMES.items() for name in names} | {"": ""}
    rows, pairs = _rows(table), []
    columns = [c for c in ("image", "mask", "group", "split") if c in rows[0]]
    for number, row in enumerate(rows, 2):
        where = f"{table}: line {number}"
        image, mask = (table.parent / row.get(c, "") for c in ("image", "mask"))
        for what, file in (("image", image), ("mask", mask)):
            if not file.is_file():
                raise MissingError(f"{where}: the {what} {row.get(what, '')!r} is not there; correct its path")
        part = parts.get(row.get("split", "").lower())
        if part is None:
            raise DataError(f"{where}: the split is {row['split']!r}; write train, val or test")
        pairs.append(Pair(stem_of(image), image, mask, row.get("group") or None, part))  # type: ignore[arg-type]
    return _Found(f"table {table.name} of {', '.join(columns)}", _distinct(pairs, table))


def _distinct(pairs: list[Pair], where: Path) -> list[Pair]:
    """Pairs under names that differ: where two files share a stem, the path is the name."""
    stems = [pair.name for pair in pairs]
    if len(set(stems)) < len(stems):
        pairs = [replace(p, name=f"{p.image.parent.name}_{p.name}") for p in pairs]
    names = Counter(pair.name for pair in pairs)
    if twice := next((p for p in pairs if names[p.name] > 1), None):
        raise DataError(f"{where}: names {twice.image} more than once; keep one line of it")
    return pairs


def _coco(path: Path) -> Path | None:
    places = [path, *(path / name for name in MASK_FOLDERS if path.is_dir() and (path / name).is_dir())]
    found = (_only(place, (".json",), lambda p: is_coco(load_json(p))) for place in places)
    return next((each for each in found if each is not None), None)


def _read_coco(path: Path) -> _Found:
    source = _coco(path)
    assert source is not None  # the recogniser looked
    outlines, entries = from_coco(source, load_json(source))
    root = path if path.is_dir() else path.parent
    places = [source.parent, root, *(root / name for name in IMAGE_FOLDERS)]
    pairs = []
    for name, drawn in outlines.items():
        image = next((place / name for place in places if (place / name).is_file()), None)
        if image is None:
            raise MissingError(f"{source}: its image {name} is not there; put it into {root / 'images'}")
        pairs.append(Pair(stem_of(image), image, source, outlines=drawn))
    pairs = sorted(_distinct(pairs, source), key=lambda p: natural_key(p.name))
    return _Found(f"COCO outlines of {source.name}", pairs, tuple(entries), source)


def _labelme(folder: Path) -> dict[Path, Any]:
    """LabelMe files of a folder, of its images/ or of a folder for masks; the first that is none ends the search."""
    for place in [folder, *(folder / name for name in (*IMAGE_FOLDERS, *MASK_FOLDERS))]:
        found = {}
        for path in sorted(place.glob("*.json")) if place.is_dir() else ():
            document = load_json(path)
            if not is_labelme(document):
                break
            found[path] = {key: value for key, value in document.items() if key != "imageData"}  # the picture again
        if found:
            return found
    return {}


def _read_labelme(folder: Path) -> _Found:
    documents = _labelme(folder)
    outlines, entries = from_labelme(documents)
    pairs = []
    for path, document in documents.items():
        name = str(document["imagePath"]).replace("\\", "/")
        places = [path.parent / name, path.parent / Path(name).name]
        places += [folder / each / Path(name).name for each in IMAGE_FOLDERS]
        image = next((place for place in places if place.is_file()), None)
        if image is None:
            raise MissingError(f"{path}: its image {name} is not there; put it beside the JSON file")
        pairs.append(Pair(path.stem, image, path, outlines=outlines[path]))
    return _Found("LabelMe outlines, a JSON file an image", pairs, tuple(entries), min(documents))


def _beside(folder: Path) -> dict[str, str]:
    """Mask stem -> image stem, for masks that lie beside their images."""
    stems = {stem_of(path) for path in folder.iterdir() if path.is_file() and files.is_image_file(path)}
    return {name: base for name in stems if (base := without_mark(name)) in stems and base is not None}


def _read_beside(folder: Path) -> _Found:
    there, masks = files_by_stem(folder), _beside(folder)
    found = pair_up(
        {name: path for name, path in there.items() if name not in masks},
        {base: there[name] for name, base in masks.items()},
        folder,
    )
    ends = sorted({name[len(base) :] for name, base in masks.items()})
    return _Found(f"masks beside images, named {', '.join(ends)}", found)


RECOGNISERS: tuple[Recogniser, ...] = (
    Recogniser(
        f"{PROJECT} of `useg serve` beside images/ + masks/; images without a mask are passed over",
        is_project,
        _read_project,
    ),
    Recogniser(
        "imagesTr/ + labelsTr/ of nnU-Net, with its dataset.json",
        lambda p: (p / "imagesTr").is_dir() and (p / "labelsTr").is_dir(),
        _read_nnunet,
    ),
    Recogniser(
        "a table (CSV or TSV) with the columns image and mask, and if you like group and split (train, val, test)",
        lambda p: _table(p) is not None,
        _read_table,
    ),
    Recogniser("COCO JSON with outlines, and its images", lambda p: _coco(p) is not None, _read_coco),
    Recogniser("LabelMe JSON, one an image", lambda p: bool(_labelme(p)), _read_labelme),
    Recogniser(
        "two multi-page TIFFs: stack.tif + stack_mask.tif, or in images/ + masks/",
        lambda p: bool(find_stacks(p)),
        lambda p: _Found(*read_stacks(p)),
    ),
    Recogniser(
        "images/ + masks/ (or labels/, annotations/), same names; a mask may end in _mask, _seg, _label",
        lambda p: folder_of(p, IMAGE_FOLDERS) is not None,
        _read_folders,
    ),
    Recogniser(
        "01/ + 01_GT/SEG/ of the Cell Tracking Challenge",
        lambda p: p.is_dir() and bool(_film_folders(p)),
        _read_ctc,
    ),
    Recogniser(
        "train/, and if you like val/ and test/, each in one of these layouts",
        lambda p: "train" in _split_folders(p),
        _read_splits,
    ),
    Recogniser(
        "masks beside images: x.png with x_mask.png, x_seg.tif or x_label.png",
        lambda p: p.is_dir() and bool(_beside(p)),
        _read_beside,
    ),
)
"""Tried in this order. A new layout is a function that reads it, and a row here."""
