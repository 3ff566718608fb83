"""What models say of a project's images, kept in `.cache/predictions`, so that it is shown without predicting again.

.cache/predictions/MODEL/NAME/   MODEL begins the model's SHA-256
    info.json           what it was made of; without it, or where it is of another file, the folder is nothing
    labels.npy          [Z] Y X; classes, or numbers of objects
    probabilities.npy   uint8 K [Z] Y X, 255 is certain
    entropy.npy         uint8 [Z] Y X, 255 is no idea; disagreement.npy of several networks
"""

from __future__ import annotations

import glob
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8
from pydantic import BaseModel, ConfigDict, ValidationError

from useg.atomic import replacing_folder
from useg.errors import MissingError
from useg.images.image import Image
from useg.metrics.uncertainty import entropy
from useg.predict import Prediction, Predictor, in_blocks
from useg.runner import Runner
from useg.store_plan import file_state

INFO = "info.json"


class Info(BaseModel):
    """What a kept prediction was made of, and what it says in short.

    Attributes:
        model: SHA-256 of the model's file. source: the state of the image's file.
        seconds: it took, with reading; network_seconds: the network alone.
        expected_dice: what the model expects of itself.
        warnings: ways in which the image is unlike those that the model was trained on.
        objects: how many were found, where the model tells objects apart.
        names: of the classes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    source: dict[str, Any]
    seconds: float
    network_seconds: float
    expected_dice: float | None
    warnings: list[str]
    objects: int | None
    names: list[str]


@dataclass(frozen=True, eq=False)
class Kept:
    """A prediction on disk."""

    folder: Path
    info: Info

    @classmethod
    def at(cls, folder: Path) -> Kept | None:
        """In a folder; None where there is none, or a damaged one."""
        try:
            info = Info.model_validate_json((folder / INFO).read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError):
            return None
        return cls(folder, info)

    @property
    def labels(self) -> Integer[np.ndarray, "*size"]:
        """Classes, or numbers of objects, `[Z] Y X`; a view of the file."""
        return self._array("labels")

    @property
    def probabilities(self) -> UInt8[np.ndarray, "k *size"]:
        """Of each class, 255 is certain; a view of the file."""
        return self._array("probabilities")

    @property
    def layers(self) -> list[tuple[str, str]]:
        """Id and name of each map that can be shown."""
        classes = [(f"probability:{k}", name) for k, name in enumerate(self.info.names)]
        there = [("entropy", "uncertainty"), ("disagreement", "disagreement")]
        return classes[1:] + [each for each in there if (self.folder / f"{each[0]}.npy").is_file()]

    def layer(self, layer: str) -> UInt8[np.ndarray, "*size"]:
        """A map, `[Z] Y X`; a view of the file.

        Raises:
            MissingError: there is no such map.
        """
        if layer not in [known for known, _ in self.layers]:
            raise MissingError(f"{layer}: there is no such map; there are {', '.join(k for k, _ in self.layers)}")
        what, _, number = layer.partition(":")
        return self.probabilities[int(number)] if number else self._array(what)

    def _array(self, name: str) -> np.ndarray:
        try:
            return np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise MissingError(f"{self.folder}: this prediction is gone or damaged; predict again") from error


class Predictions:
    """The kept predictions of a project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str, source: Path, model: str) -> Kept | None:
        """What the model of this SHA-256 said of an image as its file is now; None where that is not known."""
        found = Kept.at(self._place(name, model))
        return found if found and found.info.model == model and found.info.source == file_state(source) else None

    def newest(self, name: str, source: Path) -> Kept | None:
        """What any model said last of an image as its file is now."""
        there = self.folder.glob(f".cache/predictions/*/{glob.escape(name)}/{INFO}")
        for path in sorted(there, key=lambda p: p.stat().st_mtime, reverse=True):
            found = Kept.at(path.parent)
            if found and found.info.source == file_state(source):
                return found
        return None

    def save(
        self,
        name: str,
        source: Path,
        model: str,
        prediction: Prediction,
        names: Sequence[str],
        objects: Integer[np.ndarray, "*size"] | None,
        seconds: tuple[float, float],
    ) -> Kept:
        """Keep a prediction, with its objects where the model tells them apart. An earlier one of it goes.

        Raises:
            OutputError: the disk is full.
        """
        info = Info(
            model=model,
            source=file_state(source),
            seconds=seconds[0],
            network_seconds=seconds[1],
            expected_dice=prediction.expected_dice,
            warnings=prediction.warnings,
            objects=None if objects is None else int(objects.max(initial=0)),
            names=list(names),
        )
        maps = [] if prediction.uncertainty is None else list(prediction.uncertainty)
        maps = maps or [entropy(prediction.probabilities)]
        place = self._place(name, model)
        with replacing_folder(place) as new:
            new.mkdir()
            np.save(new / "labels.npy", prediction.labels if objects is None else objects)
            np.save(new / "probabilities.npy", np.stack([to_bytes(plane) for plane in prediction.probabilities]))
            for what, values in zip(("entropy", "disagreement"), maps, strict=False):
                np.save(new / f"{what}.npy", to_bytes(values))
            (new / INFO).write_text(info.model_dump_json(), encoding="utf-8")
        return Kept(place, info)

    def _place(self, name: str, model: str) -> Path:
        return self.folder / ".cache" / "predictions" / model[:16] / name


def to_bytes(values: Float[np.ndarray, "*size"]) -> UInt8[np.ndarray, "*size"]:
    """0..1 as 0..255."""
    result = np.empty(values.shape, np.uint8)

    def fill(rows: slice) -> None:
        result[rows] = np.rint(values[rows] * 255)

    in_blocks(fill, values.shape)
    return result


class Timed:
    """A runner that counts the seconds that it runs."""

    def __init__(self, runner: Runner) -> None:
        self._runner, self.seconds = runner, 0.0

    def __call__(self, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice]) -> Float[np.ndarray, "p *kept"]:
        """Run it."""
        begun = time.monotonic()
        result = self._runner(tile, keep)
        self.seconds += time.monotonic() - begun
        return result


def predict_image(predictor: Predictor, image: Image) -> tuple[Prediction, Integer[np.ndarray, "*size"] | None, float]:
    """What a model says of an image, its objects where it tells them apart, and the seconds that its network took.

    A model of images predicts a stack slice by slice.

    Raises:
        ImageError: another number of channels than the model knows.
    """
    timed = Timed(predictor.runner)
    timing = Predictor(predictor.card, timed, predictor.settings)
    if predictor.card.network.dims == 2 and image.array.ndim == 4:
        spacing = image.spacing and image.spacing[1:]
        slices = [
            timing.predict(Image(image.array[:, z], "CYX", spacing, image.unit, image.path))
            for z in range(image.array.shape[1])
        ]
        prediction = _stacked(slices)
    else:
        prediction = timing.predict(image)
    objects = predictor.objects(prediction) if predictor.card.objects is not None else None
    return prediction, objects, timed.seconds


def _stacked(slices: Sequence[Prediction]) -> Prediction:
    """The predictions of the slices of a stack as one."""
    maps = [each.uncertainty for each in slices if each.uncertainty is not None]
    return Prediction(
        np.stack([each.labels for each in slices]),
        np.stack([each.probabilities for each in slices], axis=1),
        list(dict.fromkeys(warning for each in slices for warning in each.warnings)),
        np.stack(maps, axis=1) if maps else None,
    )
