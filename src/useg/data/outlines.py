"""Annotations drawn as outlines, COCO and LabelMe JSON -> masks, rasterised when they are read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from useg.data.legend import MAX_CLASSES, Entry
from useg.data.legend_file import VOID
from useg.errors import DataError, extra
from useg.labels import IGNORE


@dataclass(frozen=True, eq=False)
class Shape:
    """One outline: its class and its points `x y` in pixels, the centre of the first pixel at (0.5, 0.5).

    A rectangle has two opposite corners, a circle its centre and a point on it; `runs` has lengths of 0, 1, 0, ...
    down the columns (COCO's run-length coding).
    """

    value: int
    kind: Literal["polygon", "rectangle", "circle", "runs"]
    points: Float[np.ndarray, "*n"]


@dataclass(frozen=True, eq=False)
class Outlines:
    """All outlines of one image of `size` (y, x); later ones lie over earlier ones."""

    size: tuple[int, int]
    shapes: tuple[Shape, ...]


def draw(outlines: Outlines) -> UInt8[np.ndarray, "y x"]:
    """The mask: pixels whose centre is inside an outline have its value, all others 0."""
    with extra("masks drawn as outlines", "measure"):
        from skimage.draw import polygon

    mask = np.zeros(outlines.size, np.uint8)
    height, width = outlines.size
    for shape in outlines.shapes:
        points = shape.points
        if shape.kind == "runs":
            inside = np.repeat(np.arange(len(points)) % 2, points.astype(int)).astype(bool)
            mask[inside.reshape(width, height).T] = shape.value
        elif shape.kind == "circle":
            (x, y), (x1, y1) = points
            rows, columns = np.ogrid[:height, :width]
            mask[(rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 <= (x1 - x) ** 2 + (y1 - y) ** 2] = shape.value
        else:
            if shape.kind == "rectangle":
                (x, y), (x1, y1) = points
                points = np.array([(x, y), (x1, y), (x1, y1), (x, y1)])
            where = polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, outlines.size)  # type: ignore[no-untyped-call]
            mask[where] = shape.value
    return mask


def load_json(path: Path) -> Any:
    """The document of a JSON file; None where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return None


def is_coco(document: Any) -> bool:
    """Whether a JSON document has the three lists of COCO."""
    return isinstance(document, Mapping) and {"images", "annotations", "categories"} <= document.keys()


def is_labelme(document: Any) -> bool:
    """Whether a JSON document is LabelMe's for one image."""
    return isinstance(document, Mapping) and {"shapes", "imagePath"} <= document.keys()


def from_coco(path: Path, document: Mapping[str, Any]) -> tuple[dict[str, Outlines], list[Entry]]:
    """Outlines by file name, and the categories as classes 1, 2, ... in the order of their ids.

    Raises DataError for an entry that is incomplete or coded in a way that is not read.
    """
    try:
        ordered = sorted(document["categories"], key=lambda c: int(c["id"]))
        entries, value_of = _entries([str(c["name"]) for c in ordered], path)
        of_category = {c["id"]: value_of[str(c["name"])] for c in ordered}
        images = {i["id"]: i for i in document["images"]}
        shapes: dict[Any, list[Shape]] = {i: [] for i in images}
        for annotation in document["annotations"]:
            image, value = images[annotation["image_id"]], of_category[annotation["category_id"]]
            shapes[annotation["image_id"]] += _coco_shapes(annotation, value, image)
        return {
            str(i["file_name"]): Outlines((int(i["height"]), int(i["width"])), tuple(shapes[key]))
            for key, i in images.items()
        }, entries
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{path}: this COCO file cannot be used ({error!r}); export it again") from error


def _coco_shapes(annotation: Mapping[str, Any], value: int, image: Mapping[str, Any]) -> list[Shape]:
    coded = annotation.get("segmentation")
    if isinstance(coded, Mapping):
        if not isinstance(coded["counts"], Sequence) or isinstance(coded["counts"], str):
            raise ValueError("compressed run lengths; save polygons or plain run lengths")
        runs = np.array(coded["counts"], float)
        if runs.sum() != image["height"] * image["width"]:
            raise ValueError(f"run lengths of {runs.sum():g} pixels for {image['file_name']}")
        return [Shape(value, "runs", runs)]
    if not coded:
        raise ValueError(f"annotation {annotation.get('id')} has a box but no outline")
    return [Shape(value, "polygon", np.array(ring, float).reshape(-1, 2)) for ring in coded]


def from_labelme(files: Mapping[Path, Mapping[str, Any]]) -> tuple[dict[Path, Outlines], list[Entry]]:
    """Outlines by JSON file, and the labels of all files as classes 1, 2, ... in alphabetical order.

    A label such as `void` or `ignore` means not annotated, `background` is class 0. Raises DataError for shapes that
    enclose nothing (lines, points).
    """
    names = {str(s.get("label")) for document in files.values() for s in document["shapes"]}
    entries, value_of = _entries(sorted(names), min(files))
    found = {}
    for path, document in files.items():
        try:
            shapes = []
            for s in document["shapes"]:
                kind: Any = s.get("shape_type") or "polygon"
                if kind not in ("polygon", "rectangle", "circle"):
                    raise ValueError(f"a {kind} of label {s['label']} encloses nothing; draw a polygon")
                shapes.append(Shape(value_of[str(s["label"])], kind, np.array(s["points"], float).reshape(-1, 2)))
            size = int(document["imageHeight"]), int(document["imageWidth"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: this LabelMe file cannot be used ({error}); save it again") from error
        found[path] = Outlines(size, tuple(shapes))
    return found, entries


def _entries(names: Sequence[str], path: Path) -> tuple[list[Entry], dict[str, int]]:
    """Entries and values of named outlines; what is not outlined is background."""
    plain = [name for name in names if name.lower() not in {*VOID, "background"}]
    if len(plain) >= MAX_CLASSES:
        raise DataError(f"{path}: it names {len(plain)} classes; {MAX_CLASSES - 1} are the most, join some")
    value_of = {name: k for k, name in enumerate(plain, 1)}
    value_of |= {name: 0 if name.lower() == "background" else IGNORE for name in names if name not in value_of}
    entries = [Entry(0, "background"), *(Entry(k, name) for k, name in enumerate(plain, 1))]
    if IGNORE in value_of.values():
        entries.append(Entry(IGNORE, "void", ignore=True))
    return entries, value_of
