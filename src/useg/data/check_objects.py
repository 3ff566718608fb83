"""Are the objects of a data set all painted? Masks of ids in which most are missing, or frames in which some are."""

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


A_FILM = 0.12
"""Neighbours in a film correlate by more, as thumbnails: 0.25 and up in the middle of films of moving cells, where
images of other places stay below 0.1."""


def check_objects(looks: Sequence[Look]) -> tuple[list[Problem], set[str]]:
    """What is wrong with masks of ids, and the names of the images that are painted in part."""
    if problems := _check_sparse(looks):
        return problems, set()
    partial = _painted_in_part(looks)
    if not partial:
        return [], set()
    told = (
        f"far fewer objects are painted than in the frames beside it ({names_of(partial)}): the others seem to be "
        "missing, so what is unpainted there counts as not annotated"
    )
    remedy = "paint the others, or, if these are all, say --unlabelled background"
    return [warning(partial[0].pair.mask_told, told, remedy)], {look.pair.name for look in partial}


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
