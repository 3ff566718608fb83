"""Overlap-tile prediction in memory: image in, labels and probabilities out, any size, the same with any tile.

The network is driven through a `Runner`, so that other engines than torch can take its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field

from useg import machine
from useg.errors import ImageError, SettingsError
from useg.images.image import Image
from useg.images.windows import windows_of
from useg.inputs import glance, resize, size_as_in_training, unlike_training
from useg.objects.separate import separate
from useg.objects.settings import SeparateSettings
from useg.runner import WORKSPACE, Runner, TorchRunner, largest_tile
from useg.unet.geometry import Tile, plan_tiles
from useg.unet.model import ModelCard, load_model
from useg.unet.normalise import Intensity, measure
from useg.views import read_mirrored, symmetric_views

BLOCK_PIXELS = 1 << 15
"""Pixels that are worked on at a time behind the network."""


class PredictSettings(BaseModel):
    """How to predict.

    Attributes:
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto" takes bfloat16 where a short probe shows it faster on this machine.
        max_memory: bytes that prediction may take; None is half of what is free.
        tta: average over the flips and turns under which the training images look alike.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    max_memory: int | None = Field(None, gt=0)
    tta: bool = False


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        labels: the most probable class of each pixel, `[Z] Y X`.
        probabilities: float32 `K [Z] Y X`, 0..1, summing to 1 over the classes.
        warnings: ways in which the image is unlike those that the model was trained on.
    """

    labels: UInt8[np.ndarray, "*size"]
    probabilities: Float[np.ndarray, "k *size"]
    warnings: list[str]


class Predictor:
    """A model, ready to segment images: `useg.load("model.safetensors").predict(array)`."""

    def __init__(self, card: ModelCard, runner: Runner, settings: PredictSettings | None = None) -> None:
        self.card, self.runner = card, runner
        self.settings = settings or PredictSettings()

    @classmethod
    def load(cls, path: str | Path, settings: PredictSettings | None = None) -> Predictor:
        """From a model file or a run folder.

        Raises:
            MissingError, ModelError: see `useg.unet.model.load_model`. SettingsError: the device is not there.
        """
        settings = settings or PredictSettings()
        card, network = load_model(Path(path))
        runner = TorchRunner(network, settings.device, settings.precision)
        # What the probe found is kept, so that whoever stores the settings can do the same again.
        return cls(card, runner, settings.model_copy(update={"precision": runner.precision}))

    def predict(self, image: Image | np.ndarray) -> Prediction:
        """Segment one image of any size.

        Args:
            image: an `Image`, or an array `Y X`, `C Y X` or `Y X C` (`Z Y X`, `C Z Y X` or `Z Y X C` for a
                network of three dimensions) in the file's own gray values, not normalised.

        Raises:
            ImageError: another number of axes or channels than the model knows.
        """
        name = str(image.path) if isinstance(image, Image) and image.path else "the image"
        array = image.array if isinstance(image, Image) else _channels_first(image, self.card)
        self.require_input(name, array.shape)
        if array.dtype == np.bool_:
            array = array.astype(np.uint8)  # as 1-bit files are read
        spacing, unit = (image.spacing, image.unit) if isinstance(image, Image) else (None, None)
        warnings = unlike_training(self.card.input, glance(windows_of(array)), spacing, unit)
        size = array.shape[1:]
        seen_size = size_as_in_training(self.card.input, size, spacing, unit)
        probabilities = self._probabilities(array if seen_size == size else resize(array, seen_size))
        if seen_size != size:
            probabilities = resize(probabilities, size)
        return Prediction(most_probable(probabilities), probabilities, warnings)

    def require_input(self, name: str, shape: Sequence[int]) -> None:
        """See that the network can take an image of this shape, channels first.

        Raises:
            ImageError: another number of axes or channels than the model knows, or no pixels.
        """
        settings = self.card.network
        if len(shape) != settings.dims + 1:
            raise ImageError(
                f"{name}: has {len(shape) - 1} axes besides channels, but the model works on {settings.dims}-D images; "
                + ("save its slices as images" if settings.dims == 2 else "give whole volumes")
            )
        if shape[0] != settings.in_channels:
            raise ImageError(
                f"{name}: has {shape[0]} channels, but the model was trained on {settings.in_channels}; "
                "convert it to the channels of the training images"
            )
        if 0 in shape:
            raise ImageError(f"{name}: has no pixels; its size is {' x '.join(map(str, shape[1:]))}")

    def objects(self, prediction: Prediction) -> Integer[np.ndarray, "*size"]:
        """Objects of a prediction, numbered 1, 2, ..., by what the model found out on its validation images.

        Raises:
            SettingsError: the model learned classes, not objects.
        """
        return separate(prediction.probabilities[1], self.require_objects())

    def require_objects(self) -> SeparateSettings:
        """How this model's objects are told apart; raises as `objects`."""
        if self.card.objects is None:
            raise SettingsError(
                "--instances: this model learned classes, not objects; train on masks that give each object its own "
                "number"
            )
        return self.card.objects

    def _probabilities(self, array: Shaped[np.ndarray, "c *size"]) -> Float[np.ndarray, "k *size"]:
        card = self.card
        intensity = measure(array, card.normalise)
        limit = self.settings.max_memory or machine.free_memory() // 2
        views = symmetric_views(card.flips if self.settings.tta else [], array.ndim - 1)
        total: Float[np.ndarray, "k *size"] | None = None
        for view in views:
            turned = view.apply(array)
            left = limit - resident_bytes(card, array.nbytes, array[0].size, views=len(views))
            largest = largest_tile(card, turned.shape[1:], left, self.settings.precision)
            tiles = plan_tiles(card.network.geometry, turned.shape[1:], largest)
            result = view.undo(run_tiles(turned, tiles, intensity, self.runner, card))
            total = result if total is None else np.add(total, result, out=total)
        assert total is not None
        return total if len(views) == 1 else total / np.float32(len(views))


def run_tiles(
    image: Shaped[np.ndarray, "c *size"],
    tiles: Sequence[Tile],
    intensity: Intensity,
    runner: Runner,
    card: ModelCard,
) -> Float[np.ndarray, "k *size"]:
    """Probabilities of the whole image, tile by tile: each tile's core is computed once and nothing is blended."""
    result, source = np.empty((card.network.classes, *image.shape[1:]), np.float32), windows_of(image)
    # The largest first: the blocks of memory that it leaves then serve all others.
    for tile in sorted(tiles, key=lambda t: math.prod(t.shape), reverse=True):
        values = intensity.apply(read_mirrored(source, tile))
        result[(slice(None), *tile.core)] = run_tile(values, tile, runner, card)
    return result


def run_tile(
    values: Float[np.ndarray, "c *tile"],
    tile: Tile,
    runner: Runner,
    card: ModelCard,
) -> Float[np.ndarray, "k *core"]:
    """Probabilities of one tile's core; `values` is what the tile reads, normalised."""
    probabilities = runner(values, tile.keep)
    if any(card.score_shift):
        factors = np.exp(np.array(card.score_shift, np.float32)).reshape(-1, *[1] * (values.ndim - 1))
        probabilities = probabilities * factors
        probabilities /= probabilities.sum(0)
    return probabilities


def most_probable(probabilities: Float[np.ndarray, "k *size"]) -> UInt8[np.ndarray, "*size"]:
    """The class of the highest probability, of equal ones the first."""
    labels = np.zeros(probabilities.shape[1:], np.uint8)

    def compare(rows: slice) -> None:
        best = probabilities[0, rows]
        for k in range(1, len(probabilities)):
            np.copyto(labels[rows], k, where=probabilities[k, rows] > best)
            best = np.maximum(best, probabilities[k, rows]) if k < len(probabilities) - 1 else best

    in_blocks(compare, labels.shape)
    return labels


def in_blocks(work: Callable[[slice], None], size: Sequence[int]) -> None:
    """Do `work` for blocks of rows of an image, side by side on all cores, each small enough to stay in the cache."""
    rows = max(1, BLOCK_PIXELS // max(1, math.prod(size[1:])))
    blocks = [slice(start, start + rows) for start in range(0, size[0], rows)]
    if len(blocks) == 1:
        work(blocks[0])
        return
    with ThreadPoolExecutor(machine.cores(), thread_name_prefix="pixels") as pool:
        for _ in pool.map(work, blocks):
            pass


def resident_bytes(card: ModelCard, image_bytes: int, pixels: int, *, views: int = 1) -> int:
    """What stands in memory beside the tiles: the image, its probabilities, their sum over views, the workspace."""
    return image_bytes + 4 * card.network.classes * pixels * (2 if views > 1 else 1) + WORKSPACE


def _channels_first(array: np.ndarray, card: ModelCard) -> np.ndarray:
    dims, channels = card.network.dims, card.network.in_channels
    if array.ndim == dims:
        return array[None]
    if array.ndim == dims + 1 and array.shape[0] != channels and array.shape[-1] == channels:
        return np.moveaxis(array, -1, 0)
    return array
