"""The runs of a project: ordinary run folders `runs/001`, `runs/002` ..., and which model is the current one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from useg.errors import MissingError, UsegError
from useg.unet.model import digest, read_card

RUNS = "runs"
MODEL, SETTINGS, STATE, LOG = "model.safetensors", "settings.toml", "state.safetensors", "metrics.jsonl"


@dataclass(frozen=True)
class Run:
    """A run of a project.

    Attributes:
        name: its folder's. dice: on the held-out images, panoptic quality where masks number objects; None before
            the first validation.
        minutes: spent; budget: in all, None where that is in steps.
        started_from: the run, or the model's file, that it went on from.
        images: that it was trained on. finished: its budget was spent.
        usable: it holds a model. report: it holds a report.
        before, after: scores of the model that it started from and of the best trained since, see `TrainResult`.
        kept_start: none was better, so its model is the one that it started from.
    """

    name: str
    dice: float | None
    minutes: float
    budget: float | None
    started_from: str | None
    images: int
    finished: bool
    usable: bool
    report: bool
    before: float | None = None
    after: float | None = None
    kept_start: bool = False


def list_runs(folder: Path) -> list[Run]:
    """The runs of a project that have begun, in their order."""
    places = sorted((p for p in (folder / RUNS).glob("*") if (p / SETTINGS).is_file()), key=lambda p: _order(p.name))
    return [read_run(place) for place in places]


def read_run(place: Path) -> Run:
    """What a run folder tells of itself; what is damaged or not there yet is left out."""
    # They bring torch, for which a server that begins must not wait.
    from useg.checkpoint import RunState, read_state
    from useg.report.run import REPORT
    from useg.settings import load_settings

    state, images, start, budget = RunState(), 0, "", None
    try:
        settings = load_settings(place / SETTINGS)
        start, budget = settings.start.model, settings.budget.minutes
        if (place / STATE).is_file():
            state = read_state(place / STATE)
        images = int(read_card(place / MODEL).trained_on.get("images", 0)) if (place / MODEL).is_file() else 0
    except (UsegError, OSError, ValueError):
        pass
    score = state.best_dice if state.best_quality is None else state.best_quality
    return Run(
        place.name,
        score,
        state.elapsed / 60,
        budget,
        _origin(place.parent, start) if start else None,
        images,
        state.finished,
        (place / MODEL).is_file(),
        (place / REPORT).is_file(),
        state.before,
        state.after,
        bool(start) and state.finished and not state.best_step,
    )


def next_run(folder: Path) -> str:
    """The name of a new run."""
    there = [int(p.name) for p in (folder / RUNS).glob("*") if re.fullmatch(r"\d{3,6}", p.name)]
    return f"{max(there, default=0) + 1:03}"


class Digests:
    """SHA-256 of models, each read once."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def of(self, model: Path) -> str:
        """Of a model's file.

        Raises:
            MissingError: it is not there.
        """
        try:
            stat = model.stat()
        except OSError as error:
            raise MissingError(f"{model}: the project's model is not there; choose another run") from error
        state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._known.get(model)
        if known is None or known[0] != state:
            known = self._known[model] = state, digest(model)
        return known[1]


def _origin(runs: Path, start: str) -> str:
    """The run of this project that holds a model, or the model's path."""
    path = Path(start)
    return path.parent.name if path.parent.parent == runs.resolve() else start


def _order(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isascii() and name.isdigit() else (10**9, name)
