"""Predict many files: one label image each, under the same stem; a bad file is reported and the others go on."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Integer

from useg import machine
from useg.atomic import require_output_folder, write_text
from useg.blocks import fits_in_memory
from useg.data.dataset import stem_of
from useg.errors import DataError, ImageError, MissingError, OutputError, SettingsError, UsegError
from useg.images.files import (
    is_image_file,
    is_series,
    label_suffix,
    read,
    read_header,
    write_labels,
    write_probabilities,
)
from useg.images.image import Image
from useg.objects.outlines import write_geojson, write_rois
from useg.objects.table import object_table, write_table
from useg.predict import Predictor
from useg.predict_store import StoreWatch, predict_store, work_folder
from useg.store_plan import StoreSettings, file_state
from useg.unet.model import ClassInfo, digest

JOURNAL = ".useg-predict.json"
"""Says which model made the files of an output folder, and of what, so that finished ones can be skipped safely."""
EXPECTED = "expected-dice.csv"
"""Beside the uncertainty maps: how good the model thinks that each label image is, worst first."""


@dataclass(frozen=True)
class Outputs:
    """What is written of each image beside or instead of its class labels.

    Attributes:
        suffix: of the label images, one of `useg.images.files.LABEL_SUFFIXES`; None takes that of each image.
        probabilities: `<stem>_probabilities.tif`, float32, one plane a class.
        uncertainty: `<stem>_uncertainty.tif`, float32, see `useg.predict.uncertainty_of`.
        instances: the label images hold a number an object instead of classes, TIFF if `suffix` says nothing else.
        geojson: `<stem>.geojson`, outlines of the objects. rois: `<stem>_rois.zip` for ImageJ.
        table: `<stem>.csv`, one row an object.
    """

    suffix: str | None = None
    probabilities: bool = False
    uncertainty: bool = False
    instances: bool = False
    geojson: bool = False
    rois: bool = False
    table: bool = False

    def target(self, out: Path, source: Path) -> Path:
        """The label image of a source."""
        return out / f"{stem_of(source)}{self.suffix or ('.tif' if self.instances else label_suffix(source))}"

    def beside(self, out: Path, source: Path) -> dict[str, Path]:
        """All else that is written of a source, by the name of its attribute."""
        ends = {
            "probabilities": "_probabilities.tif",
            "uncertainty": "_uncertainty.tif",
            "geojson": ".geojson",
            "rois": "_rois.zip",
            "table": ".csv",
        }
        return {name: out / f"{stem_of(source)}{end}" for name, end in ends.items() if getattr(self, name)}


@dataclass(frozen=True)
class FileResult:
    """What became of one input file.

    Attributes:
        source, target: the image and its label image.
        error: why it failed. seconds: time it took, reading and writing included.
        skipped: it was finished before.
        warnings: ways in which the image is unlike those that the model was trained on.
        objects: how many were found, with `Outputs.instances`.
        expected_dice: the Dice that the model expects of itself here; None for an image in blocks, or without classes.
    """

    source: Path
    target: Path
    error: str | None
    seconds: float
    skipped: bool = False
    warnings: Sequence[str] = ()
    objects: int | None = None
    expected_dice: float | None = None


def find_inputs(inputs: Iterable[Path], *, volumes: bool = False) -> list[Path]:
    """The image files that a list of files and folders means.

    A folder means the images in it, or those in its `images/` when it has none of its own. With `volumes`, for a
    model that works on them, a folder of DICOM slices is one image. An OME-Zarr folder is always one.

    Raises:
        MissingError: a file, folder or any image in it is missing. DataError: two inputs share a stem.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir() and not is_image_file(path) and not (volumes and is_series(path)):
            inside = _images_in(path, volumes) or _images_in(path / "images", volumes)
            if not inside:
                raise MissingError(f"{path}: no images in this folder; give a folder of images, or files")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise MissingError(f"{path}: there is no such file or folder")
    stems: dict[str, Path] = {}
    for path in found:
        if (other := stems.setdefault(stem_of(path), path)).resolve() != path.resolve():
            raise DataError(f"{path}: would be written under the same name as {other}; predict them into two folders")
    return list(stems.values())


class Begun(NamedTuple):
    """With what the predictions in a folder were begun.

    Attributes:
        model: checksum of the model file; None where nothing was begun.
        precision: so that a repeated call probes nothing anew.
    """

    model: str | None
    precision: Literal["auto", "float32", "bfloat16"]


def begun_with(out: Path) -> Begun:
    """What a repeated call goes on with, as the folder tells it."""
    known: dict[str, Literal["float32", "bfloat16"]] = {"float32": "float32", "bfloat16": "bfloat16"}
    header = (_lines(out / JOURNAL) or [{}])[0]
    return Begun(header.get("model"), known.get(header.get("precision", ""), "auto"))


def predict_files(
    predictor: Predictor,
    model: Path,
    sources: Sequence[Path],
    out: Path,
    outputs: Outputs | None = None,
    *,
    store: StoreSettings | None = None,
    watch: Callable[[FileResult], None] | None = None,
    watch_store: StoreWatch | None = None,
) -> list[FileResult]:
    """Predict each source into `out`: labels under its stem, and what else `outputs` names.

    Labels have the format of the source, its pixel size and place; PNG where that format cannot hold labels. Files
    that an earlier call with the same model and settings finished are skipped. Images that do not fit into the memory
    allowed are predicted in blocks, through a store on disk: see `useg.predict_store`.

    Args:
        model: the model file, whose checksum is kept beside the results.
        store: how to predict in blocks; when given, every image is.
        watch: called after each file. watch_store: told of the blocks of large ones.

    Raises:
        OutputError: `out` is no folder, or holds the predictions of another model, or made with other settings.
        SettingsError: the memory allowed is too small for any tile, or objects are asked of a model of classes.
    """
    outputs = outputs or Outputs()
    if outputs.instances:
        predictor.require_objects()
    if outputs.uncertainty and not predictor.settings.uncertainty:
        raise SettingsError("uncertainty is to be written, but PredictSettings.uncertainty is off; turn it on")
    run = _Run(predictor, model, out, outputs, store, watch_store or StoreWatch())
    results = []
    for source in sources:
        result = run.predict(source)
        results.append(result)
        if watch:
            watch(result)
    if outputs.uncertainty:
        run.journal.write_expected(out / EXPECTED)
    return results


class _Run:
    """One call: what is the same for all of its files."""

    def __init__(
        self,
        predictor: Predictor,
        model: Path,
        out: Path,
        outputs: Outputs,
        store: StoreSettings | None,
        watch: StoreWatch,
    ) -> None:
        self.predictor, self.model, self.out, self.outputs = predictor, model, out, outputs
        self.store, self.watch = store, watch
        self.journal = _Journal(out, model, predictor, outputs)

    def predict(self, source: Path) -> FileResult:
        """One file, in memory or in blocks; what is wrong with it is in the result."""
        begun, target, beside = (
            time.monotonic(),
            self.outputs.target(self.out, source),
            self.outputs.beside(self.out, source),
        )
        try:
            if self.journal.is_finished(source, target) and all(path.exists() for path in beside.values()):
                shutil.rmtree(work_folder(target), ignore_errors=True)  # of a call that was killed just behind its end
                return FileResult(source, target, None, 0.0, skipped=True)
            way = self._in_memory if self.store is None and self._fits(source) else self._in_blocks
            result = way(source, target, beside)
        except SettingsError:
            raise  # it would be the same for every file
        except UsegError as error:
            return FileResult(source, target, str(error), time.monotonic() - begun)
        return replace(result, seconds=time.monotonic() - begun)

    def _fits(self, source: Path) -> bool:
        header, settings = read_header(source), self.predictor.settings
        limit = settings.max_memory or machine.free_memory() // 2
        card, objects = self.predictor.card, self.outputs.instances
        return fits_in_memory(card, header.size, header.nbytes, limit, settings, objects=objects)

    def _in_memory(self, source: Path, target: Path, beside: Mapping[str, Path]) -> FileResult:
        image = read(source, alpha=self.predictor.card.alpha)
        prediction = self.predictor.predict(image)
        self.journal.begin()
        if "probabilities" in beside:
            write_probabilities(beside["probabilities"], prediction.probabilities, like=image)
        if "uncertainty" in beside:
            assert prediction.uncertainty is not None
            write_probabilities(beside["uncertainty"], prediction.uncertainty, like=image)
        classes, objects = self.predictor.card.classes, None
        if self.outputs.instances:
            ids = self.predictor.objects(prediction)
            objects = int(ids.max(initial=0))
            _write_objects(beside, ids, image, classes[1])
            write_labels(target, ids, like=image)
        else:
            colours, names = [c.colour for c in classes], [c.name for c in classes]
            write_labels(target, prediction.labels, colours=colours, names=names, like=image)
        expected = prediction.expected_dice if self.outputs.uncertainty else None
        self.journal.note(source, target, expected)
        return FileResult(source, target, None, 0.0, False, prediction.warnings, objects, expected)

    def _in_blocks(self, source: Path, target: Path, beside: Mapping[str, Path]) -> FileResult:
        if outlines := sorted(set(beside) - {"probabilities", "uncertainty"}):
            raise ImageError(
                f"{source}: is predicted in blocks, where --{' and --'.join(outlines)} cannot be had; leave them "
                "out, or allow more --max-memory"
            )
        done = predict_store(
            self.predictor,
            self.model,
            source,
            target,
            self.store,
            beside=beside,
            instances=self.outputs.instances,
            watch=replace(
                self.watch, on_begin=self.journal.begin, on_written=lambda: self.journal.note(source, target)
            ),
        )
        return FileResult(source, target, None, 0.0, warnings=done.warnings, objects=done.objects)


def _write_objects(beside: Mapping[str, Path], ids: Integer[np.ndarray, "*size"], image: Image, of: ClassInfo) -> None:
    """Outlines and tables of objects, those that are asked for."""
    if "geojson" in beside:
        write_geojson(beside["geojson"], ids, name=of.name, colour=of.colour)
    if "rois" in beside:
        write_rois(beside["rois"], ids)
    if "table" in beside:
        spacing = None if image.spacing is None else [float(edge) for edge in image.spacing]
        write_table(beside["table"], object_table(ids, image.array, spacing, image.unit))


class _Journal:
    """Which model made the files of an output folder, and each of which image: one JSON line each, only ever added.

    Raises:
        OutputError: the folder holds the results of another model or of other settings, or is none.
    """

    def __init__(self, out: Path, model: Path, predictor: Predictor, outputs: Outputs) -> None:
        require_output_folder(out)
        self.path = out / JOURNAL
        s = predictor.settings
        self._ours = {"model": digest(model), "tta": s.tta, "precision": s.precision, "instances": outputs.instances}
        self._ours |= {"folds": list(s.folds)} if s.folds else {}
        lines = _lines(self.path)
        if lines and lines[0] != self._ours:
            raise OutputError(
                f"{out}: holds predictions of another model, another backend or other settings; name another folder"
            )
        if not lines and out.is_dir() and any(is_image_file(f) for f in out.iterdir()):
            raise OutputError(f"{out}: holds images that useg did not predict; name an empty or new folder")
        self._made_of = {line["target"]: line for line in lines[1:] if "target" in line}

    def is_finished(self, source: Path, target: Path) -> bool:
        """Whether `target` is there and was made of `source` as it is now.

        Raises:
            OutputError: it was made of another image.
        """
        made = self._made_of.get(target.name)
        if not target.exists() or made is None:
            return False
        now = _identity(source, target)
        if made["source"] != now["source"]:
            raise OutputError(f"{target}: is the prediction of {made['source']}; predict {source} into another folder")
        return made | now == made

    def begin(self) -> None:
        """Write down whose results will stand here, before the first of them does."""
        if not self.path.exists():
            write_text(self.path, json.dumps(self._ours) + "\n")

    def note(self, source: Path, target: Path, expected_dice: float | None = None) -> None:
        """Write down that `target` is finished."""
        made = self._made_of[target.name] = {**_identity(source, target), "expected_dice": expected_dice}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(made) + "\n")

    def write_expected(self, path: Path) -> None:
        """A table of all images of the folder that were predicted in memory, worst first."""
        expected = {name: made.get("expected_dice") for name, made in self._made_of.items()}
        rows = sorted((dice, name) for name, dice in expected.items() if dice is not None)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(
            [("image", "expected_dice"), *((name, f"{dice:.4f}") for dice, name in rows)]
        )
        write_text(path, text.getvalue())


def _identity(source: Path, target: Path) -> dict[str, Any]:
    return {"target": target.name, **file_state(source)}


def _lines(path: Path) -> list[dict[str, Any]]:
    """The records of a journal; a line that a kill cut short, or that is damaged, ends them."""
    found: list[dict[str, Any]] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if not isinstance(record, dict):
                break
            found.append(record)
    except (OSError, ValueError):
        pass
    return found


def _images_in(folder: Path, volumes: bool) -> list[Path]:
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in there if is_image_file(path) or (volumes and is_series(path))]
