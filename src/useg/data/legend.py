"""What the values of masks mean: classes, ids of objects, and pixels that nobody annotated.

A meaning is never guessed where two readings are likely: {0, 255} is binary, {0, 1, 255} is refused until the user
says what 255 is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer, UInt8
from pydantic import BaseModel, ConfigDict, model_validator

from useg.errors import DataError
from useg.labels import IGNORE

MAX_CLASSES = 64
"""Values 0..63 at most are classes; more are ids of objects or the grays of a picture."""
MAX_GRAYS = 8
"""So many unevenly spaced values (0, 128, 255) are taken as classes."""
CHUNK = 1 << 22
"""Pixels counted at once: numpy's bincount copies its input to 64-bit integers."""


class Legend(BaseModel):
    """Which value in the mask files is which class.

    `values[k]` is the file value of class k, `ignore` the file value of pixels that nobody annotated. With
    `kind="instances"` the files hold ids of objects, and every id other than 0 is class 1: for now useg
    learns objects as one foreground class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: list[int]
    ignore: int | None = None
    names: list[str]
    kind: Literal["classes", "instances"] = "classes"

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return len(self.values)

    @model_validator(mode="after")
    def _consistent(self) -> "Legend":
        if not 1 <= len(self.values) < IGNORE or len(set(self.values)) != len(self.values):
            raise ValueError(f"values must be 1 to {IGNORE - 1} different integers, not {self.values}")
        if len(self.names) != len(self.values):
            raise ValueError(f"{len(self.values)} values need as many names, not {len(self.names)}")
        if self.ignore in self.values:
            raise ValueError(f"{self.ignore} is the value of a class and cannot also mean not annotated")
        if self.kind == "instances" and self.values != [0, 1]:
            raise ValueError(f"instances have the values [0, 1] (background, object), not {self.values}")
        return self


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


def count_values(labels: Integer[np.ndarray, "*space"]) -> dict[int, int]:
    """Pixels of each value, in ascending order of the values, with memory for one chunk of pixels only."""
    flat = labels.reshape(-1)
    total: Counter[int] = Counter()
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK]
        if part.dtype.kind == "u" and part.dtype.itemsize <= 2:
            counts = np.bincount(part)
            values = np.flatnonzero(counts)
            counts = counts[values]
        else:
            values, counts = np.unique(part, return_counts=True)
        total.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return dict(sorted(total.items()))


def survey(mask: Integer[np.ndarray, "*space"], path: Path) -> Seen:
    """Count the values of one mask, and how many of them form one piece (8-connected)."""
    counts = count_values(mask)
    whole = 0.0
    if len(counts) > 3:  # up to two values beside 0 are classes whatever their shape
        from skimage import measure

        # mypy: scikit-image has no annotations
        pieces, number = measure.label(  # type: ignore[no-untyped-call]
            mask, background=0, connectivity=mask.ndim, return_num=True
        )
        value_of = np.zeros(number + 1, mask.dtype)
        value_of[pieces.reshape(-1)] = mask.reshape(-1)
        _, pieces_of = np.unique(value_of[1:], return_counts=True)
        whole = float(np.mean(pieces_of == 1))
    return Seen(path, mask.dtype.itemsize * 8, counts, whole)


def legend_of(
    seen: Sequence[Seen], ignore: int | None = None, kind: Literal["classes", "instances"] | None = None
) -> Legend:
    """Decide what the values of all masks together mean; `kind` given, ids and classes are not told apart.

    Raises DataError (the first of `judge_values`' faults) where they have no one meaning.
    """
    found = judge_values(seen, ignore, kind)
    if isinstance(found, Legend):
        return found
    raise DataError(found[0].line)


def judge_values(
    seen: Sequence[Seen], ignore: int | None = None, kind: Literal["classes", "instances"] | None = None
) -> Legend | list[Fault]:
    """The legend of these masks, or every mask that keeps them from having one.

    In this order: ids of objects; 0..K-1 and {0, 255}; one value too many in few pixels (a slip of the
    brush); 0..K-1 and 255, which has two readings; few gray values; anything else is refused.
    """
    where = {value: [s for s in seen if value in s.counts] for s in seen for value in s.counts if value != ignore}
    values = sorted(where)
    if not values:
        everything = f"every pixel is {ignore}, not annotated" if seen else "there is no mask"
        return [Fault(seen[0].path if seen else Path("masks"), everything, "annotate at least one image")]
    if kind == "instances" or (kind is None and _are_instances(seen, values)):
        return Legend(values=[0, 1], ignore=ignore, names=["background", "object"], kind="instances")
    if _are_regular(values):
        return _classes(values, ignore)

    most = max(len(values) // 4, 1)
    odd = [v for v in values if len(where[v]) <= max(len(seen) // 4, 1) and _share(where[v], v) < 1e-3][:most]
    rest = [v for v in values if v not in odd]
    if odd and len(rest) > 1 and _are_regular(rest):
        return [
            Fault(
                s.path,
                f"the value {v} stands in {s.counts[v]} pixels, and all other values are {_listing(rest)}",
                f"paint them as one of those, or, if {v} means not annotated, say --set data.ignore={v}",
            )
            for v in odd
            for s in where[v]
        ]
    if values[-1] == 255 and len(values) > 2 and _are_regular(values[:-1]):
        return [
            Fault(
                where[255][0].path,
                f"the value 255 beside {_listing(values[:-1])} has two readings",
                "if it means not annotated, say --set data.ignore=255; if it is a class, save the masks "
                "with the values 0, 1, 2 ...",
            )
        ]
    if len(values) <= MAX_GRAYS or (values[0] >= 0 and values[-1] < MAX_CLASSES):
        return _classes(values, ignore)
    worst = max(seen, key=lambda s: len(s.counts))
    return [
        Fault(
            worst.path,
            f"the {len(worst.counts)} values {_listing(list(worst.counts))} are neither classes nor "
            f"ids of objects, as in a blurred or JPEG-compressed mask",
            "save the masks as PNG or TIFF with one value a class: 0, 1, 2 ...",
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
    differ = len(seen) == 1 or len({frozenset(s.counts) for s in seen}) > 1
    deep = max(s.bits for s in seen) > 8
    return differ and whole >= 0.8 and len(values) >= (6 if deep else 10)


def _classes(values: list[int], ignore: int | None) -> Legend:
    names = ["background", "foreground"] if len(values) == 2 else [f"class {value}" for value in values]
    return Legend(values=values, ignore=ignore, names=names)


def _share(seen: Sequence[Seen], value: int) -> float:
    return sum(s.counts[value] for s in seen) / sum(sum(s.counts.values()) for s in seen)


def _listing(values: Sequence[int]) -> str:
    return ", ".join(map(str, values)) if len(values) <= 6 else f"{values[0]}, {values[1]} ... {values[-1]}"


def to_classes(mask: Integer[np.ndarray, "*space"], legend: Legend, path: Path) -> UInt8[np.ndarray, "*space"]:
    """Turn the values of a mask file into classes 0..K-1 and IGNORE.

    With two classes of which the first is 0, masks of {0, 1} and {0, 255} are both understood, whichever the
    legend was made from. Raises DataError for any other value that the legend does not know.
    """
    present = count_values(mask)
    of_file = dict(zip(legend.values, range(legend.classes), strict=True))
    if legend.kind == "instances":
        of_file = {value: int(value != 0) for value in present if value >= 0}
    elif legend.classes == 2 and legend.values[0] == 0:
        beside = [value for value in present if value not in (0, legend.ignore)]
        if beside in ([1], [255]):
            of_file = {0: 0, beside[0]: 1}
    if legend.ignore is not None:
        of_file[legend.ignore] = IGNORE
    unknown = [value for value in present if value not in of_file]
    if unknown:
        value, known = unknown[0], _listing(legend.values)
        raise DataError(
            f"{path}: the value {value} stands in {present[value]} pixels, but the classes are {known}; "
            f"paint them as one of those, or, if it means not annotated, say --set data.ignore={value}"
        )
    classes = np.array([of_file[value] for value in present], np.uint8)
    if mask.dtype.kind == "u" and mask.dtype.itemsize <= 2:
        table = np.zeros(np.iinfo(mask.dtype).max + 1, np.uint8)
        table[list(present)] = classes
        labels: np.ndarray = table[mask]
    else:
        labels = classes[np.searchsorted(np.array(list(present), mask.dtype), mask)]
    return labels
