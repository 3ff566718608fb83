"""A learning curve: only the images differ from point to point, and no interruption changes the end."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from useg.data.prepare import prepare
from useg.demo import draw_data_set
from useg.errors import DataError, MissingError, OutputError
from useg.images.files import write_labels, write_picture
from useg.learning_curve import CURVE, LearningCurve, train_learning_curve
from useg.predict import Predictor
from useg.settings import Settings, load_settings
from useg.train import train
from useg.watch import Progress, Watcher

TINY: dict[str, Any] = {
    "network.width": 4,
    "network.depth": 2,
    "samples.crop": [32, 32],
    "samples.batch": 2,
    "validations": 1,
    "machine.precision": "float32",
    "machine.threads": 1,
}
RUNS = (".", "share-1-2", "share-1-4", "share-1-8")
STEPS = 16


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    draw_data_set(folder, train_images=12, test_images=1, size=64)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> LearningCurve:
    return train_learning_curve(data, tmp_path_factory.mktemp("whole") / "run", steps=STEPS, overrides=TINY)


def assert_same_end(run: Path, other: Path) -> None:
    for name in (CURVE, *(f"{each}/model.safetensors" for each in RUNS)):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


def trained_on(run: Path) -> set[str]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {name for record in records for name in record.get("images", [])}


def test_smaller_parts_are_inside_larger_ones_and_nothing_else_differs(whole: LearningCurve) -> None:
    assert whole.finished and whole.fit is not None
    assert whole.fit.images == (1, 2, 4, 9)  # of twelve two are held out and one is left out beside them
    runs = [whole.run / name for name in RUNS]
    plans = [load_settings(run / "settings.toml") for run in runs]
    parts = [prepare(Path(plan.data.folder), **plan.data.how_to_read()).parts for plan in plans]
    learned = [{example.name for example in part.train} for part in parts]
    assert all(less < more for more, less in pairwise(learned))
    assert all(trained_on(run) <= names for run, names in zip(runs, learned, strict=True))
    alike = Settings().data.model_copy(
        update={"folder": plans[0].data.folder, "validation_names": plans[0].data.validation_names}
    )
    for plan, share in zip(plans, (1, 1 / 2, 1 / 4, 1 / 8), strict=True):
        assert plan.data.share == share
        assert plan.model_copy(update={"data": alike}) == plans[0].model_copy(update={"data": alike})
        assert plan.data.validation_names == plans[0].data.validation_names
        assert plan.budget.steps == STEPS // 4


def test_the_run_on_all_images_is_an_ordinary_one(data: Path, whole: LearningCurve, tmp_path: Path) -> None:
    train(data, tmp_path, steps=STEPS // 4, overrides=TINY)
    assert (tmp_path / "model.safetensors").read_bytes() == whole.model.read_bytes()
    assert Predictor.load(whole.run).predict(np.zeros((40, 50), np.uint8)).labels.shape == (40, 50)


def test_the_result_is_kept(whole: LearningCurve) -> None:
    document = json.loads((whole.run / CURVE).read_text())
    assert whole.fit is not None
    passes = 4 * 2 * 32 * 32 / (9 * 64 * 64)
    assert document["result"] == {**whole.fit.as_dict(), "steps": [4] * 4, "passes": passes, "words": whole.words}
    assert whole.words[-1].startswith("all images were gone through 0.2 times only")
    assert document["result"]["held_out"] == 2
    assert document["result"]["ahead"][0]["images"] == 18


def test_stopped_killed_and_resumed_equals_uninterrupted(data: Path, whole: LearningCurve, tmp_path: Path) -> None:
    done, run = [0], tmp_path / "run"

    def count(progress: Progress) -> None:
        done[0] += progress.event == "step"

    watch = Watcher(on_progress=count, should_stop=lambda: done[0] >= 6)
    result = train_learning_curve(data, run, steps=STEPS, overrides=TINY, watch=watch)
    assert (result.finished, result.fit) == (False, None)
    assert Predictor.load(run).predict(np.zeros((40, 50), np.uint8)).labels.shape == (40, 50)

    class Killed(Exception):
        pass

    def die(text: str) -> None:
        if text.startswith("1/8"):
            raise Killed

    with pytest.raises(Killed):
        train_learning_curve(None, run, resume=True, watch=Watcher(on_text=die))
    assert train_learning_curve(None, run, resume=True).finished
    assert_same_end(run, whole.run)


def test_few_images_give_fewer_points(tmp_path: Path) -> None:
    draw_data_set(tmp_path / "data", train_images=5, test_images=1, size=64)
    said: list[str] = []
    found = train_learning_curve(
        tmp_path / "data", tmp_path / "run", steps=2, overrides=TINY, watch=Watcher(on_text=said.append)
    )
    assert found.fit is not None
    assert found.fit.images == (2, 3) or found.fit.images == (1, 3)
    assert "learning curve: 2 points only, because there are 3 images to train on" in said
    assert any("two points" in line for line in found.fit.words)


def test_in_minutes_no_point_takes_more_steps_than_all_images(data: Path, tmp_path: Path) -> None:
    found = train_learning_curve(data, tmp_path, minutes=0.1, overrides=TINY)
    assert found.finished and all(0 < taken <= found.steps[-1] for taken in found.steps)
    busy = LearningCurve(found.run, found.model, found.fit, (5, 10, 10, 10), 20.0, True)
    assert busy.words[-1] == "the machine was busy: the points took 5 to 10 steps, and fewer steps score lower"
    assert load_settings(tmp_path / "share-1-8/settings.toml").budget.steps == found.steps[-1]


def test_what_cannot_begin(data: Path, whole: LearningCurve, tmp_path: Path) -> None:
    for part in ("train", "val"):
        for kind, write in (("images", write_picture), ("masks", write_labels)):
            write(tmp_path / "one" / part / kind / "a.png", np.tile(np.arange(64, dtype=np.uint8) % 2, (64, 1)))
    with pytest.raises(DataError, match="needs two images"):
        train_learning_curve(tmp_path / "one", tmp_path / "run", steps=4)
    with pytest.raises(MissingError, match="no learning curve to resume"):
        train_learning_curve(None, tmp_path / "run", resume=True)
    with pytest.raises(OutputError, match="already holds a run"):
        train_learning_curve(data, whole.run, steps=STEPS)
