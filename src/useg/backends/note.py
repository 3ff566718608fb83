"""`backends.json`: what was measured of a model's backends, for which model, on which machine, with which libraries."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from useg import __version__, machine
from useg.atomic import write_text
from useg.backends.ways import PLAIN, SUFFIXES, Backend, Way, WayPrecision, folder_of

NOTE = "backends.json"
LEAST_AGREEMENT = 0.995
"""Share of the pixels that must keep the label of torch in float32 for a way to be taken unasked."""


class Measured(BaseModel):
    """One backend in one precision.

    Attributes:
        pace: million pixels a second. ratio: of that to torch in float32.
        agreement: share of the pixels of images that get the label which torch in float32 gives them, 0..1; None where
            there were no images.
        ready: seconds until the first tile was done, from loading the model on.
        export: checksum of the exported file, see `useg.unet.model.digest`.
        missing: why it was not measured; all else is then None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Backend
    precision: WayPrecision
    pace: float | None = Field(default=None, gt=0)
    ratio: float | None = Field(default=None, gt=0)
    agreement: float | None = Field(default=None, ge=0, le=1)
    ready: float | None = None
    export: str | None = None
    missing: str | None = None

    @property
    def way(self) -> Way:
        """What was measured."""
        return Way(self.backend, self.precision)

    @property
    def name(self) -> str:
        """In words."""
        return self.backend if self.precision == "int8" else f"{self.backend} in {self.precision}"

    @property
    def trusted(self) -> bool:
        """Whether it may be taken unasked. bfloat16 needs no images, as it is taken without this measurement too."""
        kept = self.agreement is None or self.agreement >= LEAST_AGREEMENT
        return kept and not (self.precision == "int8" and self.agreement is None)


class Note(BaseModel):
    """What `useg benchmark` found.

    Attributes:
        model: checksum of the model file. cpu, cores: the machine. versions: of the libraries, None where one is not
            here.
        tile: pixels of the tile that was timed. rounds: how often, at most.
        tiles: of images, on which labels were compared.
        held_out: whether these are of images that training held out.
        rows: all that was measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    model: str
    cpu: str
    cores: int
    versions: dict[str, str | None]
    tile: list[int]
    tiles: int
    held_out: bool
    rows: list[Measured]

    @property
    def best(self) -> Measured:
        """The fastest row that may be taken unasked, which compiled torch may not."""
        rows = [row for row in self.rows if row.pace and row.trusted and row.backend in ("torch", *SUFFIXES)]
        return max(rows, key=lambda row: row.ratio or 0, default=Measured(**PLAIN._asdict()))

    def unfit(self) -> str | None:
        """Why this machine may have another best row than the one that was measured; None where nothing changed."""
        if (self.cpu, self.cores) != (machine.cpu_name(), machine.cores()):
            return f"on another machine ({self.cpu}, cores: {self.cores})"
        for name, then in self.versions.items():
            if (now := versions()[name] if name in LIBRARIES else None) != then:
                return f"with {name} {then or 'missing'}, and here is {now or 'none'}"
        return None


LIBRARIES = ("useg", "torch", "onnxruntime", "openvino")


def versions() -> dict[str, str | None]:
    """Of the libraries that decide how fast a model runs. None of them is imported."""
    found: dict[str, str | None] = {"useg": __version__}
    for name in LIBRARIES[1:]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def write_note(model: Path, note: Note) -> None:
    """Keep it beside the model file."""
    write_text(folder_of(model) / NOTE, note.model_dump_json(indent=2) + "\n")


def read_note(model: Path) -> Note | None:
    """What was measured of a model file; None where nothing was, or the note is damaged."""
    try:
        return Note.model_validate_json((folder_of(model) / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
