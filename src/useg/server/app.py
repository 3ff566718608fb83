"""The app: routes of all rooms, behind one guard, with one way to tell errors, and the files of the page."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.requests import Request
from starlette.responses import Response

import useg
from useg.server import improve_api, jobs, model_api, predictions, project_api, tiles_api
from useg.server.errors import Problem, tell_errors
from useg.server.guard import Guard
from useg.server.services import Services
from useg.server.settings import ServeSettings
from useg.server.uploads import Paced, sweep_uploads

MOST_JSON = 1 << 20
"""Bytes of a body that is held in memory."""
PAGE = Path(__file__).with_name("page")


def create_app(settings: ServeSettings) -> FastAPI:
    """The app of a server, with its project opened, or begun where the folder is empty.

    Raises:
        UsegError: the project's folder or the model cannot be used.
        SettingsError: others can reach it, and there is no token, or a short one.
    """
    settings.require_token()
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweep_uploads()
        services.warm()
        improve_api.take_over(services)
        yield
        services.close()

    app = FastAPI(
        title="useg",
        version=useg.__version__,
        description="Segment images, correct the result, and improve the model. Errors are one line.",
        lifespan=lifespan,
        # Their pages load scripts of other hosts.
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        max_body_size=MOST_JSON,
        responses={"4XX": {"model": Problem, "description": "What was wrong, in one line"}},
    )
    app.state.useg = services
    app.add_middleware(Paced, settings=settings)
    app.add_middleware(Guard, settings=settings)
    tell_errors(app)
    for room in (model_api, predictions, jobs, project_api, tiles_api):
        app.include_router(room.router)
    # Some systems know it by a name that browsers do not run.
    mimetypes.add_type("text/javascript", ".js")
    pages = StaticFiles(directory=PAGE)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index(request: Request) -> Response:
        return await pages.get_response("index.html", request.scope)

    @app.api_route("/{file}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(file: str, request: Request) -> Response:
        return await pages.get_response(file, request.scope)

    return app
