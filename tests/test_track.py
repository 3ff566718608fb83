"""Trackers: they see what the log has, a resumed run goes on in them, and none that fails ends a training."""

import importlib
import json
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from useg.demo import draw_data_set
from useg.errors import MissingExtraError, SettingsError
from useg.options import parse_track
from useg.settings import TRACKERS, Settings, override
from useg.track import IDS, Tracker
from useg.train import train
from useg.watch import Progress, Watcher

# `useg.train` is the function.
training, track = importlib.import_module("useg.train"), importlib.import_module("useg.track")

STEPS = 8
TINY: dict[str, Any] = {
    "network.width": 4,
    "network.depth": 2,
    "samples.crop": [64, 64],
    "samples.batch": 2,
    "machine.device": "cpu",
    "machine.precision": "float32",
    "machine.threads": 1,
    "validations": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    draw_data_set(folder, train_images=6, test_images=2, size=64)
    return folder


@pytest.fixture(scope="module")
def untracked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("untracked") / "run"
    train(data, run, steps=STEPS, overrides=TINY)
    return run


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Addresses that somebody wanted to reach over a network, in vain."""
    asked: list[Any] = []
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            asked.append(address)
            raise OSError("there is no network in this test")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    return asked


def logged(run: Path, name: str) -> dict[int, float]:
    """A number of each step, or of each validation, as the log has it."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    if name == "dice":
        return {r["step"]: r["validation"]["foreground_dice"] for r in records if "validation" in r}
    return {r["step"]: r[name] for r in records if name in r}


def assert_as_logged(told: dict[str, list[tuple[int, float]]], run: Path) -> None:
    """Everything that the log has, each step once, in order."""
    for name, key in (("train/loss", "loss"), ("train/rate", "rate"), ("validation/dice", "dice")):
        expected = logged(run, key)
        assert [step for step, _ in told[name]] == list(expected), name
        assert [value for _, value in told[name]] == pytest.approx(list(expected.values()), rel=1e-6), name
    assert len(told["train/loss"]) == STEPS
    assert [step for step, _ in told["validation/calibration_error"]] == list(logged(run, "dice"))
    assert all(0 <= value <= 1 for _, value in told["validation/calibration_error"])


def events_of(run: Path) -> Any:
    events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return found.Reload()


def told_to_tensorboard(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = events_of(run)
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_has_what_the_log_has(data: Path, untracked: Path, tmp_path: Path, offline: list[Any]) -> None:
    pytest.importorskip("tensorboard")
    seen: list[Progress] = []
    watch = Watcher(on_progress=seen.append)
    train(data, tmp_path, steps=STEPS, overrides={**TINY, "track": ["tensorboard"]}, watch=watch)
    assert_as_logged(told_to_tensorboard(tmp_path), tmp_path)
    pictures = events_of(tmp_path).Images("held-out/1")
    assert [picture.step for picture in pictures] == list(logged(tmp_path, "dice"))
    assert pictures[0].encoded_image_string.startswith(b"\x89PNG")
    assert next((tmp_path / "tensorboard").glob("*/hparams.yml")).read_text().count("network.width: 4\n") == 1
    # The watcher that was given is told all the same, and the model is the one that would have been.
    assert [p.step for p in seen if p.event == "step"] == list(range(1, STEPS + 1))
    assert (tmp_path / "model.safetensors").read_bytes() == (untracked / "model.safetensors").read_bytes()
    assert offline == []


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_resumed_run_goes_on_where_it_was_and_repeats_nothing(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    done = [0]

    def count(progress: Progress) -> None:
        done[0] = progress.step

    def die() -> bool:
        if done[0] >= 6:
            raise Killed
        return False

    options: dict[str, Any] = {"steps": STEPS, "overrides": {**TINY, "track": ["tensorboard"]}}
    train(data, tmp_path, **options, watch=Watcher(on_progress=count, should_stop=lambda: done[0] >= 3))
    with pytest.raises(Killed):  # after the validation, and before any checkpoint of this session
        train(data, tmp_path, **options, resume=True, watch=Watcher(on_progress=count, should_stop=die))
    assert train(None, tmp_path, resume=True).finished
    assert_as_logged(told_to_tensorboard(tmp_path), tmp_path)
    assert len(list((tmp_path / "tensorboard").glob("*/hparams.yml"))) == 1


class Sink:
    """Like one of accelerate's trackers; fails at one of its functions, in the middle of a run."""

    def __init__(self, fails: str) -> None:
        self.fails, self.steps, self.settings, self.pictures, self.closed = fails, list[int](), dict[str, Any](), 0, 0

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._maybe("settings")
        self.settings = values

    def log(self, values: dict[str, float], step: int) -> None:
        assert all(np.isfinite(value) for value in values.values())
        self.steps.append(step)
        if step >= STEPS // 2:
            self._maybe("log")

    def show(self, name: str, picture: np.ndarray, step: int) -> None:
        assert picture.dtype == np.uint8 and picture.shape[2] == 3
        self.pictures += 1
        self._maybe("show")

    def close(self) -> None:
        self.closed += 1
        self._maybe("close")

    def open(self, run: Path, known_as: str | None) -> Tracker:
        self._maybe("open")
        return Tracker(self, "7", self.show, self.close)

    def _maybe(self, what: str) -> None:
        if self.fails == what:
            raise OSError(28, "No space left on device\nand much more")


@pytest.mark.parametrize("fails", ["open", "settings", "log", "show", "close"])
def test_a_tracker_that_fails_is_told_once_and_ends_nothing(
    fails: str, data: Path, untracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good, said = Sink(fails), Sink("nothing"), list[str]()
    monkeypatch.setattr(training, "load_trackers", lambda names: None)
    monkeypatch.setitem(track.OPEN, "mlflow", bad.open)
    monkeypatch.setitem(track.OPEN, "wandb", good.open)
    overrides = {**TINY, "track": ["mlflow", "wandb", "mlflow"]}
    assert train(data, tmp_path, steps=STEPS, overrides=overrides, watch=Watcher(on_text=said.append)).finished
    notes = [text for text in said if "mlflow is left out" in text]
    assert len(notes) == 1
    assert "No space left on device" in notes[0] and "\n" not in notes[0]
    assert (tmp_path / "last.safetensors").read_bytes() == (untracked / "last.safetensors").read_bytes()
    validations = list(logged(tmp_path, "dice"))
    assert sorted(good.steps) == sorted([*range(1, STEPS + 1), *validations])
    assert (good.pictures, good.closed, good.settings["network.width"]) == (len(validations), 1, 4)
    assert all(isinstance(value, bool | int | float | str) for value in good.settings.values())
    assert bad.steps == (good.steps if fails == "close" else good.steps[: len(bad.steps)])
    assert bad.closed == (fails == "close")
    known = {"wandb"} | ({"mlflow"} if fails in ("log", "show", "close") else set())
    assert json.loads((tmp_path / IDS).read_text()).keys() == known


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_is_one_line_before_anything_begins(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    with pytest.raises(MissingExtraError, match=rf"^--track {name}: needs .*; pip install 'useg\[{name}\]'$"):
        train(data, tmp_path / "run", steps=1, overrides={**TINY, "track": [name]})
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_one_line() -> None:
    with pytest.raises(SettingsError, match=r"^--set track\.0: .*'tensorboard'.*, not 'paper'$"):
        override(Settings(), {"track": ["paper"]})


def test_trackers_are_typed_with_commas_between_them() -> None:
    assert parse_track(" wandb, tensorboard") == ["wandb", "tensorboard"]
    for wrong in ("tensorbord", "wandb,", "wandb mlflow", ""):
        with pytest.raises(SettingsError, match=r"^--track .*use tensorboard, mlflow, wandb, trackio"):
            parse_track(wrong)


def told_to_mlflow(run: Path) -> dict[str, list[tuple[int, float]]]:
    client = importlib.import_module("mlflow").MlflowClient((run / "mlflow").as_uri())
    (found,) = [r for e in client.search_experiments() for r in client.search_runs([e.experiment_id])]
    assert found.data.params["network.width"] == "4"
    assert client.list_artifacts(found.info.run_id, "images")
    names = list(found.data.metrics)
    return {name: [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)] for name in names}


def told_to_trackio(run: Path) -> dict[str, list[tuple[int, float]]]:
    name, told = json.loads((run / IDS).read_text())["trackio"], dict[str, list[tuple[int, float]]]()
    with sqlite3.connect(next(importlib.import_module("trackio").utils.TRACKIO_DIR.glob("*.db"))) as base:
        for step, metrics in base.execute("SELECT step, metrics FROM metrics WHERE run_name = ? ORDER BY id", (name,)):
            for key, value in json.loads(metrics).items():
                told.setdefault(key, []).append((step, value))
    base.close()
    assert "held-out/1" in told
    return told


@pytest.mark.parametrize(("name", "told"), [("mlflow", told_to_mlflow), ("trackio", told_to_trackio)])
def test_others_have_what_the_log_has_without_a_network(
    name: str,
    told: Callable[[Path], dict[str, list[tuple[int, float]]]],
    data: Path,
    tmp_path: Path,
    offline: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip(name)
    done, options = [0], {"steps": STEPS, "overrides": {**TINY, "track": [name]}}

    def count(progress: Progress) -> None:
        done[0] = progress.step

    train(data, tmp_path / "run", **options, watch=Watcher(on_progress=count, should_stop=lambda: done[0] >= 3))
    assert train(None, tmp_path / "run", resume=True).finished
    assert_as_logged(told(tmp_path / "run"), tmp_path / "run")
    assert offline == []


def test_wandb_keeps_the_run_here(data: Path, tmp_path: Path, offline: list[Any]) -> None:
    pytest.importorskip("wandb")
    train(data, tmp_path, steps=STEPS, overrides={**TINY, "track": ["wandb"]})
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (record,) = folder.glob("*.wandb")
    assert record.stat().st_size > 0
    assert list(folder.rglob("held-out/*.png"))
    assert offline == []
