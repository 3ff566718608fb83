"""Muon: what an orthogonal step is, and that the other weights are Adam's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from useg.unet.muon import QUINTIC, ROUNDS, Muon, orthogonal

few = settings(max_examples=30, deadline=None)
sizes = st.integers(1, 40)


def matrix(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@few
@given(rows=sizes, columns=sizes, seed=st.integers(0, 99), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_the_short_way_is_the_iteration_of_the_source(rows: int, columns: int, seed: int, scale: float) -> None:
    given_matrix = matrix(rows, columns, seed).double() * scale
    x = given_matrix / given_matrix.norm()
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        x = a * x + b * x @ x.T @ x + c * x @ x.T @ x @ x.T @ x
    torch.testing.assert_close(orthogonal([given_matrix.float()])[0], x.float(), atol=2e-3, rtol=0)


@few
@given(rows=st.integers(2, 30), more=st.integers(20, 60), seed=st.integers(0, 99))
def test_singular_values_come_near_1_and_directions_stay(rows: int, more: int, seed: int) -> None:
    given_matrix = matrix(rows, rows + more, seed)
    for m in (given_matrix, given_matrix.T):
        values = torch.linalg.svdvals(orthogonal([m])[0])
        assert values.min() > 0.6
        assert values.max() < 1.25
        # With the same singular vectors, the product of one with the other's transpose is symmetric.
        product = m.T @ orthogonal([m])[0]
        torch.testing.assert_close(product, product.T, atol=1e-2, rtol=1e-2)


def test_no_gradient_is_no_step() -> None:
    assert torch.equal(orthogonal([torch.zeros(3, 5)])[0], torch.zeros(3, 5))


def test_weights_that_are_not_hidden_take_the_steps_of_adam() -> None:
    ours, theirs = (matrix(4, 3, 0).requires_grad_() for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 0.2, "betas": (0.9, 0.95)}
    optimisers = [Muon([], [{"params": [ours]}], **options), torch.optim.AdamW([theirs], **options)]  # type: ignore[arg-type]
    for step in range(5):
        for weight, optimiser in zip((ours, theirs), optimisers, strict=True):
            weight.grad = matrix(4, 3, step + 1)
            optimiser.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (4, 6, 2, 2), (3, 2, 3, 3, 3)])
def test_all_directions_of_a_kernel_learn_at_one_pace(shape: tuple[int, ...]) -> None:
    """A step is 0.2 in root mean square whatever the gradient's size, and as large in its weakest direction."""
    for scale in (1e-4, 1.0, 1e4):
        weight = torch.zeros(shape, requires_grad=True)
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale
        gradient[0] *= 0.01
        weight.grad = gradient.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else gradient
        Muon([weight], [], lr=1.0, momentum=0.0).step()
        change = -weight.detach().flatten(1)
        rows = change.norm(dim=1) / change.shape[1] ** 0.5 / (0.2 * (max(change.shape) / change.shape[1]) ** 0.5)
        assert rows.min() > 0.5
        assert rows.max() < 1.4
        assert (change * gradient.flatten(1)).sum() > 0
