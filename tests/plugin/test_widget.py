"""The dock widget, with Qt and without a screen. Needs napari and a Qt, as docs/napari.md says; skipped without."""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of napari's own libraries
    pytest.importorskip("napari")
    qt = pytest.importorskip("qtpy.QtWidgets", exc_type=ImportError)
    from napari.components import ViewerModel

    from useg.plugin import widget as door
    from useg.plugin.widget import NEXT, Segment

from models import SMALL, make_card, make_network
from useg.errors import DataError
from useg.images import read_mask
from useg.plugin.annotation import OBJECTS
from useg.plugin.layers import rectangle
from useg.plugin.work import Painted, Trained, load_model
from useg.predict import Predictor
from useg.project import Project, open_project
from useg.unet.model import ClassInfo, save_model
from useg.unet.settings import UNetSettings
from useg.watch import Progress, TrainResult, Watcher

pytestmark = pytest.mark.filterwarnings("ignore")
SIZE = (72, 96)
PLACE = {"scale": (0.5, 0.5), "translate": (10.0, 20.0)}


@pytest.fixture(scope="module")
def application() -> Any:
    return qt.QApplication.instance() or qt.QApplication([])


@pytest.fixture
def opened(application: Any, tmp_path: Path) -> Iterator[Segment]:
    """The widget beside an image, and labels in which two columns are painted."""
    viewer = ViewerModel()
    image = viewer.add_image(np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8), name="cells", **PLACE)
    labels = viewer.add_labels(np.zeros(SIZE, int), name="painted", **PLACE)
    labels.data[8:64, 8:30], labels.data[8:64, 50:80] = 1, 3
    found = Segment(viewer)
    found.image.choices, found.labels.choices, found.folder.value = [image], [labels], tmp_path / "p"
    found.labels.value = labels
    yield found
    found.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    classes = [ClassInfo(name=f"c{v}", colour=(v, 200, 0), value=v) for v in (1, 3)]
    network = UNetSettings.model_validate({**SMALL, "classes": 2})
    path = tmp_path / "model.safetensors"
    save_model(path, make_card(network, classes=classes), make_network(network, 0).state_dict())
    return path


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        qt.QApplication.processEvents()
        time.sleep(0.005)
        assert time.monotonic() < end


def press(opened: Segment, button: str) -> None:
    getattr(opened, button).native.click()
    until(lambda: opened.train.enabled)


def load(opened: Segment, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door.QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    press(opened, "load")


def test_without_a_model_there_is_nothing_to_do(opened: Segment) -> None:
    assert opened.train.enabled and opened.load.enabled
    assert not any(button.enabled for button in (opened.predict, opened.suggest, opened.save, opened.stop))


def test_a_loaded_model_predicts_in_place(opened: Segment, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(opened, model, monkeypatch)
    assert "it knows c1, c3" in opened.status.value
    opened.probabilities.value = True
    press(opened, "predict")
    layer = opened.viewer.layers["cells predicted"]
    expected = Predictor.load(model).predict(opened.image.value.data).labels
    assert np.array_equal(layer.data, np.array([1, 3])[expected])
    assert tuple(layer.scale) == PLACE["scale"] and tuple(layer.translate) == PLACE["translate"]
    assert np.allclose(layer.get_color(3), np.array([3, 200, 0, 255]) / 255)
    assert opened.viewer.layers["cells probability of c3"].data.shape == SIZE


@pytest.mark.parametrize("levels", [1, 2])
def test_axes_of_one_and_pyramids_stay(
    opened: Segment, model: Path, levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(opened, model, monkeypatch)
    full = opened.image.value.data
    given = [full[None], full[None, ::2, ::2]][:levels]
    layer = opened.viewer.add_image(given if levels > 1 else given[0], name="front", multiscale=levels > 1)
    opened.image.choices = [layer]
    found = Painted([full[::step, ::step] // 200 for step in (1, 2)][:levels], None, "")
    monkeypatch.setattr(door, "predict_image", lambda *_, **__: found)
    press(opened, "predict")
    shown = opened.viewer.layers["front predicted"]
    assert shown.multiscale == (levels > 1) and shown.ndim == 3
    assert (shown.data[0] if levels > 1 else shown.data).shape == (1, *SIZE)


def test_the_next_region_is_a_rectangle_in_the_image(
    opened: Segment, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(opened, model, monkeypatch)
    opened.labels.value.data[:] = 0
    opened.edge.value = 32
    for _ in range(2):  # there is one such layer, and the same place in it
        press(opened, "suggest")
    layer = opened.viewer.layers[NEXT]
    corners = layer.data[0]
    assert (corners.min(0) >= -0.5).all() and (corners.max(0) <= np.array(SIZE) - 0.5).all()
    assert tuple(layer.translate) == PLACE["translate"] and opened.status.value.startswith(f"{NEXT}: the model is")
    assert sum(each.name.startswith(NEXT) for each in opened.viewer.layers) == 1


def test_background_inside_of_shapes_is_annotated(
    opened: Segment, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(opened, model, monkeypatch)
    opened.labels.value.data[:] = 0
    corners = rectangle((slice(0, 72), slice(0, 64))) * PLACE["scale"] + PLACE["translate"]
    shapes = opened.viewer.add_shapes([corners], shape_type="rectangle")
    opened.inside.choices, opened.meaning.value, opened.edge.value = [shapes], OBJECTS, 32
    opened.inside.value = shapes
    press(opened, "suggest")
    assert opened.viewer.layers[NEXT].data[0][:, 1].min() == 63.5


def test_an_image_in_blocks_is_shown_from_its_folder(
    opened: Segment, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(opened, model, monkeypatch)
    monkeypatch.setattr("useg.plugin.work.fits", lambda *_: False)
    press(opened, "predict")
    layer = opened.viewer.layers["cells predicted"]
    expected = Predictor.load(model).predict(opened.image.value.data).labels
    assert not isinstance(layer.data, np.ndarray) and np.array_equal(layer.data, np.array([1, 3])[expected])
    assert (opened.folder.value / "predictions" / "cells.ome.zarr").is_dir() and tuple(layer.scale) == PLACE["scale"]


def test_a_saved_model(opened: Segment, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(opened, model, monkeypatch)
    monkeypatch.setattr(door.QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "kept"), ""))
    press(opened, "save")
    assert (tmp_path / "kept.safetensors").read_bytes() == model.read_bytes()


def test_a_training_tells_how_far_it_is_and_stops(
    opened: Segment, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Project, float]] = []

    def train(project: Project, minutes: float, watch: Watcher) -> Trained:
        seen.append((project, minutes))
        watch.on_text("planned")
        watch.on_progress(Progress(7, None, 0.25, 0.5, None, None, 3.0, None, "step"))
        while not watch.should_stop():
            time.sleep(0.005)
        return Trained(load_model(model), TrainResult(model.parent, model, 7, 0, None, None, False), "stopped early")

    monkeypatch.setattr(door, "train_project", train)
    opened.minutes.value = 0.5
    opened.train.native.click()
    until(lambda: opened.bar.value == 250)
    assert "step 7" in opened.status.value and opened.stop.enabled and not opened.train.enabled
    press(opened, "stop")
    ((project, minutes),) = seen
    assert minutes == 0.5 and opened.status.value.startswith("stopped early") and opened.predict.enabled
    assert np.array_equal(read_mask(project.masks.mask("cells")), opened.labels.value.data)
    colour = opened.labels.value.get_color(3)
    assert project.classes.entries[1].colour == tuple(round(255 * float(part)) for part in colour[:3])


def test_only_inside_of_shapes_wherever_their_layer_lies(opened: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of shapes that a user adds has neither the scale nor the origin of the image."""
    window = (slice(8, 40), slice(0, 60))
    corners = rectangle(window) * PLACE["scale"] + PLACE["translate"]
    shapes = opened.viewer.add_shapes([corners], shape_type="rectangle")
    opened.inside.choices, opened.meaning.value = [shapes], OBJECTS
    opened.inside.value = shapes

    def train(project: Project, minutes: float, watch: Watcher) -> Trained:
        raise DataError("that is all")

    monkeypatch.setattr(door, "train_project", train)
    press(opened, "train")
    assert opened.status.value == "that is all"
    expected = np.full(SIZE, 65535)
    expected[window] = opened.labels.value.data[window]
    project = open_project(opened.folder.value)
    assert np.array_equal(read_mask(project.masks.mask("cells")), expected)


def test_what_is_missing_is_said(opened: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(door, "show_error", told.append)
    opened.folder.value = None
    press(opened, "train")
    opened.labels.value = None
    press(opened, "train")
    assert [text.split(":")[0] for text in told] == ["no folder", "no labels"] and opened.status.value == told[-1]
