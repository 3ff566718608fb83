"""What goes wrong, as HTTP tells it: a status, and one line in `{"error": ...}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from useg.errors import MissingError, MissingExtraError, OutputError, UsegError
from useg.server.guard import SECURE


class Problem(BaseModel):
    """What went wrong, in one line."""

    error: str


def status_of(error: UsegError) -> int:
    """The status of an error of ours."""
    if isinstance(error, MissingError):
        return 404
    if isinstance(error, OutputError):
        return 409
    return 501 if isinstance(error, MissingExtraError) else 400


def tell_errors(app: FastAPI) -> None:
    """Have all errors of an app told in the same way."""

    @app.exception_handler(UsegError)
    async def ours(request: Request, error: UsegError) -> JSONResponse:
        return _told(status_of(error), str(error))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _told(error.status_code, error.detail, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        what = error.errors()[0]
        where = ".".join(str(part) for part in what["loc"])
        return _told(422, f"{where}: {what['msg']}")

    # The server logs it; what it holds may be nobody's business.
    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        return _told(500, "this is a bug of useg; the server's log says more", SECURE)


def _told(status: int, what: Any, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """One line, or a dictionary that holds it beside other things."""
    return JSONResponse(what if isinstance(what, dict) else {"error": str(what)}, status, headers)
