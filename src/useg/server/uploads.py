"""Bodies of requests that nobody knows yet: written to a file of ours, bounded in bytes, time and pixels."""

from __future__ import annotations

import asyncio
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
from fastapi import Depends, HTTPException, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from useg.errors import ImageError, UsegError
from useg.images import MAX_BYTES, SUFFIXES, Header, read_header
from useg.server.services import Services, services_of
from useg.server.settings import ServeSettings
from useg.server.turns import CLIENT_LEFT

LEAST_PACE = 32 * 1024
"""Bytes a second that a sender must keep up, beside its patience."""
LONGEST_SECONDS = 3600.0
"""That any body may take, beside the patience."""
MOST_CHANNELS = 256
"""Of an image; more are taken for a header that lies."""

FOLDER = "useg-upload-"
"""How the names of the folders of uploads begin; the number of the process and a hyphen follow."""

FILE_SUFFIXES = tuple(suffix for suffix in SUFFIXES if suffix != ".zarr")
"""Of images that are one file, which a body can be."""

RAW: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    "max_body_size": 1 << 40,
}
"""For a route whose body is a file's bytes, `@router.post(..., **RAW)`: what OpenAPI is told of it, and that it bounds
the body itself (`spool_body` does)."""


@dataclass(frozen=True)
class Upload:
    """An image that came as a body.

    Attributes:
        path: the file, in a folder of its own that goes when the answer is sent.
        name: what the sender calls it, for people; never a part of a path.
        header: what the file says of itself, found to be within bounds.
    """

    path: Path
    name: str
    header: Header

    def told(self, text: str) -> str:
        """A message about the file, by the name that the sender knows."""
        return text.replace(str(self.path), self.name)


class Paced:
    """ASGI middleware: bodies that come too slowly end with 408, whichever route they are for."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app, self.patience = app, settings.patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request whose body is timed."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, size, complete, answered = time.monotonic(), 0, False, False

        async def timed() -> Message:
            nonlocal size, complete
            if complete:
                return await receive()
            end = begun + self.patience + min(LONGEST_SECONDS, size / LEAST_PACE)
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                if answered:  # there is no other answer any more
                    return {"type": "http.disconnect"}
                raise HTTPException(408, f"only {size} bytes came in time; send it over a faster line") from None
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        await self.app(scope, timed, watched)


async def spool_body(
    request: Request,
    path: Path,
    settings: ServeSettings,
    *,
    compressed: bool = False,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> int:
    """Write the body of a request to a new file, and give its size.

    Args:
        compressed: it may be gzip, as its Content-Encoding then says; it is written as it comes.
        on_bytes: told of each piece before it is written; may raise.

    Raises:
        HTTPException: 413, it is larger than allowed; 408, it comes too slowly; 415, it is compressed; 507, the disk is
            full.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in (("identity", "gzip") if compressed else ("identity",)):
        raise HTTPException(415, f"the body is compressed ({encoding}); send it as it is")
    claimed = request.headers.get("content-length", "")
    _require_size(int(claimed) if claimed.isdigit() else 0, settings)
    size = 0
    try:
        with path.open("xb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                _require_size(size, settings)
                on_bytes(len(chunk))
                await run_in_threadpool(file.write, chunk)
    except ClientDisconnect:
        raise HTTPException(CLIENT_LEFT, "the client has closed its connection") from None
    except OSError as error:
        raise HTTPException(507, f"the server cannot keep the body ({error.strerror}); free its disk") from error
    return size


def sweep_uploads() -> None:
    """Remove what servers left that were killed."""
    for place in Path(tempfile.gettempdir()).glob(f"{FOLDER}*-*"):
        number = place.name.removeprefix(FOLDER).partition("-")[0]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(place, ignore_errors=True)


async def image_upload(
    request: Request,
    services: Annotated[Services, Depends(services_of)],
    name: Annotated[str, Query(min_length=1, max_length=255, description="file name; its suffix tells the format")],
) -> AsyncIterator[Upload]:
    """A dependency of routes: the body as an image file whose header is within bounds; it goes behind the answer.

    Raises:
        HTTPException: 415, no image that we read; 413, too large; 408, too slow; 429, others fill the space.
    """
    settings = services.settings
    suffix = max((s for s in FILE_SUFFIXES if name.lower().endswith(s)), key=len, default="")
    if not suffix:
        raise HTTPException(415, f"{name}: is no image by its name; give one of {' '.join(FILE_SUFFIXES)}")
    held = 0

    def hold(count: int) -> None:
        nonlocal held
        if services.upload_bytes + count > 2 * settings.max_upload:
            raise HTTPException(429, "other uploads fill the space; try again", headers={"Retry-After": "10"})
        held, services.upload_bytes = held + count, services.upload_bytes + count

    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
    try:
        path = folder / f"image{suffix}"
        await spool_body(request, path, settings, on_bytes=hold)
        name = re.split(r"[\\/]", name)[-1]
        yield Upload(path, name, await run_in_threadpool(_header_of, path, name, settings))
    finally:
        services.upload_bytes -= held
        # Not in another thread: where the request is cancelled, it would not be waited for.
        shutil.rmtree(folder, ignore_errors=True)


def _header_of(path: Path, name: str, settings: ServeSettings) -> Header:
    try:
        header = read_header(path)
    except ImageError as error:
        raise HTTPException(415, str(error).replace(str(path), name)) from None
    except UsegError as error:
        raise type(error)(str(error).replace(str(path), name)) from None
    size = " x ".join(map(str, header.size))
    if math.prod(header.size) > settings.max_pixels or header.channels > MOST_CHANNELS or header.nbytes > MAX_BYTES:
        raise HTTPException(
            413,
            f"{name}: has {header.channels} x {size} pixels, and up to {settings.max_pixels} of {MAX_BYTES >> 20} MiB "
            "are taken; predict it with `useg predict`",
        )
    return header


def _require_size(size: int, settings: ServeSettings) -> None:
    if size > settings.max_upload:
        raise HTTPException(413, f"the body has more than the {settings.max_upload} bytes allowed")
