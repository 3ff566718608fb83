"""How the server is, and what its model knows."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel

import useg
from useg.server.services import Services, services_of

router = APIRouter(tags=["model"])


class Health(BaseModel):
    """Whether the server works, and how much it has to do."""

    status: Literal["ok"] = "ok"
    version: str
    busy: bool
    queue: int


class ModelClass(BaseModel):
    """One class of a model; `colour` is "#rrggbb"."""

    id: int
    name: str
    colour: str


class ModelInfo(BaseModel):
    """What a model is made for; `run` is the project's run that it comes from, `dice` its score on held-out images."""

    run: str | None
    classes: list[ModelClass]
    kind: Literal["classes", "instances"]
    dims: int
    channels: int
    spacing: list[float] | None
    unit: str | None
    trained_on: dict[str, int]
    dice: float | None


@router.get("/api/health")
def health(services: Annotated[Services, Depends(services_of)]) -> Health:
    """Whether the server works, and how much it has to do."""
    return Health(version=useg.__version__, busy=services.turns.busy, queue=services.turns.waiting)


@router.get("/api/model")
def model(services: Annotated[Services, Depends(services_of)]) -> ModelInfo:
    """What the current model is made for."""
    card = services.card()
    dice = card.scores.get("foreground_dice")
    return ModelInfo(
        run=services.project.current if services.project else None,
        classes=[ModelClass(id=k, name=c.name, colour=hex_colour(c.colour)) for k, c in enumerate(card.classes)],
        kind=card.masks,
        dims=card.network.dims,
        channels=card.network.in_channels,
        spacing=card.input.spacing,
        unit=card.input.unit,
        trained_on={name: count for name, count in card.trained_on.items() if isinstance(count, int)},
        dice=dice if isinstance(dice, float) else None,
    )


def hex_colour(colour: tuple[int, int, int]) -> str:
    """A colour as CSS has it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
