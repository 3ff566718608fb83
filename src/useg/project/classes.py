"""What the numbers in a project's masks mean, in its files and outside of them.

Outside, a label image is `[Z] Y X`: with kind "classes" uint8, classes 0..K-1 and 255 where nobody annotated; with
kind "instances" uint16 or uint32, 0 background, 1.. the objects, and the greatest number of its type where nobody
annotated. In the files each class and that mark have the values that `legend.csv` gives them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from useg.atomic import write_text
from useg.data.legend import MAX_CLASSES, Entry, Legend, to_classes
from useg.data.legend_file import VOID as VOIDS
from useg.data.project_file import Kind
from useg.errors import DataError, SettingsError
from useg.images.image import COLOUR
from useg.labels import IGNORE
from useg.pictures.palette import class_colours

LEGEND = "legend.csv"
VOID = "void"
"""What the legend calls pixels that nobody annotated."""
VOID_OBJECT = 65535
"""Their value in masks of objects, where the legend gives no other."""
NAMES = (("background", None), ("object", None))


@dataclass(frozen=True)
class Class:
    """A class: its name, its colour in pictures, RGB 0..255, and its value in the mask files."""

    name: str
    colour: tuple[int, int, int]
    value: int


@dataclass(frozen=True)
class Classes:
    """The classes of a project, and `void`, the value in its mask files of pixels that nobody annotated."""

    kind: Kind
    entries: tuple[Class, ...]
    void: int

    @property
    def legend(self) -> Legend:
        """As the data sets' rooms know it."""
        values = [0, 1] if self.kind == "instances" else [each.value for each in self.entries]
        names, colours = [each.name for each in self.entries], [each.colour for each in self.entries]
        return Legend(values=values, ignore=self.void, names=names, kind=self.kind, colours=colours)

    def save(self, folder: Path) -> None:
        """Write `legend.csv`."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["value", "name", "colour"])
        for each in self.entries:
            lines.writerow([each.value, each.name, "#{:02x}{:02x}{:02x}".format(*each.colour)])
        lines.writerow([self.void, VOID, ""])
        write_text(folder / LEGEND, text.getvalue())

    def from_file(self, mask: Integer[np.ndarray, "*size"], path: Path) -> Integer[np.ndarray, "*size"]:
        """The labels that a mask file holds.

        Raises:
            DataError: it holds a value that no class has.
        """
        if self.kind == "classes":
            return to_classes(mask, self.legend, path)
        if mask.min(initial=0) < 0 or mask.max(initial=0) > 2**32 - 2:
            raise DataError(f"{path}: objects have the numbers 1 to 2^32 - 2; save it again with such numbers")
        void = mask == self.void
        most = int(mask.max(initial=0, where=~void))
        dtype = np.uint16 if most < 2**16 - 1 else np.uint32
        return np.where(void, np.iinfo(dtype).max, mask).astype(dtype)

    def to_file(self, labels: Integer[np.ndarray, "*size"]) -> Integer[np.ndarray, "*size"]:
        """What the file of these labels holds. An object whose number is that of `void` gets another one.

        Raises:
            DataError: there is no such class.
        """
        if self.kind == "classes":
            return self._values(labels)
        top = np.iinfo(labels.dtype).max
        unknown, most = labels == top, int(labels.max(initial=0, where=labels < top))
        if most >= self.void and (labels == self.void).any():
            labels = np.where(labels == self.void, np.uint32(most + 1), labels)
        return np.where(unknown, np.uint32(self.void), labels)

    def _values(self, labels: Integer[np.ndarray, "*size"]) -> Integer[np.ndarray, "*size"]:
        count, most = len(self.entries), int(labels.max(initial=0, where=labels != IGNORE))
        if labels.dtype != np.uint8 or most >= count:
            raise DataError(
                f"labels of {labels.dtype} up to {most}, where the classes are 0 to {count - 1} and {IGNORE} is what "
                "nobody annotated; send those as uint8"
            )
        table = np.zeros(256, np.uint8)
        table[:count], table[IGNORE] = [each.value for each in self.entries], self.void
        return table[labels] if (table[:count] != np.arange(count)).any() or self.void != IGNORE else labels

    def changed(self, kind: Kind, named: Sequence[tuple[str, tuple[int, int, int] | None]]) -> Classes:
        """With other names and colours, classes added or taken away at the end, or of another kind.

        Raises:
            SettingsError: too many or too few classes, or names that are empty, twice there or mean not annotated.
        """
        names = [name.strip() for name, _ in named]
        if not 2 <= len(names) <= MAX_CLASSES or (kind == "instances" and len(names) != 2):
            allowed = "2" if kind == "instances" else f"2 to {MAX_CLASSES}"
            raise SettingsError(f"{len(names)} classes; a project of {kind} has {allowed}, the first is background")
        wrong = next((n for n in names if not n or len(n) > 100 or names.count(n) > 1 or not n.isprintable()), None)
        if wrong is not None:
            raise SettingsError(
                f"a class cannot be called {wrong!r}; give each a name of its own, of up to 100 letters"
            )
        if any(name.lower() in VOIDS for name in names):
            raise SettingsError(f"a class cannot be called {VOID}, which means not annotated; choose another name")
        if kind != self.kind:
            return new_classes(kind, named)
        values = [each.value for each in self.entries][: len(names)]
        free = (value for value in range(256) if value not in values and value != self.void)
        values += [next(free) for _ in names[len(values) :]]
        return replace(self, entries=_entries(named, values))


def new_classes(kind: Kind = "classes", named: Sequence[tuple[str, tuple[int, int, int] | None]] = NAMES) -> Classes:
    """Classes of a new project: their values are 0, 1, 2 ..."""
    return Classes(kind, _entries(named, range(len(named))), VOID_OBJECT if kind == "instances" else IGNORE)


def of_entries(kind: Kind, entries: Sequence[Entry], path: Path) -> Classes:
    """What a legend file says; `path` is named in messages.

    Raises:
        DataError: it gives colours instead of numbers, no class but one, or too many.
    """
    known = [each for each in entries if not each.ignore]
    if any(each.value >= COLOUR for each in entries):
        raise DataError(f"{path}: a project's masks hold numbers and not colours; save the masks with a number a class")
    if not 2 <= len(known) <= MAX_CLASSES or (kind == "instances" and len(known) != 2):
        allowed = "2" if kind == "instances" else f"2 to {MAX_CLASSES}"
        raise DataError(f"{path}: has {len(known)} classes; a project of {kind} has {allowed}, with the background")
    named, values = [(each.name, each.colour) for each in known], [each.value for each in known]
    void = next((each.value for each in entries if each.ignore), None)
    if void is None:
        void = VOID_OBJECT if kind == "instances" else next(v for v in range(255, -1, -1) if v not in values)
    return Classes(kind, _entries(named, values), void)


def of_prediction(labels: Integer[np.ndarray, "*size"], classes: Classes) -> Integer[np.ndarray, "*size"]:
    """What a model says, in the types of a project's labels."""
    if classes.kind == "classes":
        return labels.astype(np.uint8, copy=False)
    return labels.astype(np.uint16 if int(labels.max(initial=0)) < 2**16 - 1 else np.uint32)


def _entries(named: Sequence[tuple[str, tuple[int, int, int] | None]], values: Sequence[int]) -> tuple[Class, ...]:
    own = class_colours(len(named))
    return tuple(
        Class(name.strip(), colour or default, value)
        for (name, colour), default, value in zip(named, own, values, strict=True)
    )
