"""What models say of a project's images, kept in `.cache/predictions`, so that it is shown without predicting again.

.cache/predictions/MODEL/NAME/   MODEL begins the model's SHA-256
    info.json           what it was made of; without it, or where it is of another file, the folder is nothing
    labels.npy          [Z] Y X; classes, or numbers of objects
    probabilities.npy   uint8 K [Z] Y X, 255 is certain
    entropy.npy         uint8 [Z] Y X, 255 is no idea; disagreement.npy of several networks
"""

from __future__ import annotations

import dataclasses
import glob
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8
from pydantic import BaseModel, ConfigDict, ValidationError

from useg.atomic import move_folder, replacing_folder, telling
from useg.errors import MissingError
from useg.project.predicting import LABELS, PROBABILITIES, Said, Told
from useg.store_plan import file_state

INFO = "info.json"
MOST_MODELS = 3
"""Whose predictions are kept: the current model's, and those of some before it to compare with and go back to."""


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
        return self._array(LABELS)

    @property
    def probabilities(self) -> UInt8[np.ndarray, "k *size"]:
        """Of each class, 255 is certain; a view of the file."""
        return self._array(PROBABILITIES)

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
        self, name: str, source: dict[str, Any], model: str, said: Said, names: Sequence[str], seconds: float
    ) -> Kept:
        """Keep what a model said of an image in `seconds`; what it said of it earlier goes.

        Args:
            source: the state of the image's file before it was read. names: of the classes.

        Raises:
            OutputError: the disk is full.
        """
        place = self._place(name, model)
        self._make_room(place.parent)
        with replacing_folder(place) as new:
            new.mkdir(exist_ok=True)
            np.save(new / f"{LABELS}.npy", said.labels)
            np.save(new / f"{PROBABILITIES}.npy", said.probabilities)
            for what, values in said.maps.items():
                np.save(new / f"{what}.npy", values)
            info = self._note(new, source, model, said.told, names, seconds)
        return Kept(place, info)

    def save_blocks(
        self,
        name: str,
        source: dict[str, Any],
        model: str,
        write: Callable[[Path], Told],
        names: Sequence[str],
        begun: float,
    ) -> Kept:
        """As `save`, of a prediction that is written to a folder, which is there again for whoever goes on with it.

        Args:
            begun: when it began, of `time.monotonic`.
        """
        place = self._place(name, model)
        self._make_room(place.parent)
        work = place.with_name(f".{place.name}.blocks")
        work.mkdir(parents=True, exist_ok=True)
        told = write(work)
        info = self._note(work, source, model, told, names, time.monotonic() - begun)
        with telling(place):
            move_folder(work, place)
        return Kept(place, info)

    def _make_room(self, mine: Path) -> None:
        """Forget what models said that nobody has asked for longest."""
        if mine.is_dir() or not mine.parent.is_dir():
            return
        there = sorted((p for p in mine.parent.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in there[MOST_MODELS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)

    def _note(
        self, folder: Path, source: dict[str, Any], model: str, told: Told, names: Sequence[str], seconds: float
    ) -> Info:
        info = Info(model=model, source=source, seconds=seconds, names=list(names), **dataclasses.asdict(told))
        (folder / INFO).write_text(info.model_dump_json(), encoding="utf-8")
        return info

    def _place(self, name: str, model: str) -> Path:
        return self.folder / ".cache" / "predictions" / model[:16] / name
