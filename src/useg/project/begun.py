"""Trainings that a server waits for, noted in their run folders: one that is killed leaves nothing unjudged.

runs/003/improve.json    there from the start of the process until what came out is judged
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from useg.atomic import write_text

NOTE = "improve.json"
SAME_SECONDS = 2.0
"""By which two looks at the clock may differ on when a process began."""


class Process(BaseModel):
    """A process of this machine: its number, and when it began, as numbers are given again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    began: float

    @classmethod
    def of(cls, number: int) -> Process:
        """That which has this number now; one that has none any more is no process ever."""
        with suppress(psutil.Error):
            return cls(number=number, began=psutil.Process(number).create_time())
        return cls(number=number, began=0.0)

    def find(self) -> psutil.Process | None:
        """It, while it runs."""
        with suppress(psutil.Error, ValueError, OverflowError):
            found = psutil.Process(self.number)
            same = abs(found.create_time() - self.began) < SAME_SECONDS
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        return None


class Note(BaseModel):
    """A training that has begun.

    Attributes:
        command: that was started. minutes: its budget, None where that is in steps; spent: seconds of it before, and
            since: when it went on, in seconds since 1970.
        process: that trains. server: that waits for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...]
    minutes: float | None
    spent: float
    since: float
    process: Process
    server: Process

    @classmethod
    def of(cls, command: tuple[str, ...], minutes: float | None, spent: float, number: int) -> Note:
        """Of a process that this one has just started."""
        process, server = Process.of(number), Process.of(os.getpid())
        return cls(command=command, minutes=minutes, spent=spent, since=time.time(), process=process, server=server)

    def save(self, place: Path) -> None:
        """Write it to a run folder.

        Raises:
            OutputError: the disk is full.
        """
        write_text(place / NOTE, self.model_dump_json(indent=1))


def read_note(place: Path) -> Note | None:
    """That of a run folder; None where there is none, or none that can be read."""
    try:
        return Note.model_validate_json((place / NOTE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def forget_note(place: Path) -> None:
    """Take it away."""
    with suppress(OSError):
        (place / NOTE).unlink(missing_ok=True)
