"""Values in all masks -> a legend, or why there is none.

A meaning is never guessed where two readings are likely: {0, 255} is binary, {0, 1, 255} is refused until the user
says what 255 is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer

from useg.data.legend import MAX_CLASSES, Entry, Legend, count_values, in_colours, is_noisy, listing, value_text
from useg.errors import DataError, extra
from useg.images.image import COLOUR
from useg.parts import middle
from useg.pictures.palette import class_colours

MAX_GRAYS = 8
"""So many unevenly spaced values (0, 128, 255) are taken as classes."""
MAX_COLOURS = 256
"""Of a picture taken for a mask, so many colours are kept: enough to see that it is none."""
MOST_PIXELS = 1 << 26
"""Of a larger mask the middle is looked at for pieces."""
SPARSE_REMEDY = (
    "paint pieces of true background too (masks of 0 not annotated, 1 background, 2 objects) and say "
    "--unlabelled ignore, or, if all that is unpainted is background, say --unlabelled background"
)


@dataclass(frozen=True)
class Seen:
    """The values of one mask: pixels of each value, bits of a pixel, and the share of its values (0 left out)
    that form one connected piece: near 1 for ids of objects, small for classes."""

    path: Path
    bits: int
    counts: dict[int, int]
    whole: float


@dataclass(frozen=True)
class Fault:
    """Something that keeps a mask from being used: the file, what is wrong, what to do."""

    path: Path
    message: str
    remedy: str

    @property
    def line(self) -> str:
        """The fault as one line."""
        return f"{self.path}: {self.message}; {self.remedy}"


def survey(mask: Integer[np.ndarray, "*space"], path: Path) -> Seen:
    """Count the values of one mask, and how many of them form one piece (8-connected)."""
    counts = count_values(mask)
    whole = 0.0
    if max(counts, default=0) >= COLOUR and len(counts) > MAX_COLOURS:
        counts = dict(sorted(sorted(counts.items(), key=lambda item: -item[1])[:MAX_COLOURS]))
    elif len(counts) > 3:  # up to two values beside 0 are classes whatever their shape
        with extra(path, "measure"):
            from skimage import measure

        # mypy: scikit-image has no annotations
        mask = mask[middle(mask.shape, MOST_PIXELS)]
        pieces, number = measure.label(  # type: ignore[no-untyped-call]
            mask, background=0, connectivity=mask.ndim, return_num=True
        )
        value_of = np.zeros(number + 1, mask.dtype)
        value_of[pieces.reshape(-1)] = mask.reshape(-1)
        _, pieces_of = np.unique(value_of[1:], return_counts=True)
        whole = float(np.mean(pieces_of == 1))
    return Seen(path, mask.dtype.itemsize * 8, counts, whole)


def legend_of(
    seen: Sequence[Seen],
    ignore: int | None = None,
    kind: Literal["classes", "instances"] | None = None,
    entries: Sequence[Entry] = (),
) -> Legend:
    """Decide what the values of all masks together mean; `kind` given, ids and classes are not told apart.

    Raises DataError (the first of `judge_values`' faults) where they have no one meaning.
    """
    found = judge_values(seen, ignore, kind, entries)
    if isinstance(found, Legend):
        return found
    raise DataError(found[0].line)


def judge_values(
    seen: Sequence[Seen],
    ignore: int | None = None,
    kind: Literal["classes", "instances"] | None = None,
    entries: Sequence[Entry] = (),
) -> Legend | list[Fault]:
    """The legend of these masks, or every mask that keeps them from having one.

    In this order: what a legend file says (`entries`); colours; a binary mask that was compressed with loss; ids
    of objects; 0..K-1 and {0, 255}; one value too many in few pixels (a slip of the brush); 0..K-1 and 255,
    which has two readings; few gray values; anything else is refused.
    """
    if any(value >= COLOUR for value in [*(ignore or 0 for _ in seen[:1]), *(e.value for e in entries)]) or (
        kind != "instances" and any(value >= COLOUR for s in seen for value in s.counts)
    ):
        seen = [replace(s, counts=in_colours(s.counts)) for s in seen]
    void = next((e for e in entries if e.ignore and ignore not in (None, e.value)), None)
    if void and ignore is not None:
        told = f"the legend calls {value_text(void.value)} not annotated, and {value_text(ignore)} is to be so too"
        return [Fault(seen[0].path if seen else Path("masks"), told, "give both one value in the masks")]
    if entries and kind != "instances":
        return _by_entries(seen, ignore, entries)
    if ignore is None:
        ignore = next((e.value for e in entries if e.ignore), None)
    if any(value >= COLOUR for s in seen for value in s.counts):
        return _by_colours(seen, ignore)
    clean = [s for s in seen if not is_noisy(s.counts, s.path)]
    if len(clean) < len(seen) and kind is None and all(set(s.counts) <= {0, 255, ignore} for s in clean):
        return _classes([0, 255], ignore)
    where: dict[int, list[Seen]] = {}
    for s in seen:
        for value in s.counts.keys() - {ignore}:
            where.setdefault(value, []).append(s)
    values = sorted(where)
    if not values:
        everything = f"every pixel is {ignore}, not annotated" if seen else "there is no mask"
        return [Fault(seen[0].path if seen else Path("masks"), everything, "annotate at least one image")]
    if kind == "instances" or (kind is None and _are_instances(seen, values)):
        if ignore == 0:
            told = "it holds ids of objects, and 0 is to be ignored: only objects are annotated, and no background"
            return [Fault(seen[0].path, told, SPARSE_REMEDY)]
        known = [e for e in entries if not e.ignore]
        names = [e.name for e in known] if len(known) == 2 else ["background", "object"]
        given = [e.colour or default for e, default in zip(known, class_colours(len(known)), strict=True)]
        colours = given if len(known) == 2 else None
        return Legend(values=[0, 1], ignore=ignore, names=names, kind="instances", colours=colours)
    if _are_regular(values):
        return _classes(values, ignore)

    most = max(len(values) // 4, 1)
    odd = [v for v in values if len(where[v]) <= max(len(seen) // 4, 1) and _share(where[v], v) < 1e-3][:most]
    rest = [v for v in values if v not in odd]
    if odd and len(rest) > 1 and _are_regular(rest):
        return [
            Fault(
                s.path,
                f"the value {v} stands in {s.counts[v]} pixels, and all other values are {listing(rest)}",
                f"paint them as one of those, or, if {v} means not annotated, say --ignore {v}",
            )
            for v in odd
            for s in where[v]
        ]
    if values[-1] == 255 and len(values) > 2 and _are_regular(values[:-1]):
        return [
            Fault(
                where[255][0].path,
                f"the value 255 beside {listing(values[:-1])} has two readings",
                "if it means not annotated, say --ignore 255; if it is a class, save the masks "
                "with the values 0, 1, 2 ...",
            )
        ]
    if len(values) <= MAX_GRAYS or (values[0] >= 0 and values[-1] < MAX_CLASSES):
        return _classes(values, ignore)
    worst = max(seen, key=lambda s: len(s.counts))
    return [
        Fault(
            worst.path,
            f"the {len(worst.counts)} values {listing(list(worst.counts))} are neither classes nor "
            f"ids of objects, as in a blurred or JPEG-compressed mask",
            "save the masks as PNG or TIFF with one value a class: 0, 1, 2 ...",
        )
    ]


def _by_entries(seen: Sequence[Seen], ignore: int | None, entries: Sequence[Entry]) -> Legend | list[Fault]:
    """The meaning that a legend file gives; ids of objects are still seen as such where they are beyond it."""
    void = [e.value for e in entries if e.ignore] if ignore is None else [ignore]
    classes = [e for e in entries if e.value not in void and not e.ignore]
    known = {e.value for e in classes} | set(void)
    values = sorted({value for s in seen for value in s.counts})
    colours = [e.colour for e in classes]
    given = [colour or default for colour, default in zip(colours, class_colours(len(classes)), strict=True)]
    names = [e.name for e in classes]
    if not set(values) <= known and len(classes) == 2 and _are_instances(seen, values):
        return Legend(values=[0, 1], ignore=ignore, names=names, kind="instances", colours=given)
    binary = [e.value for e in classes] in ([0, 1], [0, 255]) and not void
    faults = [
        Fault(
            s.path,
            f"the value {value_text(v)} stands in {s.counts[v]} pixels, and the legend has no entry for it "
            f"(it knows {listing(sorted(known))})",
            "add it to the legend, as a class or as void, or repaint these pixels",
        )
        for s in seen
        for v in s.counts
        if v not in known and not (binary and (set(s.counts) in ({0, 1}, {0, 255}) or is_noisy(s.counts, s.path)))
    ]
    if faults:
        return faults
    return Legend(values=[e.value for e in classes], ignore=void[0] if void else None, names=names, colours=given)


def _by_colours(seen: Sequence[Seen], ignore: int | None) -> Legend | list[Fault]:
    """One class a colour; a picture of very many colours is no mask."""
    values = sorted({value for s in seen for value in s.counts if value != ignore})
    if len(values) <= MAX_CLASSES:
        rgb = [((v >> 16) & 255, (v >> 8) & 255, v & 255) for v in values]
        names = [f"#{v & 0xFFFFFF:06x}" for v in values]
        return Legend(values=values, ignore=ignore, names=names, colours=rgb)
    worst = max(seen, key=lambda s: len(s.counts))
    many = f"{len(worst.counts)}" + (" or more" if len(worst.counts) >= MAX_COLOURS else "")
    return [
        Fault(
            worst.path,
            f"it holds {many} colours, {len(values)} in all masks together: more than the {MAX_CLASSES} that can be "
            "classes, as in a photograph or a JPEG-compressed mask",
            "save the masks as PNG with one flat colour a class, or list the colours in legend.csv",
        )
    ]


def _are_regular(values: list[int]) -> bool:
    return values == [0, 255] or (values == list(range(len(values))) and len(values) <= MAX_CLASSES)


def _are_instances(seen: Sequence[Seen], values: list[int]) -> bool:
    """Ids of objects are many, form one piece each, and differ from file to file; 16 bits make them likely.

    Frames of one film hold the ids 0..7 throughout, which as numbers could be classes: only the pieces tell.
    """
    many = [s for s in seen if len(s.counts) > 3]
    if values[0] < 0 or not many:
        return False
    whole = sum(s.whole * len(s.counts) for s in many) / sum(len(s.counts) for s in many)
    if len(values) > MAX_CLASSES:
        return whole >= 0.5
    differ = len(seen) == 1 or any(s.counts.keys() != seen[0].counts.keys() for s in seen)
    deep = max(s.bits for s in seen) > 8
    return differ and whole >= 0.8 and len(values) >= (6 if deep else 10)


def _classes(values: list[int], ignore: int | None) -> Legend:
    names = ["background", "foreground"] if len(values) == 2 else [f"class {value}" for value in values]
    return Legend(values=values, ignore=ignore, names=names)


def _share(seen: Sequence[Seen], value: int) -> float:
    return sum(s.counts[value] for s in seen) / sum(sum(s.counts.values()) for s in seen)
