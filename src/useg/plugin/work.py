"""What the buttons do, without a window: train on a project, predict an image, find where to annotate next."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from useg.atomic import replacing
from useg.errors import DataError, ImageError, MissingError, SettingsError
from useg.images import Windows
from useg.images.windows import Window
from useg.plugin.layers import painted_values, plane_of
from useg.predict import Predictor
from useg.predict_store import StoreWatch, predict_store
from useg.project import Project, open_project
from useg.project.improve import finish_improvement, forget_improvement, plan_improvement
from useg.project.names import clean_name
from useg.project.predicting import fits, say
from useg.suggest.candidates import Candidate, look
from useg.suggest.ranking import choose
from useg.train import train
from useg.unet.model import ModelCard, find_model
from useg.unet.openvino_header import is_openvino
from useg.watch import TrainResult, Watcher

PREDICTIONS = "predictions"
"""In the project's folder: labels of images that are larger than memory."""
KNOWN = 0.02
"""A region of which this share is annotated is not suggested again."""

GoOn = Callable[[], bool]
"""Asked again and again; after False the work ends with InterruptedError."""


@dataclass(frozen=True)
class Loaded:
    """A model in use: its file, and the predictor of it."""

    path: Path
    predictor: Predictor

    @property
    def card(self) -> ModelCard:
        """What the model is."""
        return self.predictor.card


@dataclass(frozen=True)
class Trained:
    """How a training ended: the model to use from now on, and what came of it, in words."""

    model: Loaded
    result: TrainResult
    words: str


@dataclass(frozen=True, eq=False)
class Painted:
    """What a model says of an image.

    Attributes:
        labels: `[Z] Y X`, numbers of objects, or those by which `painted_values` calls the classes; of an image in
            blocks the levels of a pyramid, as Dask arrays.
        probabilities: of each class, 255 is certain; None of an image in blocks.
        words: what to know of it.
    """

    labels: Integer[np.ndarray, "*size"] | list[Any]
    probabilities: UInt8[np.ndarray, "k *size"] | None
    words: str


@dataclass(frozen=True)
class Place:
    """Where to annotate next: a window `Y X`, of a stack in the slice `z`, and why."""

    z: int | None
    window: Window
    reason: str


def load_model(path: Path) -> Loaded:
    """A model file or run folder, ready to predict. Raises as `Predictor.load`."""
    return Loaded(find_model(path), Predictor.load(path))


def save_model(model: Loaded, target: Path) -> None:
    """Copy the model's file.

    Raises:
        SettingsError: another suffix than the model's, or a model of several files. OutputError: it cannot be written.
    """
    suffix = model.path.suffix
    if is_openvino(model.path):
        raise SettingsError(f"{model.path}: has its weights in a file beside it; copy both in your file manager")
    if target.suffix.lower() != suffix:
        raise SettingsError(f"{target}: this model is a file that ends in {suffix}; save it as {target.stem}{suffix}")
    with replacing(target) as temporary:
        shutil.copyfile(model.path, temporary)


def train_project(project: Project, minutes: float, watch: Watcher) -> Trained:
    """Train on all annotated images of a project, as `useg train` does; a model that it has is trained further.

    A better model becomes the project's. Stopped before its end, a training changes nothing there, and can be resumed
    by command.

    Raises:
        DataError, SettingsError, TrainingError ...: see `useg.train.train` and `useg.project.improve.plan_improvement`.
    """
    improvement = plan_improvement(project, minutes)
    try:
        result = train(
            project.folder,
            improvement.place,
            minutes=minutes,
            start=improvement.start,
            watch=watch,
            command=improvement.shown,
        )
    except Exception:
        forget_improvement(improvement)
        raise
    finish_improvement(project, improvement)
    current = project.model or result.model
    score = result.validation if result.quality is None else result.quality
    measure = "Dice" if result.quality is None else "panoptic quality"
    told = [f"trained in {result.steps} steps" if result.finished else f"stopped after {result.steps} steps"]
    if score is not None:
        told.append(f"{measure} {score:.2f} on what was held out")
    if current != find_model(improvement.place):
        told.append(
            "the earlier model stays, for " + ("none was better" if result.finished else "this one is not done")
        )
    return Trained(load_model(current), result, "; ".join(told))


def predict_image(
    model: Loaded, image: Windows, *, folder: Path | None, on_block: Callable[[int, int], None], go_on: GoOn
) -> Painted:
    """Predict an image: in memory where it fits, else in blocks, through a store in a folder.

    Args:
        folder: a project, in which labels in blocks become `predictions/NAME.ome.zarr`; the next call goes on with
            work that was ended.
        on_block: told how many blocks of how many are done.

    Raises:
        MissingError: the image does not fit in memory, and there is no folder.
        ImageError: it is not one for this model. InterruptedError: see `GoOn`. Else as `predict_store`.
    """
    header, name = image.header, str(image.path)
    if fits(model.predictor, header):
        said = say(model.predictor, image.image())
        dice, found = said.told.expected_dice, said.told.objects
        told = [f"{found} objects"] if found is not None else []
        told += [f"the model expects a Dice of {dice:.2f}"] if dice is not None else []
        labels = said.labels if found is not None else _table(model.card)[said.labels]
        return Painted(labels, said.probabilities, "; ".join([*told, *said.told.warnings]))
    if len(header.size) > model.card.network.dims:
        raise ImageError(f"{name}: the stack does not fit in memory; crop it, or predict it in parts")
    if folder is None:
        raise MissingError(f"{name}: does not fit in memory; name a folder, in which its labels are written in blocks")

    def on_each(done: int, total: int) -> None:
        on_block(done, total)
        if not go_on():
            raise InterruptedError

    target = open_project(folder).folder / PREDICTIONS / f"{clean_name(name)}.ome.zarr"
    objects = model.card.objects is not None
    watch = StoreWatch(on_block=on_each)
    result = predict_store(model.predictor, model.path, image, target, instances=objects, watch=watch)
    told = [f"labels in {target}", *([f"{result.objects} objects"] if objects else []), *result.warnings]
    return Painted(_levels(target, None if objects else _table(model.card)), None, "; ".join(told))


def suggest_places(
    model: Loaded,
    image: Windows,
    labels: Integer[np.ndarray, "*size"] | None,
    *,
    edge: int,
    count: int,
    on_plane: Callable[[int, int], None],
    go_on: GoOn,
) -> list[Place]:
    """Regions of an image, of about `edge` pixels along an axis, from which the model would learn most; best first.

    Args:
        labels: what is annotated already, 0 where nothing is. on_plane: told how many slices are done.

    Raises:
        DataError: everything is annotated. InterruptedError: see `GoOn`.
        ImageError: it is not an image for this model, such as one of volumes.
    """
    stack = len(image.header.size) == 3
    planes = [plane_of(image, z) for z in range(image.header.size[0])] if stack else [image]
    free: list[Candidate] = []
    known: list[Candidate] = []
    for z, plane in enumerate(planes):
        painted = None if labels is None else (labels[z] if stack else labels) != 0
        for each in look(model.predictor, plane, edge):
            done = painted is not None and painted[each.region or ...].mean() >= KNOWN
            (known if done else free).append(each)
        on_plane(z + 1, len(planes))
        if not go_on():
            raise InterruptedError
    if not free:
        raise DataError(f"{image.path}: something is painted in every region of it; train, or open another image")
    number = {plane.path: z for z, plane in enumerate(planes)}
    full = image.whole[-2:]
    chosen = choose(free, known, model.card, count)
    return [Place(number[one.source] if stack else None, one.region or full, one.reason) for one in chosen]


def _table(card: ModelCard) -> UInt8[np.ndarray, "k"]:
    """Class -> number in a labels layer."""
    return np.array(painted_values(card), np.uint8)


def _levels(store: Path, table: UInt8[np.ndarray, "k"] | None) -> list[Any]:
    """The levels of an OME-Zarr label image, read when they are looked at."""
    import dask.array as da
    import zarr

    group = zarr.open_group(str(store), mode="r")
    levels = [
        da.from_array(level, chunks=level.chunks)  # type: ignore[no-untyped-call]
        for _, level in sorted(group.arrays())
    ]
    return (
        levels
        if table is None
        else [level.map_blocks(lambda block: table[block], dtype=table.dtype) for level in levels]
    )
