"""The metadata of an OpenVINO file, read without any library.

The file is XML: the layers, and at its end `<rt_info>`, where each of our entries is `<name value="..."/>` inside
`<useg>`. The weights lie in a `.bin` of the same name beside it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.parsers import expat

from useg.errors import ModelError

SECTION, WEIGHTS = "useg", "useg.weights"
"""Where our entries stand, and the one that holds the SHA-256 of the `.bin`."""
MOST_BYTES = 200_000_000
"""Of the `.xml`; a network of a hundred folds has 20 MB."""


def is_openvino(path: Path) -> bool:
    """Whether a model file is an exported one for OpenVINO, by its name."""
    return path.suffix.lower() == ".xml"


def weights_of(path: Path) -> Path:
    """The file that holds the weights of an OpenVINO file."""
    return path.with_suffix(".bin")


def weights_digest(weights: Path) -> str:
    """SHA-256 of a `.bin`."""
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_openvino_metadata(path: Path) -> dict[str, str]:
    """The entries of ours in an OpenVINO file.

    Raises:
        ModelError: it is none, or is cut short.
    """
    found: dict[str, str] = {}
    place: list[str] = []

    def on_start(name: str, attributes: dict[str, str]) -> None:
        place.append(name)
        if place[0] != "net":
            raise ValueError(f"it holds a <{name}> and no network")
        if place[1:3] == ["rt_info", SECTION] and len(place) == 4:
            found[name] = attributes.get("value", "")

    def on_doctype(*_: object) -> None:
        raise ValueError("it holds a document type, whose entities could be of any size")

    parser = expat.ParserCreate()
    parser.StartElementHandler = on_start
    parser.EndElementHandler = lambda name: place.pop()
    parser.StartDoctypeDeclHandler = on_doctype
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ValueError(f"{size} bytes")
        with path.open("rb") as file:
            parser.ParseFile(file)
    except (ValueError, OSError, expat.ExpatError) as error:
        raise ModelError(f"{path}: not an OpenVINO file, or cut short ({error}); export the model again") from error
    return found
