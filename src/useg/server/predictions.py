"""An image in, its segmentation out; nothing is kept."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import FileResponse
from starlette.requests import Request

from useg.data.dataset import stem_of
from useg.errors import ImageError
from useg.images import read_mask, write_picture
from useg.pictures.palette import object_colours
from useg.predict_files import FileResult, Outputs, predict_files
from useg.server.services import Services, services_of
from useg.server.uploads import RAW, Upload, image_upload

router = APIRouter(tags=["predict"])

Kind = Literal["labels", "png", "geojson", "table"]

# None of these is ever shown as a page.
_MEDIA = {".png": "image/png", ".tif": "image/tiff", ".geojson": "application/geo+json", ".csv": "text/csv"}


@router.post("/api/predict", **RAW, response_class=FileResponse)
async def predict(
    request: Request,
    services: Annotated[Services, Depends(services_of)],
    upload: Annotated[Upload, Depends(image_upload)],
    to: Annotated[
        Kind, Query(description="labels: the kind of file that `useg predict` writes; png: a picture")
    ] = "labels",
    instances: Annotated[bool, Query(description="number the objects; geojson and table are of objects")] = False,
) -> FileResponse:
    """Segment the image that the body is, and give the result as a file."""
    if to in ("geojson", "table") and not instances:
        raise HTTPException(400, f"to={to}: is made of objects; add instances=true")
    pixels, most = math.prod(upload.header.size), services.settings.max_predict
    if pixels > most:
        raise HTTPException(
            413,
            f"{upload.name}: has {pixels} pixels, and up to {most} are predicted while others wait; predict it with "
            "`useg predict`, or as an image of a project",
        )
    outputs = Outputs(
        suffix=".png" if to == "png" and not instances else None,
        instances=instances,
        geojson=to == "geojson",
        table=to == "table",
    )

    def work(left: threading.Event) -> tuple[Path, FileResult]:
        predictor, model = services.require_predictor(left), services.model_path()
        assert model is not None
        out = upload.path.with_name("result")
        (result,) = predict_files(predictor, model, [upload.path], out, outputs)
        if result.error:
            raise ImageError(upload.told(result.error))
        beside = outputs.beside(out, upload.path)
        path = next((beside[key] for key in ("geojson", "table") if key in beside), result.target)
        if to == "png" and instances:
            path = _picture(result.target)
        return path, result

    path, result = await services.turns.run(request, work)
    name = f"{stem_of(Path(upload.name))}{path.name.removeprefix('image')}"
    media = _MEDIA.get(path.suffix, "application/octet-stream")
    warnings = {"X-Useg-Warnings": json.dumps(list(result.warnings))}
    return FileResponse(path, media_type=media, filename=name, headers=warnings)


def _picture(labels: Path) -> Path:
    """Numbered objects in colours."""
    ids, colours = read_mask(labels).astype(np.int64), np.array(object_colours(), np.uint8)
    if ids.ndim != 2:
        raise ImageError("a stack has no picture; ask for to=labels")
    index = np.where(ids < len(colours), ids, 1 + (ids - 1) % (len(colours) - 1))
    path = labels.with_suffix(".png")
    write_picture(path, colours[index])
    return path
