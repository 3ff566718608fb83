"""Several runs in one budget: the first one plans, the others take its plan, and each can be resumed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from useg import machine
from useg.atomic import require_output_folder, write_text
from useg.checkpoint import STATE, RunState, read_state
from useg.data.dataset import Example
from useg.data.prepare import Reader, prepare, reader_of
from useg.data.splits import Split
from useg.errors import DataError, MissingError, OutputError, SettingsError, TrainingError
from useg.evaluate import predict_examples
from useg.loop import MODEL
from useg.predict import Prediction, Predictor, PredictSettings
from useg.scores import Scored
from useg.settings import Settings, load_settings, override
from useg.train import SETTINGS, early_settings, refuse_other_settings, train
from useg.validate import within_memory
from useg.watch import Progress, Watcher

PLANNED = ("network", "normalise", "samples", "augment", "loss", "optimiser")
"""Sections of the settings that the first run plans for all."""
LEAST_MINUTES = 0.01
"""Of a run for which nothing is left of the budget: a step or two, and a model."""


@dataclass(frozen=True)
class Member:
    """One of the runs.

    Attributes:
        folder: of the run. told: what it is, such as "fold 2 of 5".
        settings: what sets it apart from the others, by dotted name.
        seed: is added to that of the first one.
    """

    folder: Path
    told: str
    settings: Mapping[str, Any]
    seed: int = 0


@dataclass(frozen=True)
class Options:
    """What `train` is to know of all of them, see there."""

    recipe: Literal["auto", "paper"]
    device: str
    overrides: Mapping[str, Any]
    watch: Watcher
    read: Reader
    alike: bool = False
    """Each takes as many steps as the first one, as far as the minutes go."""


class Record(BaseModel):
    """What a folder of several runs keeps beside them.

    Attributes:
        runs: names of the runs' folders. minutes, steps: the budget of all together; one of the two is set.
        result: what came out, once all have ended.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: list[str]
    minutes: float | None
    steps: int | None
    result: dict[str, Any] | None = None

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(self.model_dump(), indent=2, allow_nan=False) + "\n")


def read_record(path: Path) -> Record | None:
    """The record in a file; None where there is none.

    Raises:
        TrainingError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        what = str(error).splitlines()[0]
        raise TrainingError(f"{path}: cannot be resumed from ({what}); train into a new folder") from error


def begin(
    path: Path,
    data: str | Path | None,
    members: Sequence[Member],
    *,
    minutes: float | None,
    steps: int | None,
    resume: bool,
    overrides: Mapping[str, Any],
) -> Record:
    """The record at `path` to go on with, or a new one.

    Raises:
        OutputError: there are runs already. MissingError: there is nothing to resume.
        SettingsError: the budget is too small, or not that of the runs to resume.
    """
    run, names = path.parent, [member.folder.name for member in members]
    require_output_folder(run)
    if machine.launched_together():
        raise SettingsError("several runs are trained one after another by one process; start it without torchrun")
    override(Settings(), {"budget.minutes": minutes, "budget.steps": steps})  # raises where they cannot be
    if minutes is not None and steps is not None:
        raise SettingsError("give either minutes or steps, not both")
    first, kept = members[0].folder / SETTINGS, read_record(path) if resume else None
    if kept is not None and first.is_file():
        if kept.runs != names:
            raise SettingsError(f"--resume goes on with {', '.join(kept.runs)} in {run}; ask for as many, or for none")
        for name, value in (("minutes", minutes), ("steps", steps)):
            if value is not None and value != getattr(kept, name):
                raise SettingsError(f"--resume goes on with the budget of the run, and its {name} is not {value}")
        refuse_other_settings(load_settings(first), overrides)
        return kept
    if data is None:
        raise MissingError(f"{run}: there is no run to resume here; name the data set to begin one")
    if any(place.exists() for place in (first, run / SETTINGS, run / MODEL)):
        raise OutputError(f"{run}: already holds a run; go on with --resume, or name another folder")
    if steps is not None and steps < len(members):
        raise SettingsError(f"steps is {steps}, and each of {len(members)} runs needs one; give more")
    record = Record(runs=names, minutes=10.0 if minutes is None and steps is None else minutes, steps=steps)
    record.save(path)
    return record


def train_in_turn(
    data: str | Path | None,
    members: Sequence[Member],
    record: Record,
    options: Options,
    started: float,
) -> bool:
    """Train all members that have not ended yet; False when told to stop before the last one ended.

    Each is a run of its own. What the first one planned holds for all; of minutes, each gets an equal part of what is
    left when it begins.

    Args:
        started: when the budget began to run, of `time.monotonic`.
    """
    watch, read = options.watch, options.read
    started -= sum(_state(member).elapsed for member in members)
    for index, member in enumerate(members):
        if _state(member).finished:
            continue
        if watch.should_stop():
            return False
        watch.on_text(f"{member.told}:")
        begun, mine = (member.folder / SETTINGS).is_file(), _watch(watch, index, len(members))
        share: dict[str, Any] = {} if begun else _share(members, index, record, time.monotonic() - started)
        if index == 0:
            settings = {**options.overrides, **member.settings}
            how: dict[str, Any] = {"recipe": options.recipe, "device": options.device}
        else:
            plan = load_settings(members[0].folder / SETTINGS)
            settings = {**_same(plan), **member.settings, "seed": plan.seed + member.seed}
            if options.alike and "minutes" in share:
                settings["budget.minutes"] = share["minutes"]
                share = {"steps": _state(members[0]).step}
            watch.on_text(_held_out(Path(data or plan.data.folder), plan, member, read))
            # What the first one found and planned has been told.
            mine = replace(mine, on_text=lambda text: None)
            how = {"recipe": plan.recipe, "device": plan.machine.device}
            data = data or plan.data.folder
        result = train(data, member.folder, **share, **how, overrides=settings, resume=begun, watch=mine, read=read)
        if not result.finished:
            return False
    return True


def predict_held_out(
    run: Path, read: Reader, watch: Callable[[Example, Prediction], None] | None = None
) -> tuple[Predictor, list[Scored]]:
    """The best model of a run, and what it says of the images that it was not trained on, which `watch` is shown.

    Raises:
        DataError: these are not the images that the run held out.
    """
    settings = load_settings(run / SETTINGS)
    folder = Path(settings.data.folder)
    prepared = prepare(folder, **settings.data.how_to_read(), read=read)
    held_out = prepared.parts.validation
    if [example.name for example in held_out] != settings.data.validation_names:
        raise DataError(f"{folder}: its images have changed since {run} was trained; train into a new folder")
    if prepared.on_disk:
        held_out = within_memory(held_out)[0]
    how = PredictSettings(device=settings.machine.device, precision=settings.machine.precision)
    predictor = Predictor.load(run, how)
    return predictor, list(predict_examples(predictor, held_out, watch=watch))


def read_once(run: Path, overrides: Mapping[str, Any]) -> Reader:
    """Reads a data set for all runs in a folder: again only where it is to be read in another way.

    Raises:
        SettingsError: a setting of how data are read cannot be.
    """
    most = early_settings(Settings(), overrides).data.max_memory
    return lru_cache(maxsize=1)(reader_of(run, most))


def look_at(data: str | Path, overrides: Mapping[str, Any], read: Reader) -> Split:
    """The images of a data set on both sides, before anything is begun: errors come first, and reading is done.

    Raises:
        DataError, ImageError, MissingError, SettingsError: see `prepare`.
    """
    how = early_settings(Settings(), overrides).data.how_to_read()
    return prepare(Path(data).resolve(), **how, read=read).parts


def _state(member: Member) -> RunState:
    path = member.folder / STATE
    return read_state(path) if path.is_file() else RunState()


def _share(members: Sequence[Member], index: int, record: Record, elapsed: float) -> dict[str, Any]:
    """What the member at `index` gets of the budget, `elapsed` seconds of it spent."""
    if record.steps is not None:
        least, rest = divmod(record.steps, len(members))
        return {"steps": least + (index < rest)}
    assert record.minutes is not None
    # At the end each model predicts once more what it was validated on, which is drawn for the report.
    validations = [_state(member).validation_seconds for member in members[:index]]
    judging = 2 * len(members) * fmean(validations) if validations else 0.0
    left = (60 * record.minutes - elapsed - judging) / (len(members) - index)
    return {"minutes": max(LEAST_MINUTES, math.floor(100 * left / 60) / 100)}


def _same(plan: Settings) -> dict[str, Any]:
    """What all runs share, by dotted name: how the data are read, the plan, and what was found out of the machine."""
    values = plan.model_dump()
    shared = {f"{section}.{name}": value for section in PLANNED for name, value in values[section].items()}
    shared |= {f"data.{name}": value for name, value in plan.data.how_to_read().items()}
    shared |= {f"machine.{name}": values["machine"][name] for name in ("precision", "threads")}
    return shared | {name: values[name] for name in ("validations", "score_shift", "track")}


def _held_out(folder: Path, plan: Settings, member: Member, read: Reader) -> str:
    """The sentence that says what a member holds out."""
    apart = {name.removeprefix("data."): value for name, value in member.settings.items()}
    return prepare(folder, **{**plan.data.how_to_read(), **apart}, read=read).parts.reason


def _watch(watch: Watcher, index: int, count: int) -> Watcher:
    """Tells progress and time of all runs together."""
    begun = time.monotonic()

    def on_progress(p: Progress) -> None:
        left = p.seconds_left
        if left is not None:  # the others take as long as this one
            left += (count - index - 1) * (time.monotonic() - begun + left)
        watch.on_progress(replace(p, fraction=(index + p.fraction) / count, seconds_left=left))

    return replace(watch, on_progress=on_progress)
