"""Predict one image of a project: in memory, a stack slice by slice, or, where it is too large, in blocks on disk.

What stays of the probabilities is a byte a pixel and class: enough to look at, a quarter of the memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, UInt8

from useg import machine
from useg.blocks import fits_in_memory
from useg.images import Header, open_windows, read
from useg.images.image import Image
from useg.metrics.overlap import mean_foreground
from useg.metrics.uncertainty import entropy
from useg.objects.separate import separate
from useg.predict import Prediction, Predictor, in_blocks
from useg.predict_store import StoreWatch, predict_store
from useg.runner import Runner

LABELS, PROBABILITIES, ENTROPY, DISAGREEMENT = "labels", "probabilities", "entropy", "disagreement"
BAND = 1 << 24
"""Pixels that are turned into bytes at once."""


@dataclass(frozen=True)
class Told:
    """What a model says of an image in short.

    Attributes:
        network_seconds: the network took. expected_dice: what the model expects of itself.
        warnings: ways in which the image is unlike those that it was trained on.
        objects: how many it found, where it tells objects apart.
    """

    network_seconds: float
    expected_dice: float | None
    warnings: list[str]
    objects: int | None


@dataclass(frozen=True, eq=False)
class Said:
    """What a model says of an image.

    Attributes:
        labels: classes, or numbers of objects, `[Z] Y X`.
        probabilities: of each class, 255 is certain. maps: `ENTROPY`, and `DISAGREEMENT` of several networks.
    """

    labels: Integer[np.ndarray, "*size"]
    probabilities: UInt8[np.ndarray, "k *size"]
    maps: dict[str, UInt8[np.ndarray, "*size"]]
    told: Told


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


def fits(predictor: Predictor, header: Header) -> bool:
    """Whether an image can be predicted in memory; a stack, by a model of images, slice by slice."""
    card, settings = predictor.card, predictor.settings
    limit = settings.max_memory or machine.free_memory() // 2
    size, held = header.size, header.nbytes
    if len(size) > card.network.dims:
        # The bytes of all slices stay, and the numbers of one are worked on.
        held += header.size[0] * header.size[1] * header.size[2] * (card.network.classes + 2 + 32 * bool(card.objects))
        size = size[1:]
    return fits_in_memory(card, size, held, limit, settings, objects=card.objects is not None)


def predict_image(predictor: Predictor, path: Path) -> Said:
    """Read and predict an image in memory.

    Raises:
        ImageError, MissingError: it cannot be read, or has another number of channels or axes than the model knows.
    """
    return say(predictor, read(path, alpha=predictor.card.alpha))


def say(predictor: Predictor, image: Image) -> Said:
    """Predict an image in memory; a stack, by a model of images, slice by slice.

    Raises:
        ImageError: it has another number of channels or axes than the model knows.
    """
    timed = Timed(predictor.runner)
    predictor = Predictor(predictor.card, timed, predictor.settings)
    said = _slices(predictor, image) if _is_stack(predictor, image) else _whole(predictor, image)
    told = Told(timed.seconds, said.told.expected_dice, said.told.warnings, said.told.objects)
    return Said(said.labels, said.probabilities, said.maps, told)


def predict_blocks(predictor: Predictor, model: Path, path: Path, work: Path, go_on: Callable[[], bool]) -> Told:
    """Predict an image that does not fit in memory; the same call goes on where an earlier one ended.

    Args:
        work: a folder; in the end it holds the arrays of a `Said`, each as `.npy`.
        go_on: asked after each block.

    Raises:
        InterruptedError: it was told not to go on.
        ImageError: a model of images is given a stack. Else as `useg.predict_store.predict_store`.
    """
    instances, probabilities = predictor.card.objects is not None, work / f"{PROBABILITIES}.tif"

    def on_block(done: int, total: int) -> None:
        if not go_on():
            raise InterruptedError

    begun = time.monotonic()
    with open_windows(path, alpha=predictor.card.alpha) as image:  # by its path, a lower level might be predicted
        found = predict_store(
            predictor,
            model,
            image,
            work / f"{LABELS}.npy",
            beside={PROBABILITIES: probabilities},
            instances=instances,
            watch=StoreWatch(on_block=on_block),
        )
    seconds = time.monotonic() - begun
    expected = _to_bytes_on_disk(probabilities, work)
    probabilities.unlink()
    return Told(seconds, expected, found.warnings, found.objects)


def to_bytes(values: Float[np.ndarray, "*size"]) -> UInt8[np.ndarray, "*size"]:
    """0..1 as 0..255."""
    result = np.empty(values.shape, np.uint8)

    def fill(rows: slice) -> None:
        result[rows] = np.rint(values[rows] * 255)

    in_blocks(fill, values.shape)
    return result


class Overlaps:
    """The Dice that probabilities let expect, see `useg.metrics.uncertainty.expected_dice`, of parts that are added."""

    def __init__(self, classes: int) -> None:
        self._hit, self._size = np.zeros(classes), np.zeros(classes)

    def add(self, probabilities: Float[np.ndarray, "k *size"]) -> None:
        """Of one more part."""
        labels = probabilities.argmax(0)
        for k, p in enumerate(probabilities):
            here = labels == k
            self._hit[k] += p.sum(dtype=np.float64, where=here)
            self._size[k] += here.sum() + p.sum(dtype=np.float64)

    @property
    def mean(self) -> float | None:
        """Over the classes that may be there, without class 0; None where there are none."""
        dice = np.full(len(self._hit), np.nan)
        np.divide(2 * self._hit, self._size, out=dice, where=self._size > 0)
        return mean_foreground(dice)


def _is_stack(predictor: Predictor, image: Image) -> bool:
    return predictor.card.network.dims == 2 and image.array.ndim == 4


def _whole(predictor: Predictor, image: Image) -> Said:
    prediction = predictor.predict(image)
    objects = predictor.objects(prediction) if predictor.card.objects is not None else None
    count = None if objects is None else int(objects.max(initial=0))
    told = Told(0.0, prediction.expected_dice, prediction.warnings, count)
    labels = prediction.labels if objects is None else objects
    probabilities = np.stack([to_bytes(plane) for plane in prediction.probabilities])
    return Said(labels, probabilities, _maps(prediction), told)


def _slices(predictor: Predictor, image: Image) -> Said:
    """Slice by slice; objects are told apart in the whole stack."""
    card, count = predictor.card, image.array.shape[1]
    spacing = None if image.spacing is None else image.spacing[1:]
    overlaps, said, warnings = Overlaps(card.network.classes), list[Said](), list[str]()
    inside = None if card.objects is None else np.empty(image.size, np.float32)
    for z in range(count):
        prediction = predictor.predict(Image(image.array[:, z], "CYX", spacing, image.unit, image.path))
        overlaps.add(prediction.probabilities)
        warnings += prediction.warnings
        if inside is not None:
            inside[z] = prediction.probabilities[1]
        probabilities = np.stack([to_bytes(plane) for plane in prediction.probabilities])
        said.append(Said(prediction.labels, probabilities, _maps(prediction), Told(0.0, None, [], None)))
    labels = np.stack([each.labels for each in said])
    objects = None if inside is None or card.objects is None else separate(inside, card.objects)
    found = None if objects is None else int(objects.max(initial=0))
    return Said(
        labels if objects is None else objects,
        np.stack([each.probabilities for each in said], axis=1),
        {name: np.stack([each.maps[name] for each in said]) for name in said[0].maps},
        Told(0.0, overlaps.mean, list(dict.fromkeys(warnings)), found),
    )


def _maps(prediction: Prediction) -> dict[str, UInt8[np.ndarray, "*size"]]:
    known = prediction.uncertainty
    maps = [entropy(prediction.probabilities)] if known is None else list(known)
    return {name: to_bytes(values) for name, values in zip((ENTROPY, DISAGREEMENT), maps, strict=False)}


def _to_bytes_on_disk(probabilities: Path, work: Path) -> float | None:
    """The probabilities in a TIFF as arrays of bytes beside it, band by band, and the Dice that they let expect."""
    with open_windows(probabilities) as windows:
        classes, size = windows.header.channels, windows.header.size
        overlaps = Overlaps(classes)
        bytes_of = np.lib.format.open_memmap(
            work / f"{PROBABILITIES}.npy", mode="w+", dtype=np.uint8, shape=(classes, *size)
        )
        unsure = np.lib.format.open_memmap(work / f"{ENTROPY}.npy", mode="w+", dtype=np.uint8, shape=size)
        rows = max(1, BAND // max(1, classes * int(np.prod(size[1:]))))
        for start in range(0, size[0], rows):
            band = slice(start, min(size[0], start + rows))
            values = windows.read([band, *(slice(0, n) for n in size[1:])])
            overlaps.add(values)
            unsure[band] = to_bytes(entropy(values))
            for k in range(classes):
                bytes_of[k, band] = to_bytes(values[k])
        bytes_of.flush()
        unsure.flush()
    return overlaps.mean
