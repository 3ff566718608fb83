"""The optimiser, its learning rate over the run, and the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from useg.unet.muon import Muon


class OptimiserSettings(BaseModel):
    """How weights are learned.

    Attributes:
        kind: "muon" (Adam for the first and last layer, biases and normalisations), "adamw", or "sgd" with momentum
            (the paper's).
        learning_rate: its highest value.
        weight_decay: of convolution kernels; biases and normalisations are left alone.
        momentum: of Muon and of SGD (paper: 0.99).
        schedule: "cosine" falls to 0 at the end of the budget; "constant" stays.
        warmup: share of the budget in which the rate rises from 0.
        clip: largest norm of the gradient; a longer one is shortened to it.
        average: share of the steps so far over which the averaged weights reach back; 0: none, they are the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["muon", "adamw", "sgd"] = "muon"
    learning_rate: float = Field(default=1e-2, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    momentum: float = Field(default=0.95, ge=0, lt=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    clip: float = Field(default=5.0, gt=0)
    average: float = Field(default=0.05, ge=0, lt=1)


def make_optimiser(network: nn.Module, settings: OptimiserSettings, *, heads: int = 1) -> torch.optim.Optimizer:
    """The optimiser over all weights of `network`, of whose kernels the last `heads` give scores of classes."""
    rate, decay = settings.learning_rate, settings.weight_decay
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    if settings.kind == "muon":
        # Networks begin with their first layer and end with their heads: image channels and classes, not features.
        ends = {"params": [kernels[0], *kernels[-heads:]], "weight_decay": decay}
        return Muon(kernels[1:-heads], [ends, others], lr=rate, weight_decay=decay, momentum=settings.momentum)
    groups = [{"params": kernels, "weight_decay": decay}, others]
    if settings.kind == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum)


def learning_rate(settings: OptimiserSettings, progress: float) -> float:
    """The rate at `progress` (0..1) of the budget: a linear rise, then half a cosine down to 0, or level."""
    rise = min(1.0, (progress + 1e-3) / settings.warmup) if settings.warmup else 1.0
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) if settings.schedule == "cosine" else 1.0
    return settings.learning_rate * rise * fall


@torch.no_grad()
def update_average(
    averaged: Iterable[torch.Tensor], current: Iterable[torch.Tensor], step: int, settings: OptimiserSettings
) -> None:
    """Move the averaged weights towards the current ones, after step number `step` (from 0).

    An exponential average whose memory is a fixed share of the run so far (a power-law average, Karras et al. 2024,
    section 3.1): early weights are forgotten at any length of the run.
    """
    towards = 1 / (1 + settings.average * step)
    pairs = list(zip(averaged, current, strict=True))
    if floats := [(old, new) for old, new in pairs if old.is_floating_point()]:  # a network may have no statistics
        torch._foreach_lerp_([old for old, _ in floats], [new for _, new in floats], towards)
    for old, new in pairs:
        if not old.is_floating_point():
            old.copy_(new)
