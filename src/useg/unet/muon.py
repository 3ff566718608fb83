"""Muon: momentum whose steps are made orthogonal, so that every direction of a kernel learns at one pace.

K. Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); the scale that lets it share a
learning rate with Adam is that of Liu et al. 2025, arXiv 2502.16982, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Jordan's polynomial a x + b x^3 + c x^5: five rounds bring all of 0.003..1 between 0.7 and 1.2."""


class Muon(torch.optim.Optimizer):
    """Orthogonal steps for kernels of hidden layers, Adam's for all other weights.

    Args:
        hidden: kernels, each taken as the matrix of its first axis by all others.
        other: groups of the remaining weights: `{"params": ..., "weight_decay": ...}`.
        lr: learning rate of both kinds. weight_decay: of the hidden kernels, decoupled as in AdamW.
        momentum: of the hidden kernels, with Nesterov's look ahead. betas: Adam's.
    """

    def __init__(
        self,
        hidden: Iterable[Tensor],
        other: Iterable[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95),
    ) -> None:
        groups = [{"params": list(hidden), "orthogonal": True}, *({**group, "orthogonal": False} for group in other)]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change all weights that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    change = self._orthogonal if group["orthogonal"] else self._adam
                    weight.add_(change(weight.grad, self.state[weight], group), alpha=-group["lr"])

    def _orthogonal(self, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        matrix = gradient.lerp(state["momentum"], group["momentum"]).flatten(1)
        # The entries' root mean square becomes 0.2, as large as the steps of Adam usually are.
        return orthogonal(matrix).mul_(0.2 * math.sqrt(max(matrix.shape))).reshape(gradient.shape)

    def _adam(self, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        steps = state["step"].item()
        deviation = (state["square"] / (1 - second**steps)).sqrt_().add_(1e-8)
        return state["mean"].div(1 - first**steps).div_(deviation)


def orthogonal(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """A matrix with the singular vectors of `matrix` and singular values near 1, by Newton-Schulz iteration.

    Iterates on the small Gram matrix and not on the long kernel: the same result for a third of the arithmetic, as
    all that is multiplied here is a polynomial of one matrix. All zeros give zeros.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(torch.finfo(matrix.dtype).tiny)
    gram = wide @ wide.T
    a, b, c = QUINTIC
    one = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    whole = one
    for _ in range(ROUNDS):
        factor = a * one + b * gram + c * (gram @ gram)
        whole = factor @ whole
        gram = factor @ gram @ factor
    wide = whole @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
