"""A project's masks and drafts: whole files only, and none that somebody else wrote meanwhile is written over.

    masks/NAME.png   kept: what training sees. NAME.tif for objects and for stacks
    drafts/NAME.tif  work in progress, of the same values

The version of an image's labels is a checksum of both files' bytes, so that a change by whatever program is noticed.
A writer says from which version it comes. Its file is written beside the target under another name, durably, and then,
under a lock that holds among threads and processes, put in place if the version is still that one. So of two writers
from one version exactly one wins, and whoever is killed leaves the old file or the new one. What another program
writes without the lock, in the instant between comparing and renaming, is the one thing that could be lost.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer

from useg.atomic import sync, telling
from useg.data.dataset import MASK_FOLDERS, folder_of, stem_of, without_mark
from useg.errors import MissingError, OutputError
from useg.images import Header, is_image_file, read_mask, write_labels
from useg.project.classes import Classes
from useg.project.writing import locked, new_beside, sweep

NEW = "0"
"""The version of an image that has neither draft nor mask."""
DRAFTS = "drafts"
SETTLED = 2.0
"""Seconds after which a file that changes has another time of change, on any disk."""


class StaleError(OutputError):
    """Somebody wrote other labels since those that a writer saw; `version` is that of the present ones."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"{name}: its labels were changed elsewhere meanwhile; load them again, then correct those")
        self.version = version


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of an image, see `useg.project.classes`, where they are from, and the version of its draft and mask."""

    array: Integer[np.ndarray, "*size"]
    source: Literal["mask", "draft", "prediction", "new"]
    version: str


class Masks:
    """The masks and drafts in a project's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._known = folder, dict[Path, tuple[tuple[int, int, int], str]]()

    @property
    def mask_folder(self) -> Path:
        """Where masks are."""
        return folder_of(self.folder, MASK_FOLDERS) or self.folder / "masks"

    def kept(self) -> dict[str, Path]:
        """The mask files by stem."""
        return _by_stem(self.mask_folder)

    def drafts(self) -> dict[str, Path]:
        """The drafts by stem."""
        return _by_stem(self.folder / DRAFTS)

    def mask(self, name: str) -> Path | None:
        """The mask of an image, None where it has none."""
        return self.of_images((name,)).get(name)

    def of_images(self, names: Collection[str]) -> dict[str, Path]:
        """The masks of those images that have one: of their name, or of that and a word such as `_mask`."""
        there = self.kept()
        marked = {name: path for stem, path in there.items() if (name := without_mark(stem)) in names and name}
        return marked | {name: path for name, path in there.items() if name in names}

    def draft(self, name: str) -> Path | None:
        """The draft of an image, None where it has none."""
        return self.drafts().get(name)

    def version(self, name: str) -> str:
        """That of an image's labels as they are now."""
        return self.version_of(self.draft(name), self.mask(name))

    def version_of(self, draft: Path | None, mask: Path | None) -> str:
        """That of these files of an image."""
        marks = [self._checksum(path) if path else "" for path in (draft, mask)]
        return _short(" ".join(marks).encode()) if any(marks) else NEW

    def read(self, path: Path, classes: Classes) -> Integer[np.ndarray, "*size"]:
        """The labels in a file.

        Raises:
            ImageError, MissingError: it cannot be read. DataError: it holds other values than the project's.
        """
        return classes.from_file(read_mask(path), path)

    def write(
        self,
        name: str,
        labels: Integer[np.ndarray, "*size"],
        version: str,
        classes: Classes,
        *,
        keep: bool,
        like: Header,
    ) -> str:
        """Write a draft, or with `keep` the mask, whose draft then goes; the new version.

        Who writes what is there already need not know its version: the answer to an earlier try may have been lost.

        Raises:
            StaleError: `version` is not the present one. OutputError: the disk is full, or may not be written.
            DataError: there is no such class.
        """
        flat = classes.kind == "classes" and labels.ndim == 2
        place, suffix = (self.mask_folder, ".png" if flat else ".tif") if keep else (self.folder / DRAFTS, ".tif")
        colours, target = [each.colour for each in classes.entries] if flat else [], place / f"{name}{suffix}"
        if self.version(name) != version:
            with locked(self.folder):  # so that no file goes while it is read
                if self._is_there(name, labels, classes, keep=keep):
                    return self.version(name)
            self._require(name, version)  # before the work of writing
        with new_beside(target) as written:
            write_labels(written, classes.to_file(labels), colours=colours, like=like if keep else None)
            with locked(self.folder):
                self._require(name, version)
                old = self.mask(name) if keep else self.draft(name)
                written.replace(target)
                sync(place)
                gone = [self.draft(name), old if old != target else None] if keep else []
                self._remove(*gone)
                return self.version(name)

    def discard(self, name: str, version: str) -> str:
        """Take an image's draft away; the new version. Raises as `write`."""
        with locked(self.folder):
            self._require(name, version)
            self._remove(self.draft(name))
            return self.version(name)

    def unkeep(self, name: str, version: str, classes: Classes) -> str:
        """Take an image's mask away. It becomes the draft, where there is no later one; the new version.

        Raises:
            MissingError: it has no mask. Else as `write`.
        """
        mask, target = self.mask(name), self.folder / DRAFTS / f"{name}.tif"
        if mask is None:
            raise MissingError(f"{name}: has no mask that could be taken back; keep one first")
        self._require(name, version)
        with new_beside(target) as written:
            write_labels(written, classes.to_file(self.read(mask, classes)))
            with locked(self.folder):
                self._require(name, version)
                if self.draft(name) is None:
                    written.replace(target)
                    sync(target.parent)
                self._remove(mask)
                return self.version(name)

    def sweep(self) -> None:
        """Take away what writers who were killed left."""
        for place in (self.mask_folder, self.folder / DRAFTS):
            sweep(place)

    def _is_there(self, name: str, labels: Integer[np.ndarray, "*size"], classes: Classes, *, keep: bool) -> bool:
        draft = self.draft(name)
        path = draft if not keep else self.mask(name) if draft is None else None
        return path is not None and np.array_equal(self.read(path, classes), labels)

    def _require(self, name: str, version: str) -> None:
        if (present := self.version(name)) != version:
            raise StaleError(name, present)

    def _remove(self, *paths: Path | None) -> None:
        for path in paths:
            if path is not None:
                with telling(path):
                    path.unlink(missing_ok=True)
                    sync(path.parent)

    def _checksum(self, path: Path) -> str:
        """Of a file's bytes; remembered while its size and times say that it is the same."""
        try:
            stat = path.stat()
            state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            known = self._known.get(path)
            if known and known[0] == state:
                return known[1]
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return ""
        if time.time() - stat.st_mtime > SETTLED:
            self._known[path] = state, found
        return found


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {stem_of(Path(entry.path)): Path(entry.path) for entry in entries if is_image_file(entry.name)}


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
