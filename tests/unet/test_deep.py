"""Deep supervision asks the coarser levels too, while learning only, and weighs them as it says."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from useg.labels import IGNORE
from useg.unet.deep import DeeplySupervised, supervised_loss
from useg.unet.losses import LossSettings, segmentation_loss
from useg.unet.network import UNet

BOTH = LossSettings(dice=1.0, deep=0.5)


def network(**options: Any) -> UNet:
    torch.manual_seed(0)
    return UNet(1, 3, **{"padding": "same", "norm": "batch", "dropout": 0.0, "width": 4} | options)


@given(depth=st.integers(0, 4), patch=st.sampled_from([1, 2]), dims=st.sampled_from([2, 3]))
def test_each_level_but_the_finest_has_scores_of_its_size(depth: int, patch: int, dims: int) -> None:
    body = network(depth=depth, patch=patch, dims=dims, width=2).eval()
    size = [body.geometry.fit_up(16)] * dims
    image = torch.randn(1, 1, *size)
    with torch.no_grad():
        scores = DeeplySupervised(body)(image)
    assert torch.equal(scores[0], body(image))
    assert [list(each.shape[2:]) for each in scores] == [
        size,
        *([n // patch // 2**level for n in size] for level in range(1, depth)),
    ]
    assert [each.shape[1] for each in scores] == [3] * max(1, depth)


def test_without_it_there_is_the_output_alone() -> None:
    body = network(depth=2)
    plain = DeeplySupervised(body, deep=False)
    assert len(list(plain.parameters())) == len(list(body.parameters()))
    assert len(plain(torch.randn(1, 1, 16, 16))) == 1


def test_every_weight_learns_and_nothing_is_left_hanging() -> None:
    trained = DeeplySupervised(network(depth=3))
    labels = torch.randint(0, 3, (2, 32, 32))
    for _ in range(2):
        supervised_loss(trained(torch.randn(2, 1, 32, 32)), labels, BOTH).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.parameters())
        trained.zero_grad()
    assert not any(block._forward_hooks for block in trained.body.expansive)


@given(deep=st.floats(0.1, 1), levels=st.integers(1, 4))
def test_the_loss_is_the_mean_of_all_levels(deep: float, levels: int) -> None:
    torch.manual_seed(levels)
    labels = torch.randint(0, 3, (2, 16, 32))
    labels[0, :5] = IGNORE
    weights = torch.rand(2, 16, 32)
    scores = [torch.randn(2, 3, 16 // 2**k, 32 // 2**k) for k in range(levels)]
    chosen = BOTH.model_copy(update={"deep": deep})
    expected = segmentation_loss(scores[0], labels, chosen, weights)
    for k in range(1, levels):
        half = 2 ** (k - 1)
        expected = expected + deep**k * segmentation_loss(scores[k], labels[:, half :: 2**k, half :: 2**k], chosen)
    found = supervised_loss(scores, labels, chosen, weights)
    torch.testing.assert_close(found, expected / sum(deep**k for k in range(levels)))


def test_levels_that_are_right_cost_nothing() -> None:
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, 8:] = 1
    scores = [
        100.0 * torch.nn.functional.one_hot(labels[:, s // 2 :: s, s // 2 :: s], 3).movedim(-1, 1) for s in (1, 2, 4)
    ]
    assert supervised_loss(scores, labels, BOTH).item() == pytest.approx(0, abs=1e-6)
