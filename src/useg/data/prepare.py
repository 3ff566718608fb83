"""A data set's folder -> images to train on and images to judge with, checked and in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from useg.data.check import Check, check_pairs
from useg.data.dataset import find_layout, find_pairs, load_examples
from useg.data.legend import Legend
from useg.data.splits import Split, split


@dataclass(frozen=True)
class Prepared:
    """A data set that can be trained on: what its masks mean, the two parts, and what the check found."""

    legend: Legend
    parts: Split
    check: Check


def prepare(
    folder: Path,
    *,
    ignore: int | None = None,
    masks: Literal["auto", "classes", "instances"] = "auto",
    validation: float = 0.2,
) -> Prepared:
    """Check the data set in `folder`, read it, and hold a part of it out.

    Args:
        folder: with `images/` and `masks/`, or with `train/` (and `val/`) of that form.
        ignore: mask value of pixels that are not annotated.
        masks: whether mask values are classes or ids of objects; "auto" looks at them.
        validation: share of the images to hold out where there is no `val/`.

    Raises:
        DataError, ImageError, MissingError: the data cannot be trained on.
    """
    layout = find_layout(folder)
    pairs = find_pairs(layout.train)
    held_out = find_pairs(layout.val) if layout.val else []
    check = check_pairs([*pairs, *held_out], ignore=ignore, kind=None if masks == "auto" else masks)
    check.raise_errors()
    assert check.legend is not None  # without errors there is a legend
    examples = load_examples(pairs, check.legend)
    if held_out:
        reason = f"validation: the {len(held_out)} images of {layout.val}"
        return Prepared(check.legend, Split(examples, load_examples(held_out, check.legend), reason), check)
    return Prepared(check.legend, split(examples, share=validation), check)
