"""A data set's folder -> images to train on and images to judge with, checked and read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from useg import machine
from useg.data.check import Check, check_pairs
from useg.data.dataset import IN_MEMORY, Example, load_examples
from useg.data.decode import Decoder
from useg.data.folds import fold_splits
from useg.data.known import hold_out_unseen
from useg.data.layouts import Layout, find_layout
from useg.data.legend import Legend
from useg.data.partial import leave_out
from useg.data.problem import Problem
from useg.data.share import take_share
from useg.data.splits import Split, split
from useg.data.stacks import Pages, warn_of_one_stack
from useg.errors import DataError, ImageError, MissingError
from useg.images import files
from useg.images.image import MAX_BYTES, Header
from useg.scratch import New


@dataclass(frozen=True)
class Annotated:
    """A data set that was read, nothing held out yet.

    Attributes:
        legend: what its masks mean. examples: of its images; apart: of those that it sets apart itself, in `val/`.
        check: what the check found. layout: how the files are arranged.
        on_disk: bytes of what was decoded onto a disk, for it is too large for memory; else 0.
        new: makes arrays there.
    """

    legend: Legend
    examples: list[Example]
    apart: list[Example]
    check: Check
    layout: Layout
    on_disk: int = 0
    new: New = np.empty


@dataclass(frozen=True)
class Prepared:
    """A data set that can be trained on.

    Attributes:
        legend: what its masks mean. parts: to train on and to judge with.
        check: what the check found. layout: how the files are arranged.
        problems: those of the check, and images on both sides that are nearly identical.
        on_disk, new: see `Annotated`.
    """

    legend: Legend
    parts: Split
    check: Check
    layout: Layout
    problems: list[Problem]
    on_disk: int = 0
    new: New = np.empty


def read_annotated(
    folder: Path,
    ignore: int | None = None,
    masks: Literal["auto", "classes", "instances"] = "auto",
    unlabelled: Literal["auto", "background", "ignore"] = "auto",
    alpha: bool = False,
    pages: Pages = "images",
    scratch: Path | None = None,
    max_memory: int | None = None,
) -> Annotated:
    """Check the data set in `folder` and read it.

    Args:
        folder: a data set in one of the layouts that `layouts.py` recognises.
        ignore: mask value of pixels that are not annotated.
        masks: whether mask values are classes or ids of objects; "auto" looks at them.
        unlabelled: whether 0 is background or not annotated, see `check_pairs`.
        alpha: whether alpha is a channel of the images.
        pages: whether the pages of a stack are images, or one volume.
        scratch: on the disk of this folder, without a name, all is kept where it is too large for memory: together, or
            one image for `MAX_BYTES`. None reads it into memory.
        max_memory: bytes that all images and masks together may take there; None is half of what is free.

    Raises:
        DataError, ImageError, MissingError: the data cannot be trained on.
        OutputError: they are too large for memory, and for the disk.
    """
    layout = find_layout(folder, alpha=alpha, pages=pages)
    headers = _headers_of(layout)
    size = sum(map(_decoded_bytes, headers))
    on_disk = scratch is not None and _too_large(headers, size, max_memory)
    decoder = Decoder(scratch, needed=size) if on_disk else IN_MEMORY
    kind = None if masks == "auto" else masks
    check = check_layout(layout, ignore=ignore, kind=kind, unlabelled=unlabelled, decoder=decoder)
    check.raise_errors()
    legend = check.legend
    assert legend is not None  # without errors there is a legend
    used = set(check.used)
    pairs, held_out = ([pair for pair in part if pair in used] for part in (layout.train, layout.val))
    if not pairs:
        raise DataError(f"{folder}: no image is left to train on; `useg check {folder}` says why")
    examples, apart = (
        _unknown_where_unpainted(load_examples(part, legend, channels=check.channels, decoder=decoder), check, decoder)
        for part in (pairs, held_out)
    )
    return Annotated(legend, examples, apart, check, layout, size if on_disk else 0, decoder.new)


def _headers_of(layout: Layout) -> list[Header]:
    """Of the images; those that cannot be read are left out."""
    headers = []
    for pair in (*layout.train, *layout.val):
        with suppress(ImageError, MissingError):
            headers.append(files.read_header(pair.image, page=pair.page))
    return headers


def _decoded_bytes(header: Header) -> int:
    """Bytes of an image with its mask and labels."""
    return header.nbytes + 2 * math.prod(header.size)


def decoder_of(layout: Layout, scratch: Path) -> Decoder:
    """Reads one pair after the other: into memory, or where one is too large for that, on the disk of a folder."""
    headers = _headers_of(layout)
    largest = max(map(_decoded_bytes, headers), default=0)
    return Decoder(scratch, needed=largest, keep=False) if _too_large(headers, largest) else IN_MEMORY


def _too_large(headers: Sequence[Header], size: int, max_memory: int | None = None) -> bool:
    """Whether images of which `size` bytes are held at a time are too many, or one of them too large, for memory."""
    room = max_memory or machine.free_memory() // 2
    return size > room or any(header.nbytes > MAX_BYTES for header in headers)


Reader = Callable[
    [Path, int | None, Literal["auto", "classes", "instances"], Literal["auto", "background", "ignore"], bool, Pages],
    Annotated,
]


def reader_of(run: Path, max_memory: int | None) -> Reader:
    """`read_annotated` for a run, on whose disk what is too large for memory is kept."""
    return partial(read_annotated, scratch=run, max_memory=max_memory)


def prepare(
    folder: Path,
    *,
    ignore: int | None = None,
    masks: Literal["auto", "classes", "instances"] = "auto",
    unlabelled: Literal["auto", "background", "ignore"] = "auto",
    alpha: bool = False,
    pages: Pages = "images",
    validation: float = 0.2,
    folds: int = 0,
    fold: int = 0,
    share: float = 1.0,
    seen: str = "",
    read: Reader = read_annotated,
) -> Prepared:
    """Check the data set in `folder`, read it, and hold a part of it out.

    Args:
        folder: a data set in one of the layouts that `layouts.py` recognises.
        ignore, masks, unlabelled, alpha, pages: see `read_annotated`.
        validation: share of the images to hold out where there is no `val/`.
        folds, fold: hold out this part, from 0, of so many, see `fold_splits`; `val/` is divided with the others. 0
            folds are none.
        share: of what is left to train on, so much is used, see `take_share`.
        seen: checksums of images that had better not be held out, see `hold_out_unseen`.
        read: reads it, such as a function that remembers what it read before.

    Raises:
        DataError, ImageError, MissingError: the data cannot be trained on. SettingsError: they have not so many folds.
    """
    found = read(folder, ignore, masks, unlabelled, alpha, pages)
    layout, check, names = found.layout, found.check, found.legend.names
    if folds:
        parts = fold_splits(_pooled(found), folds, names=names)[fold]
    elif found.apart:
        own = layout.val[0].image.parent == layout.train[0].image.parent
        where = "the data set" if own else layout.val[0].image.parents[1]
        parts = Split(found.examples, found.apart, f"validation: the {len(found.apart)} images of {where}")
    else:
        parts = split(found.examples, share=validation, names=names)
    parts = hold_out_unseen(parts, seen, again=not folds and not found.apart, names=names)
    if share < 1:
        train = take_share(parts.train, share)
        told = f"{parts.reason}; {len(train)} of the other {len(parts.train)} are trained on"
        parts = Split(train, parts.validation, told)
    problems = [*check.problems, *_leaks(parts, check)]
    return Prepared(found.legend, parts, check, layout, problems, found.on_disk, found.new)


def _pooled(found: Annotated) -> list[Example]:
    """All examples under names of their own: `val/01` where there is a `01` to train on."""
    names = {example.name for example in found.examples}
    return [*found.examples, *(replace(e, name=f"val/{e.name}") if e.name in names else e for e in found.apart)]


def _unknown_where_unpainted(examples: list[Example], check: Check, decoder: Decoder) -> list[Example]:
    """Where objects are left out, in some images or along the edges of all, what is unpainted is not annotated."""
    if not check.partial and not check.margin:
        return examples
    how: dict[str, Any] = {"margin": check.margin, "new": decoder.new}
    return [replace(e, labels=leave_out(e.labels, whole=e.name in check.partial, **how)) for e in examples]


def check_layout(
    layout: Layout,
    *,
    ignore: int | None = None,
    kind: Literal["classes", "instances"] | None = None,
    unlabelled: Literal["auto", "background", "ignore"] = "auto",
    progress: Callable[[int, int], None] | None = None,
    decoder: Decoder = IN_MEMORY,
) -> Check:
    """Check all images that training would see, those of `val/` included; see `check_pairs`."""
    pairs = [*layout.train, *layout.val]
    if layout.masks is not None:
        kind, unlabelled = kind or layout.masks, "background" if unlabelled == "auto" else unlabelled
    found = check_pairs(
        pairs,
        ignore=ignore,
        kind=kind,
        unlabelled=unlabelled,
        entries=layout.entries,
        folder=layout.folder,
        progress=progress,
        decoder=decoder,
    )
    return replace(found, problems=[*found.problems, *warn_of_one_stack(pairs)])


def _leaks(parts: Split, check: Check) -> list[Problem]:
    """Images of the training part that nearly equal one of the validation part."""
    train, validation = ({e.name for e in part} for part in (parts.train, parts.validation))
    across = [(a, b) for a, b in check.alike if (a in train and b in validation) or (b in train and a in validation)]
    if not across:
        return []
    shown = ", ".join(f"{a} and {b}" for a, b in across[:3]) + (" ..." if len(across) > 3 else "")
    told = f"{len(across)} pairs of nearly identical images stand on both sides of the validation split ({shown})"
    remedy = "its score will be too good; name what belongs together in a table with a column group"
    return [Problem("warning", check.folder, told, remedy)]
