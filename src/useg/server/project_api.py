"""Routes of the project: its images, their labels, and what the current model says of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from useg.project import Project
from useg.project.masks import StaleError
from useg.project.suggestions import ranking
from useg.server import improve_api
from useg.server.labels_body import receive_labels, send_labels
from useg.server.project_models import ImageInfo, NewClasses, Predicted, ProjectInfo, Version
from useg.server.project_of import ProjectOf
from useg.server.services import Services, services_of
from useg.server.uploads import RAW, Upload, image_upload

router = APIRouter(tags=["project"])
router.include_router(improve_api.router)

ServicesOf = Annotated[Services, Depends(services_of)]
IfMatch = Annotated[str, Header(max_length=100, description="the version that the labels come from, as ETag gave it")]
BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.get("/api/project")
def project_info(project: ProjectOf) -> ProjectInfo:
    """The project with all of its images."""
    return ProjectInfo.of(project)


@router.put("/api/project/classes")
def set_classes(project: ProjectOf, asked: NewClasses) -> ProjectInfo:
    """Rename classes, change their colours or add some; while nothing is annotated, also fewer or another kind."""
    project.set_classes([each.named for each in asked.classes], asked.kind)
    return ProjectInfo.of(project)


@router.post("/api/images", status_code=201, **RAW)
def add_image(project: ProjectOf, upload: Annotated[Upload, Depends(image_upload)]) -> ImageInfo:
    """Add the image that the body is, under a safe name; the same bytes again are the image that is there."""
    return _info(project, project.add_image(upload.name, upload.path).name)


@router.get("/api/images/{name}/labels", response_class=StreamingResponse, responses=BYTES)
def get_labels(
    project: ProjectOf,
    name: str,
    source: Annotated[
        Literal["best", "mask", "draft", "prediction"], Query(description="best: draft, else mask, else prediction")
    ] = "best",
    run: Annotated[str | None, Query(description="whose prediction; without, the newest one")] = None,
    accept_encoding: Annotated[str, Header(include_in_schema=False)] = "",
) -> StreamingResponse:
    """Labels as bytes, Z Y X, little-endian; X-Useg-Shape, X-Useg-Dtype and X-Useg-Source say what they are.

    Classes are uint8, 255 where nobody annotated; objects are numbered in uint16 or uint32, there the greatest number.
    """
    return send_labels(project.labels(name, source, run), packed="gzip" in accept_encoding)


@router.put("/api/images/{name}/draft", **RAW)
async def put_draft(
    services: ServicesOf, project: ProjectOf, name: str, request: Request, if_match: IfMatch
) -> Version:
    """Write labels that are not finished; the body is as `GET .../labels` gives them, gzip or not."""
    return Version(version=await _put(services, project, name, request, if_match, project.write_draft))


@router.put("/api/images/{name}/mask", **RAW)
async def put_mask(
    services: ServicesOf, project: ProjectOf, name: str, request: Request, if_match: IfMatch
) -> ImageInfo:
    """Keep labels: they become the mask that training sees, and the draft goes."""
    await _put(services, project, name, request, if_match, project.keep)
    return await run_in_threadpool(_info, project, name)


@router.delete("/api/images/{name}/draft")
def discard(project: ProjectOf, name: str, if_match: IfMatch) -> ImageInfo:
    """Throw the draft away."""
    _unless_stale(lambda: project.discard(name, _version(if_match)))
    return _info(project, name)


@router.delete("/api/images/{name}/mask")
def unkeep(project: ProjectOf, name: str, if_match: IfMatch) -> ImageInfo:
    """Take the mask out of training; it becomes the draft where there is no later one."""
    _unless_stale(lambda: project.unkeep(name, _version(if_match)))
    return _info(project, name)


@router.post("/api/images/{name}/prediction")
async def predict(services: ServicesOf, project: ProjectOf, name: str, request: Request) -> Predicted:
    """Predict an image with the current model, when its turn comes."""
    await run_in_threadpool(project.stock.path, name)

    def work(left: threading.Event) -> Predicted:
        try:
            info = project.predict(name, services.require_predictor(left), lambda: not left.is_set()).info
        except InterruptedError:
            raise HTTPException(503, "the server is stopping; the next prediction goes on from here") from None
        return Predicted(
            run=project.current,
            seconds=info.seconds,
            network_seconds=info.network_seconds,
            expected_dice=info.expected_dice,
            warnings=info.warnings,
            objects=info.objects,
        )

    return await services.turns.run(request, work)


async def _put(
    services: Services,
    project: Project,
    name: str,
    request: Request,
    if_match: str,
    write: Callable[[str, Any, str], str],
) -> str:
    header = await run_in_threadpool(lambda: project.stock.header(project.stock.path(name)))
    labels = await receive_labels(request, header.size, services.settings)
    return await run_in_threadpool(_unless_stale, lambda: write(name, labels, _version(if_match)))


def _unless_stale(write: Callable[[], str]) -> str:
    try:
        return write()
    except StaleError as error:
        raise HTTPException(412, {"error": str(error), "version": error.version}) from None


def _version(if_match: str) -> str:
    return if_match.strip().removeprefix("W/").strip('"')


def _info(project: Project, name: str) -> ImageInfo:
    return ImageInfo.of(project.image(name), ranking(project).get(name))
