"""A training from the masks that were kept: its command line, how far it is, and what came out.

It is a process of its own, `useg train PROJECT -o PROJECT/runs/003 --from PROJECT/runs/002`, which anyone can start by
hand. What is known of it is what its run folder says. It outlives a server that is killed; the next one waits for it,
or judges what came out.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from useg.atomic import telling
from useg.errors import DataError, SettingsError
from useg.project.begun import NOTE, Note, forget_note, read_note
from useg.project.folder import Project
from useg.project.runs import LOG, RUNS, Run, next_run, read_run
from useg.unet.onnx_header import is_onnx

LEAST_MINUTES, MOST_MINUTES = 0.05, 120.0
POINTS = 240
"""Of a curve; a screen shows no more."""


@dataclass(frozen=True)
class Improvement:
    """A training that is about to begin, or has begun.

    Attributes:
        run: the name of its run, whose folder is `place`. minutes: its budget; None where that is in steps.
        command: what to start, in words; `shown` is the same for people.
        start: the model that it goes on from, if any. spent: seconds of the budget that were spent before.
    """

    run: str
    place: Path
    minutes: float | None
    command: tuple[str, ...]
    start: Path | None = None
    spent: float = 0.0

    @property
    def shown(self) -> str:
        """What does the same in a terminal."""
        return shlex.join(["useg", *self.command[3:]])


@dataclass(frozen=True)
class Point:
    """A step of a training: of the budget so much was spent; `dice` where it was validated."""

    step: int
    fraction: float
    loss: float | None
    dice: float | None


def plan_improvement(project: Project, minutes: float) -> Improvement:
    """How the project's model is improved: trained on the kept images, even a single one, a strip of which then judges.

    The run folder is made, so that its number is nobody else's.

    Raises:
        DataError: no image is kept yet.
        SettingsError: the minutes are too few or too many.
        MissingError: the project's model is gone. OutputError: the disk may not be written.
    """
    if why := project.why_not_improve():
        raise DataError(why)
    if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise SettingsError(f"{minutes:g} minutes; train for {LEAST_MINUTES:g} to {MOST_MINUTES:g}")
    start = project.model if project.model and not is_onnx(project.model) else None
    name = _reserve(project.folder)
    place = project.folder / RUNS / name
    words = [sys.executable, "-m", "useg", "train", str(project.folder), "-o", str(place), "--minutes", f"{minutes:g}"]
    if start is not None:
        words += ["--from", str(start)]
    return Improvement(name, place, minutes, tuple(words), start)


def resume_improvement(project: Project, run: str) -> Improvement:
    """How a run that ended before its time is gone on with.

    Raises:
        MissingError: there is no such run. SettingsError: it has finished, or it is running.
    """
    found = project.run(run)
    if found.finished:
        raise SettingsError(f"{run}: has finished; use its model, and improve that")
    place = project.folder / RUNS / found.name
    if (note := read_note(place)) and note.process.find():
        raise SettingsError(f"{run}: is running; wait for it")
    words = [sys.executable, "-m", "useg", "train", str(project.folder), "-o", str(place), "--resume"]
    if found.budget is not None:
        words += ["--minutes", f"{found.budget:g}"]
    return Improvement(found.name, place, found.budget, tuple(words), spent=60 * found.minutes)


def note_improvement(improvement: Improvement, number: int) -> None:
    """Note that a process has begun it, until it is finished, for a server that comes after this one.

    Raises:
        OutputError: the disk is full.
    """
    Note.of(improvement.command, improvement.minutes, improvement.spent, number).save(improvement.place)


def left_improvements(project: Project) -> list[tuple[Improvement, psutil.Process | None]]:
    """The trainings that a server began which is gone, with their processes where they still run."""
    found = []
    for path in sorted((project.folder / RUNS).glob(f"*/{NOTE}")):
        note = read_note(path.parent)
        if note is None or note.server.find():
            continue
        spent = note.spent + time.time() - note.since
        begun = Improvement(path.parent.name, path.parent, note.minutes, note.command, spent=spent)
        found.append((begun, note.process.find()))
    return found


def finish_improvement(project: Project, improvement: Improvement) -> Run | None:
    """What came out, once the process has ended; None where no model did. One that is better becomes the project's.

    Raises:
        SettingsError: the classes of the project have changed meanwhile, so that the model is not of them.
    """
    forget_improvement(improvement)
    found = read_run(improvement.place)
    if found.finished and not found.kept_start:
        project.set_model(improvement.run)
    return found if found.usable else None


def forget_improvement(improvement: Improvement) -> None:
    """Forget that it was begun; where nothing came of it, its folder goes."""
    forget_note(improvement.place)
    with suppress(OSError):
        improvement.place.rmdir()


class Log:
    """The log of a run, read on while it grows."""

    def __init__(self, place: Path) -> None:
        self._path, self._read = place / LOG, 0
        self._points: list[Point] = []

    def points(self) -> list[Point]:
        """At most `POINTS` of the steps so far, evenly spread, and every validation."""
        self._go_on()
        plain = [each for each in self._points if each.dice is None]
        every = max(1, -(-len(plain) // POINTS))
        last = plain[-1:]
        return sorted(
            {*plain[::every], *last, *(each for each in self._points if each.dice is not None)}, key=lambda p: p.step
        )

    def latest(self) -> Point | None:
        """Where it is: the last step, its loss, and the last Dice."""
        self._go_on()
        if not self._points:
            return None
        dice = next((each.dice for each in reversed(self._points) if each.dice is not None), None)
        loss = next((each.loss for each in reversed(self._points) if each.loss is not None), None)
        return Point(self._points[-1].step, self._points[-1].fraction, loss, dice)

    def _go_on(self) -> None:
        with suppress(OSError), self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._read += len(line)
                with suppress(ValueError, TypeError):
                    self._add(json.loads(line))

    def _add(self, record: dict[str, Any]) -> None:
        step, before = int(record["step"]), self._points[-1].fraction if self._points else 0.0
        if isinstance(found := record.get("validation"), dict):
            value = (found.get("objects") or {}).get("panoptic_quality", [found.get("foreground_dice")])[0]
            if isinstance(value, float) and value == value:
                self._points.append(Point(step, before, None, value))
        else:
            self._points.append(Point(step, float(record.get("progress", before)), record.get("loss"), None))


def _reserve(folder: Path) -> str:
    while True:
        name = next_run(folder)
        with telling(folder / RUNS / name):
            try:
                (folder / RUNS / name).mkdir(parents=True)
            except FileExistsError:
                continue
        return name
