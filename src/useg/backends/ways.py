"""The ways to run a model: by which library, in which precision, and the exported file that the library reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

Backend = Literal["torch", "torch-compiled", "onnxruntime", "openvino", "openvino-int8"]
WayPrecision = Literal["float32", "bfloat16", "int8"]


class Way(NamedTuple):
    """A backend in a precision."""

    backend: Backend
    precision: WayPrecision


PLAIN = Way("torch", "float32")
"""What all others are held against."""
WAYS = (
    PLAIN,
    Way("torch", "bfloat16"),
    Way("onnxruntime", "float32"),
    Way("openvino", "float32"),
    Way("openvino", "bfloat16"),
    Way("openvino-int8", "int8"),
)
COMPILED = Way("torch-compiled", "bfloat16")
"""It compiles anew in each process, for a minute or so: measured where somebody asks for it, and never chosen."""
SUFFIXES = {"onnxruntime": ".onnx", "openvino": ".xml", "openvino-int8": ".xml"}
"""Of the exported files, by backend; torch reads the model itself."""
CHOICES = ("auto", "torch", *SUFFIXES)
"""What `--backend` can be."""


def folder_of(model: Path) -> Path:
    """Where the exports of a model file lie, and what was measured of them."""
    return model.with_suffix(".backends")


def file_of(model: Path, backend: str) -> Path:
    """What a backend reads of a model file; the others are not torch."""
    return folder_of(model) / f"{backend}{SUFFIXES[backend]}" if backend in SUFFIXES else model
