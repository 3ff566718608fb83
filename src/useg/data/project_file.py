"""`project.toml`: what makes a folder of images a project, whose images get their masks one after the other.

PROJECT/  project.toml    what the masks hold, and the current model
          legend.csv      names, values and colours of the classes, and the value of what nobody annotated
          images/ masks/  NAME.* and NAME.*; an image without a mask is not annotated yet
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from useg.atomic import write_text
from useg.errors import DataError

PROJECT = "project.toml"
Kind = Literal["classes", "instances"]


class ProjectFile(BaseModel):
    """What `project.toml` says.

    Attributes:
        kind: whether masks hold classes, or a number an object.
        model: the current model: a run of the project such as "runs/002", or a model file or run folder elsewhere;
            "" without one.
        start: the model elsewhere that the project began with; "" without one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "classes"
    model: str = ""
    start: str = ""

    def save(self, folder: Path) -> None:
        """Write it."""
        import tomli_w

        write_text(folder / PROJECT, tomli_w.dumps(self.model_dump()))


def is_project(path: Path) -> bool:
    """Whether a folder is a project."""
    return (path / PROJECT).is_file()


def read_project(folder: Path) -> ProjectFile:
    """Read the `project.toml` of a folder.

    Raises:
        DataError: it is not TOML, or says something that a project does not know.
    """
    path = folder / PROJECT
    try:
        return ProjectFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        what = error.errors()[0]
        told = f"{'.'.join(map(str, what['loc']))}: {what['msg']}"
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        told = str(error)
    raise DataError(f'{path}: cannot be used ({told}); correct it, such as kind = "classes", or take it out')
