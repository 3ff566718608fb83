"""A data set's folder -> images to train on and images to judge with, checked and in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from useg.data.check import Check, check_pairs
from useg.data.dataset import Example, load_examples
from useg.data.layouts import Layout, find_layout
from useg.data.legend import Legend
from useg.data.partial import leave_out
from useg.data.problem import Problem
from useg.data.splits import Split, split
from useg.data.stacks import warn_of_one_stack
from useg.errors import DataError


@dataclass(frozen=True)
class Prepared:
    """A data set that can be trained on.

    Attributes:
        legend: what its masks mean. parts: to train on and to judge with.
        check: what the check found. layout: how the files are arranged.
        problems: those of the check, and images on both sides that are nearly identical.
    """

    legend: Legend
    parts: Split
    check: Check
    layout: Layout
    problems: list[Problem]


def prepare(
    folder: Path,
    *,
    ignore: int | None = None,
    masks: Literal["auto", "classes", "instances"] = "auto",
    unlabelled: Literal["auto", "background", "ignore"] = "auto",
    validation: float = 0.2,
    alpha: bool = False,
) -> Prepared:
    """Check the data set in `folder`, read it, and hold a part of it out.

    Args:
        folder: a data set in one of the layouts that `layouts.py` recognises.
        ignore: mask value of pixels that are not annotated.
        masks: whether mask values are classes or ids of objects; "auto" looks at them.
        unlabelled: whether 0 is background or not annotated, see `check_pairs`.
        validation: share of the images to hold out where there is no `val/`.
        alpha: whether alpha is a channel of the images.

    Raises:
        DataError, ImageError, MissingError: the data cannot be trained on.
    """
    layout = find_layout(folder, alpha=alpha)
    check = check_layout(layout, ignore=ignore, kind=None if masks == "auto" else masks, unlabelled=unlabelled)
    check.raise_errors()
    legend = check.legend
    assert legend is not None  # without errors there is a legend
    used = set(check.used)
    pairs, held_out = ([pair for pair in part if pair in used] for part in (layout.train, layout.val))
    if not pairs:
        raise DataError(f"{folder}: no image is left to train on; `useg check {folder}` says why")
    examples = _unknown_where_unpainted(load_examples(pairs, legend, channels=check.channels), check)
    if held_out:
        apart = load_examples(held_out, legend, channels=check.channels)
        apart = _unknown_where_unpainted(apart, check)
        where = (
            "the data set" if layout.val[0].image.parent == pairs[0].image.parent else layout.val[0].image.parents[1]
        )
        parts = Split(examples, apart, f"validation: the {len(held_out)} images of {where}")
    else:
        parts = split(examples, share=validation, names=legend.names)
    return Prepared(legend, parts, check, layout, [*check.problems, *_leaks(parts, check)])


def _unknown_where_unpainted(examples: list[Example], check: Check) -> list[Example]:
    """Where objects are left out, in some images or along the edges of all, what is unpainted is not annotated."""
    if not check.partial and not check.margin:
        return examples
    return [
        replace(e, labels=leave_out(e.labels, whole=e.name in check.partial, margin=check.margin)) for e in examples
    ]


def check_layout(
    layout: Layout,
    *,
    ignore: int | None = None,
    kind: Literal["classes", "instances"] | None = None,
    unlabelled: Literal["auto", "background", "ignore"] = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Check:
    """Check all images that training would see, those of `val/` included; see `check_pairs`."""
    pairs = [*layout.train, *layout.val]
    found = check_pairs(
        pairs,
        ignore=ignore,
        kind=kind,
        unlabelled=unlabelled,
        entries=layout.entries,
        folder=layout.folder,
        progress=progress,
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
