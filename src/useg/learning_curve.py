"""Would more annotated images help? The same training on an eighth, a quarter, half and all of them, and a fit."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from useg.checkpoint import STATE, read_state
from useg.errors import DataError, MissingError
from useg.loop import MODEL
from useg.metrics.learning import LearningFit, fit_learning
from useg.metrics.overlap import confusion_matrix
from useg.report.content import Growth
from useg.report.gallery import Gallery
from useg.report.run import REPORT, report_evaluation
from useg.scores import score
from useg.settings import load_settings
from useg.several import Member, Options, begin, look_at, predict_held_out, read_once, read_record, train_in_turn
from useg.train import SETTINGS
from useg.unet.model import read_card
from useg.watch import Watcher

CURVE = "learning-curve.json"
PARTS = (2, 4, 8)
"""Parts of the training images that are trained on, besides all of them: a half, a quarter, an eighth."""

ENOUGH_PASSES = 10
"""A run that met every pixel fewer times is held back by its training, and its score says little of its images."""
SAME_EFFORT = 0.95
"""Points whose steps differ by more than this share are told."""


@dataclass(frozen=True)
class LearningCurve:
    """How a learning curve ended.

    Attributes:
        run: the folder of all. model: the model of all images, which is the run itself.
        fit: scores point by point and what more images would bring; None when it was stopped.
        steps: that each point took, in the order of the fit.
        passes: how many times the run on all images met each pixel of them.
        finished: False when it was stopped before the budget was spent; it can then be resumed.
    """

    run: Path
    model: Path
    fit: LearningFit | None
    steps: tuple[int, ...]
    passes: float
    finished: bool

    @property
    def words(self) -> list[str]:
        """Sentences that say what more images would bring; none when it was stopped."""
        if self.fit is None:
            return []
        least, most = min(self.steps), max(self.steps)
        uneven = f"the machine was busy: the points took {least} to {most} steps, and fewer steps score lower"
        short = f"all images were gone through {self.passes:.1f} times only: train longer before you rely on this"
        return [
            *self.fit.words,
            *([uneven] if least < SAME_EFFORT * most else []),
            *([short] if self.passes < ENOUGH_PASSES else []),
        ]


def train_learning_curve(
    data: str | Path | None,
    run: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    recipe: Literal["auto", "paper"] = "auto",
    resume: bool = False,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    watch: Watcher | None = None,
    spent: float = 0.0,
    command: str = "",
) -> LearningCurve:
    """Train on parts of the images within one budget, and say what more images would bring.

    The run on all images is `run` itself and the first, so that it plans for all; those on a half, a quarter and an
    eighth are in `run/share-1-2` and so on. All have the same plan, seed, effort and held-out images, and differ in
    the images that they learn from, of which smaller parts are inside larger ones. The result is kept in
    `run/learning-curve.json`.

    Args:
        minutes, steps: the budget of all together (10 minutes if neither is given). Each gets as many steps as the run
            on all images took in its part of the minutes.
        data, recipe, resume, device, overrides, watch, spent, command: see `useg.train.train`.

    Raises:
        DataError: there is a single image to train on. Others as `useg.train.train`.
    """
    started = time.monotonic() - spent
    run, watch = Path(run), watch or Watcher()
    given = overrides or {}
    read = read_once(run, given)
    kept = read_record(run / CURVE) if resume else None
    if kept is not None and (run / SETTINGS).is_file():
        members = _members(run, [int(name.rpartition("-")[2]) for name in kept.runs[1:]])
    elif data is None:
        raise MissingError(f"{run}: there is no learning curve to resume here; name the data set to begin one")
    else:
        images = len(look_at(data, given, read).train)
        parts = [part for part in PARTS if part <= images]
        if not parts:
            raise DataError(f"{data}: a learning curve needs two images to train on, and there is one; annotate more")
        members = _members(run, parts)
        if len(parts) < len(PARTS):
            watch.on_text(f"learning curve: {len(members)} points only, because there are {images} images to train on")
    record = begin(run / CURVE, data, members, minutes=minutes, steps=steps, resume=resume, overrides=given)
    options = Options(recipe, device, given, watch, read, alike=True)
    if not train_in_turn(data, members, record, options, started):
        return LearningCurve(run, run / MODEL, None, (), 0.0, False)
    numbers, confusions, taken = [], [], []
    for member in reversed(members):  # the run on all images comes last
        judging, gallery = time.monotonic(), Gallery(read_card(member.folder))
        predictor, scored = predict_held_out(member.folder, read, gallery.add if command else None)
        numbers.append(int(read_card(member.folder).trained_on["images"]))
        classes = predictor.card.network.classes
        taken.append(read_state(member.folder / STATE).step)
        confusions.append([confusion_matrix(each.truth, each.labels, classes) for each in scored])
    fit = fit_learning(numbers, np.array(confusions))
    samples = load_settings(run / SETTINGS).samples
    passes = taken[-1] * samples.batch * math.prod(samples.crop) / read_card(run).trained_on["pixels"]
    result = LearningCurve(run, run / MODEL, fit, tuple(taken), passes, True)
    document = {**fit.as_dict(), "steps": taken, "passes": passes, "words": result.words}
    if command:
        report_evaluation(
            run / REPORT,
            score(scored, classes),
            gallery,
            run=run,
            data=load_settings(run / SETTINGS).data.folder,
            command=command,
            seconds=time.monotonic() - judging,
            validation=True,
            growth=Growth(fit.images, fit.scores, sentence="; ".join(result.words)),
        )
    record.model_copy(update={"result": document}).save(run / CURVE)
    return result


def _members(run: Path, parts: list[int]) -> list[Member]:
    """The run on all images, and those on 1/2, 1/4, ... of them."""
    whole = Member(run, "all images to train on", {})
    return [whole, *(Member(run / f"share-1-{p}", f"1/{p} of them", {"data.share": 1 / p}) for p in parts)]
