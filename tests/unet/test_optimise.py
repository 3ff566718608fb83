"""The learning rate over the budget, the groups of weights, the averaged weights."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from useg.unet.network import UNet
from useg.unet.optimise import OptimiserSettings, learning_rate, make_optimiser, update_average

few = settings(max_examples=40, deadline=None)


@few
@given(progress=st.floats(0, 2), warmup=st.floats(0, 0.5), peak=st.floats(1e-5, 1))
def test_the_rate_stays_between_0_and_its_highest_value(progress: float, warmup: float, peak: float) -> None:
    for schedule in ("cosine", "constant"):
        chosen = OptimiserSettings(learning_rate=peak, warmup=warmup, schedule=schedule)
        assert 0 <= learning_rate(chosen, progress) <= peak


@few
@given(first=st.floats(0, 1), second=st.floats(0, 1))
def test_the_rate_rises_then_falls_to_0(first: float, second: float) -> None:
    chosen = OptimiserSettings(learning_rate=1.0, warmup=0.0)
    low, high = sorted((first, second))
    assert learning_rate(chosen, low) >= learning_rate(chosen, high)
    assert learning_rate(chosen, 0.5) == pytest.approx(0.5)
    assert learning_rate(chosen, 1.0) == pytest.approx(0, abs=1e-12)
    level = OptimiserSettings(learning_rate=1.0, warmup=0.2, schedule="constant")
    assert learning_rate(level, low) <= learning_rate(level, high)
    assert learning_rate(level, 0.1) == pytest.approx(0.5, abs=0.01)
    assert learning_rate(level, 1.0) == 1.0
    # The first step learns something.
    assert learning_rate(level, 0.0) > 0


@pytest.mark.parametrize("kind", ["muon", "adamw", "sgd"])
def test_every_weight_is_learned_and_only_kernels_decay(kind: str) -> None:
    network = UNet(depth=1, width=2, norm="batch", up_kernel=3, head="3x3")
    chosen = OptimiserSettings(kind=kind, weight_decay=0.3, momentum=0.9, learning_rate=0.02)
    optimiser = make_optimiser(network, chosen)
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert sorted(decay) == sorted(id(p) for p in network.parameters())
    for name, parameter in network.named_parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), name
    assert all(group["lr"] == 0.02 for group in optimiser.param_groups)
    if kind == "sgd":
        assert all(group["momentum"] == 0.9 for group in optimiser.param_groups)
    assert type(optimiser).__name__.lower() == kind


def average_of(values: list[float], average: float) -> float:
    """The average after the steps that gave `values`."""
    chosen = OptimiserSettings(average=average)
    averaged = torch.tensor([1e9])  # what it starts from must be forgotten at once
    for step, value in enumerate(values):
        update_average([averaged], [torch.tensor([value])], step, chosen)
    return averaged.item()


@few
@given(values=st.lists(st.floats(-10, 10), min_size=1, max_size=30), average=st.floats(0, 0.9))
def test_the_average_is_a_mean_of_what_was(values: list[float], average: float) -> None:
    found = average_of(values, average)
    assert min(values) - 1e-4 <= found <= max(values) + 1e-4
    assert average_of([v + 5 for v in values], average) == pytest.approx(found + 5, abs=1e-3)


def test_without_averaging_they_are_the_weights() -> None:
    assert average_of([3.0, 1.0, 7.0], 0.0) == 7.0


@pytest.mark.parametrize("steps", [100, 1000])
@pytest.mark.parametrize("average", [0.05, 0.2])
def test_the_memory_is_a_share_of_the_run(steps: int, average: float) -> None:
    """Weights that grow by 1 a step: the average lags by a / (1 + a) of the run, whatever its length."""
    found = average_of([float(n) for n in range(steps)], average)
    assert (steps - 1 - found) / steps == pytest.approx(average / (1 + average), rel=0.05)


def test_counters_are_copied_and_nothing_else_is_touched() -> None:
    current = [torch.tensor([4.0]), torch.tensor(7)]
    averaged = [torch.tensor([2.0]), torch.tensor(3)]
    update_average(averaged, current, 10, OptimiserSettings(average=0.1))
    assert averaged[0].item() == pytest.approx(3.0)
    assert averaged[1].item() == 7
    assert [c.item() for c in current] == [4.0, 7]


def test_averages_take_no_part_in_gradients() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    update_average([weight], [torch.zeros(2, requires_grad=True)], 3, OptimiserSettings())
    assert weight.is_leaf
    assert weight.grad is None
    assert math.isclose(weight[0].item(), 1 - 1 / 1.15, rel_tol=1e-6)


def test_settings_are_closed() -> None:
    with pytest.raises(ValueError, match="learning_rat"):
        OptimiserSettings.model_validate({"learning_rat": 1.0})


def test_a_network_without_statistics_has_nothing_to_average() -> None:
    update_average([], [], 3, OptimiserSettings())
