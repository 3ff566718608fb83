"""What a run folder tells of its training: the curves of its log, its steps and time, its settings."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from useg.checkpoint import read_log
from useg.errors import SettingsError
from useg.report.content import Curve, Training
from useg.settings import load_settings

POINTS = 240
"""Of a curve of losses; a screen shows no more."""
SMOOTHED = 60
"""The loss is shown as means over this fraction of the run."""


@dataclass(frozen=True)
class RunLog:
    """What was logged.

    Attributes:
        steps: done. seconds: spent in them.
        training: the curves; None where no step has a loss.
        settings: the text of the settings file, "" without one. command: what trains so again, "" without settings.
    """

    steps: int
    seconds: float
    training: Training | None
    settings: str
    command: str


def read_run(run: Path, kept: int | None) -> RunLog:
    """Read a run folder, as far as its files are there; `kept` is the step of the model that was kept."""
    records = read_log(run / "metrics.jsonl", sys.maxsize)
    steps = max((record["step"] for record in records), default=0)
    path = run / "settings.toml"
    return RunLog(
        steps,
        sum((record["seconds"] for record in records if isinstance(record.get("seconds"), float)), 0.0),
        _training(records, kept),
        path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "",
        _command(path, steps) if path.is_file() and steps else "",
    )


def _training(records: list[dict[str, Any]], kept: int | None) -> Training | None:
    losses = [(r["step"], r["loss"]) for r in records if isinstance(r.get("loss"), float) and math.isfinite(r["loss"])]
    if not losses:
        return None
    curves = []
    validations = [(r["step"], r["validation"]) for r in records if isinstance(r.get("validation"), dict)]
    for name, score in (("Dice", _dice), ("panoptic quality", _quality)):
        points = [(step, value) for step, found in validations if (value := score(found)) is not None]
        if points:
            at = [step for step, _ in points]
            mark = at.index(kept) if kept in at else None
            curves.append(Curve(name, tuple(map(float, at)), tuple(value for _, value in points), mark))
    return Training(_smooth(*zip(*losses, strict=True)), tuple(curves))


def _smooth(steps: tuple[int, ...], losses: tuple[float, ...]) -> Curve:
    """Means over the steps before, at some of them."""
    reach = max(1, len(losses) // SMOOTHED)
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    ends = np.unique(np.linspace(1, len(losses), min(POINTS, len(losses))).astype(int))
    starts = np.maximum(0, ends - reach)
    means = (sums[ends] - sums[starts]) / (ends - starts)
    return Curve("loss", tuple(float(steps[end - 1]) for end in ends), tuple(means.tolist()))


def _dice(validation: Mapping[str, Any]) -> float | None:
    return _number(validation.get("foreground_dice"))


def _quality(validation: Mapping[str, Any]) -> float | None:
    return _number(((validation.get("objects") or {}).get("panoptic_quality") or [None])[0])


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _command(settings: Path, steps: int) -> str:
    """What trains on the same data, as far as this run came."""
    try:
        s = load_settings(settings)
    except SettingsError:
        return ""
    return shlex.join(["useg", "train", s.data.folder, "-o", "NEW", "--steps", str(steps), "--recipe", s.recipe])
