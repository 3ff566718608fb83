"""Images that an earlier model was trained on: known again by their pixels, and not held out where others can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from useg.data.dataset import Example, in_channels
from useg.data.splits import FEW, Split, split
from useg.parts import crc32


def checksums(examples: Iterable[Example], known: str = "") -> str:
    """Marks by which images are known again, with those that are `known` already.

    Eight hexadecimal digits an image: CRC-32 of its pixels, where gray saved as RGB is gray. A part of an image is only
    known again as the same part.
    """
    return "".join(sorted({*_each(known), *map(_checksum, examples)}))


def seen_before(examples: Iterable[Example], known: str) -> list[Example]:
    """Those of the examples whose checksums are `known`."""
    marks = set(_each(known))
    return [example for example in examples if marks and _checksum(example) in marks]


def hold_out_unseen(parts: Split, seen: str, *, again: bool, names: Sequence[str] | None = None) -> Split:
    """Hold out images that an earlier model was not trained on, as far as there are any.

    Its score on an image that it was trained on is too good, and so is that of a model that goes on from it. So such
    images change sides: they are trained on again, and others are held out.

    Args:
        seen: checksums of those that it was trained on.
        again: whether all other images may be divided anew; else those are held out that are left of the division.
        names: of the classes, for the sentence.
    """
    spoilt = seen_before(parts.validation, seen)
    if not spoilt:
        return parts
    known = [*seen_before(parts.train, seen), *spoilt]
    marks = {id(example) for example in known}
    fresh = [e for e in [*parts.train, *parts.validation] if id(e) not in marks]
    if again and len(fresh) >= FEW:
        found = split(fresh, share=min(len(parts.validation), len(fresh) - 1) / len(fresh), names=names)
        told = f"{found.reason}; of the {len(fresh)} images that the earlier model was not trained on"
        return replace(found, train=[*known, *found.train], reason=told)
    if apart := [e for e in parts.validation if id(e) not in marks]:
        told = f"{parts.reason}; without {len(spoilt)} of them, which the earlier model was trained on"
        return Split([*parts.train, *spoilt], apart, told)
    told = (
        f"{parts.reason}; the earlier model was trained on all of them, so that its score is too good and is not held "
        "against the new one, whose score is too good as well; put other images into val/ to know better"
    )
    return replace(parts, reason=told)


def _each(known: str) -> Iterable[str]:
    return (known[i : i + 8] for i in range(0, len(known), 8))


def _checksum(example: Example) -> str:
    example = example.original or example
    return f"{crc32(in_channels(example.image, 1)):08x}"
