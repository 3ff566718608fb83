"""What the page needs to show an image: what it is, and tiles of it and of its layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import anyio
import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from useg.viewing.pool import Pyramids
from useg.viewing.pyramid import TILE, Pyramid
from useg.viewing.tiles import render, render_layer, shown_range

router = APIRouter(tags=["tiles"])

_FOREVER = "private, max-age=31536000, immutable"
_PALETTES = {"probability": "viridis"}
"""Colours of a kind of layer; those of uncertainty are "magma"."""

Found = TypeVar("Found")


class RangeShown(BaseModel):
    """Gray values of a channel: which are shown black and white, and the extremes seen."""

    low: float
    high: float
    least: float
    most: float


class LayerShown(BaseModel):
    """A layer that can be laid over the image; `v` goes into the addresses of its tiles."""

    id: str
    name: str
    v: str


class View(BaseModel):
    """What an image is, for the viewer. Until it is `ready`, its ranges are not known."""

    width: int
    height: int
    slices: int
    tile: int
    levels: int
    channels: int
    dtype: str
    v: str
    ready: bool
    progress: float
    low: float | None
    high: float | None
    min: float | None
    max: float | None
    ranges: list[RangeShown] | None
    layers: list[LayerShown]


@router.get("/api/images/{name}/view")
async def view(request: Request, name: str) -> View:
    """What an image is; the first time that a large one is looked at, this makes its pyramid."""
    path = _project(request).image_path(name)
    return await _in_thread(lambda: _view(request, path, name))


def _view(request: Request, path: Path, name: str) -> View:
    with _pyramids(request).borrow(path) as pyramid:
        return _described(pyramid, _layers(request, name))


def _described(pyramid: Pyramid, layers: list[LayerShown]) -> View:
    shown = shown_range(pyramid)
    height, width = pyramid.size(0)
    return View(
        width=width,
        height=height,
        slices=pyramid.slices,
        tile=TILE,
        levels=pyramid.count,
        channels=pyramid.header.channels,
        dtype=str(pyramid.header.dtype),
        v=pyramid.version,
        ready=True,
        progress=1.0,
        low=shown.low,
        high=shown.high,
        min=shown.least,
        max=shown.most,
        ranges=[RangeShown(**each.as_dict()) for each in pyramid.ranges],
        layers=layers,
    )


@router.get(
    "/api/images/{name}/tiles/{layer}/{level}/{row}/{column}",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
async def tile(
    request: Request,
    name: str,
    layer: str,
    level: int,
    row: int,
    column: int,
    z: int = 0,
    low: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    high: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    channel: int | None = None,
    v: str | None = None,
) -> Response:
    """A tile of the image (layer "image"), or of a layer that the view document lists, as PNG."""
    project = _project(request)
    path = project.image_path(name)

    def paint() -> bytes:
        if layer != "image":
            palette = _PALETTES.get(layer.partition(":")[0], "magma")
            return render_layer(project.layer(name, layer), level, row, column, z=z, palette=palette)
        with _pyramids(request).borrow(path) as pyramid:
            return render(pyramid, level, row, column, z=z, low=low, high=high, channel=channel)

    data = await _in_thread(paint)
    return Response(data, media_type="image/png", headers={"Cache-Control": _FOREVER if v else "no-cache"})


class _Layer(Protocol):
    id: str
    name: str
    version: str


class _Project(Protocol):
    """What is asked of a project here."""

    folder: Path

    def image_path(self, name: str) -> Path: ...
    def layers(self, name: str) -> list[_Layer]: ...
    def layer(self, name: str, id: str) -> np.ndarray: ...


def _project(request: Request) -> _Project:
    project: _Project = request.app.state.useg.project
    return project


def _layers(request: Request, name: str) -> list[LayerShown]:
    return [LayerShown(id=each.id, name=each.name, v=each.version) for each in _project(request).layers(name)]


def _pyramids(request: Request) -> Pyramids:
    state: Any = request.app.state
    if not hasattr(state, "pyramids"):
        state.pyramids = Pyramids(_project(request).folder / ".cache" / "pyramids")
    pyramids: Pyramids = state.pyramids
    return pyramids


async def _in_thread(work: Callable[[], Found]) -> Found:
    return await anyio.to_thread.run_sync(work)
