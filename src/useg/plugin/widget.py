"""The dock widget: an image, labels and a folder; train, predict, suggest; load and save a model.

One piece of work runs at a time, in a thread of its own, so that the window stays alive; Stop ends it early.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    FileEdit,
    FloatSpinBox,
    Label,
    ProgressBar,
    PushButton,
    SpinBox,
    create_widget,
)
from napari.layers import Image, Labels, Shapes
from napari.qt.threading import create_worker
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QFileDialog
from superqt.utils import ensure_main_thread

from useg.console import progress_line
from useg.errors import MissingError, UsegError
from useg.images import Windows
from useg.plugin.annotation import DENSE, OBJECTS, SPARSE, keep_annotation
from useg.plugin.layers import inside_of, labels_of_layer, painted_colours, rectangle, windows_of_layer
from useg.plugin.work import (
    Loaded,
    Painted,
    Place,
    Trained,
    load_model,
    predict_image,
    save_model,
    suggest_places,
    train_project,
)
from useg.watch import Progress, Watcher

MODELS = "Models (*.safetensors *.onnx *.xml)"
NEXT = "annotate next"
"""Name of the layer of suggestions."""
EVERY = 0.1
"""Seconds between two changes of the bar."""


class Segment(Container):
    """What napari shows under Plugins > useg."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(labels=False)
        self.viewer = napari_viewer
        self.model: Loaded | None = None
        self._stop = threading.Event()
        self._shown = 0.0
        self.worker: Any = None
        self.image = create_widget(annotation=Image, label="Image")
        kept = "Images, masks and models are kept here"
        self.folder = FileEdit(mode="d", label="Folder", nullable=True, tooltip=kept)
        self.labels = create_widget(annotation=Labels | None, label="Labels")
        self.meaning = ComboBox(label="They are", choices=[SPARSE, DENSE, OBJECTS], value=SPARSE)
        self.inside = create_widget(annotation=Shapes | None, label="Only inside")
        self.minutes = FloatSpinBox(label="Minutes", value=3.0, min=0.1, max=120.0, step=0.5)
        self.train = PushButton(text="Train")
        self.probabilities = CheckBox(text="with probabilities", value=False)
        self.predict = PushButton(text="Predict")
        self.edge = SpinBox(label="Region [px]", value=128, min=32, max=4096)
        self.suggest = PushButton(text="Suggest where to annotate next")
        self.load, self.save = PushButton(text="Load model"), PushButton(text="Save model")
        self.status = Label(value="No model yet: paint a few labels and train, or load a model.")
        self.bar = ProgressBar(value=0, min=0, max=1000, visible=False)
        self.stop = PushButton(text="Stop", enabled=False)
        models = Container(widgets=[self.load, self.save], layout="horizontal", labels=False)
        asked = (self.image, self.folder, self.labels, self.meaning, self.inside, self.minutes)
        done = (self.train, self.probabilities, self.predict, Container(widgets=[self.edge]), self.suggest, models)
        self.extend((Container(widgets=asked), *done, self.status, self.bar, self.stop))
        self.status.native.setWordWrap(True)
        for button, called in (
            (self.train, self.on_train),
            (self.predict, self.on_predict),
            (self.suggest, self.on_suggest),
            (self.load, self.on_load),
            (self.save, self.on_save),
            (self.stop, self._stop.set),
        ):
            button.changed.connect(lambda _, called=called: self._telling(called))
        self._enable(busy=False)

    # What the buttons do.

    def on_train(self) -> None:
        """Put image and labels into the folder's project, and train on all that is annotated there."""
        layer, painted = self._image(), self.labels.value
        if painted is None:
            raise MissingError("no labels: add a labels layer, paint in it, and choose it under Labels")
        folder, windows = self._folder(), _windows(layer)
        labels = labels_of_layer(painted.data, name=painted.name, like=windows).copy()  # it may be painted on meanwhile
        meaning, minutes, inside = self.meaning.value, self.minutes.value, self._inside(layer, windows)
        classes = np.unique(labels) if meaning != OBJECTS else ()
        colours = {int(value): _rgb(painted.colormap.map(int(value))) for value in classes if value}
        watch = Watcher(
            on_text=self._say,
            on_progress=lambda p: self._tell(progress_line(p), p),
            should_stop=lambda: not self._go_on(),
        )

        def work() -> Trained:
            project = keep_annotation(folder, windows, labels, meaning, inside=inside, colours=colours)
            return train_project(project, minutes, watch)

        def done(found: Trained) -> None:
            self.model = found.model
            self.status.value = f"{found.words}. Model: {found.model.path}"

        self._begin(work, done, "looking at the labels")

    def on_predict(self) -> None:
        """Predict the image, and show its labels."""
        model, layer = self._model(), self._image()
        windows, folder, wanted = _windows(layer), self._folder_or_none(), self.probabilities.value

        def work() -> Painted:
            return predict_image(model, windows, folder=folder, on_block=self._count("blocks"), go_on=self._go_on)

        def done(found: Painted) -> None:
            self._show(layer, model, found, probabilities=wanted)
            self.status.value = found.words or "done"

        self._begin(work, done, f"predicting {layer.name}")

    def on_suggest(self) -> None:
        """Mark the region of the image from which the model would learn most."""
        model, layer, painted, edge = self._model(), self._image(), self.labels.value, self.edge.value
        windows = _windows(layer)
        labels = None if painted is None else labels_of_layer(painted.data, name=painted.name, like=windows).copy()
        if labels is not None and self.meaning.value != SPARSE and (inside := self._inside(layer, windows)) is not None:
            labels[inside & (labels == 0)] = 1  # background there is annotated too

        def work() -> list[Place]:
            counted = self._count("slices")
            return suggest_places(model, windows, labels, edge=edge, count=1, on_plane=counted, go_on=self._go_on)

        def done(found: list[Place]) -> None:
            for place in found:
                self._mark(layer, place)
                self.status.value = f"{NEXT}: {place.reason}"

        self._begin(work, done, f"looking at {layer.name}")

    def on_load(self) -> None:
        """Ask for a model file, and load it."""
        name, _ = QFileDialog.getOpenFileName(self.native, "Load a model", self._start(), MODELS)
        if name:
            self.model = load_model(Path(name))
            card = self.model.card
            told = "single objects" if card.masks == "instances" else ", ".join(each.name for each in card.classes)
            self.status.value = f"Model: {name}; it knows {told}"
            self._enable(busy=False)

    def on_save(self) -> None:
        """Ask where to, and copy the model there."""
        model = self._model()
        proposed = str(Path(self._start()) / f"model{model.path.suffix}")
        name, _ = QFileDialog.getSaveFileName(self.native, "Save the model", proposed, f"Model (*{model.path.suffix})")
        if name:
            target = Path(name) if Path(name).suffix else Path(name + model.path.suffix)
            save_model(model, target)
            show_info(f"saved as {target}")

    # What is asked of the fields.

    def _image(self) -> Any:
        if self.image.value is None:
            raise MissingError("no image: open one, and choose it under Image")
        return self.image.value

    def _model(self) -> Loaded:
        if self.model is None:
            raise MissingError("no model yet: train one, or load one")
        return self.model

    def _inside(self, layer: Any, windows: Windows) -> np.ndarray | None:
        shapes = self.inside.value
        return None if shapes is None else inside_of(_corners(shapes, layer), windows.header.size)

    def _folder_or_none(self) -> Path | None:
        given: Path | None = self.folder.value
        return given

    def _folder(self) -> Path:
        folder = self._folder_or_none()
        if folder is None:
            raise MissingError("no folder: choose an empty one under Folder, or the one that you trained in before")
        return folder

    def _start(self) -> str:
        return str(self._folder_or_none() or Path.home())

    # Work in a thread.

    def _begin(self, work: Callable[[], Any], done: Callable[[Any], None], text: str) -> None:
        def ended() -> tuple[Any, Exception | None]:
            try:
                return work(), None
            except (UsegError, InterruptedError) as error:  # napari shows all others, with their traceback
                return None, error

        def returned(result: tuple[Any, Exception | None]) -> None:
            found, error = result
            if error is not None:
                self._failed(error)
            else:
                done(found)

        self._stop.clear()
        self.status.value, self.bar.value = text, 0
        self._enable(busy=True)
        self.worker = create_worker(ended, _start_thread=False)
        self.worker.returned.connect(returned)
        self.worker.errored.connect(lambda error: self._say(f"failed: {error}"))
        self.worker.finished.connect(lambda: self._enable(busy=False))
        self.worker.start()

    def _failed(self, error: Exception) -> None:
        self.status.value = "stopped" if isinstance(error, InterruptedError) else str(error)
        if isinstance(error, UsegError):
            show_error(str(error))

    def _telling(self, called: Callable[[], None]) -> None:
        try:
            called()
        except UsegError as error:
            self._failed(error)

    def _go_on(self) -> bool:
        return not (self._stop.is_set() or self.worker.abort_requested)  # the latter when napari is closed

    def _count(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self._show_progress(f"{done} of {total} {what}", done / total)

    def _tell(self, text: str, progress: Progress) -> None:
        if progress.event != "step" or time.monotonic() - self._shown > EVERY:
            self._shown = time.monotonic()
            self._show_progress(text, progress.fraction)

    def _say(self, text: str) -> None:
        self._show_progress(text, None)

    @ensure_main_thread
    def _show_progress(self, text: str, fraction: float | None) -> None:
        self.status.value = text
        if fraction is not None:
            self.bar.value = round(1000 * fraction)

    def _enable(self, *, busy: bool) -> None:
        for button in (self.train, self.load):
            button.enabled = not busy
        for button in (self.predict, self.suggest, self.save):
            button.enabled = not busy and self.model is not None
        self.stop.enabled = self.bar.visible = busy

    # What is shown.

    def _show(self, layer: Any, model: Loaded, found: Painted, *, probabilities: bool) -> None:
        """Labels, which can be corrected and trained on; where they are asked for, probabilities too."""
        place, name = _place(layer), f"{layer.name} predicted"
        # The axes of length 1 that the layer has.
        axes = tuple(slice(None) if n != 1 else None for n in _shape(layer)[:-2])
        levels = [level[axes] for level in (found.labels if isinstance(found.labels, list) else [found.labels])]
        data: Any = levels if len(levels) > 1 else levels[0]
        how: dict[str, Any] = {"multiscale": len(levels) > 1}
        if model.card.masks == "classes":
            colours = {value: np.array([*rgb, 255]) / 255 for value, rgb in painted_colours(model.card).items()}
            how["colormap"] = DirectLabelColormap(color_dict=colours | {None: np.zeros(4), 0: np.zeros(4)})
        self.viewer.add_labels(data, name=name, opacity=0.5, **how, **place)
        if not probabilities or found.probabilities is None:
            return
        for known, plane in list(zip(model.card.classes, found.probabilities, strict=True))[1:]:
            named = f"{layer.name} probability of {known.name}"
            self.viewer.add_image(plane[axes], name=named, contrast_limits=(0, 255), visible=False, **place)

    def _mark(self, layer: Any, place: Place) -> None:
        """The rectangle of a suggestion, in the layer of its name; the view goes to its slice."""
        corners, ahead = rectangle(place.window, place.z), len(_shape(layer)) - 2
        if place.z is None:
            corners = np.column_stack([np.zeros((4, ahead)), corners])
        if NEXT in self.viewer.layers:
            self.viewer.layers.remove(NEXT)
        how = {"edge_color": "yellow", "face_color": "transparent", "edge_width": max(1, round(self.edge.value / 64))}
        self.viewer.add_shapes([corners], shape_type="rectangle", name=NEXT, **how, **_place(layer))
        if place.z is not None:
            world = layer.data_to_world([place.z, 0, 0])
            self.viewer.dims.set_point(self.viewer.dims.ndim - 3, world[0])


def _windows(layer: Any) -> Windows:
    units = {f"{unit:~}" for unit in layer.units}
    unit = units.pop() if len(units) == 1 else "pixel"
    known = "" if unit in ("pixel", "px") else unit
    return windows_of_layer(
        layer.data, name=layer.name, colour=layer.rgb, scale=tuple(map(float, layer.scale)), unit=known
    )


def _shape(layer: Any) -> tuple[int, ...]:
    """Of its full resolution, without colour."""
    full = layer.data[0] if layer.multiscale else layer.data
    return tuple(full.shape[: layer.ndim])


def _place(layer: Any) -> dict[str, Any]:
    """Where a layer lies, for others that shall lie there too."""
    return {name: getattr(layer, name) for name in ("scale", "translate", "rotate", "shear", "affine", "units")}


def _corners(shapes: Any, layer: Any) -> list[np.ndarray]:
    """The corners of shapes in the pixels of an image's layer."""
    kept = len([n for n in _shape(layer)[:-2] if n != 1]) + 2
    found = [np.array([layer.world_to_data(shapes.data_to_world(corner)) for corner in each]) for each in shapes.data]
    return [corners[:, -kept:] for corners in found]


def _rgb(colour: Any) -> tuple[int, int, int]:
    red, green, blue = (round(255 * float(part)) for part in np.ravel(colour)[:3])
    return red, green, blue
