"""Folds: what they leave behind, that every image is judged by a stranger, and that no interruption changes the end."""

import importlib
import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from useg import machine
from useg.checkpoint import RunState
from useg.demo import draw_data_set
from useg.errors import DataError, MissingError, OutputError, SettingsError, TrainingError
from useg.folds import FOLDS, FoldScore, FoldsResult, train_folds
from useg.predict import Predictor
from useg.settings import load_settings
from useg.unet.model import KEY, ModelCard, read_card
from useg.watch import Progress, Watcher

several = importlib.import_module("useg.several")

TINY: dict[str, Any] = {
    "network.width": 4,
    "network.depth": 2,
    "network.dropout": 0.5,
    "samples.crop": [32, 32],
    "samples.batch": 2,
    "validations": 1,
    "machine.precision": "float32",
    "machine.threads": 1,
    "seed": 3,
}
FOLD_COUNT, STEPS = 3, 7


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    draw_data_set(folder, train_images=6, test_images=1, size=64)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FoldsResult:
    """Folds that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return train_folds(data, run, folds=FOLD_COUNT, steps=STEPS, overrides=TINY)


def assert_same_end(run: Path, other: Path) -> None:
    for name in ("model.safetensors", FOLDS, *(f"fold-{k}/model.safetensors" for k in range(FOLD_COUNT))):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name


class Killed(Exception):
    """Stands for the end of the process."""


def test_every_image_is_judged_once_by_a_model_that_did_not_see_it(whole: FoldsResult) -> None:
    assert whole.finished and whole.evaluation is not None
    judged = [name for fold in whole.folds for name in fold.images]
    assert sorted(judged) == [f"cells_{n:02}" for n in range(6)]
    assert [name for name, _ in whole.evaluation.images] == judged
    for fold in whole.folds:
        records = [json.loads(line) for line in (fold.run / "metrics.jsonl").read_text().splitlines()]
        seen = {name for record in records for name in record.get("images", [])}
        assert seen and not seen & set(fold.images)


def test_the_scores_are_those_of_the_folds_together(whole: FoldsResult) -> None:
    cards = [read_card(fold.run) for fold in whole.folds]
    assert whole.evaluation is not None
    total = np.sum([card.scores["confusion"] for card in cards], axis=0)
    assert np.array_equal(total, whole.evaluation.overlap.confusion)
    assert [fold.dice for fold in whole.folds] == [card.scores["foreground_dice"] for card in cards]
    assert whole.mean == pytest.approx(np.mean([fold.dice for fold in whole.folds]))
    assert whole.deviation == pytest.approx(np.std([fold.dice for fold in whole.folds], ddof=1))
    document = json.loads((whole.run / FOLDS).read_text())
    assert document["result"] == json.loads(json.dumps(whole.as_dict()))
    assert (document["runs"], document["steps"]) == (["fold-0", "fold-1", "fold-2"], STEPS)


def test_a_fold_is_an_ordinary_run_with_the_plan_of_the_first(whole: FoldsResult) -> None:
    plans = [load_settings(fold.run / "settings.toml") for fold in whole.folds]
    assert [(s.data.folds, s.data.fold, s.seed, s.budget.steps) for s in plans] == [
        (3, 0, 3, 3),
        (3, 1, 4, 2),
        (3, 2, 5, 2),
    ]
    for section in (*several.PLANNED, "machine", "score_shift", "validations"):
        assert all(getattr(plan, section) == getattr(plans[0], section) for plan in plans), section
    assert [plan.data.validation_names for plan in plans] == [fold.images for fold in whole.folds]
    assert Predictor.load(whole.folds[1].run).predict(np.zeros((40, 50), np.uint8)).labels.shape == (40, 50)


def test_the_models_are_joined_in_one_file(whole: FoldsResult) -> None:
    with safe_open(whole.model, framework="pt") as file:
        card = ModelCard.model_validate_json(file.metadata()[KEY])
        for number, fold in enumerate(whole.folds):
            with safe_open(fold.run / "model.safetensors", framework="pt") as own:
                for name in own.keys():  # noqa: SIM118
                    assert (file.get_tensor(f"{number}.{name}") == own.get_tensor(name)).all()
    assert card.trained_on["images"] == card.scores["images"] == 6
    assert whole.evaluation is not None
    assert card.scores["dice"] == list(whole.evaluation.overlap.dice)


@settings(max_examples=3)
@given(stops=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=2).map(sorted))
def test_stopped_and_resumed_equals_uninterrupted(stops: list[int], data: Path, whole: FoldsResult) -> None:
    """Steps are counted over all folds: some stops are in the middle of a fold, some at the end of one."""
    with tempfile.TemporaryDirectory() as folder:
        run, done = Path(folder) / "run", [0]
        for index, stop in enumerate(stops):

            def count(progress: Progress) -> None:
                done[0] += progress.event == "step"

            watch = Watcher(on_progress=count, should_stop=lambda stop=stop: done[0] >= stop)  # type: ignore[misc]
            result = train_folds(data, run, folds=3, steps=STEPS, overrides=TINY, resume=index > 0, watch=watch)
            assert (result.finished, result.evaluation, done[0]) == (False, None, stop)
        assert train_folds(None, run, resume=True).finished
        assert_same_end(run, whole.run)


@pytest.mark.parametrize("moment", ["fold 1 of 0..2:", "fold 2 of 0..2:", "the end"])
def test_killed_between_folds_and_resumed_equals_uninterrupted(
    moment: str, data: Path, whole: FoldsResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(text: object, *_: object) -> None:
        if text == moment or moment == "the end":
            raise Killed

    with monkeypatch.context() as patch:
        if moment == "the end":
            patch.setattr("useg.folds.join_models", die)
        with pytest.raises(Killed):
            watch = Watcher() if moment == "the end" else Watcher(on_text=die)
            train_folds(data, tmp_path / "run", folds=3, steps=STEPS, overrides=TINY, watch=watch)
    assert not (tmp_path / "run/model.safetensors").exists()
    assert train_folds(None, tmp_path / "run", resume=True).finished
    assert_same_end(tmp_path / "run", whole.run)


def test_progress_goes_through_all_folds_once(data: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    said: list[str] = []
    train_folds(
        data, tmp_path, folds=2, steps=4, overrides=TINY, watch=Watcher(on_progress=told.append, on_text=said.append)
    )
    fractions = [p.fraction for p in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.25 and fractions[-1] == 1
    assert sum(line.startswith("network: ") for line in said) == 1
    assert sum(line.startswith("validation, fold ") for line in said) == 2


def test_resuming_refuses_what_the_folds_are_not(data: Path, whole: FoldsResult) -> None:
    for given_otherwise, told in (
        ({"folds": 4}, "goes on with fold-0, fold-1, fold-2"),
        ({"steps": STEPS + 1}, "its steps is not 8"),
        ({"minutes": 1.0}, "its minutes is not 1.0"),
        ({"overrides": {"network.width": 8}}, "network.width is not 8"),
    ):
        with pytest.raises(SettingsError, match=told):
            train_folds(data, whole.run, resume=True, **given_otherwise)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="already holds a run"):
        train_folds(data, whole.run, folds=3, steps=STEPS)
    again = train_folds(None, whole.run, resume=True)  # what has ended is only told again
    assert again.as_dict() == whole.as_dict()


def test_what_cannot_begin(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError, match="no folds to resume"):
        train_folds(None, tmp_path / "none", resume=True)
    with pytest.raises(SettingsError, match="only 6 annotated images; choose no more than 6"):
        train_folds(data, tmp_path / "run", folds=7, steps=7)
    with pytest.raises(SettingsError, match="choose 2 or more"):
        train_folds(data, tmp_path / "run", folds=1)
    with pytest.raises(SettingsError, match="each of 3 runs needs one"):
        train_folds(data, tmp_path / "run", folds=3, steps=2)
    with pytest.raises(SettingsError, match="not both"):
        train_folds(data, tmp_path / "run", folds=3, steps=3, minutes=1.0)
    with monkeypatch.context() as patch:
        patch.setattr(machine, "launched_together", lambda: True)
        with pytest.raises(SettingsError, match="without torchrun"):
            train_folds(data, tmp_path / "run", folds=3, steps=3)
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FOLDS).write_text("{")
    with pytest.raises(TrainingError, match="cannot be resumed"):
        train_folds(data, tmp_path / "run", folds=3, steps=3, resume=True)


def test_other_images_are_noticed(data: Path, whole: FoldsResult, monkeypatch: pytest.MonkeyPatch) -> None:
    from useg.data.dataset import Example

    prepare = several.prepare

    def renamed(*args: Any, **kwargs: Any) -> Any:
        found = prepare(*args, **kwargs)
        example = found.parts.validation[0]
        found.parts.validation[0] = Example("other", example.image, example.labels)
        return found

    monkeypatch.setattr(several, "prepare", renamed)
    with pytest.raises(DataError, match="have changed since"):
        train_folds(None, whole.run, resume=True)


@given(
    st.integers(2, 8),
    st.floats(1, 60),
    st.floats(0, 20),
    st.lists(st.floats(0.3, 1), min_size=8, max_size=8),
)
def test_minutes_are_shared_and_what_is_left_goes_to_the_others(
    folds: int, minutes: float, validation: float, used: list[float]
) -> None:
    members = [several.Member(Path(f"fold-{k}"), "", {}) for k in range(folds)]
    record = several.Record(runs=[m.folder.name for m in members], minutes=minutes, steps=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(several, "_state", lambda member: RunState(validation_seconds=validation))
        elapsed, shares = 0.0, []
        for index in range(folds):
            shares.append(several._share(members, index, record, elapsed)["minutes"])
            elapsed += 60 * shares[-1] * used[index]
        most = 60 * several.LEAST_MINUTES * folds
        assert elapsed <= max(60 * minutes, most) + 1e-6
        if min(shares[1:]) > several.LEAST_MINUTES:
            assert elapsed + folds * validation <= 60 * minutes + 1e-6
            assert all(b >= a - 0.02 for a, b in pairwise(shares[1:]))


def test_a_fold_without_foreground_is_left_out_of_the_mean() -> None:
    folds = [FoldScore(Path("a"), ["x"], dice, None) for dice in (0.5, float("nan"), 0.7)]
    result = FoldsResult(Path("run"), Path("m"), folds, None, True)
    assert (result.mean, result.deviation) == (pytest.approx(0.6), pytest.approx(2**0.5 / 10))
    assert result.as_dict()["folds"][1]["dice"] is None
    empty = FoldsResult(Path("run"), Path("m"), [], None, False).as_dict()
    assert (empty["mean"], empty["deviation"], empty["total"]) == (None, None, None)


def test_objects_are_judged_too(tmp_path: Path) -> None:
    draw_data_set(tmp_path / "data", train_images=4, test_images=1, size=64, ids=True)
    given_too = {**TINY, "data.masks": "instances"}
    result = train_folds(tmp_path / "data", tmp_path / "run", folds=2, steps=2, overrides=given_too)
    assert result.evaluation is not None and result.evaluation.objects is not None
    assert all(fold.quality is not None for fold in result.folds)
    with safe_open(result.model, framework="pt") as file:
        card = ModelCard.model_validate_json(file.metadata()[KEY])
    assert card.objects is not None
    assert card.scores["objects"]["truth_objects"] == result.evaluation.objects.truth_objects
