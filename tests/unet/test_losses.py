"""Losses: worked by hand, against torch's own, and by what they must not depend on."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from useg.labels import IGNORE
from useg.unet.losses import LossSettings, cross_entropy, segmentation_loss, soft_dice_loss

few = settings(max_examples=40, deadline=None)
BOTH = LossSettings(cross_entropy=0.7, dice=1.3, class_weights=[0.5, 2.0, 1.0])


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Scores `N 3 size`, in two or three dimensions, and labels with some pixels ignored."""
    size = draw(st.lists(st.integers(1, 5), min_size=2, max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    scores = 3 * torch.randn(2, 3, *size, generator=generator)
    labels = torch.randint(0, 3, (2, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < draw(st.sampled_from([0.0, 0.4]))] = IGNORE
    return scores, labels.to(torch.uint8)


def pixels(*columns: list[float]) -> Tensor:
    """Scores of a picture one pixel high, from the scores of each pixel."""
    return torch.tensor(columns).T[None, :, None]


def test_cross_entropy_by_hand() -> None:
    """Probabilities 3/4 and 1/2 of the right class: (log 4/3 + log 2) / 2; weighted 3 to 1 likewise."""
    scores, labels = pixels([math.log(3), 0.0], [0.0, 0.0]), torch.tensor([[[0, 1]]])
    first, second = math.log(4 / 3), math.log(2)
    assert cross_entropy(scores, labels).item() == pytest.approx((first + second) / 2)
    weights = torch.tensor([[[3.0, 1.0]]])
    assert cross_entropy(scores, labels, weights).item() == pytest.approx((3 * first + second) / 4)


def test_soft_dice_by_hand() -> None:
    """p = 3/4 and 1/4 of class 1, truth 1 and 0: Dice (2 * 3/4 + 1) / (1 + 1 + 1) = 5/6, of class 1 alone."""
    scores, labels = pixels([0.0, math.log(3)], [math.log(3), 0.0]), torch.tensor([[[1, 0]]])
    assert soft_dice_loss(scores, labels).item() == pytest.approx(1 / 6)


def test_soft_dice_without_foreground_is_judged_by_the_background() -> None:
    """p = 3/4 of class 0 at both pixels: (2 * 3/2 + 1) / (3/2 + 2 + 1) = 8/9."""
    scores, labels = pixels([math.log(3), 0.0], [math.log(3), 0.0]), torch.zeros(1, 1, 2, dtype=torch.long)
    assert soft_dice_loss(scores, labels).item() == pytest.approx(1 / 9)


@few
@given(problem=problems())
def test_soft_dice_is_the_formula_and_lies_in_0_to_1(problem: tuple[Tensor, Tensor]) -> None:
    scores, labels = problem
    value = soft_dice_loss(scores, labels).item()
    assert 0 <= value <= 1
    kept, losses = labels != IGNORE, []
    for k in (1, 2) if ((labels == 1) | (labels == 2)).any() else (0,):
        if not (labels == k).any():
            continue
        p, g = scores.softmax(1)[:, k][kept], (labels[kept] == k).float()
        losses.append(1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1))
    assert value == pytest.approx(float(sum(losses)) / max(1, len(losses)), abs=1e-5)


def test_a_perfect_answer_costs_nothing() -> None:
    labels = torch.randint(0, 3, (2, 4, 5))
    scores = 100 * F.one_hot(labels, 3).movedim(-1, 1).float()
    assert segmentation_loss(scores, labels, BOTH).item() == pytest.approx(0, abs=1e-6)


@few
@given(problem=problems())
def test_cross_entropy_is_that_of_torch(problem: tuple[Tensor, Tensor]) -> None:
    scores, labels = problem
    if (labels == IGNORE).all():
        return
    torch.testing.assert_close(
        cross_entropy(scores, labels), F.cross_entropy(scores, labels.long(), ignore_index=IGNORE)
    )
    weighted = segmentation_loss(scores, labels, LossSettings(class_weights=[0.5, 2.0, 1.0]))
    theirs = F.cross_entropy(scores, labels.long(), torch.tensor([0.5, 2.0, 1.0]), ignore_index=IGNORE)
    torch.testing.assert_close(weighted, theirs)


@few
@given(problem=problems())
def test_the_loss_is_the_weighted_sum_of_its_terms(problem: tuple[Tensor, Tensor]) -> None:
    scores, labels = problem
    pixelwise = segmentation_loss(scores, labels, LossSettings(class_weights=BOTH.class_weights))
    expected = 0.7 * pixelwise + 1.3 * soft_dice_loss(scores, labels)
    torch.testing.assert_close(segmentation_loss(scores, labels, BOTH), expected)
    alone = segmentation_loss(scores, labels, LossSettings(cross_entropy=0, dice=1))
    torch.testing.assert_close(alone, soft_dice_loss(scores, labels))


@few
@given(problem=problems(), seed=st.integers(0, 999))
def test_ignored_pixels_have_no_part_in_it(problem: tuple[Tensor, Tensor], seed: int) -> None:
    scores, labels = problem
    ignored = (labels == IGNORE)[:, None].expand_as(scores)
    scores.requires_grad_()
    loss = segmentation_loss(scores, labels, BOTH)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert torch.isfinite(gradient).all()
    assert not gradient[ignored].any()
    if (labels != IGNORE).any():
        assert gradient[~ignored].any()
    other = torch.where(ignored, torch.randn(scores.shape, generator=torch.Generator().manual_seed(seed)), scores)
    torch.testing.assert_close(segmentation_loss(other, labels, BOTH), loss)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("chosen", [LossSettings(), LossSettings(cross_entropy=0, dice=1), BOTH])
def test_nothing_annotated_costs_nothing(chosen: LossSettings, weighted: bool) -> None:
    scores = torch.randn(2, 3, 4, 5, requires_grad=True)
    labels = torch.full((2, 4, 5), IGNORE, dtype=torch.uint8)
    loss = segmentation_loss(scores, labels, chosen, torch.rand(2, 4, 5) if weighted else None)
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


@few
@given(problem=problems(), factor=st.floats(0.1, 10))
def test_weights_per_pixel(problem: tuple[Tensor, Tensor], factor: float) -> None:
    scores, labels = problem
    weights = torch.rand(labels.shape) + 0.1
    loss = segmentation_loss(scores, labels, LossSettings(class_weights=[0.5, 2.0, 1.0]), weights)
    # By the sum, pixel by pixel; only the ratios of the weights count.
    kept = labels != IGNORE
    if kept.any():
        chosen = scores.log_softmax(1).gather(1, torch.where(kept, labels.long(), 0)[:, None])[:, 0][kept]
        both = weights[kept] * torch.tensor([0.5, 2.0, 1.0])[labels[kept].long()]
        torch.testing.assert_close(loss, -(both * chosen).sum() / both.sum())
    scaled = segmentation_loss(scores, labels, LossSettings(class_weights=[0.5, 2.0, 1.0]), factor * weights)
    torch.testing.assert_close(scaled, loss)
    # A pixel of weight 0 is an ignored one.
    weights[:, 0] = 0
    without = labels.clone()
    without[:, 0] = IGNORE
    torch.testing.assert_close(cross_entropy(scores, labels, weights), cross_entropy(scores, without, weights))


def test_weights_do_not_count_in_dice() -> None:
    scores, labels = torch.randn(1, 2, 3, 3), torch.randint(0, 2, (1, 3, 3))
    only_dice = LossSettings(cross_entropy=0, dice=1)
    plain, weighted = (segmentation_loss(scores, labels, only_dice, w) for w in (None, torch.rand(1, 3, 3)))
    assert torch.equal(plain, weighted)


@few
@given(problem=problems())
def test_scores_in_bfloat16_are_summed_in_float32(problem: tuple[Tensor, Tensor]) -> None:
    scores, labels = problem
    low = scores.bfloat16()
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = segmentation_loss(low, labels, BOTH)
        assert loss.dtype == torch.float32
        assert torch.equal(loss, segmentation_loss(low.float(), labels, BOTH))


@pytest.mark.parametrize("wrong", [3, 254, -1])
def test_a_label_that_is_no_class_is_refused(wrong: int) -> None:
    scores, labels = torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 1], [2, wrong]]])
    for loss in (cross_entropy, soft_dice_loss, segmentation_loss):
        with pytest.raises(ValueError, match="from 0 to 2, or 255"):
            loss(scores, labels)


def test_extreme_scores_stay_finite() -> None:
    scores = torch.tensor([1e30, -1e30]).reshape(1, 2, 1, 1).requires_grad_()
    loss = segmentation_loss(scores, torch.ones(1, 1, 1, dtype=torch.long), LossSettings(dice=1))
    loss.backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
