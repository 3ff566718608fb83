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
        best: highest score so far by which models are chosen: mean Dice over all classes, or panoptic quality where
            masks number objects.
        best_dice, best_quality: of the model that is kept as the best, mean Dice over the foreground and panoptic
            quality.
        validated: validations done, the last one at progress `validated_at`.
        validation_seconds: time of the last one.
        objects: how objects are told apart, as the last validation found it, where masks number them; temperature: of
            the scores, as it found that.
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
    validated: int = 0
    validated_at: float = 0.0
    validation_seconds: float = 0.0
    objects: SeparateSettings | None = None
    temperature: float = 1.0
    bad_in_row: int = 0
    skipped: int = 0
    finished: bool = False


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
    """Records of `metrics.jsonl` up to `steps`; what a kill cut short or a checkpoint did not keep is left out."""
    records = []
    if path.is_file():
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
