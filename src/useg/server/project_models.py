"""What the routes of a project say and are told, as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from useg.data.project_file import Kind
from useg.project import Project
from useg.project.classes import Classes
from useg.project.folder import ImageEntry
from useg.project.runs import Run
from useg.project.suggestions import Ranked, ranking
from useg.server.model_api import ModelClass, hex_colour


class ImageInfo(BaseModel):
    """An image of the project, see `useg.project.folder`; `rank` and `reason` say how soon to annotate it."""

    name: str
    file: str
    width: int
    height: int
    slices: int
    channels: int
    dtype: str
    state: Literal["new", "predicted", "draft", "kept"]
    version: str | None
    expected_dice: float | None
    rank: int | None
    reason: str | None
    error: str | None

    @classmethod
    def of(cls, entry: ImageEntry, ranked: Ranked | None) -> ImageInfo:
        """Of an image and its place in the last ranking."""
        slices, height, width = entry.size
        return cls(
            name=entry.name,
            file=entry.path.name,
            width=width,
            height=height,
            slices=slices,
            channels=entry.header.channels if entry.header else 0,
            dtype=entry.header.dtype.name if entry.header else "",
            state=entry.state,
            version=entry.version,
            expected_dice=entry.expected_dice,
            rank=ranked.rank if ranked else None,
            reason=ranked.reason if ranked else None,
            error=entry.error,
        )


class ProjectInfo(BaseModel):
    """The project: `model` is the run that is current, `kept` how many images have a mask.

    The model that the project began with is no run: then `model` is null, and `has_model` true.
    """

    name: str
    folder: str
    kind: Kind
    classes: list[ModelClass]
    model: str | None
    has_model: bool
    images: list[ImageInfo]
    kept: int
    can_improve: bool
    why_not: str | None

    @classmethod
    def of(cls, project: Project) -> ProjectInfo:
        """Of a project as its folder is now."""
        ranked, classes, why = ranking(project), project.classes, project.why_not_improve()
        return cls(
            name=project.name,
            folder=str(project.folder),
            kind=classes.kind,
            classes=classes_of(classes),
            model=project.current,
            has_model=project.has_model,
            images=[ImageInfo.of(entry, ranked.get(entry.name)) for entry in project.images()],
            kept=len(project.kept()),
            can_improve=why is None,
            why_not=why,
        )


class NewClass(BaseModel):
    """A class: its name, and its colour in pictures, "#rrggbb"; without one it gets its own."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=100)
    colour: str | None = Field(default=None, pattern="^#[0-9a-fA-F]{6}$")

    @property
    def named(self) -> tuple[str, tuple[int, int, int] | None]:
        """Name and RGB 0..255."""
        if self.colour is None:
            return self.name, None
        number = int(self.colour[1:], 16)
        return self.name, (number >> 16, number >> 8 & 255, number & 255)


class NewClasses(BaseModel):
    """The classes that a project is to have, the background first; `kind` stays as it is without one."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind | None = None
    classes: list[NewClass] = Field(max_length=256)


class Version(BaseModel):
    """The version of an image's labels, for the next If-Match."""

    version: str


class Predicted(BaseModel):
    """What the current model said of an image; the times are seconds, `objects` how many it found."""

    run: str | None
    seconds: float
    network_seconds: float
    expected_dice: float | None
    warnings: list[str]
    objects: int | None


class Chosen(BaseModel):
    """A run of the project; null is the model that the project began with, if any."""

    model_config = ConfigDict(extra="forbid")

    run: str | None


class RunInfo(BaseModel):
    """A run of the project, see `useg.project.runs.Run`."""

    run: str
    dice: float | None
    minutes: float
    budget: float | None
    started_from: str | None
    images: int
    current: bool
    finished: bool
    usable: bool
    report: bool

    @classmethod
    def of(cls, run: Run, current: str | None) -> RunInfo:
        """Of a run folder."""
        return cls(
            run=run.name,
            dice=run.dice,
            minutes=round(run.minutes, 2),
            budget=run.budget,
            started_from=run.started_from,
            images=run.images,
            current=run.name == current,
            finished=run.finished,
            usable=run.usable,
            report=run.report,
        )


class Training(BaseModel):
    """How long to train; or in `resume` the run to go on with, for what is left of its time."""

    model_config = ConfigDict(extra="forbid")

    minutes: float = Field(default=3.0, ge=0.05, le=120)
    resume: str | None = Field(default=None, min_length=1)


class Ranking(BaseModel):
    """Images to annotate, the one that helps most first."""

    ranked: list[Ranked]


def classes_of(classes: Classes) -> list[ModelClass]:
    """The classes of a project, numbered."""
    return [ModelClass(id=k, name=c.name, colour=hex_colour(c.colour)) for k, c in enumerate(classes.entries)]
