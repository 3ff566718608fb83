"""Bodies of requests that nobody knows yet: written to a file of ours, bounded in bytes, time and pixels."""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from useg.errors import ImageError, UsegError
from useg.images import MAX_BYTES, SUFFIXES, Header, read_header
from useg.server.services import Services, services_of
from useg.server.settings import ServeSettings
from useg.server.turns import CLIENT_LEFT

LEAST_PACE = 32 * 1024
"""Bytes a second that a sender must keep up, beside its patience."""
LONGEST_SECONDS = 3600.0
"""No body takes longer."""
MOST_CHANNELS = 256
"""Of an image; more are taken for a header that lies."""

FILE_SUFFIXES = tuple(sorted((s for s in SUFFIXES if s != ".zarr"), key=len, reverse=True))
"""Of images that are one file, which a body can be; longer ones first."""

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


async def spool_body(request: Request, path: Path, settings: ServeSettings) -> int:
    """Write the body of a request to a new file, and give its size.

    Raises:
        HTTPException: 413, it is larger than allowed; 408, it comes too slowly; 415, it is compressed.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "the body is compressed; send the file as it is")
    _require_size(int(request.headers.get("content-length", "0")), settings)
    size, begun = 0, time.monotonic()
    try:
        async with asyncio.timeout(settings.patience) as clock:
            end = clock.when() or 0.0
            with path.open("xb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    _require_size(size, settings)
                    await run_in_threadpool(file.write, chunk)
                    clock.reschedule(end + min(LONGEST_SECONDS, size / LEAST_PACE))
    except TimeoutError:
        seconds = time.monotonic() - begun
        raise HTTPException(408, f"only {size} bytes came in {seconds:.0f} s; send it over a faster line") from None
    except ClientDisconnect:
        raise HTTPException(CLIENT_LEFT, "the client has closed its connection") from None
    return size


async def image_upload(
    request: Request,
    services: Annotated[Services, Depends(services_of)],
    name: Annotated[str, Query(min_length=1, max_length=255, description="file name; its suffix tells the format")],
) -> AsyncIterator[Upload]:
    """A dependency of routes: the body as an image file whose header is within bounds; it goes behind the answer.

    Raises:
        HTTPException: 415, no image that we read; 413, too large; 408, too slow.
    """
    settings = services.settings
    suffix = next((s for s in FILE_SUFFIXES if name.lower().endswith(s)), None)
    if suffix is None:
        raise HTTPException(415, f"{name}: is no image by its name; give one of {' '.join(SUFFIXES)}")
    folder = Path(tempfile.mkdtemp(prefix="useg-upload-"))
    try:
        path = folder / f"image{suffix}"
        await spool_body(request, path, settings)
        name = re.split(r"[\\/]", name)[-1]
        yield Upload(path, name, await run_in_threadpool(_header_of, path, name, settings))
    finally:
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)


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
