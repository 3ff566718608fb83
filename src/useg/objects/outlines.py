"""Objects -> outlines, and the files of them that QuPath and ImageJ open.

An outline follows the edges of the pixels exactly: drawn again, it gives the same pixels. Points are `x y` in pixels,
whole numbers, the corner of the first pixel at (0, 0) and its centre at (0.5, 0.5), as in both programs.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from useg.atomic import replacing, write_text
from useg.errors import SettingsError, SizeError, extra

COLOUR = (230, 159, 0)
"""Orange, which shows on dark pictures and on stained tissue."""

_Points = list[tuple[int, int]]


class Polygon(NamedTuple):
    """A piece of an object: rings of points `x y` in pixels, the last one joined to the first.

    By the numbers (y upwards) the exterior goes counter-clockwise and holes clockwise, as RFC 7946 asks; on the
    screen, where y goes down, it is the other way round. No ring meets itself; two rings may share a point.
    """

    exterior: Int64[np.ndarray, "n 2"]
    holes: list[Int64[np.ndarray, "_ 2"]]


def outline(labels: Integer[np.ndarray, "..."]) -> list[tuple[int, list[Polygon]]]:
    """The outlines of all objects, sorted by number.

    Pixels that meet at a corner only are not connected: such an object has several polygons.

    Args:
        labels: `Y X`, 0 for background.

    Raises:
        SizeError: the labels are not `Y X`.
    """
    if labels.ndim != 2:
        raise SizeError(f"outlines of labels with {labels.ndim} axes; give one plane Y X at a time")
    rings: dict[int, list[list[_Points]]] = {}
    for label, ring in _traced(labels):
        rings.setdefault(label, []).append(list(_simple(ring)))
    return [(label, _polygons(rings[label], labels, label)) for label in sorted(rings)]


def write_geojson(
    path: Path,
    labels: Integer[np.ndarray, "y x"],
    *,
    name: str = "object",
    properties: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
    kind: Literal["detection", "annotation"] = "detection",
    colour: tuple[int, int, int] = COLOUR,
) -> None:
    """Write a FeatureCollection that QuPath opens, one feature an object with its number as `label`.

    Coordinates are pixels, not degrees.

    Args:
        path: ending in .geojson for QuPath to know it.
        labels: `Y X`, 0 for background.
        name: the class that QuPath shows.
        properties: columns with a `label`, such as `object_table` gives; all others become measurements.
        kind: "detection" stays quick with thousands; an "annotation" can be edited.
        colour: RGB 0..255 of the class.

    Raises:
        SettingsError: the columns have no `label`. SizeError: the labels are not `Y X`.
        OutputError: the file cannot be written.
    """
    if properties is not None and "label" not in properties:
        raise SettingsError(f"the columns {', '.join(properties)} do not say whose they are; add a column label")
    measured = _by_label(properties or {})
    features = []
    for label, polygons in outline(labels):
        coordinates = [[_closed(ring) for ring in (exterior, *holes)] for exterior, holes in polygons]
        several = len(polygons) > 1
        about: dict[str, Any] = {
            "objectType": kind,
            "name": f"{name} {label}",
            "label": label,
            "classification": {"name": name, "color": list(colour)},
        }
        if label in measured:
            about["measurements"] = measured[label]
        geometry = {
            "type": "MultiPolygon" if several else "Polygon",
            "coordinates": coordinates if several else coordinates[0],
        }
        features.append({"type": "Feature", "geometry": geometry, "properties": about})
    document = {"type": "FeatureCollection", "features": features}
    write_text(path, json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def write_rois(path: Path, labels: Integer[np.ndarray, "y x"]) -> None:
    """Write a ZIP file of regions that ImageJ's ROI Manager opens, named by the objects' numbers (00001, ...).

    An object with holes or of several pieces becomes one composite region. The same labels give the same bytes.

    Raises:
        MissingExtraError: roifile is not installed.
        SizeError: the labels are not `Y X`. OutputError: the file cannot be written.
    """
    with extra(path, "imagej"):
        from roifile import ROI_TYPE, ImagejRoi
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for label, polygons in outline(labels):
            rings = [ring for exterior, holes in polygons for ring in (exterior, *holes)]
            roi = ImagejRoi.frompoints(rings[0], name=f"{label:05}")
            roi.roitype = ROI_TYPE.TRACED  # ImageJ measures the perimeter of a traced pixel edge rightly
            if len(rings) > 1:
                # ImageJ's composite: a rectangle with a path of moves (0), lines (1) and closings (4).
                roi.roitype = ROI_TYPE.RECT
                numbers = [
                    number
                    for ring in rings
                    for k, (x, y) in enumerate(ring.tolist())
                    for number in ((4, 0, x, y) if k == 0 else (1, x, y))
                ]
                roi.multi_coordinates = np.array([*numbers[1:], 4], np.float32)
                roi.shape_roi_size = len(numbers)
                roi.integer_coordinates = roi.subpixel_coordinates = None
                roi.n_coordinates = 0
            (left, top), (right, bottom) = (f(np.concatenate(rings), axis=0).tolist() for f in (np.min, np.max))
            roi.left, roi.top, roi.right, roi.bottom = left, top, right, bottom
            # A ZipInfo has the date 1980, the present would make each file another.
            archive.writestr(zipfile.ZipInfo(f"{label:05}.roi"), roi.tobytes(), zipfile.ZIP_DEFLATED)


def _traced(labels: Integer[np.ndarray, "y x"]) -> Iterator[tuple[int, _Points]]:
    """Each closed walk along pixel edges with an object at its right on the screen, from corner to corner.

    Straight edges come as runs of all objects at once: right along upper edges, down along right ones, left along
    lower ones, up along left ones. Where a run ends, the next one begins; where two begin, because two pixels meet
    at this corner only, the walk turns right and so stays with its own pixel.
    """
    across = labels.shape[1] + 1  # corners of pixels in a row
    ups, ups_from, ups_to = _runs(labels.T, upper=True)
    downs, downs_from, downs_to = _runs(labels.T, upper=False)
    rights, rights_from, rights_to = _runs(labels, upper=True)
    lefts, lefts_from, lefts_to = _runs(labels, upper=False)
    begins = [
        rights * across + rights_from,
        downs_from * across + downs,
        lefts * across + lefts_to,
        ups_to * across + ups,
    ]
    ends = [
        rights * across + rights_to,
        downs_to * across + downs,
        lefts * across + lefts_from,
        ups_from * across + ups,
    ]
    count = len(rights)
    first = np.cumsum([0, *(len(b) for b in begins)])
    following = []
    for way, corners in enumerate(ends):
        turn_right, turn_left = (way + 1) % 4, (way + 3) % 4
        right, there = _find(begins[turn_right], corners)
        left, _ = _find(begins[turn_left], corners)
        following.append(np.where(there, first[turn_right] + right, first[turn_left] + left))
    onward = np.concatenate(following).tolist()
    ys, xs = (n.tolist() for n in divmod(np.concatenate(begins), across))
    ids = labels[rights, rights_from].tolist()
    seen = bytearray(count)
    # Every closed walk goes right somewhere.
    for start in range(count):
        if seen[start]:
            continue
        ring, run = [], start
        while True:
            if run < count:
                seen[run] = True
            ring.append((xs[run], ys[run]))
            run = onward[run]
            if run == start:
                break
        yield ids[start], ring


def _runs(
    labels: Integer[np.ndarray, "y x"], *, upper: bool
) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], Int64[np.ndarray, "n"]]:
    """Straight stretches of the objects' upper or lower edges: the line y, from which x, to which x."""
    edge = labels > 0
    other = labels[1:] != labels[:-1]
    if upper:
        edge[1:] &= other
    else:
        edge[:-1] &= other
    on = edge[:, 1:] & edge[:, :-1] & (labels[:, 1:] == labels[:, :-1])
    begin, end = edge.copy(), edge
    begin[:, 1:] &= ~on
    end[:, :-1] &= ~on
    lines, starts = np.nonzero(begin)
    stops = np.nonzero(end)[1]
    return lines + (not upper), starts, stops + 1


def _find(
    among: Int64[np.ndarray, "n"], wanted: Int64[np.ndarray, "m"]
) -> tuple[Int64[np.ndarray, "m"], Bool[np.ndarray, "m"]]:
    """Where each wanted number is among others that all differ, and whether it is there."""
    order = np.argsort(among)
    place = order[np.minimum(np.searchsorted(among, wanted, sorter=order), len(among) - 1)]
    return place, among[place] == wanted


def _simple(ring: _Points) -> Iterator[_Points]:
    """Cut a walk where it comes to a point again: a hole that is open at a corner only is a hole."""
    if len(set(ring)) == len(ring):
        yield ring
        return
    walk: _Points = []
    place: dict[tuple[int, int], int] = {}
    for point in ring:
        if point in place:
            k = place[point]
            yield walk[k:]
            for left in walk[k + 1 :]:
                del place[left]
            del walk[k + 1 :]
        else:
            place[point] = len(walk)
            walk.append(point)
    yield walk


def _polygons(walks: list[list[_Points]], labels: Integer[np.ndarray, "y x"], label: int) -> list[Polygon]:
    """The rings of one object as exteriors and their holes."""
    rings = [np.array(ring) for walk in walks for ring in walk]
    outside = [_area(ring) > 0 for ring in rings]
    polygons = [Polygon(ring, []) for ring, outer in zip(rings, outside, strict=True) if outer]
    holes = [ring for ring, outer in zip(rings, outside, strict=True) if not outer]
    if len(polygons) == 1:
        polygons[0].holes.extend(holes)
    elif holes:
        from scipy import ndimage

        points = np.concatenate(rings)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        pieces = ndimage.label(labels[top:bottom, left:right] == label)[0]

        def piece(ring: Int64[np.ndarray, "n 2"]) -> int:
            # Where the ring goes right, the object is below.
            k = int(np.argmax(np.roll(ring[:, 0], -1) > ring[:, 0]))
            return int(pieces[ring[k, 1] - top, ring[k, 0] - left])

        of_piece = {piece(exterior): inner for exterior, inner in polygons}
        for ring in holes:
            of_piece[piece(ring)].append(ring)
    return polygons


def _area(ring: Int64[np.ndarray, "n 2"]) -> float:
    """Twice the area that the ring encloses, positive where it goes counter-clockwise by the numbers."""
    x, y = (ring - ring[0]).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def _closed(ring: Int64[np.ndarray, "n 2"]) -> list[list[int]]:
    points: list[list[int]] = ring.tolist()
    return [*points, points[0]]


def _by_label(columns: Mapping[str, Sequence[Any] | np.ndarray]) -> dict[int, dict[str, float]]:
    """Rows of a table by their label; what is not a finite number is left out, for JSON has none."""
    rows: dict[int, dict[str, float]] = {int(label): {} for label in columns.get("label", ())}
    for name, column in columns.items():
        if name != "label":
            for row, value in zip(rows.values(), np.asarray(column).tolist(), strict=True):
                if math.isfinite(value):
                    row[name] = value
    return rows
