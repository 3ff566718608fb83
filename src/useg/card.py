"""What a run's models say of themselves: all that prediction needs, from settings, legend and data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import useg
from useg.data.known import checksums
from useg.data.legend import Legend
from useg.data.splits import Split
from useg.inputs import describe_input
from useg.settings import Settings
from useg.unet.model import ClassInfo, ModelCard


def make_card(settings: Settings, legend: Legend, parts: Split) -> ModelCard:
    """The card of a run's models, before a validation has found what calibrates them and how they score."""
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
        flips=[name for name, natural in flips.items() if natural],
        input=describe_input(parts.train),
        trained_on={
            "images": len(parts.train),
            "pixels": sum(e.labels.size for e in parts.train),
            "folder": Path(settings.data.folder).name,
            "recipe": settings.recipe,
            "checksums": checksums(parts.train, settings.data.seen),
        },
    )


def describe_classes(legend: Legend) -> list[ClassInfo]:
    """What a model says of its classes."""
    return [
        ClassInfo(name=name, colour=colour, value=value)
        for name, colour, value in zip(legend.names, legend.palette, legend.values, strict=True)
    ]
