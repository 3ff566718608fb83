"""Training: what it leaves behind, that it repeats, and that no interruption changes where it ends."""

import importlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from useg.demo import draw_data_set
from useg.errors import DataError, MissingError, OutputError, SettingsError, SizeError, TrainingError, UsegError
from useg.images.files import read_mask, write_labels, write_picture
from useg.predict import Predictor, PredictSettings
from useg.settings import load_settings
from useg.train import train
from useg.unet.model import read_card
from useg.unet.settings import article_settings
from useg.watch import Progress, Watcher

loop = importlib.import_module("useg.loop")

# Dropout is on, so that a resumed run must drop what the other one dropped.
TINY: dict[str, Any] = {
    "network.width": 4,
    "network.depth": 2,
    "network.dropout": 0.5,
    "samples.crop": [64, 64],
    "samples.batch": 2,
    "machine.precision": "float32",
    "machine.threads": 1,
}
PLAIN = PredictSettings(device="cpu", precision="float32")
STEPS = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    draw_data_set(folder, train_images=6, test_images=2, size=64)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of STEPS steps that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(data, run, steps=STEPS, overrides=TINY).finished
    return run


def records(run: Path) -> list[dict[str, Any]]:
    """The log without what a clock wrote."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def steps_of(run: Path) -> list[dict[str, Any]]:
    return [record for record in records(run) if "validation" not in record]


def assert_same_end(run: Path, other: Path) -> None:
    for name in ("model.safetensors", "last.safetensors"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert records(run) == records(other)


def stop_after(step: int) -> Watcher:
    """Ends a run as Ctrl-C does, once `step` steps are done."""
    done = [0]

    def count(progress: Progress) -> None:
        done[0] = progress.step

    return Watcher(on_progress=count, should_stop=lambda: done[0] >= step)


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_run_leaves_its_files(whole: Path) -> None:
    assert {f.name for f in whole.iterdir()} == {
        "model.safetensors",
        "last.safetensors",
        "settings.toml",
        "metrics.jsonl",
        "state.safetensors",
    }
    steps = steps_of(whole)
    assert [r["step"] for r in steps] == list(range(1, STEPS + 1))
    assert all(np.isfinite(r["loss"]) and len(r["images"]) == 2 for r in steps)
    card = read_card(whole)
    validations = [r for r in records(whole) if "validation" in r]
    best = max(validations, key=lambda r: r["validation"]["foreground_dice"])
    assert card.scores["step"] == best["step"]
    assert card.scores["foreground_dice"] == best["validation"]["foreground_dice"]
    assert validations[-1]["step"] == STEPS
    assert card.trained_on["images"] == 4  # one of six is held out, one left out as a gap


def test_held_out_images_are_never_trained_on(whole: Path) -> None:
    held_out = load_settings(whole / "settings.toml").data.validation_names
    assert held_out
    assert not {name for r in steps_of(whole) for name in r["images"]} & set(held_out)


def test_settings_alone_repeat_the_run(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_bytes((whole / "settings.toml").read_bytes())
    train(None, tmp_path, resume=True)
    assert_same_end(tmp_path, whole)


def test_same_steps_same_bytes_and_another_seed_others(data: Path, whole: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "same", steps=STEPS, overrides=TINY)
    assert_same_end(tmp_path / "same", whole)
    train(data, tmp_path / "other", steps=STEPS, overrides={**TINY, "seed": 1})
    assert (tmp_path / "other/last.safetensors").read_bytes() != (whole / "last.safetensors").read_bytes()


def test_training_leaves_the_callers_random_numbers_alone(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(data, tmp_path, steps=1, overrides=TINY)
    assert torch.equal(torch.rand(4), expected)


@settings(max_examples=3, deadline=None)
@given(stops=st.lists(st.integers(1, STEPS), min_size=1, max_size=3, unique=True).map(sorted))
def test_stopped_and_resumed_equals_uninterrupted(stops: list[int], data: Path, whole: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        for index, stop in enumerate(stops):
            result = train(data, run, steps=STEPS, overrides=TINY, resume=index > 0, watch=stop_after(stop))
            assert (result.steps, result.finished) == (stop, False)
            # What is left at any stop is a model that predicts.
            labels = Predictor.load(run, PLAIN).predict(np.zeros((40, 50), np.uint8)).labels
            assert labels.shape == (40, 50)
        assert train(None, run, resume=True).finished
        assert_same_end(run, whole)


@settings(max_examples=3, deadline=None)
@given(saved=st.integers(0, STEPS - 1), lost=st.integers(1, STEPS))
def test_killed_and_resumed_equals_uninterrupted(saved: int, lost: int, data: Path, whole: Path) -> None:
    """Steps after the last checkpoint are lost with the process, and done again."""
    killed_at = min(saved + lost, STEPS)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        run = Path(folder)

        def on_progress(progress: Progress) -> None:
            patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0 if progress.step <= saved else 1e9)
            if progress.step == killed_at:
                raise Killed

        with pytest.raises(Killed):
            train(data, run, steps=STEPS, overrides=TINY, watch=Watcher(on_progress=on_progress))
        assert (run / "state.safetensors").exists() == (saved > 0)
        assert train(data, run, resume=True).finished
        assert_same_end(run, whole)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks of ids, of cells that touch."""
    folder = tmp_path_factory.mktemp("cells")
    draw_data_set(folder, train_images=6, test_images=1, size=128, ids=True)
    return folder


def test_a_run_on_objects_resumes_to_the_same_bytes(cells: Path, tmp_path: Path) -> None:
    said: list[str] = []
    few = {**TINY, "validations": 2}
    whole = train(cells, tmp_path / "whole", steps=STEPS, overrides=few, watch=Watcher(on_text=said.append))
    assert any(line.startswith("objects: ") and "11 times as much" in line for line in said)
    card = read_card(whole.run)
    assert card.masks == "instances"
    assert card.objects is not None
    assert whole.quality == card.scores["objects"]["panoptic_quality"][0]
    assert load_settings(whole.run / "settings.toml").loss.borders.weight == 10
    kept = {path: path.stat().st_mtime_ns for path in (whole.run / "borders").iterdir()}
    assert len(kept) <= card.trained_on["images"]
    train(cells, tmp_path / "run", steps=STEPS, overrides=few, watch=stop_after(3))
    train(None, tmp_path / "run", resume=True)
    assert_same_end(tmp_path / "run", whole.run)
    train(None, whole.run, resume=True)
    assert {path: path.stat().st_mtime_ns for path in (whole.run / "borders").iterdir()} == kept


def test_how_objects_are_parted_outlives_a_stop(cells: Path, tmp_path: Path) -> None:
    """Stopped again before its next validation, a resumed run still knows what the last one found."""
    twice = {**TINY, "validations": 2}
    train(cells, tmp_path, steps=STEPS, overrides=twice, watch=stop_after(STEPS // 2 + 1))
    found = read_card(tmp_path / "last.safetensors").objects
    assert found is not None
    train(None, tmp_path, resume=True, watch=stop_after(STEPS // 2 + 2))
    assert read_card(tmp_path / "last.safetensors").objects == found


def test_border_weights_change_what_is_learned_and_can_be_off(cells: Path, tmp_path: Path) -> None:
    said: list[str] = []
    on = {**TINY, "validations": 1}
    off = {**on, "loss.borders.weight": 0}
    train(cells, tmp_path / "off", steps=2, overrides=off, watch=Watcher(on_text=said.append))
    assert not any("times as much" in line for line in said)
    assert not (tmp_path / "off/borders").exists()
    train(cells, tmp_path / "on", steps=2, overrides=on)
    losses = [steps_of(tmp_path / name)[0]["loss"] for name in ("on", "off")]
    assert losses[0] != losses[1]


def test_resuming_a_finished_run_changes_nothing(whole: Path) -> None:
    before = {f: f.read_bytes() for f in whole.iterdir()}
    result = train(None, whole, resume=True)
    assert result.finished
    assert result.steps == STEPS
    assert {f: f.read_bytes() for f in whole.iterdir()} == before


def test_a_budget_of_minutes_ends_annealed(data: Path, tmp_path: Path) -> None:
    result = train(data, tmp_path, minutes=0.1, overrides=TINY)
    rates = [r["rate"] for r in steps_of(tmp_path)]
    assert result.finished
    assert len(rates) == result.steps
    peak = load_settings(tmp_path / "settings.toml").optimiser.learning_rate
    assert max(rates) > 0.5 * peak
    assert rates[-1] < 0.1 * peak
    assert [r for r in records(tmp_path) if "validation" in r][-1]["step"] == result.steps


def test_a_budget_of_minutes_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    """What was spent before a stop is not given again."""
    first = train(data, tmp_path, minutes=0.1, overrides=TINY, watch=stop_after(30))
    second = train(None, tmp_path, resume=True)
    assert not first.finished
    assert second.finished
    rates = [r["rate"] for r in steps_of(tmp_path)]
    assert len(rates) == second.steps > first.steps
    warm = max(range(len(rates)), key=rates.__getitem__)
    assert rates[warm:] == sorted(rates[warm:], reverse=True)


def test_the_articles_network_trains(data: Path, tmp_path: Path) -> None:
    article = article_settings()
    changed = {f"network.{k}": v for k, v in article.model_dump().items() if k not in ("in_channels", "classes")}
    crop = article.geometry.fit_up(100)
    overrides = {**TINY, **changed, "network.width": 2, "samples.crop": [crop, crop]}
    assert train(data, tmp_path, steps=2, overrides=overrides).finished
    assert read_card(tmp_path).network == article.model_copy(update={"width": 2})
    assert Predictor.load(tmp_path, PLAIN).predict(np.eye(33, dtype=np.uint8)).labels.shape == (33, 33)


def test_the_papers_recipe_trains(data: Path, tmp_path: Path) -> None:
    small = {**TINY, "network.width": 2, "network.depth": 4, "samples.crop": [188, 188], "samples.batch": 1}
    assert train(data, tmp_path, steps=2, recipe="paper", overrides=small).finished
    found = load_settings(tmp_path / "settings.toml")
    assert (found.recipe, found.network.padding, found.network.norm) == ("paper", "valid", "none")
    assert {r["rate"] for r in steps_of(tmp_path)} == {found.optimiser.learning_rate}


# A step without a finite loss: float32 images with values of 1e37, whose squares overflow.

RAW: dict[str, Any] = {
    **TINY,
    "samples.batch": 1,
    "normalise.kind": "none",
    **{
        f"augment.{k}": 0 for k in ("rotate", "scale", "elastic_sd", "contrast", "brightness", "gamma", "noise", "blur")
    },
}


def draw_loud_data(folder: Path, loud: int, count: int = 8) -> None:
    """Float images; the first `loud` hold huge values where every crop sees them. Validation images are all tame."""
    rng = np.random.default_rng(5)
    for part, images in (("train", count), ("val", 2)):
        for index in range(images):
            mask = np.zeros((64, 64), np.uint8)
            mask[8:40, 10 : 30 + index] = 1
            image = (mask + rng.normal(0, 0.2, mask.shape)).astype(np.float32)
            name = "tame"
            if part == "train" and index < loud:
                image[30:34, 30:34], name = 1e37, "loud"
            (folder / part / "images").mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(folder / part / "images" / f"{name}{index}.tif", image)
            write_labels(folder / part / "masks" / f"{name}{index}.png", mask)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_step_that_is_not_finite_is_skipped_and_named(norm: str, tmp_path: Path) -> None:
    draw_loud_data(tmp_path / "data", loud=1)
    events: list[str] = []
    watch = Watcher(on_progress=lambda p: events.append(p.event))
    overrides = {**RAW, "network.norm": norm}
    result = train(tmp_path / "data", tmp_path / "run", steps=20, overrides=overrides, watch=watch)
    steps = steps_of(tmp_path / "run")
    bad = [r for r in steps if "loud0" in r["images"]]
    assert bad
    assert [r for r in steps if "skipped" in r] == bad
    assert all(r["loss"] is None and "gradient norm" in r["skipped"] for r in bad)
    assert result.skipped == len(bad) == events.count("skipped")
    # Neither weights nor averages nor batch-norm statistics of any file keep a trace of them.
    for name in ("model.safetensors", "last.safetensors", "state.safetensors"):
        for key, value in load_file(tmp_path / "run" / name).items():
            assert torch.isfinite(value).all(), f"{name} {key}"
    image = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    assert np.isfinite(Predictor.load(tmp_path / "run", PLAIN).predict(image).probabilities).all()


def test_a_skipped_step_changes_nothing(tmp_path: Path) -> None:
    """Stopped right behind a bad step, weights, statistics and moments are those of the step before."""
    draw_loud_data(tmp_path / "data", loud=1)
    train(tmp_path / "data", tmp_path / "all", steps=20, overrides={**RAW, "network.norm": "batch"})
    bad = next(r["step"] for r in steps_of(tmp_path / "all") if "skipped" in r)
    tensors = []
    for steps in (bad - 1, bad):
        run = tmp_path / f"run{steps}"
        train(tmp_path / "data", run, steps=20, overrides={**RAW, "network.norm": "batch"}, watch=stop_after(steps))
        tensors.append(load_file(run / "state.safetensors"))
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])


def test_the_third_bad_step_in_a_row_ends_the_run(tmp_path: Path) -> None:
    draw_loud_data(tmp_path / "data", loud=6)
    with pytest.raises(TrainingError, match=r"3 steps in a row.* on .*loud\d.*learning_rate=0\.001") as caught:
        train(tmp_path / "data", tmp_path / "run", steps=100, overrides={**RAW, "seed": 1})
    assert "\n" not in str(caught.value)
    steps = steps_of(tmp_path / "run")
    assert ["skipped" in r for r in steps[-3:]] == [True] * 3
    rows = "".join("x" if "skipped" in r else "." for r in steps)
    assert rows.index("xxx") == len(rows) - 3
    # The best model of the last validation stays, or else the weights of the last good step.
    for name in ("model.safetensors", "last.safetensors"):
        prediction = Predictor.load(tmp_path / "run" / name, PLAIN).predict(np.eye(32, dtype=np.float32))
        assert np.isfinite(prediction.probabilities).all()


def test_a_rate_that_is_far_too_high_ends_the_run(data: Path, tmp_path: Path) -> None:
    wild = {**TINY, "network.norm": "none", "optimiser.learning_rate": 1e30, "optimiser.clip": 1e30}
    with pytest.raises(TrainingError, match="not finite 3 steps in a row"):
        train(data, tmp_path, steps=20, overrides=wild)
    assert read_card(tmp_path).network.width == 4


# What is refused, in one line, before or instead of training.


def refused(kind: type[UsegError], *args: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        train(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_used_folder_is_not_used_again(data: Path, whole: Path) -> None:
    before = (whole / "settings.toml").read_bytes()
    assert "--resume" in refused(OutputError, data, whole, steps=1, overrides=TINY)
    assert (whole / "settings.toml").read_bytes() == before


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert "no run to resume" in refused(MissingError, None, tmp_path / "run", resume=True)


def test_a_run_goes_on_with_its_own_settings(data: Path, whole: Path) -> None:
    assert train(data, whole, steps=STEPS, overrides=TINY, resume=True).finished
    for other in ({"steps": STEPS + 1}, {"minutes": 1.0}, {"overrides": {"network.width": 8}}):
        said = refused(SettingsError, data, whole, resume=True, **other)
        assert "--resume goes on with the settings of the run" in said


def test_settings_that_cannot_run_leave_no_run_behind(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused(SettingsError, data, run, steps=1, overrides={**TINY, "loss.cross_entropy": 0, "loss.dice": 0})
    assert not run.exists()
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(OutputError, data, tmp_path / "file", steps=1, overrides=TINY)


def test_a_validation_part_that_nobody_annotated_keeps_the_last_model(data: Path, tmp_path: Path) -> None:
    """Its score is unknown, which is no best that later ones could not pass."""
    folder = tmp_path / "data"
    for part, source, value in (("train", "train", None), ("val", "test", 9)):
        for image in sorted((data / source / "images").iterdir()):
            (folder / part / "images").mkdir(parents=True, exist_ok=True)
            (folder / part / "images" / image.name).symlink_to(image)
            mask = read_mask(data / source / "masks" / image.name)
            write_labels(folder / part / "masks" / image.name, mask if value is None else np.full_like(mask, value))
    result = train(folder, tmp_path / "run", steps=6, overrides={**TINY, "data.ignore": 9, "validations": 3})
    assert result.validation is None
    model, last = (load_file(tmp_path / "run" / f"{name}.safetensors") for name in ("model", "last"))
    assert all(torch.equal(model[key], last[key]) for key in model)


def test_changed_data_are_not_resumed_on(tmp_path: Path) -> None:
    folder, run = tmp_path / "data", tmp_path / "run"
    draw_data_set(folder, train_images=6, test_images=0, size=64)
    train(folder, run, steps=4, overrides=TINY, watch=stop_after(1))
    image = folder / "train/images/cells_02.png"
    kept = image.read_bytes()
    write_picture(image, np.eye(64, dtype=np.uint8) * 200)
    assert str(folder) in refused(DataError, folder, run, resume=True)
    image.write_bytes(kept)
    mask = folder / "train/masks/cells_02.png"
    write_labels(mask, np.eye(64, dtype=np.uint8))
    assert str(folder) in refused(DataError, None, run, resume=True)


def test_a_damaged_checkpoint_is_not_resumed_from(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path, steps=4, overrides=TINY, watch=stop_after(2))
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    assert str(state) in refused(TrainingError, None, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (SettingsError, {"steps": 1, "minutes": 1.0}, "either minutes or steps"),
        (SettingsError, {"steps": 0}, "budget.steps"),
        (SettingsError, {"minutes": -1.0}, "budget.minutes"),
        (SettingsError, {"steps": 1, "device": "tpu"}, "tpu"),
        (SettingsError, {"steps": 1, "overrides": {"network.wdth": 3}}, "network.wdth"),
        (SettingsError, {"steps": 1, "overrides": {"data.validation": 2}}, "data.validation"),
        (SettingsError, {"steps": 1, "overrides": {"network.in_channels": 3}}, "network.in_channels"),
        (UsegError, {"steps": 1, "overrides": {"samples.crop": [65, 65]}}, "samples.crop"),
    ],
)
def test_settings_that_cannot_be(
    kind: type[UsegError], options: dict[str, Any], words: str, data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert words in refused(kind, data, run, **options)
    # Nothing was written, so that the next try may use the folder.
    assert not run.exists()


def test_the_forms_of_errors_are_kept(data: Path, tmp_path: Path) -> None:
    assert issubclass(SizeError, ValueError)
    with pytest.raises(ValueError, match="either"):
        train(data, tmp_path, steps=1, minutes=1.0)


# Real processes and real signals.

MAIN = "import useg.loop; useg.loop.CHECKPOINT_SECONDS = {seconds}; from useg.cli import main; main()"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def start(data: Path, run: Path, steps: int, seconds: float = 0.02) -> subprocess.Popen[str]:
    words = [w for k, v in TINY.items() for w in ("--set", f"{k}={json.dumps(v)}")]
    command = [sys.executable, "-c", MAIN.format(seconds=seconds), "train", str(data), "-o", str(run), "--resume"]
    return subprocess.Popen(
        [*command, "--steps", str(steps), "--device", "cpu", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_records(process: subprocess.Popen[str], run: Path, count: int) -> None:
    log = run / "metrics.jsonl"
    while process.poll() is None and not (log.is_file() and log.read_bytes().count(b"\n") >= count):
        time.sleep(0.005)


def kill_and_resume(data: Path, run: Path, steps: int, rng: random.Random, kills: int) -> None:
    for _ in range(kills):
        process = start(data, run, steps)
        # The checkpoint behind it sets the log back, so a later kill may fall before an earlier one.
        wait_for_records(process, run, rng.randrange(1, steps // 2))
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    process = start(data, run, steps)
    _, said = process.communicate()
    assert process.returncode == 0, said


@posix
def test_sigkill_at_any_moment_ends_in_the_same_bytes(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "whole", steps=60, overrides=TINY)
    kill_and_resume(data, tmp_path / "run", 60, random.Random(), kills=2)
    assert_same_end(tmp_path / "run", tmp_path / "whole")


@posix
@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_many_kills_end_in_the_same_bytes(seed: int, data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "whole", steps=200, overrides=TINY)
    kill_and_resume(data, tmp_path / "run", 200, random.Random(seed), kills=8)
    assert_same_end(tmp_path / "run", tmp_path / "whole")


@posix
def test_signals_leave_a_usable_model(data: Path, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM at once, in two processes beside each other, long before the first validation."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    processes = {n: start(data, tmp_path / n.name, steps=100_000, seconds=40) for n in numbers}
    try:
        for number, process in processes.items():
            run = tmp_path / number.name
            wait_for_records(process, run, 3)
            process.send_signal(number)
            _, said = process.communicate()
            assert process.returncode == 130, said
            assert "--resume" in said
            assert "Traceback" not in said
            done = len(steps_of(run))
            assert Predictor.load(run, PLAIN).predict(np.eye(48, dtype=np.uint8)).labels.shape == (48, 48)
            # And it can be gone on with.
            result = train(None, run, resume=True, watch=stop_after(done + 1))
            assert result.steps == done + 1
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.kill()
                process.communicate()


def test_of_two_budgets_the_first_to_be_spent_ends_the_run(data: Path, tmp_path: Path) -> None:
    few = train(data, tmp_path / "few", steps=3, overrides={**TINY, "budget.minutes": 60.0})
    short = train(data, tmp_path / "short", steps=10**6, overrides={**TINY, "budget.minutes": 0.02})
    assert (few.steps, few.finished) == (3, True)
    assert 0 < short.steps < 10**6 and short.finished
