"""The training loop: a budget that is kept, a run that can be killed and resumed, a model at any moment."""

from __future__ import annotations

import copy
import itertools
import json
import math
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from useg import machine
from useg.atomic import write_text
from useg.card import make_card
from useg.checkpoint import STATE, RunState, load_checkpoint, read_log, save_checkpoint
from useg.data.border_fields import kept_fields
from useg.data.dataset import Example
from useg.data.legend import Legend
from useg.data.samples import Batch, Sampler, make_batches
from useg.data.splits import Split
from useg.errors import TrainingError
from useg.predict import Prediction, Predictor, PredictSettings
from useg.processes import Team
from useg.report.trained import EDGE, MOST_SCORED
from useg.runner import TorchRunner
from useg.settings import Settings
from useg.unet.deep import DeeplySupervised, supervised_loss
from useg.unet.model import save_model
from useg.unet.network import UNet
from useg.unet.optimise import learning_rate, make_optimiser, update_average
from useg.unet.shared import share_batch
from useg.validate import uncalibrated, validate
from useg.watch import Progress, TrainResult, Watcher

CHECKPOINT_SECONDS = 40.0
"""Between two checkpoints; the last one is never more than a minute old unless a single step takes so long."""
MODEL = "model.safetensors"
END_SECONDS = 1.0
"""To write the last files and leave."""
REPORT_SECONDS, PICTURE_SECONDS = 1.0, 0.1
"""To load what writes the report, and to draw a held-out image."""
OBJECT_CHANCE = 0.1
"""Over the square root of the number of objects: by how much their panoptic quality differs by chance."""
MOST_BAD_STEPS = 3
"""Steps in a row without a finite loss or gradient that end the run."""


class Loop:
    """One run: network, averages, optimiser and samples, and the state that says how far it is.

    Of several processes each makes the same steps, with its own part of the samples. The first one decides, validates
    and writes the files.
    """

    def __init__(
        self,
        run: Path,
        settings: Settings,
        legend: Legend,
        parts: Split,
        watch: Watcher,
        started: float,
        team: Team,
        *,
        reported: bool = False,
    ) -> None:
        """Make all ready; `reported`: a report follows, whose time belongs to the budget."""
        self.run, self.settings, self.parts, self.watch, self.team = run, settings, parts, watch, team
        s = settings
        self.reported = reported
        self.part = team.share(s.samples.batch)
        if s.machine.threads:
            torch.set_num_threads(team.split(s.machine.threads))
        machine.keep_freed_memory()
        self.device = machine.find_device(s.machine.device)
        team.fit(self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(s.seed)
            network = UNet.from_settings(s.network)
            learned = DeeplySupervised(network, deep=s.loss.deep > 0)
        self.network = machine.place(network, self.device, s.network.dims).train()
        self.learned = learned.to(self.device).train()
        self.averaged = copy.deepcopy(self.network).eval()
        if team.count > 1:
            share_batch(self.network, team.total, self.part, s.samples.batch)
        # Looked up once: walking through all modules, several times a step, took as long as making a sample.
        self._weights, self._statistics = list(self.network.parameters()), list(self.network.buffers())
        self._learned = list(self.learned.parameters())
        self._measured = [value for value in self._statistics if value.is_floating_point()]
        self._averages = [*self.averaged.parameters(), *self.averaged.buffers()]
        self.optimiser = make_optimiser(self.learned, s.optimiser, heads=1 + len(self.learned.heads))
        self.sampler = Sampler(
            parts.train,
            s.samples,
            s.augment,
            s.normalise,
            classes=s.network.classes,
            margins=[axis.margin for axis in s.network.axes],
            seed=s.seed,
            widen=s.loss.borders.widen,
            fields=kept_fields(parts.train, s.loss.borders, run / "borders"),
        )
        self.state = RunState()
        self._step_seconds = 0.0
        self._dice: float | None = None
        self._quality: float | None = None
        with team.file_of_first(self.checkpoint) as checkpoint:
            if checkpoint:
                self.state = load_checkpoint(checkpoint, self.learned, self.averaged, self.optimiser)
        self.plain = make_card(settings, legend, parts)
        found = ("objects", "temperature", "class_bias")
        self.card = self.plain.model_copy(update={name: getattr(self.state, name) for name in found})
        self.started = started - self.state.elapsed
        if team.first:
            kept = read_log(self.log, self.state.step)
            write_text(self.log, "".join(json.dumps(record) + "\n" for record in kept))

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.run / STATE

    @property
    def log(self) -> Path:
        """One JSON record a step or validation."""
        return self.run / "metrics.jsonl"

    @property
    def elapsed(self) -> float:
        """Seconds spent by all sessions of this run."""
        return time.monotonic() - self.started

    def go(self) -> TrainResult:
        """Train until the budget is spent, or until told to stop."""
        state, saved = self.state, time.monotonic()
        if not state.finished:
            with torch.random.fork_rng(devices=[]):
                # The model that is started from is the first to be the best; and the session before may have been
                # stopped between a step and its validation.
                if self._validation_due() if state.step else self.settings.start.model:
                    self._validate()
                for batch in self._batches():
                    self._step(batch)
                    if any(self.team.gather(self.watch.should_stop())):
                        self._stop()
                        return self._result()
                    if self._validation_due():
                        self._validate()
                    if time.monotonic() - saved > CHECKPOINT_SECONDS:
                        self._save()
                        saved = time.monotonic()
            self._validate()
            state.finished, state.progress = True, 1.0
            self._save_model("last.safetensors")
            self._save()
        return self._result()

    def _batches(self) -> Iterator[Batch]:
        """Batches from the present step on, until the budget is spent."""
        steps = self.settings.budget.steps
        ahead = itertools.count(self.state.step) if steps is None else iter(range(self.state.step, steps))
        # A CPU makes samples and steps in turn; beside a GPU it works ahead.
        options = {"threads": self.team.split(machine.cores()), "ahead": 0 if self.device.type == "cpu" else 2}
        for batch in make_batches(self.sampler, ahead, **options, part=self.part):
            told = self.team.gather((self._progress(), batch.names))
            self.state.progress = told[0][0]
            if self.state.progress >= 1:
                return
            yield replace(batch, names=tuple(name for _, names in told for name in names))

    def _progress(self) -> float:
        """Share of the budget that is spent; what comes behind the last step is counted as spent from the start."""
        budget = self.settings.budget
        by_steps = self.state.step / budget.steps if budget.steps is not None else 0.0
        if budget.minutes is None:
            return by_steps
        usable = budget.minutes * 60 - self._step_seconds - self._end_seconds()
        return max(self.state.progress, by_steps, self.elapsed / max(1.0, usable))

    def _end_seconds(self) -> float:
        """What comes behind the last step: a validation, the last files, and the report, which predicts once more."""
        seconds = 1.1 * self._validation_cost() + END_SECONDS
        if self.reported:
            pixels = sum(e.labels.size for e in self.parts.validation)
            again = 1 + MOST_SCORED * min(EDGE**2, self.parts.train[0].labels.size) / pixels
            seconds += again * self._validation_cost()
            seconds += REPORT_SECONDS + PICTURE_SECONDS * len(self.parts.validation)
        return seconds

    def _step(self, batch: Batch) -> None:
        """One optimisation step; it changes nothing when its loss or gradient is not finite."""
        s, state, begun = self.settings, self.state, time.monotonic()
        # Dropout draws from an address too, so that a resumed run drops what it would have dropped.
        torch.manual_seed(zlib.crc32(f"{s.seed} {state.step}".encode()))
        rate = learning_rate(s.optimiser, state.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        statistics = [value.clone() for value in self._statistics]
        images = torch.from_numpy(batch.images).to(self.device, memory_format=machine.memory_layout(s.network.dims))
        labels = torch.from_numpy(batch.labels).to(self.device)
        weights = None if batch.weights is None else torch.from_numpy(batch.weights).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.machine.precision == "bfloat16"):
            scores = self.learned(images)
        loss = supervised_loss(scores, labels, s.loss, weights, total=self.team.total)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.average([weight.grad for weight in self._learned if weight.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(self._learned, s.optimiser.clip)
        record: dict[str, Any] = {
            "step": state.step + 1,
            "progress": round(state.progress, 5),
            "loss": loss.item(),
            "rate": rate,
            "images": batch.names,
        }
        # Statistics can overflow where the loss does not: a layer divides by an infinite deviation and gives 0.
        largest = torch._foreach_norm(self._measured, math.inf) if self._measured else ()
        finite = torch.stack([loss.detach(), norm, *largest]).isfinite()
        good = bool(finite.all())
        if good:
            self.optimiser.step()
            update_average(self._averages, [*self._weights, *self._statistics], state.step, s.optimiser)
            state.bad_in_row = 0
        else:
            for buffer, before in zip(self._statistics, statistics, strict=True):
                buffer.copy_(before)
            state.bad_in_row, state.skipped = state.bad_in_row + 1, state.skipped + 1
            record["loss"] = None
            record["skipped"] = f"loss {loss.item()}, gradient norm {norm.item()}"
            if bool(finite[:2].all()):
                record["skipped"] += ", statistics of a batch normalisation not finite"
        state.step += 1
        self._write({**record, "seconds": round(time.monotonic() - begun, 4)})
        self._tell("step" if good else "skipped", loss.item(), time.monotonic() - begun)
        if state.bad_in_row >= MOST_BAD_STEPS:
            self._give_up(batch)

    def _validation_due(self) -> bool:
        if not self.team.first:
            return False
        state, marks, budget = self.state, self.settings.validations, self.settings.budget
        if budget.minutes is None:
            assert budget.steps is not None
            # The last mark is the end itself, which always validates.
            return state.validated < min(state.step, state.step * marks // budget.steps) and state.step < budget.steps
        spent_on_it = (state.validated + 2) * self._validation_cost()
        progress = self._progress()
        # Not shortly before the end, which validates anyway.
        wanted = (progress - state.validated_at) * marks > 1 and progress < 1 - 0.5 / marks
        return wanted and spent_on_it < 0.1 * progress * budget.minutes * 60

    def _validation_cost(self) -> float:
        """Seconds of a validation: those of the last one, or before the first a guess from the pace of training."""
        if self.state.validation_seconds or not self._step_seconds:
            return self.state.validation_seconds
        pixels = sum(e.labels.size for e in self.parts.validation)
        step_pixels = self.settings.samples.batch * math.prod(self.settings.samples.crop)
        # A prediction is the forward third of a training step, and somewhat slower by its small batches.
        return 0.5 * self._step_seconds * pixels / step_pixels

    def _validate(self) -> None:
        """Score the averaged weights on the held-out images, by the code that predicts; keep the best."""
        if not self.team.first:
            return
        begun, s, state = time.monotonic(), self.settings, self.state
        runner = TorchRunner(self.averaged, self.device.type, s.machine.precision, shift=s.score_shift)
        threads = s.machine.threads
        if threads:
            torch.set_num_threads(threads)  # the others wait
        how = PredictSettings(device=self.device.type, precision=s.machine.precision)
        predictor, parts, shown_with = Predictor(self.plain, runner, how), self.parts, uncalibrated(self.card)

        def show(example: Example, prediction: Prediction) -> None:
            self.watch.on_image(example, prediction, shown_with)

        overlap, objects, card = validate(predictor, parts.validation, parts.train, show)
        if threads:
            torch.set_num_threads(self.team.split(threads))
        state.validated, state.validated_at = state.validated + (state.step > 0), state.progress
        state.validation_seconds = time.monotonic() - begun
        found = overlap.as_dict() | ({"objects": objects.as_dict()} if objects else {})
        self._write({"step": state.step, "validation": found})
        self._dice = _known(overlap.foreground_dice)
        self._quality = _known(objects.panoptic_quality[0]) if objects else None
        # Judged by the score that is shown. Where only background is annotated, its Dice is all there is.
        shown = self._quality if objects else self._dice
        judged = _known(overlap.mean_dice) if shown is None and not objects else shown
        self.card, state.objects = card, card.objects
        state.temperature, state.class_bias = card.temperature, card.class_bias
        chance = OBJECT_CHANCE / math.sqrt(max(1, objects.truth_objects)) if objects else 0.0
        if state.judge(judged, self._dice, self._quality, chance=chance, fair=s.start.fair):
            scores = {"step": state.step, "images": len(self.parts.validation), **found}
            self._save_model(MODEL, scores)
        self._tell("validated", None, 0.0)

    def _stop(self) -> None:
        """Told to stop: leave a usable model and a state to resume from."""
        self._save_model("last.safetensors")
        if not (self.run / MODEL).exists():
            self._save_model(MODEL)
        self._save()

    def _give_up(self, batch: Batch) -> None:
        """Too many steps in a row without a finite loss. Nothing of them is in the weights, but the run is lost."""
        self._stop()
        names, rate = ", ".join(sorted(set(batch.names))), self.settings.optimiser.learning_rate / 10
        raise TrainingError(
            f"{self.run}: the loss or its gradient was not finite {MOST_BAD_STEPS} steps in a row, at step "
            f"{self.state.step} on {names}; the last good model is kept in {self.run / MODEL}. Look at these images, "
            f"or train with a lower rate (--set optimiser.learning_rate={rate:g})"
        )

    def _result(self) -> TrainResult:
        s = self.state
        started = (s.before, s.after, not s.best_step) if self.settings.start.model else ()
        told = (s.step, s.skipped, s.best_dice, s.best_quality, s.finished, *started)
        return TrainResult(self.run, self.run / MODEL, *self.team.from_first(lambda: told))

    def _save(self) -> None:
        if self.team.first:
            self.state.elapsed = self.elapsed
            save_checkpoint(self.checkpoint, self.state, self.learned, self.averaged, self.optimiser)

    def _save_model(self, name: str, scores: dict[str, Any] | None = None) -> None:
        """The averaged weights; `scores` as validation found them."""
        if self.team.first:
            card = self.card.model_copy(update={"scores": scores or {}})
            save_model(self.run / name, card, self.averaged.state_dict())

    def _write(self, record: dict[str, Any]) -> None:
        if not self.team.first:
            return
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _tell(self, event: Literal["step", "validated", "skipped"], loss: float | None, seconds: float) -> None:
        state, budget = self.state, self.settings.budget
        if seconds:
            self._step_seconds = 0.9 * self._step_seconds + 0.1 * seconds if self._step_seconds else seconds
        if budget.steps is not None:
            left = (budget.steps - state.step) * self._step_seconds + self._validation_cost()
        else:
            assert budget.minutes is not None
            left = max(0.0, budget.minutes * 60 - self.elapsed)
        pace = self.settings.samples.batch / self._step_seconds if self._step_seconds else 0.0
        done, rate = min(1.0, self._progress()), self.optimiser.param_groups[0]["lr"]
        self.watch.on_progress(
            Progress(state.step, budget.steps, done, loss, self._dice, self._quality, pace, left, event, rate)
        )


def _known(score: float) -> float | None:
    """None where nothing was annotated to score against."""
    return None if math.isnan(score) else score
