"""The metadata of an ONNX file, read without any library and without reading its weights.

The file is one protobuf message, fields one after the other: a number that holds the field's number and its kind, then
the value, for most kinds with its length before it (https://protobuf.dev/programming-guides/encoding). Everything but
the metadata is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedIOBase, BytesIO
from pathlib import Path

from useg.errors import ModelError

GRAPH, METADATA = 7, 14
"""Numbers of fields of a ModelProto (onnx.proto)."""
KEY, VALUE = 1, 2
"""Of a StringStringEntryProto, of which the metadata are made."""
VARINT, EIGHT_BYTES, WITH_LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""Kinds of fields."""


def is_onnx(path: Path) -> bool:
    """Whether a model file is an exported one, by its name."""
    return path.suffix.lower() == ".onnx"


def read_onnx_metadata(path: Path) -> dict[str, str]:
    """The metadata of an ONNX file.

    Raises:
        ModelError: it is none, or is cut short.
    """
    try:
        with path.open("rb") as file:
            found, graphs = {}, 0
            for number, begin, stop in _fields(file, path.stat().st_size):
                graphs += number == GRAPH
                if number == METADATA:
                    file.seek(begin)
                    key, value = _entry(file.read(stop - begin))
                    found[key] = value
            if not graphs:
                raise ValueError("it holds no network")
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: not an ONNX file, or cut short ({error}); export the model again") from error
    return found


def _entry(content: bytes) -> tuple[str, str]:
    parts = {number: content[begin:stop] for number, begin, stop in _fields(BytesIO(content), len(content))}
    return parts.get(KEY, b"").decode("utf-8"), parts.get(VALUE, b"").decode("utf-8")


def _fields(file: BufferedIOBase, size: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each field's value, all of them inside the file.

    Raises:
        ValueError: the bytes are no protobuf message.
    """
    place = 0
    while place < size:
        file.seek(place)
        tag = _number(file)
        if tag & 7 == WITH_LENGTH:
            length = _number(file)
        elif tag & 7 == VARINT:
            _number(file)
            length = 0
        elif tag & 7 in (EIGHT_BYTES, FOUR_BYTES):
            length = 8 if tag & 7 == EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of an unknown kind at byte {place}")
        begin, place = file.tell(), file.tell() + length
        if place > size:
            raise ValueError(f"{size} bytes, where a field ends at byte {place}")
        yield tag >> 3, begin, place


def _number(file: BufferedIOBase) -> int:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends within a number")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number of more than ten bytes")
