"""What the values of masks mean: classes, ids of objects, and pixels that nobody annotated."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Integer, UInt8
from pydantic import BaseModel, ConfigDict, model_validator

from useg.errors import DataError, SettingsError
from useg.images.image import COLOUR
from useg.labels import IGNORE
from useg.parts import parts
from useg.pictures.palette import class_colours
from useg.scratch import New

MAX_CLASSES = 64
"""Values 0..63 at most are classes; more are ids of objects or the grays of a picture."""
LOSSY = (".jpg", ".jpeg", ".webp")
NEAR = 32
"""How far from 0 and 255 compression moves the pixels of a binary mask, but for a few along the borders."""
NOISE = 0.05
"""At most this share of a noisy binary mask lies further from both."""


class Legend(BaseModel):
    """Which value in the mask files is which class.

    `values[k]` is the file value of class k, `ignore` the file value of pixels that nobody annotated; a colour
    has the value `COLOUR + 0xRRGGBB`, black 0. With `kind="instances"` the files hold ids of objects, and every
    id other than 0 is class 1. `colours[k]` is how class k
    is painted, RGB 0..255; None takes colours that are easy to tell apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: list[int]
    ignore: int | None = None
    names: list[str]
    kind: Literal["classes", "instances"] = "classes"
    colours: list[tuple[int, int, int]] | None = None

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        """RGB 0..255 of each class in pictures."""
        return self.colours or class_colours(self.classes)

    @property
    def coloured(self) -> bool:
        """Whether the mask files are colour-coded."""
        return any(value >= COLOUR for value in [*self.values, self.ignore or 0]) and self.kind == "classes"

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
        if self.colours is not None and len(self.colours) != len(self.values):
            raise ValueError(f"{len(self.values)} values need as many colours, not {len(self.colours)}")
        if self.ignore in self.values:
            raise ValueError(f"{self.ignore} is the value of a class and cannot also mean not annotated")
        if self.kind == "instances" and self.values != [0, 1]:
            raise ValueError(f"instances have the values [0, 1] (background, object), not {self.values}")
        return self


@dataclass(frozen=True)
class Entry:
    """A line of a legend file: mask value, name, colour in pictures (or None), and whether it means not annotated."""

    value: int
    name: str
    colour: tuple[int, int, int] | None = None
    ignore: bool = False


def count_values(labels: Integer[np.ndarray, "*space"]) -> dict[int, int]:
    """Pixels of each value, in ascending order of the values, with memory for one chunk of pixels only."""
    total: Counter[int] = Counter()
    for each in parts(labels):  # numpy's bincount copies its input to 64-bit integers
        part = each.reshape(-1)
        if part.dtype.kind == "u" and part.dtype.itemsize <= 2:
            counts = np.bincount(part)
            values = np.flatnonzero(counts)
            counts = counts[values]
        else:
            values, counts = np.unique(part, return_counts=True)
        total.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return dict(sorted(total.items()))


def in_colours(counts: Mapping[int, int]) -> dict[int, int]:
    """Counts of a mask that belongs to a colour-coded set: its grays are colours too (255 is white)."""
    return dict(sorted((COLOUR + 0x10101 * v if 0 < v < 256 else v, n) for v, n in counts.items()))


def is_noisy(counts: Mapping[int, int], path: Path) -> bool:
    """Whether a mask is binary {0, 255} but for the noise of lossy compression (JPEG saved as whatever).

    Nearly all pixels are near 0 or near 255, and the values spread around both ends and between them, as classes
    and ids never do; of a file that is JPEG by name, being near is enough.
    """
    if set(counts) <= {0, 1} or set(counts) <= {0, 255} or min(counts) < 0 or max(counts) > 255:
        return False
    between = sum(n for v, n in counts.items() if NEAR < v < 255 - NEAR)
    spread = [sum(low <= v <= high for v in counts) for low, high in ((0, 32), (33, 222), (223, 255))]
    lossy = path.suffix.lower() in LOSSY
    return between <= NOISE * sum(counts.values()) and (lossy or min(spread) >= 3)


def ignored_value(ignore: int | None, unlabelled: Literal["auto", "background", "ignore"]) -> int | None:
    """The mask value of pixels that nobody annotated: `ignore`, or 0 with `unlabelled="ignore"`.

    Raises SettingsError where both are said, and differ.
    """
    if unlabelled != "ignore":
        return ignore
    if ignore not in (None, 0):
        raise SettingsError(
            f"--ignore {value_text(ignore or 0)} with --unlabelled ignore: only one value can mean not "
            "annotated; repaint one of them, or leave one out"
        )
    return 0


def value_text(value: int) -> str:
    """A mask value for people: a number, or `#rrggbb` for a colour."""
    return f"#{value & 0xFFFFFF:06x}" if value >= COLOUR else str(value)


def parse_value(text: str | int) -> int:
    """The mask value that people write: `11`, or `#rrggbb` for a colour. Raises ValueError."""
    if isinstance(text, int) or not text.strip().startswith("#"):
        return int(text)
    rgb = int(text.strip()[1:], 16)
    if len(text.strip()) != 7:
        raise ValueError(f"{text} is no colour; write #rrggbb")
    return COLOUR + rgb if rgb else 0


def listing(values: Sequence[int]) -> str:
    """Mask values for people, a few of many."""
    words = [value_text(value) for value in values]
    return ", ".join(words) if len(words) <= 6 else f"{words[0]}, {words[1]} ... {words[-1]}"


def to_classes(
    mask: Integer[np.ndarray, "*space"],
    legend: Legend,
    path: Path,
    new: New = np.empty,
) -> UInt8[np.ndarray, "*space"]:
    """Turn the values of a mask file into classes 0..K-1 and IGNORE.

    With two classes of which the first is 0, masks of {0, 1} and {0, 255} are both understood, whichever the
    legend was made from, and the noise of a compressed {0, 255} is cleaned. Raises DataError for any other value
    that the legend does not know.

    The result is an array that `new` makes, filled part by part.
    """
    present = count_values(mask)
    labels, convert = new(mask.shape, np.uint8), _conversion(mask.dtype, present, legend, path)
    for part, value in zip(parts(labels), parts(mask), strict=True):
        part[...] = convert(value)
    return labels


def _conversion(
    dtype: np.dtype[Any], present: Mapping[int, int], legend: Legend, path: Path
) -> Callable[[Integer[np.ndarray, "*space"]], UInt8[np.ndarray, "*space"]]:
    """What turns values of a mask that holds those that are `present` into classes."""
    if legend.coloured:
        present = in_colours(present)
    binary = legend.kind == "classes" and legend.values in ([0, 1], [0, 255]) and legend.ignore is None
    if binary and is_noisy(present, path):
        return lambda mask: (mask > 127).astype(np.uint8)
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
        value, known = unknown[0], listing(legend.values)
        raise DataError(
            f"{path}: the value {value_text(value)} stands in {present[value]} pixels, but the classes are {known}; "
            f"paint them as one of those, or, if it means not annotated, train with --ignore {value_text(value)}"
        )
    classes = np.array([of_file[value] for value in present], np.uint8)
    if legend.coloured:
        colours = np.array(list(present), np.int32)
        return lambda mask: classes[np.searchsorted(colours, _in_colour(mask))]
    if dtype.kind == "u" and dtype.itemsize <= 2:
        table = np.zeros(np.iinfo(dtype).max + 1, np.uint8)
        table[list(present)] = classes
        return lambda mask: table[mask]
    values = np.array(list(present), dtype)
    return lambda mask: classes[np.searchsorted(values, mask)]


def _in_colour(mask: Integer[np.ndarray, "*space"]) -> Integer[np.ndarray, "*space"]:
    """As `in_colours`, of pixels."""
    return np.where((mask > 0) & (mask < 256), COLOUR + 0x10101 * mask.astype(np.int32), mask)
