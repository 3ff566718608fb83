"""Routes of what makes the model better: trainings, runs, suggestions; and of what is taken out of the project."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import FileResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.requests import Request

from useg.errors import TrainingError
from useg.project import Project
from useg.project.downloads import What, export_labels, zip_masks
from useg.project.improve import (
    Improvement,
    Log,
    finish_improvement,
    forget_improvement,
    left_improvements,
    note_improvement,
    plan_improvement,
    resume_improvement,
)
from useg.project.runs import RUNS
from useg.project.suggestions import rank_images
from useg.server.child import LeftProcess
from useg.server.jobs import ENDED, Job, JobPoint, JobProgress, JobResult, Task
from useg.server.project_models import Chosen, Ranking, RunInfo, Training
from useg.server.project_of import ProjectOf
from useg.server.services import Services, services_of

router = APIRouter(tags=["project"])

_ONE = threading.Lock()
"""Held while it is seen whether a training runs, and one begins."""

REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; sandbox allow-scripts"
)
"""A page in one file, with its style and script inside."""
MEDIA = {".png": "image/png", ".tif": "image/tiff", ".geojson": "application/geo+json", ".csv": "text/csv"}
MEDIA |= {".zip": "application/zip"}


def _file(media: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media: {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("/api/images/{name}/download", response_class=FileResponse, responses=_file("application/octet-stream"))
def download(
    project: ProjectOf,
    name: str,
    what: Annotated[What, Query(description="mask: the file as it is; all else is made of the best labels")] = "mask",
) -> FileResponse:
    """A file of an image's labels or objects."""
    folder = Path(tempfile.mkdtemp(prefix="useg-download-"))
    try:
        path = export_labels(project, name, what, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    after = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    media = MEDIA.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=media, filename=path.name, background=after)


@router.get("/api/download", response_class=StreamingResponse, responses=_file("application/zip"))
def download_all(project: ProjectOf) -> StreamingResponse:
    """All masks and the legend as a ZIP."""
    headers = {"Content-Disposition": 'attachment; filename="masks.zip"'}
    return StreamingResponse(zip_masks(project), media_type="application/zip", headers=headers)


@router.get("/api/runs")
def runs(project: ProjectOf) -> list[RunInfo]:
    """The project's runs, the oldest first."""
    current = project.current
    return [RunInfo.of(run, current) for run in project.runs()]


@router.put("/api/project/model")
def set_model(project: ProjectOf, asked: Chosen) -> list[RunInfo]:
    """Make a run the current model, or go back to the model that the project began with; the runs."""
    project.set_model(asked.run)
    return runs(project)


@router.get("/api/runs/{run}/report", response_class=FileResponse, responses=_file("text/html"))
def report(project: ProjectOf, run: str) -> FileResponse:
    """A run's report, a page of its own that can reach nothing."""
    from useg.report.run import REPORT

    found = project.run(run)
    if not found.report:
        raise HTTPException(404, f"{run}: has no report; a run that ends before its time writes none")
    headers = {"Content-Security-Policy": REPORT_POLICY}
    return FileResponse(project.folder / RUNS / found.name / REPORT, media_type="text/html", headers=headers)


@router.post("/api/improve", status_code=202)
def improve(project: ProjectOf, services: Annotated[Services, Depends(services_of)], asked: Training) -> Job:
    """Train from the masks that were kept, from the current model on, or go on with a run that ended before its time.

    The new model is current if it is better.
    """
    with _ONE:
        if any(job.state not in ENDED for job in services.jobs.all()):
            raise HTTPException(409, "a training is running already; wait for it, or cancel it")
        further = asked.resume
        begun = resume_improvement(project, further) if further else plan_improvement(project, asked.minutes)
        try:
            return services.jobs.start(_task(project, begun))
        except HTTPException:
            forget_improvement(begun)
            raise


def take_over(services: Services) -> None:
    """Wait for trainings that a server began which is gone, and judge those that have ended, as it would have done."""
    project = services.project
    if project is None:
        return
    for begun, process in left_improvements(project):
        services.jobs.start(_task(project, begun, LeftProcess(process)))


def _task(project: Project, begun: Improvement, left: LeftProcess | None = None) -> Task:
    log, since = Log(begun.place), list[float]()

    def look() -> tuple[JobProgress, list[JobPoint]]:
        since.append(time.monotonic()) if not since else None
        seconds, latest = begun.spent + time.monotonic() - since[0], log.latest()
        budget = 60 * begun.minutes if begun.minutes is not None else None
        fraction = seconds / budget if budget else latest.fraction if latest else 0.0
        progress = JobProgress(
            fraction=round(min(1.0, fraction), 3),
            seconds_left=round(max(0.0, budget - seconds)) if budget else None,
            loss=latest.loss if latest else None,
            dice=latest.dice if latest else None,
            step=latest.step if latest else 0,
        )
        return progress, [JobPoint(step=p.step, fraction=p.fraction, loss=p.loss, dice=p.dice) for p in log.points()]

    def end(well: bool) -> JobResult | None:
        run = finish_improvement(project, begun)
        if well and not (run and run.finished):
            raise TrainingError(f"the training of {begun.run} ended before its time, and nobody saw why")
        if run is None:
            return None
        return JobResult(run=run.name, before=run.before, after=run.after, kept_start=run.kept_start)

    def note(number: int) -> None:
        note_improvement(begun, number)

    return Task("improve", begun.command, begun.shown, look, end, note, left)


@router.post("/api/suggest")
async def suggest(project: ProjectOf, services: Annotated[Services, Depends(services_of)], request: Request) -> Ranking:
    """Rank the images that are not kept by what the model would learn from them, when the turn comes."""

    def work(left: threading.Event) -> Ranking:
        return Ranking(ranked=rank_images(project, services.require_predictor(left), lambda: not left.is_set()))

    return await services.turns.run(request, work)
