"""Losses over scores and labels. All arithmetic in float32; pixels labelled IGNORE cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from useg.labels import IGNORE
from useg.unet.borders import BorderSettings

Total = Callable[..., tuple[Tensor, ...]]
"""Gives the sum of each tensor over all processes that hold a part of the batch, with its gradient."""


def whole(*values: Tensor) -> tuple[Tensor, ...]:
    """The `Total` of a process that holds the whole batch: the values."""
    return values


class LossSettings(BaseModel):
    """The loss is a weighted sum: `cross_entropy` times the first term plus `dice` times the second.

    Attributes:
        cross_entropy: weight of the pixel-wise softmax cross-entropy.
        dice: weight of the soft Dice loss.
        class_weights: weight of each class in the cross-entropy, w_c of the paper; empty means 1 for all.
        deep: weight of each coarser level of the expansive path beside the next finer one, see `useg.unet.deep`; 0 asks
            only for the output, which is all that "valid" padding allows.
        borders: extra weight of the background between objects, where masks number objects; off by default.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cross_entropy: float = Field(default=1.0, ge=0)
    dice: float = Field(default=0.0, ge=0)
    class_weights: list[Annotated[float, Field(ge=0)]] = []
    deep: float = Field(default=0.0, ge=0, le=1)
    borders: BorderSettings = BorderSettings(weight=0)

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossSettings:
        if not self.cross_entropy and not self.dice:
            raise ValueError("loss.cross_entropy and loss.dice are both 0: nothing would be learned")
        if self.class_weights and not any(self.class_weights):
            raise ValueError("loss.class_weights are all 0: nothing would be learned")
        return self


def segmentation_loss(
    scores: Float[Tensor, "n k *size"],
    labels: Integer[Tensor, "n *size"],
    settings: LossSettings = LossSettings(),
    weights: Float[Tensor, "n *size"] | None = None,
    *,
    total: Total = whole,
) -> Float[Tensor, ""]:
    """The loss that `settings` describe; `weights` (one a pixel) count in the cross-entropy only.

    Where several processes hold a part of the batch each, `total` sums over them, and all get the loss of the whole.

    Raises:
        ValueError: a label is no class, nor IGNORE.
    """
    seen = _Seen.of(scores, labels)
    loss = scores.new_zeros((), dtype=torch.float32)
    if settings.cross_entropy:
        if settings.class_weights:
            table = torch.tensor(settings.class_weights, device=scores.device)
            by_class = table[labels.long().clamp(max=len(table) - 1)]
            weights = by_class if weights is None else by_class * weights
        loss = loss + settings.cross_entropy * seen.cross_entropy(weights, total)
    if settings.dice:
        loss = loss + settings.dice * seen.soft_dice_loss(total)
    return loss


def cross_entropy(
    scores: Float[Tensor, "n k *size"],
    labels: Integer[Tensor, "n *size"],
    weights: Float[Tensor, "n *size"] | None = None,
    *,
    total: Total = whole,
) -> Float[Tensor, ""]:
    """Pixel-wise softmax cross-entropy, sum of w(x) * -log p_l(x)(x) over the sum of w(x) (paper, equation 1).

    Without weights it is the mean over annotated pixels; with nothing annotated it is 0.

    Raises:
        ValueError: a label is no class, nor IGNORE.
    """
    return _Seen.of(scores, labels).cross_entropy(weights, total)


def soft_dice_loss(
    scores: Float[Tensor, "n k *size"], labels: Integer[Tensor, "n *size"], *, total: Total = whole
) -> Float[Tensor, ""]:
    """One minus the soft Dice coefficient, mean over the foreground classes that occur in the batch.

    Dice_k = 2 sum p_k g_k / (sum p_k + sum g_k), sums over all annotated pixels of the batch (Milletari et al. 2016,
    equation 2, without the squares). A batch without foreground is judged by its background. In 0..1.

    Raises:
        ValueError: a label is no class, nor IGNORE.
    """
    return _Seen.of(scores, labels).soft_dice_loss(total)


@dataclass(frozen=True)
class _Seen:
    """What the terms of a loss share, computed once: their time is that of passing over memory.

    Attributes:
        logs: logarithms of the probabilities.
        truth: 1 for the class of each annotated pixel, else 0.
        counted: 1 for each annotated pixel, else 0.
    """

    logs: Float[Tensor, "n k *size"]
    truth: Float[Tensor, "n k *size"]
    counted: Float[Tensor, "n *size"]

    @classmethod
    def of(cls, scores: Float[Tensor, "n k *size"], labels: Integer[Tensor, "n *size"]) -> _Seen:
        classes = torch.arange(scores.shape[1], dtype=labels.dtype, device=labels.device)
        counted = labels != IGNORE
        if (counted & ((labels < 0) | (labels >= len(classes)))).any():
            raise ValueError(f"labels are classes from 0 to {len(classes) - 1}, or {IGNORE} where nothing is annotated")
        # Class by class in memory: a softmax over the few neighbouring numbers of channels-last is slow.
        logs = F.log_softmax(scores.to(torch.float32, memory_format=torch.contiguous_format), 1)
        truth = labels[:, None] == classes.reshape(-1, *[1] * (labels.ndim - 1))
        return cls(logs, truth.float(), counted.float())

    def cross_entropy(self, weights: Float[Tensor, "n *size"] | None, total: Total) -> Float[Tensor, ""]:
        gain, weight = self.logs * self.truth, self.counted
        if weights is not None:
            gain, weight = gain.sum(1) * weights.float(), weight * weights.float()
        cost, weight = total(-gain.sum(), weight.sum())
        return cost / weight.clamp_min(torch.finfo(torch.float32).tiny)

    def soft_dice_loss(self, total: Total) -> Float[Tensor, ""]:
        probabilities = self.logs.exp()
        axes = [0, *range(2, self.truth.ndim)]
        size, overlap, guessed = total(
            self.truth.sum(axes),
            (probabilities * self.truth).sum(axes),
            (probabilities * self.counted[:, None]).sum(axes),
        )
        # One pixel of smoothing keeps the quotient tame where a class has a handful of pixels.
        dice = (2 * overlap + 1) / (guessed + size + 1)
        present = size > 0
        present[0] = present[0] & ~present[1:].any()
        return ((1 - dice) * present).sum() / present.sum().clamp_min(1)
