"""The state of a run: what goes in comes out, and what is damaged is refused."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from useg.atomic import replacing
from useg.checkpoint import RunState, load_checkpoint, read_log, save_checkpoint
from useg.errors import TrainingError
from useg.unet.optimise import OptimiserSettings, make_optimiser

Parts = tuple[nn.Module, nn.Module, torch.optim.Optimizer]


def parts(kind: str, seed: int, steps: int, width: int = 3) -> Parts:
    """A small network that has learned for `steps` steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1))
        averaged = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1))
        settings = OptimiserSettings.model_validate({"kind": kind})
        optimiser = make_optimiser(network, settings)
        for _ in range(steps):
            learn(network, optimiser, seed)
    return network, averaged, optimiser


def learn(network: nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
    image = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    optimiser.zero_grad()
    network(image).square().sum().backward()
    optimiser.step()


@pytest.mark.parametrize("kind", ["muon", "adamw", "sgd"])
@pytest.mark.parametrize("steps", [0, 3])
def test_a_restored_run_goes_on_alike(kind: str, steps: int, tmp_path: Path) -> None:
    network, averaged, optimiser = parts(kind, seed=1, steps=steps)
    state = RunState(step=steps, progress=0.3, elapsed=1.5, best=0.7, validated=2, skipped=1)
    save_checkpoint(tmp_path / "state.safetensors", state, network, averaged, optimiser)
    # Not a line of the other's past is left in the one that is restored.
    network2, averaged2, optimiser2 = parts(kind, seed=2, steps=2 if steps else 0)
    assert load_checkpoint(tmp_path / "state.safetensors", network2, averaged2, optimiser2) == state
    for a, b in ((network, network2), (averaged, averaged2)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    for seed in (5, 6):
        learn(network, optimiser, seed)
        learn(network2, optimiser2, seed)
    assert all(torch.equal(x, y) for x, y in zip(network.parameters(), network2.parameters(), strict=True))


@given(st.data())
def test_the_state_keeps_every_number(data: st.DataObject) -> None:
    share, count = st.floats(0, 1), st.integers(0, 10**9)
    state = RunState(
        step=data.draw(count),
        progress=data.draw(share),
        elapsed=data.draw(st.floats(0, 1e9)),
        best=data.draw(st.none() | share),
        best_dice=data.draw(st.none() | share),
        bad_in_row=data.draw(st.integers(0, 3)),
        finished=data.draw(st.booleans()),
    )
    assert RunState.model_validate_json(state.model_dump_json()) == state


scores = st.floats(0, 1)


@given(start=scores, later=st.lists(scores, min_size=1, max_size=6), chance=st.floats(0, 0.2))
def test_no_later_model_is_kept_that_is_worse_than_the_start(start: float, later: list[float], chance: float) -> None:
    state = RunState()
    assert state.judge(start, start, None, chance=chance, fair=True)
    kept = start
    for state.step, score in enumerate(later, start=1):
        if state.judge(score, score, None, chance=chance, fair=True):
            kept = score
    assert kept >= start
    assert kept >= max([start, *later]) - chance
    assert (state.best_dice, state.best) == (kept, max(start, *later) if state.best_step else start)
    assert (state.before, state.after) == (start, max(later))
    assert (state.best_step == 0) == (max(later) <= start)


@given(start=scores | st.none(), later=st.lists(scores, min_size=1, max_size=6))
def test_a_start_whose_score_is_too_good_is_not_kept(start: float | None, later: list[float]) -> None:
    """As where nothing could be scored at the start: the choice is among later models alone."""
    state = RunState()
    state.judge(start, start, None, chance=0.0, fair=False)
    taken = [state.judge(score, score, None, chance=0.0, fair=False) for state.step, score in enumerate(later, start=1)]
    assert taken[0]
    assert state.best_dice == state.best == max(later)
    assert state.before == start


@pytest.mark.parametrize("damage", ["cut", "empty", "other network", "no state", "text"])
def test_a_damaged_state_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "state.safetensors"
    network, averaged, optimiser = parts("adamw", seed=1, steps=1)
    save_checkpoint(path, RunState(step=1), network, averaged, optimiser)
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-7])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("a note")
        case "no state":
            save_file({"a": torch.zeros(2)}, path)
        case _:
            network, averaged, optimiser = parts("adamw", seed=1, steps=0, width=4)
    with pytest.raises(TrainingError, match=r"state\.safetensors: cannot be resumed from") as caught:
        load_checkpoint(path, network, averaged, optimiser)
    assert "\n" not in str(caught.value)


@given(count=st.integers(0, 8), kept=st.integers(0, 9), cut=st.integers(0, 30))
def test_the_log_is_read_up_to_the_checkpoint(count: int, kept: int, cut: int) -> None:
    import tempfile

    lines = [json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in range(1, count + 1)]
    text = "".join(lines)
    whole = text[: max(0, len(text) - cut)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "metrics.jsonl"
        log.write_text(whole, encoding="utf-8")
        found = [record["step"] for record in read_log(log, kept)]
    # A line that a kill cut short is left out; its last character may be nothing but the line's end.
    complete = sum(len("".join(lines[: n + 1])) - 1 <= len(whole) for n in range(count))
    assert found == list(range(1, min(complete, kept) + 1))


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    assert read_log(tmp_path / "none.jsonl", 5) == []


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
