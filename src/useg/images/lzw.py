"""LZW in TIFF through pillow, where imagecodecs is not installed: tifffile alone cannot decode it."""

import io
import struct
from typing import Any

import tifffile
from PIL.TiffImagePlugin import TiffImageFile

LZW = 5
_LONG, _SHORT = 4, 3


def lzw_decode(data: bytes, /, *, out: int) -> bytes:
    """The `out` bytes of one strip or tile: wrapped up as a TIFF of one row, which pillow gives to libtiff."""
    tags = [
        (256, _LONG, out),  # width
        (257, _LONG, 1),  # height
        (258, _SHORT, 8),  # bits
        (259, _SHORT, LZW),
        (262, _SHORT, 1),  # black is zero
        (273, _LONG, 8),  # where the data begin
        (277, _SHORT, 1),  # samples
        (278, _LONG, 1),  # rows of a strip
        (279, _LONG, len(data)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    file = struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory
    with TiffImageFile(io.BytesIO(file)) as row:
        return row.tobytes()


def bring_lzw() -> None:
    """Give tifffile this decoder if it has none."""
    codecs: Any = tifffile.TIFF.DECOMPRESSORS
    if LZW not in codecs:
        codecs._codecs[LZW] = lzw_decode
