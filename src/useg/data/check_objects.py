"""Are the objects of a data set all painted? Masks of ids in which most are missing, or frames in which some are."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from useg.data.judge import SPARSE_REMEDY
from useg.data.problem import Problem, error, names_of, warning
from useg.data.sparse import MANY_MORE
from useg.data.splits import series_of
from useg.data.summary import Look

MANY_FEWER = 2
"""A frame with so many times fewer objects, and less area of them, than the frames beside it is painted in part."""
ENOUGH_OBJECTS, FEWER_AT_EDGES = 20, 5
"""With so many objects, and so many times fewer of them cut by edges than by chance, those are not painted."""
A_FILM = 0.12
"""Neighbours in a film correlate by more, as thumbnails: 0.25 and up in the middle of films of moving cells, where
images of other places stay below 0.1."""


def check_objects(looks: Sequence[Look]) -> tuple[list[Problem], set[str], int]:
    """What is wrong with masks of ids, and where objects are left out.

    The latter are the names of images that are painted in part, and the width in pixels of the margin of all images in
    which objects are not painted.
    """
    if problems := _check_sparse(looks):
        return problems, set(), 0
    margin = _unpainted_margin(looks)
    if margin:
        cut, objects = sum(look.cut for look in looks), sum(look.objects for look in looks)
        told = (
            f"{cut} of {objects} objects reach the edge of their image, far fewer than lie there by chance: those that "
            f"it cuts seem not to be painted, so what is unpainted within {margin} pixels of the edges counts as not "
            "annotated"
        )
        remedy = "paint those too, or, if there are none, say --unlabelled background"
        problems.append(warning(looks[0].pair.mask_told.parent, told, remedy))
    partial = _painted_in_part(looks)
    if not partial:
        return problems, set(), margin
    told = (
        f"far fewer objects are painted than in the frames beside it ({names_of(partial)}): the others seem to be "
        "missing, so what is unpainted there counts as not annotated"
    )
    remedy = "paint the others, or, if these are all, say --unlabelled background"
    problems.append(warning(partial[0].pair.mask_told, told, remedy))
    return problems, {look.pair.name for look in partial}, margin


def _unpainted_margin(looks: Sequence[Look]) -> int:
    """The width of an object where objects at the edges of images are evidently left out; else 0.

    Of discs of diameter d anywhere around an image of h x w, 1 - (h - d)(w - d) / ((h + d)(w + d)) of those that it
    shows are cut by its edges.
    """
    areas = [count for look in looks for value, count in look.seen.counts.items() if value]
    if len(areas) < ENOUGH_OBJECTS:
        return 0
    width = 2 * math.sqrt(float(np.median(areas)) / math.pi)
    expected = 0.0
    for look in looks:
        whole, inner = (math.prod(n + sign * width for n in look.size) for sign in (1, -1))
        expected += look.objects * (1 - inner / whole if min(look.size) > width else 1.0)
    return round(width) if FEWER_AT_EDGES * sum(look.cut for look in looks) < expected else 0


def _check_sparse(looks: Sequence[Look]) -> list[Problem]:
    """Masks that hold few of the objects that their images show."""
    objects, alike = sum(look.objects for look in looks), sum(look.alike for look in looks)
    sparse = [look for look in looks if look.alike >= MANY_MORE * look.objects]
    if alike < MANY_MORE * objects or 2 * len(sparse) < len(looks):
        return []
    return [
        error(
            sparse[0].pair.mask.parent,
            f"the masks hold {objects} objects, and about {alike} more places look like them: most of them seem to be "
            "unpainted, and would be learned as background",
            SPARSE_REMEDY,
        )
    ]


def _painted_in_part(looks: Sequence[Look]) -> list[Look]:
    """Frames of a film that hold far fewer objects, and far less of them, than the frame before and the one after."""
    series: dict[str, list[tuple[int, Look]]] = {}
    for look in looks:
        name, number = series_of(look.pair.name)
        if number is not None:
            series.setdefault(look.pair.group or name, []).append((number, look))
    found = []
    for frames in series.values():
        ordered = [look for _, look in sorted(frames, key=lambda frame: frame[0])]
        alike = [float(np.vdot(a.thumbnail, b.thumbnail)) for a, b in pairwise(ordered)]
        if not alike or np.median(alike) < A_FILM:
            continue  # numbered, but of other places: their objects are as many as they are
        for before, look, after in zip([None, *ordered], ordered, [*ordered[1:], None], strict=False):
            beside = [other for other in (before, after) if other is not None]
            if look.pair.markers is None and beside and all(_far_fewer(look, other) for other in beside):
                found.append(look)
    return found


def _far_fewer(look: Look, other: Look) -> bool:
    painted, elsewhere = (1 - each.seen.counts.get(0, 0) / sum(each.seen.counts.values()) for each in (look, other))
    return MANY_FEWER * look.objects <= other.objects and 0 < MANY_FEWER * painted <= elsewhere
