"""Overlap-tile prediction in memory: image in, labels and probabilities out, any size, the same with any tile.

The network is driven through a `Runner`, so that other engines than torch can take its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field

from useg import machine
from useg.errors import ImageError, SettingsError
from useg.images.image import Image
from useg.inputs import resize, size_as_in_training, unlike_training
from useg.objects.separate import separate
from useg.objects.settings import SeparateSettings
from useg.unet.geometry import Tile, mirror, plan_tiles
from useg.unet.model import ModelCard, load_model
from useg.unet.network import UNet, fold_batch_norm
from useg.unet.normalise import Intensity, measure

WORKSPACE = 100_000_000
"""Bytes that torch takes beside the tiles, whatever their size: scratch of the convolutions, gaps in the heap."""
BLOCK_PIXELS = 1 << 15
"""Pixels that are worked on at a time behind the network."""
LARGEST_TILE = 3072
"""Pixels along an axis of a 2-D tile beyond which a CPU gains nothing more."""


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


@runtime_checkable
class Runner(Protocol):
    """An engine: normalised float32 `C *size` -> scores float32 `K *kept`."""

    def __call__(self, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice]) -> Float[np.ndarray, "k *kept"]:
        """Run the network on one tile and return the window `keep` of its output."""


class TorchRunner:
    """Runs a `UNet` with torch, in channels-last memory."""

    def __init__(self, network: UNet, device: str = "auto", precision: str = "auto") -> None:
        machine.keep_freed_memory()
        self.device = machine.find_device(device)
        self.precision = machine.probe_precision(self.device) if precision == "auto" else precision
        self._layout = machine.memory_layout(network.settings.dims)
        self.network = machine.place(fold_batch_norm(network), self.device, network.settings.dims)

    def __call__(self, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice]) -> Float[np.ndarray, "k *kept"]:
        """Scores of the window `keep` of one tile."""
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(tile))[None].to(self.device, memory_format=self._layout)
        lower = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")
        with torch.inference_mode(), lower:
            scores = self.network(batch, keep)[0].float().cpu()
        result: Float[np.ndarray, "k *kept"] = scores.numpy()
        return result


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
        settings = self.card.network
        if array.ndim != settings.dims + 1:
            raise ImageError(
                f"{name}: has {array.ndim - 1} axes besides channels, but the model works on {settings.dims}-D images; "
                + ("save its slices as images" if settings.dims == 2 else "give whole volumes")
            )
        if array.shape[0] != settings.in_channels:
            raise ImageError(
                f"{name}: has {array.shape[0]} channels, but the model was trained on {settings.in_channels}; "
                "convert it to the channels of the training images"
            )
        if not array.size:
            raise ImageError(f"{name}: has no pixels; its size is {' x '.join(map(str, array.shape[1:]))}")
        if array.dtype == np.bool_:
            array = array.astype(np.uint8)  # as 1-bit files are read
        spacing, unit = (image.spacing, image.unit) if isinstance(image, Image) else (None, None)
        warnings = unlike_training(self.card.input, array, spacing, unit)
        size = array.shape[1:]
        seen_size = size_as_in_training(self.card.input, size, spacing, unit)
        probabilities = self._probabilities(array if seen_size == size else resize(array, seen_size))
        if seen_size != size:
            probabilities = resize(probabilities, size)
        return Prediction(most_probable(probabilities), probabilities, warnings)

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
        views = symmetric_views(card.flips, array.ndim - 1) if self.settings.tta else [_identity(array.ndim - 1)]
        total: Float[np.ndarray, "k *size"] | None = None
        for view in views:
            turned = view.apply(array)
            left = limit - _resident_bytes(card, array, len(views))
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
    result = np.empty((card.network.classes, *image.shape[1:]), np.float32)
    shift = np.array(card.score_shift, np.float32).reshape(-1, *[1] * (image.ndim - 1))
    # The largest first: the blocks of memory that it leaves then serve all others.
    for tile in sorted(tiles, key=lambda t: math.prod(t.shape), reverse=True):
        scores = runner(intensity.apply(read_mirrored(image, tile)), tile.keep)
        target = result[(slice(None), *tile.core)]

        def finish(rows: slice, scores: np.ndarray = scores, target: np.ndarray = target) -> None:
            target[:, rows] = softmax(scores[:, rows] + shift)

        in_blocks(finish, scores.shape[1:])
    return result


def read_mirrored(image: Shaped[np.ndarray, "c *size"], tile: Tile) -> Shaped[np.ndarray, "c *tile"]:
    """The pixels that a tile reads; beyond the image's border, their mirror images."""
    for axis, span in enumerate(tile.spans, start=1):
        size = image.shape[axis]
        if span.first >= 0 and span.last <= size:
            image = image[(slice(None),) * axis + (slice(span.first, span.last),)]
        else:
            image = image.take(mirror(np.arange(span.first, span.last), size), axis)
    return image


def softmax(scores: Float[np.ndarray, "k *size"]) -> Float[np.ndarray, "k *size"]:
    """Probabilities over the first axis."""
    exponentials = np.exp(scores - scores.max(0))
    exponentials /= exponentials.sum(0)
    return exponentials


def most_probable(probabilities: Float[np.ndarray, "k *size"]) -> UInt8[np.ndarray, "*size"]:
    """The class of the highest probability, of equal ones the first."""
    labels = np.zeros(probabilities.shape[1:], np.uint8)

    def compare(rows: slice) -> None:
        best = probabilities[0, rows].copy()
        for k in range(1, len(probabilities)):
            labels[rows][probabilities[k, rows] > best] = k
            np.maximum(best, probabilities[k, rows], out=best)

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


def largest_tile(card: ModelCard, size: Sequence[int], limit: int, precision: str = "float32") -> list[int]:
    """The most pixels that a tile may read along each axis so that the network stays below `limit` bytes.

    Raises:
        SettingsError: not even the smallest tile fits.
    """
    geometry, dims = card.network.geometry, len(size)
    whole = [t.length for t in (geometry.tiles(n, n)[0] for n in size)]
    pixels = limit / bytes_per_pixel(card, precision)
    smallest = geometry.smallest_tile
    if pixels < min(smallest**dims, np.prod(whole)):
        raise SettingsError(
            f"--max-memory leaves {max(0, limit) / 1e6:.0f} MB for the network, but one tile needs "
            f"{bytes_per_pixel(card, precision) * smallest**dims / 1e6:.0f} MB; allow more memory"
        )
    # Short axes are read whole; what they leave is shared by the long ones.
    edge, largest = pixels ** (1 / dims), list(whole)
    for rank, axis in enumerate(sorted(range(dims), key=lambda a: whole[a])):
        edge = min(LARGEST_TILE if dims == 2 else LARGEST_TILE // 8, pixels ** (1 / (dims - rank)))
        largest[axis] = min(whole[axis], max(smallest, int(edge)))
        pixels /= largest[axis]
    return largest


def bytes_per_pixel(card: ModelCard, precision: str = "float32") -> float:
    """Memory that the network needs for each pixel of a tile (`benchmarks/speed.py` measures it)."""
    s, value = card.network, 2 if precision == "bfloat16" else 4
    # The finest level of the expansive path holds two joined maps, the results of two convolutions and the level below:
    # 4.5 widths. As much again is lost in gaps between blocks that torch has freed.
    return value * 9 * s.width / s.patch**s.dims + (4 + value) * s.in_channels + 12 * s.classes


@dataclass(frozen=True)
class View:
    """A symmetry of the grid: an exchange of the last two axes, then flips of some."""

    transpose: bool
    flipped: tuple[int, ...]

    def apply(self, array: Shaped[np.ndarray, "c *size"]) -> Shaped[np.ndarray, "c *turned"]:
        """The array seen this way."""
        array = array.swapaxes(-1, -2) if self.transpose else array
        return np.flip(array, self.flipped)

    def undo(self, array: Shaped[np.ndarray, "c *turned"]) -> Shaped[np.ndarray, "c *size"]:
        """Back from `apply`."""
        array = np.flip(array, self.flipped)
        return array.swapaxes(-1, -2) if self.transpose else array


def symmetric_views(flips: Sequence[str], dims: int) -> list[View]:
    """All combinations of the named symmetries: 2 for "x" alone, 8 for "x", "y" and "transpose"."""
    axes = [dims if name == "x" else dims - 1 for name in ("x", "y") if name in flips]
    turns = (False, True) if "transpose" in flips else (False,)
    choices = product(turns, *[(False, True)] * len(axes))
    return [View(turn, tuple(a for a, on in zip(axes, on_off, strict=True) if on)) for turn, *on_off in choices]


def _identity(dims: int) -> View:
    return symmetric_views([], dims)[0]


def _resident_bytes(card: ModelCard, array: np.ndarray, views: int) -> int:
    """What stands in memory beside the tiles: the image, its probabilities, their sum over views, the workspace."""
    probabilities = 4 * card.network.classes * int(np.prod(array.shape[1:]))
    return array.nbytes + probabilities * (2 if views > 1 else 1) + WORKSPACE


def _channels_first(array: np.ndarray, card: ModelCard) -> np.ndarray:
    dims, channels = card.network.dims, card.network.in_channels
    if array.ndim == dims:
        return array[None]
    if array.ndim == dims + 1 and array.shape[0] != channels and array.shape[-1] == channels:
        return np.moveaxis(array, -1, 0)
    return array
