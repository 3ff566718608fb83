"""A project's folder: opened or begun, its images and their labels, its classes and its model.

Project    everything that the page, or a script, does with it; whatever it says of the folder is read anew, so that
           files that other programs add, change or take away are seen
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer, UInt8

from useg.atomic import require_output_folder
from useg.data.dataset import Pair, describe_size, size_fault
from useg.data.legend_file import find_legend
from useg.data.project_file import Kind, ProjectFile, is_project, read_project
from useg.errors import DataError, MissingError, SettingsError, UsegError
from useg.images import Header
from useg.predict import Predictor
from useg.project.arrivals import add
from useg.project.begin import begin, require_fitting
from useg.project.classes import Classes, new_classes, of_entries, of_prediction
from useg.project.masks import Labels, Masks
from useg.project.predicting import Told, fits, predict_blocks, predict_image
from useg.project.predictions import Kept, Predictions
from useg.project.runs import RUNS, Digests, Run, list_runs
from useg.project.stock import Stock
from useg.project.writing import locked
from useg.store_plan import file_state
from useg.unet.model import ModelCard, find_model, read_card

Source = Literal["best", "mask", "draft", "prediction"]
State = Literal["new", "predicted", "draft", "kept"]


@dataclass(frozen=True)
class ImageEntry:
    """An image of a project.

    Attributes:
        name: its stem, by which all else knows it. path: its file.
        header: what the file says of itself; None where it cannot be read, and `error` says why.
        state: "kept" has a mask, "draft" has labels that nobody kept yet, "predicted" the current model's labels.
        version: of its mask and draft; None where it has neither.
        expected_dice: what the current model expects of itself.
    """

    name: str
    path: Path
    header: Header | None
    state: State
    version: str | None
    expected_dice: float | None
    error: str | None = None

    @property
    def size(self) -> tuple[int, int, int]:
        """Slices, height and width; zeros where the file cannot be read."""
        size = self.header.size if self.header else (0, 0)
        return (1, size[0], size[1]) if len(size) == 2 else (size[0], size[1], size[2])


def open_project(folder: Path, model: Path | None = None) -> Project:
    """The project in a folder. An empty or new folder, and one that holds images/, becomes one.

    Args:
        model: a model file or run folder that becomes the project's model, if it was not given before; a new project
            has its classes.

    Raises:
        OutputError: the folder holds other things. MissingError, ModelError: there is no such model.
        DataError: `project.toml`, `legend.csv` or masks that are there already cannot be used.
        SettingsError: the model is of other classes than the project.
    """
    require_output_folder(folder)
    card = read_card(model) if model else None
    if not is_project(folder):
        begin(folder, card)
    project = Project(folder)
    if not (found := find_legend(folder)) or not any(entry.ignore for entry in found[1]):
        project.classes.save(folder)  # training must know what nobody annotated
    project.masks.sweep()
    if model is not None and card is not None:
        project.require_fitting(card, model)
        given = find_model(model).resolve()
        if given.parent.parent == project.folder / RUNS:
            project.set_model(given.parent.name)
        elif project.file.start != str(given):
            project._save(model=str(given), start=str(given))
    return project


class Project:
    """A project in a folder; see `open_project`."""

    def __init__(self, folder: Path) -> None:
        """Of a folder that is one.

        Raises:
            DataError: it is none, or its `project.toml` or `legend.csv` cannot be used.
        """
        if not is_project(folder):
            raise DataError(f"{folder}: is no project; begin one with `useg serve` in an empty folder")
        self.folder = folder.resolve()
        self.stock, self.masks = Stock(self.folder), Masks(self.folder)
        self.predictions = Predictions(self.folder)
        self._digests = Digests()
        self.classes  # noqa: B018  what is wrong with them is said here

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.folder.name

    @property
    def file(self) -> ProjectFile:
        """What `project.toml` says now."""
        return read_project(self.folder)

    @property
    def classes(self) -> Classes:
        """The classes as `legend.csv` has them now."""
        kind, found = self.file.kind, find_legend(self.folder)
        return of_entries(kind, found[1], found[0]) if found else new_classes(kind)

    def set_classes(
        self, named: Sequence[tuple[str, tuple[int, int, int] | None]], kind: Kind | None = None
    ) -> Classes:
        """Rename classes, change their colours, or add some; while nothing is annotated, also fewer or another kind.

        Raises:
            SettingsError: that cannot be.
        """
        with locked(self.folder):
            return self._set_classes(named, kind)

    def _set_classes(self, named: Sequence[tuple[str, tuple[int, int, int] | None]], kind: Kind | None) -> Classes:
        old, file = self.classes, self.file
        new = old.changed(kind or old.kind, named)
        less = new.kind != old.kind or len(new.entries) < len(old.entries)
        if less and (there := [*self.masks.kept(), *self.masks.drafts()]):
            raise SettingsError(
                f"{there[0]} is annotated: classes can be renamed and added, but neither be taken away nor be of "
                "another kind; take its mask and draft away first"
            )
        if less and (card := self.card) is not None:
            require_fitting(new, card, "the project's model")
        new.save(self.folder)
        file.model_copy(update={"kind": new.kind}).save(self.folder)
        return new

    # Images.

    def images(self) -> list[ImageEntry]:
        """All images, in their order."""
        model = self._model_digest()
        paths, drafts = self.stock.paths(), self.masks.drafts()
        kept = self.masks.of_images(paths)
        return [self._entry(name, path, model, drafts.get(name), kept.get(name)) for name, path in paths.items()]

    def image(self, name: str) -> ImageEntry:
        """One image.

        Raises:
            MissingError: there is no such image.
        """
        path, draft, kept = self.stock.path(name), self.masks.draft(name), self.masks.mask(name)
        return self._entry(name, path, self._model_digest(), draft, kept)

    def add_image(self, name: str, file: Path) -> ImageEntry:
        """Copy a file into the project under a safe name; the same bytes again, under whatever name, change nothing.

        Raises:
            ImageError: it is no image that useg reads. OutputError: another image has this name.
        """
        return self.image(add(self.folder, self.stock, name, file))

    # Labels.

    def labels(self, name: str, source: Source = "best", run: str | None = None) -> Labels:
        """Labels of an image, see `useg.project.classes`.

        Args:
            source: "best" is the draft, else the mask, else the prediction, else nothing annotated.
            run: whose prediction; None is the current model's, and as a "prediction" else the newest of all.

        Raises:
            MissingError: there is no such image, or no such labels of it. DataError: a mask cannot be used.
        """
        path, classes = self.stock.path(name), self.classes
        while True:  # until nobody wrote meanwhile
            version = self.masks.version(name)
            try:
                found = self._labels(name, path, classes, source, run, version)
            except UsegError:  # a file that was found may go before it is read
                if self.masks.version(name) == version:
                    raise
                continue
            if self.masks.version(name) == version:
                return found

    def write_draft(self, name: str, labels: Integer[np.ndarray, "*size"], version: str) -> str:
        """Write labels that are not finished yet; the new version.

        Raises:
            StaleError: somebody wrote other labels since `version`. DataError: the labels do not fit the image.
            MissingError, ImageError: there is no such image. OutputError: the disk is full.
        """
        return self._write(name, labels, version, keep=False)

    def keep(self, name: str, labels: Integer[np.ndarray, "*size"], version: str) -> str:
        """Write the mask, which training sees; the draft goes. The new version. Raises as `write_draft`."""
        return self._write(name, labels, version, keep=True)

    def discard(self, name: str, version: str) -> str:
        """Take the draft away; the new version. Raises as `write_draft`."""
        self.stock.path(name)
        return self.masks.discard(name, version)

    def unkeep(self, name: str, version: str) -> str:
        """Take the mask away, which becomes the draft where there is no later one. Raises as `write_draft`."""
        return self.masks.unkeep(name, version, self.classes)

    # The model and what it says.

    @property
    def model(self) -> Path | None:
        """The file of the current model; None without one.

        Raises:
            MissingError: it is gone.
        """
        given = self.file.model
        return find_model(self.folder / given) if given else None

    @property
    def has_model(self) -> bool:
        """Whether there is a current model, and its file is there."""
        return self._model_digest() is not None

    @property
    def card(self) -> ModelCard | None:
        """The card of the current model. Raises as `model`, and ModelError."""
        return read_card(self.model) if self.model else None

    @property
    def current(self) -> str | None:
        """The run that is the current model; None where it is none of the project's, or there is none."""
        place = Path(self.file.model)
        return place.name if place.parent == Path(RUNS) else None

    def runs(self) -> list[Run]:
        """The project's runs, in their order."""
        return list_runs(self.folder)

    def run(self, name: str) -> Run:
        """A run of the project.

        Raises:
            MissingError: there is none of this name.
        """
        found = next((run for run in self.runs() if run.name == name), None)
        if found is None:
            raise MissingError(f"{name}: there is no such run in this project")
        return found

    def set_model(self, run: str | None) -> None:
        """Make a run's model the current one; None is the model that the project began with, if any.

        Raises:
            MissingError: there is no such run, or no model in it yet.
            SettingsError: it is of other classes than the project.
        """
        if run is not None:
            path = find_model(self.folder / RUNS / self.run(run).name)
            self.require_fitting(read_card(path), path)
        self._save(model=f"{RUNS}/{run}" if run is not None else self.file.start)

    def require_fitting(self, card: ModelCard, model: Path) -> None:
        """See that a model knows no class that the project does not. Raises SettingsError."""
        require_fitting(self.classes, card, str(model))

    def predict(self, name: str, predictor: Predictor, go_on: Callable[[], bool] = lambda: True) -> Kept:
        """Predict an image with the current model, which is given ready to run, and keep what it says.

        An image that does not fit in memory is predicted in blocks, through a store on disk.

        Args:
            go_on: asked between blocks; after False, InterruptedError is raised, and the next call goes on from there.

        Raises:
            MissingError: there is no such image, or no model. ImageError: it is not one for this model.
            MissingExtraError: it does not fit in memory, and zarr is not installed.
        """
        begun, path, model = time.monotonic(), self.stock.path(name), self.model
        if model is None:
            raise MissingError(f"{self.name}: has no model yet; keep an image and improve")
        card, digest, state = predictor.card, self._digests.of(model), file_state(path)
        self.require_fitting(card, model)
        if read_card(model) != card:
            raise SettingsError(f"{name}: the project got another model meanwhile; predict again")
        names = [each.name for each in card.classes]
        if fits(predictor, self.stock.header(path)):
            said = predict_image(predictor, path)
            return self.predictions.save(name, state, digest, said, names, time.monotonic() - begun)

        def write(work: Path) -> Told:
            return predict_blocks(predictor, model, path, work, go_on)

        return self.predictions.save_blocks(name, state, digest, write, names, begun)

    def prediction(self, name: str, run: str | None = None) -> Kept | None:
        """What the current model, or a run's, said of an image as its file is now; None where that is not known.

        Raises:
            MissingError: there is no such image or run.
        """
        path = self.stock.path(name)
        digest = (
            self._model_digest()
            if run is None
            else self._digests.of(find_model(self.folder / RUNS / self.run(run).name))
        )
        return self.predictions.find(name, path, digest) if digest else None

    def layer(self, name: str, layer: str) -> UInt8[np.ndarray, "*size"]:
        """A map of the current model's prediction, `[Z] Y X`, such as "probability:1" or "entropy"; a view of a file.

        Raises:
            MissingError: there is no such image, prediction or map.
        """
        found = self.prediction(name)
        if found is None:
            raise MissingError(f"{name}: the current model has not predicted it yet")
        return found.layer(layer)

    def why_not_improve(self) -> str | None:
        """What is missing before a model can be trained; None where nothing is."""
        return None if self.kept() else "Paint an image and keep it: training learns from what you kept."

    def kept(self) -> list[str]:
        """Names of the images that have a mask."""
        paths = self.stock.paths()
        masks = self.masks.of_images(paths)
        return [name for name in paths if name in masks]

    def _save(self, **changes: str) -> None:
        with locked(self.folder):
            self.file.model_copy(update=changes).save(self.folder)

    def _model_digest(self) -> str | None:
        """Of the current model; None where there is none, or it is gone."""
        try:
            return self._digests.of(self.model) if self.model else None
        except MissingError:
            return None

    def _entry(self, name: str, path: Path, model: str | None, draft: Path | None, kept: Path | None) -> ImageEntry:
        header, error = self.stock.header_or_error(path)
        found = self.predictions.find(name, path, model) if model else None
        version = self.masks.version_of(draft, kept) if draft or kept else None
        state: State = "draft" if draft else "kept" if kept else "predicted" if found else "new"
        return ImageEntry(name, path, header, state, version, found.info.expected_dice if found else None, error)

    def _write(self, name: str, labels: Integer[np.ndarray, "*size"], version: str, *, keep: bool) -> str:
        header = self.stock.header(self.stock.path(name))
        if labels.shape != header.size:
            raise DataError(
                f"{name}: labels of {describe_size(labels.shape)}, the image is {describe_size(header.size)}"
            )
        return self.masks.write(name, labels, version, self.classes, keep=keep, like=header)

    def _labels(self, name: str, path: Path, classes: Classes, source: Source, run: str | None, version: str) -> Labels:
        draft, mask = self.masks.draft(name), self.masks.mask(name)
        files: list[tuple[Literal["draft", "mask"], Path | None]] = [("draft", draft), ("mask", mask)]
        for kind, file in files:
            if source in ("best", kind) and file:
                array, size = self.masks.read(file, classes), self.stock.header(path).size
                if array.shape != size:
                    raise DataError(size_fault(Pair(name, path, file), size, array.shape).line)
                return Labels(array, kind, version)
        found = self.prediction(name, run) if source in ("best", "prediction") else None
        if found is None and source == "prediction" and run is None:
            found = self.predictions.newest(name, path)
        if found is not None:
            return Labels(of_prediction(found.labels, classes), "prediction", version)
        if source != "best":
            raise MissingError(f"{name}: has no {source} yet")
        size = self.stock.header(self.stock.path(name)).size
        dtype = np.uint8 if classes.kind == "classes" else np.uint16
        return Labels(np.full(size, np.iinfo(dtype).max, dtype), "new", version)
