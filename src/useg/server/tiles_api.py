"""What the page needs to show an image: what it is, tiles and planes of it and of its layers, and small pictures."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi import Path as InPath
from jaxtyping import UInt8
from pydantic import BaseModel

from useg.atomic import replacing
from useg.pictures.palette import object_colours
from useg.project import Project
from useg.server.project_of import ProjectOf
from useg.server.turns import CLIENT_LEFT
from useg.viewing.colour_maps import ColourMap
from useg.viewing.display import Range, overall
from useg.viewing.planes import Axis, render_layer_plane, render_plane
from useg.viewing.pool import Pyramids
from useg.viewing.pyramid import TILE, Pyramid, count_levels, version_of
from useg.viewing.thumbnail import paint
from useg.viewing.thumbnail import thumbnail as thumbnail_of
from useg.viewing.tiles import encode, render, render_layer


@asynccontextmanager
async def _closing(app: FastAPI) -> AsyncIterator[None]:
    """Close the images when the server ends."""
    yield
    if hasattr(app.state, "tiles"):
        await to_thread.run_sync(app.state.tiles.pyramids.close)


router = APIRouter(tags=["tiles"], lifespan=_closing)

_FOREVER = "private, max-age=31536000, immutable"
_PATIENCE = 1.0
"""Seconds that a view document waits for a pyramid before it says how far that is."""
_AT_ONCE = 4
"""Tiles that are made at the same time; the others wait, and are not made when nobody waits for them any more."""

PNG: dict[str, Any] = {"response_class": Response, "responses": {200: {"content": {"image/png": {}}}}}
Gray = Annotated[float | None, Query(allow_inf_nan=False)]
Channel = Annotated[int | None, Query(ge=0, le=2**32)]


class LayerShown(BaseModel):
    """A layer that can be laid over the image; `v` goes into the addresses of its tiles."""

    id: str
    name: str
    v: str


class View(BaseModel):
    """What an image is, for the viewer. Until it is `ready`, its gray values are not known, and it has no tiles."""

    width: int
    height: int
    slices: int
    tile: int
    levels: int
    channels: int
    dtype: str
    spacing: tuple[float, ...] | None = None
    v: str
    ready: bool
    progress: float
    low: float | None = None
    high: float | None = None
    min: float | None = None
    max: float | None = None
    ranges: list[Range] | None = None
    layers: list[LayerShown]


@router.get("/api/images/{name}/view")
async def view(request: Request, project: ProjectOf, name: str) -> View:
    """What an image is. The first time that a large one is asked for, its lower levels are made in the background."""
    shelf, path = _shelf(request, project), await to_thread.run_sync(project.stock.path, name)
    building = await to_thread.run_sync(shelf.pyramids.prepare, path)
    if building and not await _ended(building):
        header = await to_thread.run_sync(project.stock.header, path)
        found = View(
            width=header.size[-1],
            height=header.size[-2],
            slices=header.size[0] if len(header.size) == 3 else 1,
            tile=TILE,
            levels=count_levels(header.size),
            channels=header.channels,
            dtype=str(header.dtype),
            spacing=header.spacing,
            v=version_of(path),
            ready=False,
            progress=shelf.pyramids.progress(path),
            layers=[],
        )
    else:
        found = await to_thread.run_sync(_view, shelf.pyramids, path)
    found.layers = await to_thread.run_sync(_layers, project, name)
    return found


def _view(pyramids: Pyramids, path: Path) -> View:
    with pyramids.borrow(path) as pyramid:
        shown = overall(pyramid.ranges)
        height, width = pyramid.size(0)
        return View(
            width=width,
            height=height,
            slices=pyramid.slices,
            tile=TILE,
            levels=pyramid.count,
            channels=pyramid.header.channels,
            dtype=str(pyramid.header.dtype),
            spacing=pyramid.header.spacing,
            v=pyramid.version,
            ready=True,
            progress=1.0,
            low=shown.low,
            high=shown.high,
            min=shown.least,
            max=shown.most,
            ranges=list(pyramid.ranges),
            layers=[],
        )


@router.get("/api/images/{name}/tiles/{layer}/{level}/{row}/{column}", **PNG)
async def tile(
    request: Request,
    project: ProjectOf,
    name: str,
    layer: str,
    level: Annotated[int, InPath(ge=0, le=64)],
    row: Annotated[int, InPath(ge=0, le=2**32)],
    column: Annotated[int, InPath(ge=0, le=2**32)],
    z: Annotated[int, Query(ge=0, le=2**32)] = 0,
    low: Gray = None,
    high: Gray = None,
    channel: Channel = None,
    v: str | None = None,
) -> Response:
    """A tile of the image (layer "image"), or of a layer that the view document lists, as PNG.

    `v` is what the view document says; with it the answer may be kept for good.
    """

    def of_image(pyramid: Pyramid) -> bytes:
        return render(pyramid, level, row, column, z=z, low=low, high=high, channel=channel)

    def of_layer(values: UInt8[np.ndarray, "*size"], palette: ColourMap) -> bytes:
        return render_layer(values, level, row, column, z=z, palette=palette)

    return await _drawn(request, project, name, layer, v, of_image, of_layer)


@router.get("/api/images/{name}/planes/{layer}/{axis}/{index}", **PNG)
async def plane(
    request: Request,
    project: ProjectOf,
    name: str,
    layer: str,
    axis: Axis,
    index: Annotated[int, InPath(ge=0, le=2**32)],
    low: Gray = None,
    high: Gray = None,
    channel: Channel = None,
    v: str | None = None,
) -> Response:
    """A plane across the slices of a volume, or of a layer of it, as PNG: row `index` of all slices, or a column.

    The last slice is on top. A pixel is a voxel; of more than 1024 along an edge some are left out. `v` as of tiles.
    """

    def of_image(pyramid: Pyramid) -> bytes:
        return render_plane(pyramid, axis, index, low=low, high=high, channel=channel)

    def of_layer(values: UInt8[np.ndarray, "*size"], palette: ColourMap) -> bytes:
        return render_layer_plane(values, axis, index, palette=palette)

    return await _drawn(request, project, name, layer, v, of_image, of_layer)


async def _drawn(
    request: Request,
    project: Project,
    name: str,
    layer: str,
    v: str | None,
    of_image: Callable[[Pyramid], bytes],
    of_layer: Callable[[UInt8[np.ndarray, "*size"], ColourMap], bytes],
) -> Response:
    """A picture of the image, or of a layer in its colours, drawn when its turn comes."""
    shelf, path = _shelf(request, project), await to_thread.run_sync(project.stock.path, name)

    def draw() -> tuple[bytes, str]:
        if layer == "image":
            with shelf.pyramids.borrow(path) as pyramid:
                return of_image(pyramid), pyramid.version
        version = next((each.v for each in _layers(project, name) if each.id == layer), "")
        palette: ColourMap = "viridis" if layer.startswith("probability") else "magma"
        return of_layer(project.layer(name, layer), palette), version

    if layer == "image":
        building = await to_thread.run_sync(shelf.pyramids.prepare, path)
        if building:  # without a thread that waits
            await asyncio.wrap_future(building)
    async with shelf.turns:
        if await request.is_disconnected():
            return Response(status_code=CLIENT_LEFT)
        data, version = await to_thread.run_sync(draw)
    kept = _FOREVER if v == version else "no-cache"
    return Response(data, media_type="image/png", headers={"Cache-Control": kept})


@router.get(
    "/api/images/{name}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, 304: {"description": "it is still the same"}},
)
async def thumbnail(request: Request, project: ProjectOf, name: str, plain: bool = False) -> Response:
    """A small picture, at most 256 pixels wide and high, with the best labels painted over, or `plain`."""
    kind = "plain" if plain else "labels"
    state = await to_thread.run_sync(_state, project, name, plain)
    headers = {"ETag": f'"{state}"', "Cache-Control": "no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    file = project.folder / ".cache" / "thumbnails" / name / f"{kind}-{state}.png"
    data = await to_thread.run_sync(_read, file)
    if data is None:
        async with _shelf(request, project).drawing:
            if await request.is_disconnected():
                return Response(status_code=CLIENT_LEFT)
            data = await to_thread.run_sync(_draw, project, name, plain, file)
    return Response(data, media_type="image/png", headers=headers)


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _state(project: Project, name: str, plain: bool) -> str:
    """Short text that is another one when the small picture would be."""
    seen: list[object] = [version_of(project.stock.path(name))]
    if not plain:
        seen += [project.masks.version(name), _layers(project, name), project.classes]
    return hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest()


def _draw(project: Project, name: str, plain: bool, file: Path) -> bytes:
    there = _read(file)
    if there is not None:  # somebody else drew it meanwhile
        return there
    shown = thumbnail_of(project.stock.path(name))
    labels = None if plain else project.labels(name)
    if labels and labels.source != "new":
        kind, entries = project.classes.kind, project.classes.entries
        colours = object_colours() if kind == "instances" else [each.colour for each in entries]
        unknown = int(np.iinfo(labels.array.dtype).max)
        shown = paint(shown, labels.array, colours, unknown)
    data = encode(shown)
    with replacing(file) as temporary:
        temporary.write_bytes(data)
    for old in file.parent.glob(f"{file.name.partition('-')[0]}-*.png"):
        if old != file:
            old.unlink(missing_ok=True)
    return data


@dataclass
class _Shelf:
    """What is kept between requests."""

    pyramids: Pyramids
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    drawing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


def _layers(project: Project, name: str) -> list[LayerShown]:
    """The maps of the current model's prediction; none where there is no prediction."""
    found = project.prediction(name)
    if found is None:
        return []
    # Another prediction of the same model and image, as of another device, is in a folder of another time.
    v = f"{found.info.model[:12]}-{found.folder.stat().st_mtime_ns:x}"
    return [LayerShown(id=key, name=words, v=v) for key, words in found.layers]


def _shelf(request: Request, project: Project) -> _Shelf:
    """Made by the first who asks."""
    state = request.app.state
    if not hasattr(state, "tiles"):
        state.tiles = _Shelf(Pyramids(project.folder / ".cache" / "pyramids"))
    shelf: _Shelf = state.tiles
    return shelf


async def _ended(building: Future[None]) -> bool:
    """Whether it ends soon; what went wrong is raised."""
    waiting = asyncio.wrap_future(building)
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # somebody else is told
    ended, _ = await asyncio.wait([waiting], timeout=_PATIENCE)
    if ended:
        waiting.result()
    return bool(ended)
