"""What the buttons do: labels in memory and in blocks, where to annotate next, and a training that can be stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import SMALL, make_card, make_model, make_network
from useg.errors import DataError, ImageError, MissingError, SettingsError
from useg.plugin import work
from useg.plugin.annotation import SPARSE, keep_annotation
from useg.plugin.layers import plane_of, windows_of_layer
from useg.plugin.work import (
    PREDICTIONS,
    Loaded,
    Place,
    load_model,
    predict_image,
    save_model,
    suggest_places,
    train_project,
)
from useg.predict import Predictor, PredictSettings
from useg.project.runs import RUNS
from useg.runner import WORKSPACE
from useg.train import train
from useg.unet.model import ClassInfo
from useg.unet.model import save_model as write_model
from useg.unet.settings import UNetSettings
from useg.watch import Watcher

CPU = PredictSettings(device="cpu", precision="float32", max_memory=10**9)
TIGHT = CPU.model_copy(update={"max_memory": WORKSPACE + 9_000_000})
VALUES = (1, 4, 7)


def image_of(*size: int, seed: int = 0):
    array = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    return windows_of_layer(array, name="cells")


def model_of(folder: Path, settings: PredictSettings = CPU, **changes: object) -> Loaded:
    """A model of three classes, which the masks called 1, 4 and 7."""
    network, path = UNetSettings.model_validate({**SMALL, **changes, "classes": 3}), folder / "model.safetensors"
    classes = [ClassInfo(name=f"c{v}", colour=(v, 0, 0), value=v) for v in VALUES]
    write_model(path, make_card(network, classes=classes), make_network(network, 0).state_dict())
    return Loaded(path, Predictor.load(path, settings))


def predict(model: Loaded, image, folder: Path | None = None, go_on=lambda: True):
    told: list[tuple[int, int]] = []
    found = predict_image(model, image, folder=folder, on_block=lambda *block: told.append(block), go_on=go_on)
    return found, told


def test_labels_have_the_numbers_of_the_masks(tmp_path: Path) -> None:
    model, image = model_of(tmp_path), image_of(40, 50)
    found, _ = predict(model, image)
    expected = model.predictor.predict(image.read(image.whole)).labels
    assert np.array_equal(found.labels, np.array(VALUES)[expected])
    assert found.probabilities is not None and found.probabilities.shape == (3, 40, 50)


def test_objects_are_numbered(tmp_path: Path) -> None:
    path, image = make_model(tmp_path), image_of(40, 50)
    model = Loaded(path, Predictor.load(path, CPU))
    found, _ = predict(model, image)
    expected = model.predictor.objects(model.predictor.predict(image.read(image.whole)))
    assert np.array_equal(found.labels, expected) and found.words.startswith(f"{expected.max()} objects")


def test_a_stack_is_predicted_slice_by_slice(tmp_path: Path) -> None:
    model, stack = model_of(tmp_path), image_of(3, 40, 50)
    found, _ = predict(model, stack)
    assert np.array_equal(found.labels, [predict(model, plane_of(stack, z))[0].labels for z in range(3)])


def test_a_volume_goes_through_a_network_of_three_dimensions(tmp_path: Path) -> None:
    model, stack = model_of(tmp_path, dims=3), image_of(8, 20, 24)
    found, _ = predict(model, stack)
    expected = model.predictor.predict(stack.read(stack.whole)).labels
    assert np.array_equal(found.labels, np.array(VALUES)[expected])


def test_blocks_give_what_memory_gives(tmp_path: Path) -> None:
    image = image_of(600, 1100)
    large, tight = model_of(tmp_path), model_of(tmp_path, TIGHT)
    with pytest.raises(MissingError, match="cells: does not fit in memory; name a folder"):
        predict(tight, image)
    with pytest.raises(InterruptedError):
        predict(tight, image, tmp_path / "p", go_on=lambda: False)
    found, told = predict(tight, image, tmp_path / "p")
    assert told[0][0] == 2 and told[-1][0] == told[-1][1]  # the first block was done before
    assert isinstance(found.labels, list) and (tmp_path / "p" / PREDICTIONS / "cells.ome.zarr").is_dir()
    assert np.array_equal(np.asarray(found.labels[0]), predict(large, image)[0].labels)
    assert found.labels[-1].shape[0] < found.labels[0].shape[0]
    with pytest.raises(ImageError, match="the stack does not fit in memory"):
        predict(tight, image_of(2, 600, 1100), tmp_path / "p")


def suggest(model: Loaded, image, labels=None, count: int = 3, go_on=lambda: True) -> list[Place]:
    return suggest_places(model, image, labels, edge=32, count=count, on_plane=lambda *plane: None, go_on=go_on)


def test_what_is_painted_is_not_suggested(tmp_path: Path) -> None:
    model, image, labels = model_of(tmp_path), image_of(96, 128), np.zeros((96, 128), np.int64)
    first = suggest(model, image, count=20)
    assert len(first) == len({str(place.window) for place in first}) == 12 and all(place.reason for place in first)
    labels[first[0].window] = 1
    assert suggest(model, image, labels, count=20) != first
    assert first[0].window not in [place.window for place in suggest(model, image, labels, count=20)]
    with pytest.raises(DataError, match="something is painted in every region"):
        suggest(model, image, np.ones_like(labels))
    tight = Loaded(model.path, Predictor(model.card, model.predictor.runner, TIGHT))
    assert {str(place.window) for place in suggest(tight, image, count=20)} == {str(place.window) for place in first}


def test_of_a_stack_a_slice_is_suggested(tmp_path: Path) -> None:
    model, labels = model_of(tmp_path), np.zeros((3, 40, 50), np.int64)
    labels[[0, 2]] = 1
    (place,) = suggest(model, image_of(3, 40, 50), labels)
    assert place.z == 1 and place.window == (slice(0, 40), slice(0, 50))
    with pytest.raises(InterruptedError):
        suggest(model, image_of(3, 40, 50), go_on=lambda: False)


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    save_model(model, tmp_path / "kept.safetensors")
    assert load_model(tmp_path / "kept.safetensors").card == model.card
    with pytest.raises(SettingsError, match=r"save it as kept\.safetensors"):
        save_model(model, tmp_path / "kept.onnx")


def test_one_image_is_trained_on_and_then_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of a new user: a few strokes, a model; then some more, and Stop. With a small network, and no report."""
    small = {"network.width": 4, "network.depth": 1, "machine.precision": "float32", "samples.batch": 2}
    monkeypatch.setattr(work, "train", lambda *a, **k: train(*a, **{**k, "command": "", "overrides": small}))
    rng, labels = np.random.default_rng(0), np.zeros((96, 96), np.int64)
    array = rng.integers(0, 60, labels.shape, dtype=np.uint8)
    array[:, 40:] += 120
    labels[4:92, 4:30], labels[4:92, 60:90] = 1, 2
    image = windows_of_layer(array, name="cells")
    project = keep_annotation(tmp_path / "p", image, labels, SPARSE)
    said: list[str] = []
    trained = train_project(project, 0.08, Watcher(on_text=said.append))
    assert trained.result.finished and "Dice" in trained.words
    assert any("a strip at one end of the only image" in text for text in said)
    assert project.model == trained.model.path == project.folder / RUNS / "001" / "model.safetensors"
    found, _ = predict(trained.model, image)
    assert set(np.unique(found.labels)) <= {1, 2}

    stopped = train_project(project, 5.0, Watcher(should_stop=lambda: True))
    assert not stopped.result.finished and "the earlier model stays" in stopped.words
    assert stopped.model.path == project.model == trained.model.path
    assert replace(stopped.model, predictor=trained.model.predictor) == trained.model


def test_a_training_that_cannot_begin_leaves_no_run(tmp_path: Path) -> None:
    labels = np.zeros((24, 24), np.int64)
    labels[:12], labels[12:] = 1, 2
    project = keep_annotation(tmp_path / "p", image_of(24, 24), labels, SPARSE)
    with pytest.raises(DataError, match="nothing would be left to judge with"):
        train_project(project, 1.0, Watcher())
    assert project.runs() == [] and list((project.folder / RUNS).iterdir()) == []
