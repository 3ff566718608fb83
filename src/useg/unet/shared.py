"""A network whose batch is spread over processes: what looks at the whole batch sees all parts of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from useg.unet.losses import Total


def share_batch(network: nn.Module, total: Total, part: range, batch: int) -> None:
    """Let `network` train as one that is given all `batch` samples, though it is given those of `part` only.

    Batch normalisations take mean and variance, and their gradients, over all processes; dropout draws for the whole
    batch, so that a sample loses what it would have lost in one process (on a CPU; a GPU draws otherwise for one).
    Weights, buffers and their names stay as they are.

    Args:
        total: gives sums over all processes, see `unet.losses.Total`.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm):
                setattr(module, name, _SharedBatchNorm(child, total))
            elif isinstance(child, nn.Dropout):
                setattr(module, name, _SharedDropout(child.p, part, batch))


class _SharedBatchNorm(_BatchNorm):
    """The batch normalisation `like`, with its weights and statistics, over all parts of the batch."""

    def __init__(self, like: _BatchNorm, total: Total) -> None:
        super().__init__(like.num_features, like.eps, like.momentum)
        self.training, self._total = like.training, total
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # `like` was made for it

    def forward(self, input: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *size"]:
        """Normalised by the batch while training, by the running statistics otherwise."""
        if not self.training:
            return super().forward(input)
        with torch.no_grad():
            mean, variance, count = _statistics(input, self._total)
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)).float(), self.momentum)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
        given = (input, self.weight, self.bias, mean, variance, count, self.eps, self._total)
        normalised: Tensor = _Normalise.apply(*given)  # type: ignore[no-untyped-call]
        return normalised


def _statistics(values: Tensor, total: Total) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel over all processes, and of how many values they are."""
    channels = values.shape[1]
    # Only asked for their type: half-precision values have statistics in full.
    unused = torch.zeros(channels, device=values.device), torch.ones(channels, device=values.device)
    mean, variance = torch.batch_norm_update_stats(values, *unused, 0.0)
    # In double precision, in which the square of the mean may be taken off again.
    mean, variance = mean.double(), variance.double()
    here = torch.full_like(mean[:1], values.numel() // channels)
    count, sums, squares = total(here, here * mean, here * (variance + mean**2))
    mean = sums / count
    return mean.float(), (squares / count - mean**2).clamp_min(0).float(), count


class _Normalise(torch.autograd.Function):
    """weight * (x - mean) / sqrt(variance + eps) + bias, where mean and variance are those of x in all processes.

    With u = (x - mean) / sqrt(variance + eps) and the gradient g, sums over all n values of a channel in all processes:
    dx = weight / sqrt(variance + eps) * (g - sum(g) / n - u * sum(g u) / n)  (Ioffe and Szegedy 2015, section 3).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        total: Total,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.total = eps, total
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        scale = (variance + ctx.eps).rsqrt()
        # As if mean and variance were constants, which gives sum(g u) and sum(g) of this process on the way.
        direct, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, mean, scale, False, ctx.eps, [True, True, True]
        )
        along, level = ctx.total(by_weight.double(), by_bias.double())
        factor = weight * scale / count
        slope, level = (factor * along).float(), (factor * level).float()
        # The part that runs through them is linear in u: the same normalisation with other weights.
        indirect = F.batch_norm(x, mean, variance, slope, level, False, 0.0, ctx.eps)
        return direct.sub_(indirect), by_weight, by_bias, None, None, None, None, None


class _SharedDropout(nn.Module):
    """Dropout that draws for all `batch` samples and takes the draws of its `part`."""

    def __init__(self, p: float, part: range, batch: int) -> None:
        super().__init__()
        self.p, self.part, self.batch = p, part, batch

    def forward(self, features: Float[Tensor, "n c *size"]) -> Float[Tensor, "n c *size"]:
        if not self.training or self.p == 0:
            return features
        # In the order in which one process draws: that of memory.
        layout = torch._prims_common.suggest_memory_format(features)
        whole = torch.empty(
            (self.batch, *features.shape[1:]), dtype=features.dtype, device=features.device, memory_format=layout
        )
        kept = whole.bernoulli_(1 - self.p).div_(1 - self.p)
        return features * kept[self.part.start : self.part.stop]
