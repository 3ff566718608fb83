"""Training that starts from an earlier model: the whole way, with other classes and channels, and a fair comparison."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.ndimage import label

from models import files_of, make_model
from useg.data.dataset import Example
from useg.data.known import checksums, seen_before
from useg.errors import MissingError, ModelError, SettingsError, UsegError
from useg.images.files import write_labels, write_picture
from useg.predict import Predictor, PredictSettings
from useg.settings import load_settings
from useg.train import train
from useg.unet.model import load_model, read_card, save_model
from useg.watch import Progress, TrainResult, Watcher

TINY: dict[str, Any] = {
    "network.width": 4,
    "network.depth": 2,
    "network.dropout": 0.5,
    "samples.crop": [64, 64],
    "samples.batch": 2,
    "machine.precision": "float32",
    "machine.threads": 1,
}
ON: dict[str, Any] = {name: value for name, value in TINY.items() if not name.startswith("network.")}
"""What is set of a run that starts from a TINY one: the network is that one's."""
STEPS = 6


def draw_blocks(count: int, first: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images of bright blocks in noise, and their masks: soon learned."""
    pairs = {}
    for index in range(first, first + count):
        rng = np.random.default_rng(index)
        mask = np.zeros((64, 64), np.uint8)
        for y, x in rng.integers(0, 48, (4, 2)):
            mask[y : y + 14, x : x + 14] = 1
        image = 60 + 100 * mask + rng.normal(0, 25, mask.shape)
        pairs[f"blocks_{index:02}"] = (image.clip(0, 255).astype(np.uint8), mask)
    return pairs


def arrange(folder: Path, **parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """A data set of images and masks by part and name."""
    for part, pairs in parts.items():
        for name, (image, mask) in pairs.items():
            write_picture(folder / part / "images" / f"{name}.png", image)
            write_labels(folder / part / "masks" / f"{name}.png", mask)
    return folder


PAIRS, OTHERS = draw_blocks(6), draw_blocks(2, first=50)


def wrong(pairs: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The masks say the opposite of the truth."""
    return {name: (image, 1 - mask) for name, (image, mask) in pairs.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return arrange(tmp_path_factory.mktemp("data"), train=PAIRS)


@pytest.fixture(scope="module")
def earlier(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows blocks."""
    run = tmp_path_factory.mktemp("earlier") / "run"
    assert (train(data, run, steps=60, overrides={**TINY, "validations": 2}).validation or 0) > 0.5
    return run


@pytest.fixture(scope="module")
def whole(data: Path, earlier: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A run that starts from it, and that nothing interrupted."""
    return train(data, tmp_path_factory.mktemp("whole") / "run", steps=STEPS, overrides=ON, start=earlier)


def records(run: Path) -> list[dict[str, Any]]:
    """The log without what a clock wrote."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def assert_same_end(run: Path, other: Path) -> None:
    for name in ("model.safetensors", "last.safetensors"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert records(run) == records(other)


def weights_of(path: Path) -> dict[str, Any]:
    return {name: value.numpy() for name, value in load_file(path).items()}


def assert_same_weights(path: Path, other: Path) -> None:
    one, two = weights_of(path), weights_of(other)
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_the_earlier_model_is_scored_first_and_by_the_same_code(whole: TrainResult, earlier: Path) -> None:
    first, scores = records(whole.run)[0], read_card(earlier).scores
    assert first["step"] == 0
    assert {k: scores[k] for k in first["validation"]} == first["validation"]
    assert whole.before == scores["foreground_dice"]
    later = [r["validation"]["foreground_dice"] for r in records(whole.run)[1:] if "validation" in r]
    assert len(later) == STEPS  # it is none of the run's own validations
    assert whole.after == max(later)


def test_the_better_one_is_the_best_and_the_earlier_file_is_left_alone(whole: TrainResult, earlier: Path) -> None:
    assert whole.before is not None
    assert whole.after is not None
    assert whole.validation == max(whole.before, whole.after)
    assert whole.kept_start == (whole.before >= whole.after)
    settings_there = load_settings(whole.run / "settings.toml")
    assert settings_there.start.model == str((earlier / "model.safetensors").resolve())
    assert settings_there.network == load_settings(earlier / "settings.toml").network
    assert settings_there.optimiser.learning_rate < load_settings(earlier / "settings.toml").optimiser.learning_rate


def test_what_is_taken_is_said(data: Path, earlier: Path, tmp_path: Path) -> None:
    said: list[str] = []
    train(data, tmp_path, steps=1, overrides=ON, start=earlier, watch=Watcher(on_text=said.append))
    taken = next(line for line in said if line.startswith("starts from "))
    assert "tensors taken; classes as before: background, foreground" in taken
    assert any(line.startswith("network: that of the earlier model, depth 2, width 4") for line in said)
    assert not any(line.startswith("width:") for line in said)  # nothing is probed
    assert not any("does not know which images" in line for line in said)


def test_weights_and_averages_start_as_the_earlier_ones(data: Path, earlier: Path, tmp_path: Path) -> None:
    still = {**ON, "optimiser.learning_rate": 1e-12}
    train(data, tmp_path, steps=2, overrides=still, start=earlier)
    before, after = weights_of(earlier / "model.safetensors"), weights_of(tmp_path / "last.safetensors")
    for name, value in before.items():
        if "running" not in name and "num_batches" not in name:
            np.testing.assert_allclose(after[name], value, atol=1e-9, err_msg=name)


@settings(max_examples=2, deadline=None)
@given(stop=st.integers(1, STEPS - 1))
def test_stopped_and_resumed_equals_uninterrupted(stop: int, data: Path, earlier: Path, whole: TrainResult) -> None:
    with tempfile.TemporaryDirectory() as folder:
        moved, run = Path(folder) / "earlier.safetensors", Path(folder) / "run"
        shutil.copy(earlier / "model.safetensors", moved)
        done = [0]

        def count(progress: Progress) -> None:
            done[0] = progress.step

        watch = Watcher(on_progress=count, should_stop=lambda: done[0] >= stop)
        first = train(data, run, steps=STEPS, overrides=ON, start=moved, watch=watch)
        assert (first.steps, first.before) == (stop, whole.before)
        moved.unlink()  # a run that goes on does not need it
        result = train(None, run, resume=True)
        assert (result.before, result.after, result.kept_start) == (whole.before, whole.after, whole.kept_start)
        assert_same_end(run, whole.run)


class Killed(Exception):
    """Stands for the end of the process."""


def test_killed_before_its_first_checkpoint_it_begins_anew(
    data: Path, earlier: Path, whole: TrainResult, tmp_path: Path
) -> None:
    def die(progress: Progress) -> None:
        if progress.step == 2:
            raise Killed

    with pytest.raises(Killed):
        train(data, tmp_path, steps=STEPS, overrides=ON, start=earlier, watch=Watcher(on_progress=die))
    train(data, tmp_path, steps=STEPS, overrides=ON, start=earlier, resume=True)
    assert_same_end(tmp_path, whole.run)


def test_settings_alone_repeat_the_run(whole: TrainResult, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_bytes((whole.run / "settings.toml").read_bytes())
    train(None, tmp_path, resume=True)
    assert_same_end(tmp_path, whole.run)


def test_a_run_is_not_repeated_from_another_model(data: Path, earlier: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    shutil.copy(earlier / "model.safetensors", model)
    train(data, tmp_path / "run", steps=1, overrides=ON, start=model)
    (tmp_path / "again").mkdir()
    shutil.copy(tmp_path / "run/settings.toml", tmp_path / "again")
    card, (network,) = load_model(model)
    save_model(model, card.model_copy(update={"version": "other"}), network.state_dict())
    assert "has changed" in refused(ModelError, None, tmp_path / "again", resume=True)
    model.unlink()
    assert "is gone" in refused(MissingError, None, tmp_path / "again", resume=True)


def test_the_earlier_model_is_kept_when_the_new_one_is_worse(earlier: Path, tmp_path: Path) -> None:
    folder = arrange(tmp_path / "data", train=wrong(PAIRS), val=OTHERS)
    bytes_before = files_of(earlier)
    fast = {**ON, "optimiser.learning_rate": 0.05, "validations": 1}
    result = train(folder, tmp_path / "run", steps=40, overrides=fast, start=earlier)
    assert result.kept_start
    assert result.before is not None
    assert result.after is not None
    assert result.after < result.before == result.validation
    assert_same_weights(tmp_path / "run/model.safetensors", earlier / "model.safetensors")
    assert read_card(tmp_path / "run").scores["step"] == 0
    assert files_of(earlier) == bytes_before
    last = weights_of(tmp_path / "run/last.safetensors")
    assert not np.array_equal(last["head.bias"], weights_of(earlier / "model.safetensors")["head.bias"])


def test_a_better_one_takes_its_place(tmp_path: Path) -> None:
    poor = make_model(tmp_path, depth=2)
    folder = arrange(tmp_path / "data", train=PAIRS, val=OTHERS)
    said: list[str] = []
    options: dict[str, Any] = {"overrides": {**ON, "validations": 1}, "watch": Watcher(on_text=said.append)}
    result = train(folder, tmp_path / "run", steps=60, start=poor, **options)
    assert not result.kept_start
    assert result.before is not None
    assert result.validation == result.after
    assert result.validation > result.before
    assert any("does not know which images it was trained on" in line for line in said)


def test_objects_too(tmp_path: Path) -> None:
    """Blocks have numbers: what is compared is how well they are told apart."""
    pairs = [(name, (image, label(mask)[0].astype(np.uint8))) for name, (image, mask) in PAIRS.items()]
    folder = arrange(tmp_path / "data", train=dict(pairs[:2]), val=dict(pairs[2:3]))
    ids = {"data.masks": "instances", "validations": 1}
    first = train(folder, tmp_path / "first", steps=30, overrides={**TINY, **ids})
    result = train(folder, tmp_path / "run", steps=2, overrides={**ON, **ids}, start=first.run)
    assert first.quality is not None
    assert result.quality is not None
    assert result.before == first.quality
    assert result.quality >= first.quality


def test_other_classes_and_other_channels(earlier: Path, tmp_path: Path) -> None:
    """Gray images of two classes before, RGB images of three classes after, one of which has a name that is known."""

    def coloured(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mask = mask.copy()
        mask[:20, :20] = 2
        return np.stack([image, image // 2, 255 - image], -1), mask

    pairs = {name: coloured(*pair) for name, pair in PAIRS.items()}
    folder = arrange(tmp_path / "data", train=pairs)
    (folder / "legend.csv").write_text("value,name\n0,nothing\n1,foreground\n2,corner\n")
    said: list[str] = []
    watch = Watcher(on_text=said.append)
    result = train(folder, tmp_path / "run", steps=3, overrides=ON, start=earlier, watch=watch)
    assert result.finished
    assert result.before is not None
    card = read_card(result.run)
    assert (card.network.in_channels, card.network.classes) == (3, 3)
    taken = next(line for line in said if line.startswith("starts from "))
    assert "gray spread over 3 channels" in taken
    assert "class as before: foreground; 'nothing' goes on from 'background'; 'corner' is new" in taken
    plain = PredictSettings(device="cpu", precision="float32")
    assert Predictor.load(result.run, plain).predict(np.zeros((40, 50, 3), np.uint8)).labels.shape == (40, 50)


def refused(kind: type[UsegError], *args: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        train(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_started_from_leaves_no_run(data: Path, earlier: Path, tmp_path: Path) -> None:
    run, damaged = tmp_path / "run", tmp_path / "damaged.safetensors"
    damaged.write_bytes((earlier / "model.safetensors").read_bytes()[:-50])
    assert str(damaged) in refused(ModelError, data, run, steps=1, overrides=ON, start=damaged)
    assert "nowhere" in refused(MissingError, data, run, steps=1, overrides=ON, start=tmp_path / "nowhere")
    wider = {**ON, "network.width": 8}
    assert "nothing of the earlier model fits" in refused(
        SettingsError, data, run, steps=1, overrides=wider, start=earlier
    )
    named = {**ON, "start.model": str(earlier)}
    assert "--from" in refused(SettingsError, data, run, steps=1, overrides=named)
    assert not run.exists()


def test_a_run_goes_on_from_its_own_start(data: Path, earlier: Path, whole: TrainResult, tmp_path: Path) -> None:
    assert train(data, whole.run, resume=True, start=earlier).finished
    other = make_model(tmp_path)
    assert "start.model is not" in refused(SettingsError, data, whole.run, resume=True, start=other)


# A fair comparison.


def trained_on(model: Path) -> str:
    return str(read_card(model).trained_on["checksums"])


def known_to(model: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of PAIRS those that a model was trained on."""
    everyone = [Example(name, image[None], mask) for name, (image, mask) in PAIRS.items()]
    return {e.name: PAIRS[e.name] for e in seen_before(everyone, trained_on(model))}


def test_a_model_knows_what_it_was_trained_on(earlier: Path) -> None:
    held_out = load_settings(earlier / "settings.toml").data.validation_names
    known = known_to(earlier)
    assert len(known) == read_card(earlier).trained_on["images"]
    assert not known.keys() & set(held_out)


def test_images_that_were_trained_on_change_sides(earlier: Path, tmp_path: Path) -> None:
    first, *rest = known_to(earlier).items()
    folder = arrange(tmp_path / "data", train=dict(rest), val=dict([first]) | OTHERS)
    result = train(folder, tmp_path / "run", steps=1, overrides=ON, start=earlier)
    found = load_settings(result.run / "settings.toml")
    assert found.start.fair
    assert set(found.data.validation_names) == OTHERS.keys()
    assert read_card(result.run).trained_on["images"] == len(rest) + 1
    # The same images are held out when it is resumed, without the model.
    assert train(None, result.run, resume=True).validation == result.validation


def test_a_score_that_is_too_good_is_told_but_not_held_against_others(earlier: Path, tmp_path: Path) -> None:
    folder = arrange(tmp_path / "data", train=wrong(OTHERS), val=known_to(earlier))
    said: list[str] = []
    fast = {**ON, "optimiser.learning_rate": 0.05, "validations": 1}
    watch = Watcher(on_text=said.append)
    result = train(folder, tmp_path / "run", steps=40, overrides=fast, start=earlier, watch=watch)
    assert any("its score is too good" in line for line in said)
    assert result.before is not None
    assert result.after is not None
    assert result.after < result.before
    assert result.validation == result.after
    assert not result.kept_start
    # What both were trained on is handed on.
    assert checksums([], trained_on(result.run) + trained_on(earlier)) == trained_on(result.run)
    assert len(trained_on(result.run)) == len(trained_on(earlier)) + 8 * len(OTHERS)
