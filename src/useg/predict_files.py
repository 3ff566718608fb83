"""Predict many files: one label image each, under the same stem; a bad file is reported and the others go on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from useg.atomic import write_text
from useg.data.dataset import stem_of
from useg.errors import DataError, MissingError, OutputError, UsegError
from useg.images.files import is_image_file, is_series, label_suffix, read, write_labels, write_probabilities
from useg.predict import Prediction, Predictor
from useg.unet.model import find_model

JOURNAL = ".useg-predict.json"
"""Says which model made the files of an output folder, so that finished ones can be skipped safely."""


@dataclass(frozen=True)
class FileResult:
    """What became of one input file.

    Attributes:
        source, target: the image and its label image.
        prediction: None when the file was skipped (it was finished before) or failed.
        error: why it failed. warnings: see `Prediction`. seconds: time it took, reading and writing included.
    """

    source: Path
    target: Path
    prediction: Prediction | None
    error: str | None
    seconds: float

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
    return known.get(_journal(out).get("precision", ""), "auto")


def predict_files(
    predictor: Predictor,
    model: Path,
    sources: Sequence[Path],
    out: Path,
    *,
    probabilities: bool = False,
    suffix: str | None = None,
    watch: Callable[[FileResult], None] | None = None,
) -> list[FileResult]:
    """Predict each source into `out`: labels under its stem, and `<stem>_probabilities.tif` where asked for.

    Labels have the format of the source, its pixel size and place; PNG where that format cannot hold labels. Files
    that an earlier call with the same model and settings finished are skipped.

    Args:
        model: the model file, whose checksum is kept beside the results.
        suffix: of all label images, one of `useg.images.files.LABEL_SUFFIXES`, instead of each source's.
        watch: called after each file.

    Raises:
        OutputError: `out` holds the predictions of another model, or made with other settings.
    """
    _claim(out, model, predictor)
    results = []
    for source in sources:
        target = out / f"{stem_of(source)}{suffix or label_suffix(source)}"
        extra = out / f"{stem_of(source)}_probabilities.tif" if probabilities else None
        result = _predict_file(predictor, source, target, extra)
        results.append(result)
        if watch:
            watch(result)
    return results


def _predict_file(predictor: Predictor, source: Path, target: Path, extra: Path | None) -> FileResult:
    begun = time.monotonic()
    if target.exists() and (extra is None or extra.exists()):
        return FileResult(source, target, None, None, 0.0)
    try:
        image = read(source)
        prediction = predictor.predict(image)
        if extra is not None:
            write_probabilities(extra, prediction.probabilities, like=image)
        classes = predictor.card.classes
        write_labels(
            target,
            prediction.labels,
            colours=[c.colour for c in classes],
            names=[c.name for c in classes],
            like=image,
        )
    except UsegError as error:
        return FileResult(source, target, None, str(error), time.monotonic() - begun)
    return FileResult(source, target, prediction, None, time.monotonic() - begun)


def _claim(out: Path, model: Path, predictor: Predictor) -> None:
    """Note whose results stand in `out`, and refuse to mix them with another's."""
    digest = hashlib.sha256(find_model(model).read_bytes()).hexdigest()
    ours = {"model": digest, "tta": predictor.settings.tta, "precision": predictor.settings.precision}
    if (out / JOURNAL).is_file():
        if _journal(out) != ours:
            raise OutputError(f"{out}: holds predictions of another model or other settings; name another folder")
        return
    if out.is_dir() and any(is_image_file(f) for f in out.iterdir()):
        raise OutputError(f"{out}: holds images that useg did not predict; name an empty or new folder")
    write_text(out / JOURNAL, json.dumps(ours))


def _journal(out: Path) -> dict[str, Any]:
    """What the journal of `out` says; nothing where there is none or it is damaged."""
    try:
        found = json.loads((out / JOURNAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _images_in(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if is_image_file(f)) if folder.is_dir() else []
