"""Predict many files: one label image each, under the same stem; a bad file is reported and the others go on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Integer

from useg.atomic import require_output_folder, write_text
from useg.data.dataset import stem_of
from useg.errors import DataError, MissingError, OutputError, SettingsError, UsegError
from useg.images.files import is_image_file, is_series, label_suffix, read, write_labels, write_probabilities
from useg.images.image import Image
from useg.objects.outlines import write_geojson, write_rois
from useg.objects.table import object_table, write_table
from useg.predict import Prediction, Predictor
from useg.unet.model import ClassInfo, find_model

JOURNAL = ".useg-predict.json"
"""Says which model made the files of an output folder, and of what, so that finished ones can be skipped safely."""


@dataclass(frozen=True)
class Outputs:
    """What is written of each image beside or instead of its class labels.

    Attributes:
        suffix: of the label images, one of `useg.images.files.LABEL_SUFFIXES`; None takes that of each image.
        probabilities: `<stem>_probabilities.tif`, float32, one plane a class.
        instances: the label images hold a number an object instead of classes, TIFF if `suffix` says nothing else.
        geojson: `<stem>.geojson`, outlines of the objects. rois: `<stem>_rois.zip` for ImageJ.
        table: `<stem>.csv`, one row an object.
    """

    suffix: str | None = None
    probabilities: bool = False
    instances: bool = False
    geojson: bool = False
    rois: bool = False
    table: bool = False

    def target(self, out: Path, source: Path) -> Path:
        """The label image of a source."""
        return out / f"{stem_of(source)}{self.suffix or ('.tif' if self.instances else label_suffix(source))}"

    def beside(self, out: Path, source: Path) -> dict[str, Path]:
        """All else that is written of a source, by the name of its attribute."""
        ends = {"probabilities": "_probabilities.tif", "geojson": ".geojson", "rois": "_rois.zip", "table": ".csv"}
        return {name: out / f"{stem_of(source)}{end}" for name, end in ends.items() if getattr(self, name)}


@dataclass(frozen=True)
class FileResult:
    """What became of one input file.

    Attributes:
        source, target: the image and its label image.
        prediction: None when the file was skipped (it was finished before) or failed.
        error: why it failed. seconds: time it took, reading and writing included.
        objects: how many were found, with `Outputs.instances`.
    """

    source: Path
    target: Path
    prediction: Prediction | None
    error: str | None
    seconds: float
    objects: int | None = None

    @property
    def skipped(self) -> bool:
        """It was there already."""
        return self.prediction is None and self.error is None


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
            inside = _images_in(path) or _images_in(path / "images")
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


def precision_used(out: Path) -> Literal["auto", "float32", "bfloat16"]:
    """The precision in which the predictions in `out` were begun, so that a repeated call probes nothing anew."""
    known: dict[str, Literal["float32", "bfloat16"]] = {"float32": "float32", "bfloat16": "bfloat16"}
    header = (_lines(out / JOURNAL) or [{}])[0]
    return known.get(header.get("precision", ""), "auto")


def predict_files(
    predictor: Predictor,
    model: Path,
    sources: Sequence[Path],
    out: Path,
    outputs: Outputs | None = None,
    *,
    watch: Callable[[FileResult], None] | None = None,
) -> list[FileResult]:
    """Predict each source into `out`: labels under its stem, and what else `outputs` names.

    Labels have the format of the source, its pixel size and place; PNG where that format cannot hold labels. Files
    that an earlier call with the same model and settings finished are skipped.

    Args:
        model: the model file, whose checksum is kept beside the results.
        watch: called after each file.

    Raises:
        OutputError: `out` is no folder, or holds the predictions of another model, or made with other settings.
        SettingsError: the memory allowed is too small for any tile, or objects are asked of a model of classes.
    """
    outputs = outputs or Outputs()
    if outputs.instances:
        predictor.require_objects()
    journal = _Journal(out, model, predictor, outputs)
    results = []
    for source in sources:
        result = _predict_file(predictor, journal, source, out, outputs)
        results.append(result)
        if watch:
            watch(result)
    return results


def _predict_file(predictor: Predictor, journal: _Journal, source: Path, out: Path, outputs: Outputs) -> FileResult:
    begun, target, beside = time.monotonic(), outputs.target(out, source), outputs.beside(out, source)
    try:
        if journal.is_finished(source, target) and all(path.exists() for path in beside.values()):
            return FileResult(source, target, None, None, 0.0)
        image = read(source, alpha=predictor.card.alpha)
        prediction = predictor.predict(image)
        journal.begin()
        if "probabilities" in beside:
            write_probabilities(beside["probabilities"], prediction.probabilities, like=image)
        objects = None
        if outputs.instances:
            ids = predictor.objects(prediction)
            objects = int(ids.max(initial=0))
            _write_objects(beside, ids, image, predictor.card.classes[1])
            write_labels(target, ids, like=image)
        else:
            classes = predictor.card.classes
            colours, names = [c.colour for c in classes], [c.name for c in classes]
            write_labels(target, prediction.labels, colours=colours, names=names, like=image)
        journal.note(source, target)
    except SettingsError:
        raise  # it would be the same for every file
    except UsegError as error:
        return FileResult(source, target, None, str(error), time.monotonic() - begun)
    return FileResult(source, target, prediction, None, time.monotonic() - begun, objects)


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
        digest = hashlib.sha256(find_model(model).read_bytes()).hexdigest()
        s = predictor.settings
        self._ours = {"model": digest, "tta": s.tta, "precision": s.precision, "instances": outputs.instances}
        lines = _lines(self.path)
        if lines and lines[0] != self._ours:
            raise OutputError(f"{out}: holds predictions of another model or other settings; name another folder")
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
        return made == now

    def begin(self) -> None:
        """Write down whose results will stand here, before the first of them does."""
        if not self.path.exists():
            write_text(self.path, json.dumps(self._ours) + "\n")

    def note(self, source: Path, target: Path) -> None:
        """Write down that `target` is finished."""
        made = self._made_of[target.name] = _identity(source, target)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(made) + "\n")


def _identity(source: Path, target: Path) -> dict[str, Any]:
    stat = source.stat()
    where = {"target": target.name, "source": str(source.resolve())}
    return {**where, "bytes": stat.st_size, "modified": stat.st_mtime_ns}


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


def _images_in(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if is_image_file(f)) if folder.is_dir() else []
