"""Painted labels -> an image and its mask in a project, the folder of ordinary files that `useg serve` opens too.

| painted are | 0 means | the masks hold |
|---|---|---|
| classes | not annotated | the numbers that were painted, 0 is void |
| classes on background | background | the numbers that were painted, 255 is void |
| single objects | background | the numbers that were painted, 65535 is void |
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Integer

from useg.data.legend import MAX_CLASSES
from useg.errors import DataError, ImageError, SettingsError
from useg.images import MAX_BYTES, Windows, image_suffix, write_image
from useg.labels import IGNORE
from useg.pictures.palette import class_colours
from useg.project import Project, open_project
from useg.project.classes import NAMES, Class, Classes, new_classes
from useg.project.writing import locked

Meaning = Literal["classes; 0 is not annotated", "classes; 0 is background", "single objects; 0 is background"]
SPARSE, DENSE, OBJECTS = get_args(Meaning)


def keep_annotation(
    folder: Path,
    image: Windows,
    labels: Integer[np.ndarray, "*size"],
    meaning: Meaning,
    *,
    inside: Bool[np.ndarray, "*size"] | None = None,
    colours: Mapping[int, tuple[int, int, int]] | None = None,
) -> Project:
    """Put an image and its mask into a project, for training to see; one that is there already gets the new mask.

    Args:
        folder: of the project; one that is empty, or not there, becomes one.
        image: its path says what it is called.
        labels: of the size of the image, as painted. meaning: of the numbers.
        inside: where it is annotated; None is everywhere. Where 0 is background, the slices of a stack in which nothing
            is painted are not annotated.
        colours: RGB 0..255 of the numbers, where they have one.

    Raises:
        DataError: nothing can be learned from these labels. SettingsError: the project's masks mean something else.
        OutputError: another image has this name there; the folder holds other things; the disk is full.
        ImageError: the image is too large for a file that training reads whole.
    """
    known = _annotated(labels, meaning, inside)
    values = [int(value) for value in np.unique(labels[known])]
    _require_something(str(image.path), values, meaning)
    if image.header.nbytes > MAX_BYTES:
        raise ImageError(
            f"{image.path}: takes {image.header.nbytes / 2**30:.1f} GiB, and training reads images of up to "
            f"{MAX_BYTES / 2**30:.0f} GiB; crop the part that is annotated into a layer of its own"
        )
    project = open_project(folder)
    classes = _classes(project, values, meaning, colours or {})
    pixels, header = image.read(image.whole), image.header
    with tempfile.TemporaryDirectory() as scratch:
        flat = len(header.size) == 2
        suffix = image_suffix(header.channels, header.dtype, header.spacing) if flat else ".tif"
        file = Path(scratch) / f"image{suffix}"
        write_image(file, pixels, like=header)
        name = project.add_image(str(image.path), file).name
    with locked(project.folder):
        classes.save(project.folder)
        project.file.model_copy(update={"kind": classes.kind}).save(project.folder)
    project.keep(name, _as_project(labels, known, classes), project.masks.version(name))
    return project


def _annotated(
    labels: Integer[np.ndarray, "*size"], meaning: Meaning, inside: Bool[np.ndarray, "*size"] | None
) -> Bool[np.ndarray, "*size"]:
    known = labels != 0 if meaning == SPARSE else np.ones(labels.shape, bool)
    if inside is not None:
        known &= inside
    elif meaning != SPARSE and labels.ndim == 3:
        known &= (labels != 0).any(axis=(1, 2), keepdims=True)
    return known


def _require_something(name: str, values: list[int], meaning: Meaning) -> None:
    painted = [value for value in values if value]
    if not painted:
        raise DataError(f"{name}: nothing is painted where it is annotated; paint something in the labels layer")
    if painted[0] < 0 or (meaning != OBJECTS and (len(painted) >= MAX_CLASSES or painted[-1] >= IGNORE)):
        raise DataError(
            f"{name}: {len(painted)} numbers up to {painted[-1]} are painted, and classes are at most "
            f"{MAX_CLASSES - 1}, from 1 to {IGNORE - 1}; if each object has a number of its own, choose {OBJECTS!r}"
        )
    if meaning == SPARSE and len(painted) < 2:
        raise DataError(
            f"{name}: all that is painted is {painted[0]}, and there is nothing to tell it from; paint some of the "
            f"rest with another number, or, if all the rest is background, choose {DENSE!r}"
        )


def _classes(
    project: Project, values: list[int], meaning: Meaning, colours: Mapping[int, tuple[int, int, int]]
) -> Classes:
    """The project's classes and those that are new; where nothing is annotated yet, these alone."""
    new = new_classes("instances")
    if meaning != OBJECTS:
        names = {value: f"class {value}" for value in values} | ({} if meaning == SPARSE else {0: NAMES[0][0]})
        own = class_colours(max(names) + 1)
        entries = [Class(names[value], colours.get(value, own[value]), value) for value in sorted(names)]
        new = Classes("classes", tuple(entries), 0 if meaning == SPARSE else IGNORE)
    if not (project.kept() or project.masks.drafts()):
        return new
    old = project.classes
    if old.kind != new.kind or (old.kind == "classes" and old.void != new.void):
        was = OBJECTS if old.kind == "instances" else SPARSE if old.void == 0 else DENSE
        raise SettingsError(f"{project.folder}: was annotated as {was!r}; choose that, or another folder")
    known = {each.value for each in old.entries}
    more = [each for each in new.entries if each.value not in known and old.kind == "classes"]
    return replace(old, entries=tuple(sorted([*old.entries, *more], key=lambda each: each.value)))


def _as_project(
    labels: Integer[np.ndarray, "*size"], known: Bool[np.ndarray, "*size"], classes: Classes
) -> Integer[np.ndarray, "*size"]:
    """Painted numbers as `useg.project.classes` has them."""
    if classes.kind == "instances":
        dtype = np.uint16 if int(labels.max()) < 2**16 - 1 else np.uint32
        return np.where(known, labels, np.iinfo(dtype).max).astype(dtype)
    table = np.full(IGNORE + 1, IGNORE, np.uint8)
    table[[each.value for each in classes.entries]] = np.arange(len(classes.entries))
    return table[np.where(known, labels, classes.void)]
