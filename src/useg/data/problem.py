"""What is wrong with a file of a data set, how bad that is, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from useg.data.summary import Look


@dataclass(frozen=True)
class Problem:
    """An error keeps training from starting; a warning is worth a look. `line` is how a door prints it."""

    severity: Literal["error", "warning"]
    path: Path
    message: str
    remedy: str

    @property
    def line(self) -> str:
        """The problem as one line: file, what is wrong, what to do."""
        return f"{self.path}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


def error(path: Path, message: str, remedy: str) -> Problem:
    """A problem that keeps training from starting."""
    return Problem("error", path, message, remedy)


def warning(path: Path, message: str, remedy: str) -> Problem:
    """A problem that is worth a look."""
    return Problem("warning", path, message, remedy)


def names_of(looks: Sequence[Look]) -> str:
    """Names of images for people, a few of many."""
    names = [look.pair.name for look in looks]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
