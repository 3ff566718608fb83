"""Overlap-tile prediction in memory: image in, labels and probabilities out, any size, the same with any tile.

The network is driven through a `Runner`, so that other engines than torch can take its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field

from useg import machine
from useg.data.spacing import resize
from useg.engines.runner import ExportedRunner
from useg.errors import ImageError, SettingsError
from useg.hub import local_model
from useg.images.image import Image
from useg.images.windows import windows_of
from useg.inputs import glance, size_as_in_training, unlike_training
from useg.metrics.calibration import Calibration
from useg.metrics.overlap import mean_foreground
from useg.metrics.uncertainty import entropy, expected_dice
from useg.objects.separate import separate
from useg.objects.settings import SeparateSettings
from useg.runner import WORKSPACE, Runner, TorchRunner, largest_tile
from useg.unet.geometry import Tile, plan_tiles
from useg.unet.model import ModelCard, find_model, is_exported, load_model, read_card
from useg.unet.normalise import Intensity, measure
from useg.views import View, read_mirrored, symmetric_views

BLOCK_PIXELS = 1 << 18
"""Pixels that are worked on at a time behind the network."""


class PredictSettings(BaseModel):
    """How to predict.

    Attributes:
        device: "auto", "cpu", "cuda" or "mps"; exported models run on the CPU.
        precision: "auto" takes bfloat16 where a short probe shows it faster on this machine; as does OpenVINO;
            ONNX models are float32.
        max_memory: bytes that prediction may take; None is half of what is free.
        tta: average over the flips and turns under which the training images look alike.
        folds: of a model of several networks those to average, from 0; all without.
        uncertainty: also say where the prediction is not to be trusted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    max_memory: int | None = Field(default=None, gt=0)
    tta: bool = False
    folds: tuple[int, ...] = ()
    uncertainty: bool = False


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Attributes:
        labels: the most probable class of each pixel, `[Z] Y X`.
        probabilities: float32 `K [Z] Y X`, 0..1, summing to 1 over the classes.
        warnings: ways in which the image is unlike those that the model was trained on.
        uncertainty: float32, 0..1, where it was asked for: the entropy of each pixel, and behind it, where several
            networks or views were averaged, their disagreement, see `uncertainty_of`.
    """

    labels: UInt8[np.ndarray, "*size"]
    probabilities: Float[np.ndarray, "k *size"]
    warnings: list[str]
    uncertainty: Float[np.ndarray, "u *size"] | None = None

    @cached_property
    def expected_dice(self) -> float | None:
        """The Dice that the model expects of itself: mean over the classes that the image may hold, without class 0;
        None where it sees none of them."""
        return mean_foreground(expected_dice(self.probabilities, self.labels))


class Predictor:
    """A model, ready to segment images: `useg.load("model.safetensors").predict(array)`."""

    card: ModelCard
    runner: Runner
    settings: PredictSettings

    def __init__(self, card: ModelCard, runner: Runner, settings: PredictSettings | None = None) -> None:
        self.card, self.runner = card, runner
        self.settings = settings or PredictSettings()

    @classmethod
    def load(cls, path: str | Path, settings: PredictSettings | None = None) -> Predictor:
        """From a model file, an exported one (`.onnx` or `.xml`, needs no torch), a run folder, or
        `hf://owner/name`.

        Raises:
            MissingError, ModelError, SettingsError: see `load_runner` and `useg.hub.local_model`.
        """
        settings = settings or PredictSettings()
        card, runner = load_runner(local_model(path), settings)
        # What was found is kept, so that whoever stores the settings can do the same again.
        found = {"precision": runner.precision, "device": runner.device}
        return cls(card, runner, settings.model_copy(update=found))

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
        planes = self._planes(array if seen_size == size else resize(array, seen_size))
        if seen_size != size:
            planes = resize(planes, size)
        probabilities = planes[: self.card.network.classes]
        uncertainty = uncertainty_of(planes, self.card, self.settings) if self.settings.uncertainty else None
        return Prediction(most_probable(probabilities), probabilities, warnings, uncertainty)

    def require_input(self, name: str, shape: Sequence[int]) -> None:
        """See that the network can take an image of this shape; see `require_input`."""
        require_input(self.card, name, shape)

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

    def _planes(self, array: Shaped[np.ndarray, "c *size"]) -> Float[np.ndarray, "p *size"]:
        """What the runner gives, mean over the views."""
        card = self.card
        intensity = measure(array, card.normalise)
        limit = self.settings.max_memory or machine.free_memory() // 2
        views = views_of(card, self.settings)
        total: Float[np.ndarray, "p *size"] | None = None
        for view in views:
            turned = view.apply(array)
            left = limit - resident_bytes(card, array.nbytes, array[0].size, self.settings)
            room = min(left, machine.network_memory(self.settings.device))
            largest = largest_tile(card, turned.shape[1:], room, self.settings.precision)
            tiles = plan_tiles(card.network.axes, turned.shape[1:], largest)
            result = view.undo(run_tiles(turned, tiles, intensity, self.runner, plane_count(card, self.settings)))
            total = result if total is None else np.add(total, result, out=total)
        assert total is not None
        return total if len(views) == 1 else total / np.float32(len(views))


def require_input(card: ModelCard, name: str, shape: Sequence[int]) -> None:
    """See that the network can take an image of this shape, channels first.

    Raises:
        ImageError: another number of axes or channels than the model knows, or no pixels.
    """
    settings = card.network
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


def load_runner(
    path: Path, settings: PredictSettings, threads: int = 0
) -> tuple[ModelCard, TorchRunner | ExportedRunner]:
    """A model file's card, and its networks ready to run as it says.

    Args:
        threads: of this process; 0 leaves that to the engine.

    Raises:
        MissingError, ModelError: see `useg.unet.model.load_model`. SettingsError: the device, or a fold, is not there.
        MissingExtraError: an exported model, and its engine is not here.
    """
    path = find_model(path)
    if is_exported(path):
        if settings.folds:
            raise SettingsError(f"{path}: gives the mean of all its folds; choose folds when you export")
        if settings.device not in ("auto", "cpu"):
            raise SettingsError(f"{path}: exported models run on the CPU; use --device auto")
        card = read_card(path)
        return card, ExportedRunner(path, card, settings.precision, threads=threads, spread=settings.uncertainty)
    if threads:
        import torch

        torch.set_num_threads(threads)
    card, networks = load_model(path, settings.folds)
    shift, temperature = card.shift, card.temperature
    return card, TorchRunner(
        networks,
        settings.device,
        settings.precision,
        shift=shift,
        temperature=temperature,
        spread=settings.uncertainty,
    )


def run_tiles(
    image: Shaped[np.ndarray, "c *size"],
    tiles: Sequence[Tile],
    intensity: Intensity,
    runner: Runner,
    planes: int,
) -> Float[np.ndarray, "p *size"]:
    """What the runner gives of the whole image, tile by tile: each tile's core is computed once, nothing is blended."""
    result, source = np.empty((planes, *image.shape[1:]), np.float32), windows_of(image)
    # The largest first: the blocks of memory that it leaves then serve all others.
    for tile in sorted(tiles, key=lambda t: math.prod(t.shape), reverse=True):
        result[(slice(None), *tile.core)] = runner(intensity.apply(read_mirrored(source, tile)), tile.keep)
    return result


def plane_count(card: ModelCard, settings: PredictSettings) -> int:
    """Of what a runner gives: the classes, and their mean entropy where uncertainty is asked for."""
    return card.network.classes + settings.uncertainty


def uncertainty_of(
    planes: Float[np.ndarray, "p *size"], card: ModelCard, settings: PredictSettings
) -> Float[np.ndarray, "u *size"]:
    """Where not to trust: entropy of the mean probabilities and, of several predictions, their disagreement.

    The disagreement is the entropy of the mean without the mean of the entropies: the information that the networks,
    or views, give about one another (Lakshminarayanan et al. 2017, arXiv 1612.01474; Smith and Gal 2018, arXiv
    1803.08533, section 2). Both 0..1, in units of the most entropy that so many classes can have.
    """
    classes, size = card.network.classes, planes.shape[1:]
    result = np.empty((uncertainty_planes(card, settings), *size), np.float32)

    def fill(rows: slice) -> None:
        result[0, rows] = entropy(planes[:classes, rows])
        if len(result) > 1:
            result[1, rows] = np.maximum(result[0, rows] - planes[classes, rows], 0)

    in_blocks(fill, size)
    return result


def uncertainty_planes(card: ModelCard, settings: PredictSettings) -> int:
    """Entropy alone, or disagreement too."""
    several = len(settings.folds or range(card.members)) > 1 or len(views_of(card, settings)) > 1
    return 2 if several else 1


def views_of(card: ModelCard, settings: PredictSettings) -> list[View]:
    """Ways to look at an image that are averaged."""
    return symmetric_views(card.flips if settings.tta else [], card.network.dims)


def calibration_of(card: ModelCard) -> Calibration:
    """What a model's probabilities are calibrated with."""
    return Calibration(card.temperature, tuple(card.biases))


def most_probable(probabilities: Float[np.ndarray, "k *size"]) -> UInt8[np.ndarray, "*size"]:
    """The class of the highest probability, of equal ones the first."""
    labels = np.zeros(probabilities.shape[1:], np.uint8)

    def compare(rows: slice) -> None:
        best = probabilities[0, rows]
        for k in range(1, len(probabilities)):
            higher = probabilities[k, rows] > best
            np.maximum(labels[rows], higher * np.uint8(k), out=labels[rows])
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


def resident_bytes(card: ModelCard, image_bytes: int, pixels: int, settings: PredictSettings) -> int:
    """What stands in memory beside the tiles: the image, what the runner gave, its sum over views, the workspace."""
    sums = 2 if len(views_of(card, settings)) > 1 else 1
    planes = plane_count(card, settings) * sums + 2 * settings.uncertainty
    return image_bytes + 4 * planes * pixels + WORKSPACE


def _channels_first(array: np.ndarray, card: ModelCard) -> np.ndarray:
    dims, channels = card.network.dims, card.network.in_channels
    if array.ndim == dims:
        return array[None]
    if array.ndim == dims + 1 and array.shape[0] != channels and array.shape[-1] == channels:
        return np.moveaxis(array, -1, 0)
    return array
