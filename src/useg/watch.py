"""What a training tells while it runs, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from useg.data.dataset import Example
    from useg.predict import Prediction
    from useg.unet.model import ModelCard


@dataclass(frozen=True)
class Progress:
    """What a watcher is told after each step.

    Attributes:
        step: steps done; steps: of how many, where that is known.
        fraction: of the budget, 0..1. loss: of this step.
        dice: mean Dice of the last validation (None before the first).
        quality: its panoptic quality, where masks number objects.
        images_per_second: samples through the network. seconds_left: None before it can be told.
        event: "step", "validated", or "skipped" (a step without a finite loss).
        rate: the learning rate of this step.
    """

    step: int
    steps: int | None
    fraction: float
    loss: float | None
    dice: float | None
    quality: float | None
    images_per_second: float
    seconds_left: float | None
    event: Literal["step", "validated", "skipped"]
    rate: float | None = None


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        run: the run folder. model: the best model. steps: done, of which `skipped` changed nothing.
        validation: mean Dice of the best model on the held-out images; None when it was never validated.
        quality: its panoptic quality there, where masks number objects.
        finished: False when it was stopped before its budget was spent; it can then be resumed.
        before, after: where the run started from an earlier model, the score of that one and of the best that was
            trained since, on the same images: panoptic quality where masks number objects, else mean Dice.
        kept_start: none was better, so `model` holds the earlier model's weights.
    """

    run: Path
    model: Path
    steps: int
    skipped: int
    validation: float | None
    quality: float | None
    finished: bool
    before: float | None = None
    after: float | None = None
    kept_start: bool = False


@dataclass(frozen=True)
class Watcher:
    """What training tells while it runs; every function may be left out.

    Attributes:
        on_text: a sentence for the user: what the data are, what was planned and why.
        on_progress: after each step.
        on_image: shown each held-out image in a validation, before it is told: what the network says of it before
            it is calibrated, and the card with what parts objects of that best, as the validation before found it.
        should_stop: asked after each step; True ends the run at once with a usable model.
    """

    on_text: Callable[[str], None] = lambda text: None
    on_progress: Callable[[Progress], None] = lambda progress: None
    on_image: Callable[[Example, Prediction, ModelCard], None] = lambda example, prediction, card: None
    should_stop: Callable[[], bool] = lambda: False
