"""The state of a training run on disk: one safetensors file, renamed into place, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from useg.errors import TrainingError
from useg.objects.settings import SeparateSettings
from useg.unet.model import save_tensors

KEY = "useg-state"
STATE = "state.safetensors"
"""Its name in a run folder."""


class RunState(BaseModel):
    """Where a run stands, apart from its tensors.

    Attributes:
        step: steps done, skipped ones included.
        progress: share of the budget spent, 0..1.
        elapsed: seconds spent by all sessions of the run so far.
        best: highest score so far by which models are chosen: mean Dice over the foreground (where only background is
            annotated, over that), or panoptic quality where masks number objects.
        best_dice, best_quality: of the model that is kept as the best, mean Dice over the foreground and panoptic
            quality; best_step: the step after which it was validated.
        before, after: of the model that the run started from, and the best of those that it trained, panoptic quality
            where masks number objects, else mean Dice over the foreground.
        floor: no model with a lower score than this is kept: that of the one that the run started from.
        validated: validations done, the last one at progress `validated_at`.
        validation_seconds: time of the last one.
        objects: how objects are told apart, as the last validation found it, where masks number them; temperature,
            class_bias: what calibrates the scores, as it found that.
        bad_in_row, skipped: steps without a finite loss or gradient, just now and in all.
        finished: nothing is left to do.
    """

    model_config = ConfigDict(extra="forbid")

    step: int = 0
    progress: float = 0.0
    elapsed: float = 0.0
    best: float | None = None
    best_dice: float | None = None
    best_quality: float | None = None
    best_step: int = 0
    before: float | None = None
    after: float | None = None
    floor: float = -1.0
    validated: int = 0
    validated_at: float = 0.0
    validation_seconds: float = 0.0
    objects: SeparateSettings | None = None
    temperature: float = 1.0
    class_bias: list[float] = []
    bad_in_row: int = 0
    skipped: int = 0
    finished: bool = False

    def judge(
        self, score: float | None, dice: float | None, quality: float | None, *, chance: float, fair: bool
    ) -> bool:
        """Note what a validation found; whether its model is the best so far, and to be kept as such.

        Of equally good models the later one: a few objects more or less are chance, and rates have fallen since. But
        none is kept that is worse than the one that the run started from.

        Args:
            score: by which models are chosen; None where nothing was annotated to score against.
            dice, quality: mean Dice over the foreground, and panoptic quality where masks number objects.
            chance: by how much scores differ without a reason.
            fair: whether the score of the model that the run started from can be held against others.
        """
        shown = dice if quality is None else quality
        if self.step == 0:
            self.before, self.best_dice, self.best_quality = shown, dice, quality
            self.best, self.floor = (score, self.floor if score is None else score) if fair else (None, self.floor)
            return True
        if shown is not None:
            self.after = max(shown, self.after or 0.0)
        if self.best is not None and (score is None or score <= max(self.best - chance, self.floor)):
            return False
        self.best = score if self.best is None else max(self.best, score or 0.0)
        self.best_step, self.best_dice, self.best_quality = self.step, dice, quality
        return True


def save_checkpoint(
    path: Path, state: RunState, network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Write everything that a resumed run needs."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"averaged.{k}": v for k, v in averaged.state_dict().items()}
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in values.items() if isinstance(v, Tensor)}
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    save_tensors(path, tensors, {KEY: state.model_dump_json()})


def load_checkpoint(path: Path, network: nn.Module, averaged: nn.Module, optimiser: torch.optim.Optimizer) -> RunState:
    """Put network, averages and optimiser back as they were.

    Raises:
        TrainingError: the file is damaged or belongs to another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state = read_state(path)
    try:
        tensors = load_file(path)
        network.load_state_dict(_part(tensors, "network."))
        averaged.load_state_dict(_part(tensors, "averaged."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimiser.").items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise _damaged(path, error) from error
    return state


def read_state(path: Path) -> RunState:
    """Where a run stands.

    Raises:
        TrainingError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return RunState.model_validate_json((file.metadata() or {}).get(KEY, ""))
    except (SafetensorError, ValidationError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TrainingError:
    what = str(error).splitlines()[0]
    return TrainingError(f"{path}: cannot be resumed from ({what}); train into a new folder")


def read_log(path: Path, steps: int) -> list[dict[str, Any]]:
    """Records of `metrics.jsonl` up to `steps`; what a kill cut short or a checkpoint did not keep is left out.

    With 0 steps there is no checkpoint, and the run begins anew.
    """
    records = []
    if steps and path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break
            if not isinstance(record, dict) or not isinstance(record.get("step"), int):
                break
            if record["step"] <= steps:
                records.append(record)
    return records


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
