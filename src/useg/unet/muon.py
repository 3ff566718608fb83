"""Muon: momentum whose steps are made orthogonal, so that every direction of a kernel learns at one pace.

K. Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); the scale that lets it share a
learning rate with Adam is that of Liu et al. 2025, arXiv 2502.16982, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            gradients, states = [weight.grad for weight in weights], [self.state[weight] for weight in weights]
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            changes = (self._orthogonal if group["orthogonal"] else self._adam)(gradients, states, group)
            torch._foreach_add_(weights, changes, alpha=-group["lr"])

    def _orthogonal(
        self, gradients: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]
    ) -> list[Tensor]:
        for gradient, state in zip(gradients, states, strict=True):
            if not state:
                state["momentum"] = torch.zeros_like(gradient)
        momenta = [state["momentum"] for state in states]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
        changes = orthogonal([matrix.flatten(1) for matrix in ahead])
        # The entries' root mean square becomes 0.2, as large as the steps of Adam usually are.
        torch._foreach_mul_(changes, [0.2 * math.sqrt(max(change.shape)) for change in changes])
        return [change.reshape(gradient.shape) for change, gradient in zip(changes, gradients, strict=True)]

    def _adam(self, gradients: list[Tensor], states: list[dict[str, Tensor]], group: dict[str, Any]) -> list[Tensor]:
        for gradient, state in zip(gradients, states, strict=True):
            if not state:
                state["step"] = torch.zeros(())
                state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        counts, means, squares = ([state[name] for state in states] for name in ("step", "mean", "square"))
        torch._foreach_add_(counts, 1)
        first, second = group["betas"]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - second)
        steps = [count.item() for count in counts]
        deviations = torch._foreach_div(squares, [1 - second**n for n in steps])
        torch._foreach_sqrt_(deviations)
        torch._foreach_add_(deviations, 1e-8)
        changes = torch._foreach_div(means, [1 - first**n for n in steps])
        torch._foreach_div_(changes, deviations)
        return list(changes)


def orthogonal(matrices: Sequence[Float[Tensor, "_ _"]]) -> list[Float[Tensor, "_ _"]]:
    """Matrices with the singular vectors of `matrices` and singular values near 1, by Newton-Schulz iteration.

    Iterates on the small Gram matrices and not on the long kernels: the same result for a third of the arithmetic, as
    all that is multiplied here is a polynomial of one matrix. Those of one size go together, because of small products
    the call is what costs. All zeros give zeros.
    """
    a, b, c = QUINTIC
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    wide = [matrix / matrix.norm().clamp_min(torch.finfo(matrix.dtype).tiny) for matrix in wide]
    result: list[Tensor] = list(wide)
    for size in sorted({len(matrix) for matrix in wide}):
        those = [index for index, matrix in enumerate(wide) if len(matrix) == size]
        gram = torch.stack([wide[index] @ wide[index].T for index in those])
        whole: Tensor | None = None
        for _ in range(ROUNDS):
            factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            factor.diagonal(dim1=1, dim2=2).add_(a)
            whole = factor if whole is None else factor @ whole
            gram = factor @ gram @ factor
        assert whole is not None
        for index, polynomial in zip(those, whole, strict=True):
            turned = polynomial @ wide[index]
            result[index] = turned if matrices[index].shape == turned.shape else turned.T
    return result
