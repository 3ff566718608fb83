"""Labels over HTTP: the bytes of the array, little-endian, packed with gzip, and headers that say what they are."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from fastapi import HTTPException
from fastapi.responses import StreamingResponse
from jaxtyping import Integer
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from useg.project.masks import Labels
from useg.server.settings import ServeSettings
from useg.server.uploads import spool_body

SHAPE, DTYPE, SOURCE = "X-Useg-Shape", "X-Useg-Dtype", "X-Useg-Source"
DTYPES = {"uint8": "|u1", "uint16": "<u2", "uint32": "<u4"}
CHUNK = 1 << 20
GZIP = 31
"""What zlib calls gzip with the largest window."""


def send_labels(labels: Labels, *, packed: bool) -> StreamingResponse:
    """The answer that holds labels; `packed`: the client understands gzip."""
    shape = labels.array.shape if labels.array.ndim == 3 else (1, *labels.array.shape)
    headers = {
        SHAPE: ",".join(map(str, shape)),
        DTYPE: labels.array.dtype.name,
        SOURCE: labels.source,
        "ETag": f'"{labels.version}"',
        "Cache-Control": "no-store",
        "Vary": "Accept-Encoding",
    }
    pieces = _pieces(labels.array)
    if packed:
        headers["Content-Encoding"], pieces = "gzip", _pack(pieces)
    return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)


async def receive_labels(
    request: Request, size: tuple[int, ...], settings: ServeSettings
) -> Integer[np.ndarray, "*size"]:
    """The labels that the body of a request holds, for an image of this size, `[Z] Y X`.

    Raises:
        HTTPException: 400, they are not of this size; 408, 413, as `spool_body`; 415, packed otherwise than with gzip.
    """
    shape, dtype = request.headers.get(SHAPE, ""), request.headers.get(DTYPE, "uint8")
    whole = size if len(size) == 3 else (1, *size)
    if shape.replace(" ", "") != ",".join(map(str, whole)):
        raise HTTPException(400, f"{SHAPE} is {shape!r}; the image is {','.join(map(str, whole))}")
    if dtype not in DTYPES:
        raise HTTPException(400, f"{DTYPE} is {dtype!r}; send one of {', '.join(DTYPES)}")
    packing = request.headers.get("content-encoding", "identity").lower()
    if packing not in ("identity", "gzip"):
        raise HTTPException(415, f"the body is packed with {packing!r}; send it with gzip, or as it is")
    with tempfile.TemporaryDirectory(prefix="useg-labels-") as folder:
        path = Path(folder) / "body"
        await spool_body(request, path, settings, compressed=True)
        return await run_in_threadpool(_unpack, path, size, DTYPES[dtype], packing == "gzip")


def _unpack(path: Path, size: tuple[int, ...], dtype: str, packed: bool) -> Integer[np.ndarray, "*size"]:
    labels = np.empty(size, dtype)
    room = labels.reshape(-1).view(np.uint8)
    with path.open("rb") as file:
        filled = 0
        for piece in _unpacked(file) if packed else iter(lambda: file.read(CHUNK), b""):
            if filled + len(piece) > len(room):
                raise HTTPException(400, f"the body holds more than the {len(room)} bytes of these labels")
            room[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
    if filled < len(room):
        raise HTTPException(400, f"the body holds {filled} bytes, and these labels have {len(room)}")
    return labels


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Pieces of bounded size, however tightly they are packed."""
    unpacker = zlib.decompressobj(GZIP)
    try:
        while piece := file.read(CHUNK):
            while piece:
                yield unpacker.decompress(piece, CHUNK)
                piece = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise HTTPException(400, f"the body is no gzip ({error})") from None


def _pieces(array: Integer[np.ndarray, "*size"]) -> Iterator[bytes]:
    planes = array.reshape(-1, array.shape[-1])
    rows = max(1, CHUNK // max(1, array.shape[-1] * array.dtype.itemsize))
    little = array.dtype.newbyteorder("<")
    for start in range(0, len(planes), rows):
        yield planes[start : start + rows].astype(little, copy=False).tobytes()


def _pack(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, GZIP)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
