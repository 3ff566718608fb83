"""What a run's models say of themselves: all that prediction needs, from settings, legend and data."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

import useg
from useg.data.dataset import Example, in_channels
from useg.data.legend import Legend
from useg.data.splits import Split
from useg.inputs import describe_input
from useg.objects.settings import SeparateSettings
from useg.settings import Settings
from useg.unet.model import ClassInfo, ModelCard


def make_card(
    settings: Settings,
    legend: Legend,
    parts: Split,
    objects: SeparateSettings | None = None,
    temperature: float = 1.0,
) -> ModelCard:
    """The card of a run's models, with what a validation found; scores come with each."""
    flips: dict[Literal["x", "y", "transpose"], bool] = {
        "x": settings.augment.mirror_x,
        "y": settings.augment.mirror_y,
        "transpose": settings.augment.transpose,
    }
    return ModelCard(
        version=useg.__version__,
        network=settings.network,
        normalise=settings.normalise,
        classes=describe_classes(legend),
        masks=legend.kind,
        ignore=legend.ignore,
        alpha=settings.data.alpha,
        score_shift=settings.score_shift,
        temperature=temperature,
        objects=objects,
        flips=[name for name, natural in flips.items() if natural],
        input=describe_input(parts.train),
        trained_on={
            "images": len(parts.train),
            "pixels": sum(e.labels.size for e in parts.train),
            "folder": Path(settings.data.folder).name,
            "recipe": settings.recipe,
            "checksums": checksums(parts.train, settings.start.seen),
        },
    )


def describe_classes(legend: Legend) -> list[ClassInfo]:
    """What a model says of its classes."""
    return [
        ClassInfo(name=name, colour=colour, value=value)
        for name, colour, value in zip(legend.names, legend.palette, legend.values, strict=True)
    ]


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


def _each(known: str) -> Iterable[str]:
    return (known[i : i + 8] for i in range(0, len(known), 8))


def _checksum(example: Example) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(in_channels(example.image, 1)).data):08x}"
