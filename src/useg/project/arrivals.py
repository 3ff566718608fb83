"""Images that come into a project: kept as they are, under a safe name, with the suffix of what they hold."""

from __future__ import annotations

import shutil
from filecmp import cmp
from pathlib import Path

from useg.atomic import sync
from useg.errors import OutputError
from useg.images.formats import format_of
from useg.project.names import clean_name, free_name
from useg.project.stock import Stock
from useg.project.writing import locked, new_beside

# Pictures share one row of the table of formats; the first bytes say which of them a file is.
_PICTURES = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"RIFF", ".webp"))


def add(folder: Path, stock: Stock, name: str, file: Path) -> str:
    """Copy a file into a project's images; the stem by which it is known there.

    The same bytes again, under whatever name, are the image that is there.

    Args:
        folder: of the project. stock: its images.
        name: what a user called the file. file: it; its first bytes count, and its own suffix where they say nothing.

    Raises:
        ImageError, MissingError: it is no image that useg reads. OutputError: another image has this name.
    """
    suffix, stem = suffix_of_content(file), clean_name(name)
    target, size = stock.folder / f"{stem}{suffix}", file.stat().st_size
    with new_beside(target) as written:
        shutil.copyfile(file, written)
        sync(written)
        with locked(folder):
            there = stock.paths()
            for known, path in there.items():
                if path.is_file() and path.stat().st_size == size and cmp(path, file, shallow=False):
                    return known
            if target.exists() or stem.casefold() in {known.casefold() for known in there}:
                free = free_name(stem, there)
                raise OutputError(f"{stem}: there is another image of this name; call it {free}, for example")
            written.replace(target)
            sync(target.parent)
    return stem


def suffix_of_content(file: Path) -> str:
    """The suffix that says what a file holds.

    Raises:
        ImageError, MissingError: it is no image that useg reads.
    """
    found = format_of(file)
    with file.open("rb") as stream:
        head = stream.read(8)
    if ".png" in found.suffixes:
        return next(suffix for start, suffix in _PICTURES if head.startswith(start))
    own = file.name.lower()
    return next((suffix for suffix in found.suffixes if own.endswith(suffix)), found.suffixes[0])
