"""One block of an image that is larger than memory: read, predicted, and durable on disk.

A work folder holds all that a process needs to do any block, so a worker is told a folder and a number:

    .cells.work/  plan.json           what is done and how: `BlockPlan`, written last, so a folder without it is nothing
                  model.safetensors   a copy of the model, or model.onnx
                  labels/  probabilities/  confidence/  objects/     stores, those that are asked for
                  finished.jsonl      a line a block that is done
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped
from pydantic import BaseModel, ConfigDict

from useg import machine
from useg.images.files import open_windows, read_mask
from useg.images.image import MAX_BYTES
from useg.images.store import LabelStore
from useg.images.windows import Window, Windows
from useg.objects.chunks import Grid
from useg.objects.separate import confidence
from useg.predict import (
    PredictSettings,
    load_runner,
    most_probable,
    plane_count,
    resident_bytes,
    uncertainty_of,
    views_of,
)
from useg.runner import Runner, bytes_per_pixel, largest_tile
from useg.unet.geometry import Tile
from useg.unet.model import ModelCard
from useg.unet.normalise import Intensity
from useg.views import View, read_mirrored

PLAN, MODEL = "plan.json", "model"
"""In the work folder; the model's suffix tells what it is."""
CHUNK = {2: 1024, 3: 128}
"""About how many pixels along an axis the chunks have that results are stored in, by the number of axes."""
KEPT = 0.8
"""When a process holds more than this share of what it may, what it has freed is given back between two blocks: pieces
of memory that lie about as gaps, of a size that no layer needs. The rest is for those that the next block leaves."""
EMPTY = 0.1
"""A block whose gray values differ by less than this share of the spread of the whole image's has nothing in it."""


class BlockPlan(BaseModel):
    """What is done with each block. Kept in the work folder, so that going on gives the same bytes.

    Attributes:
        identity: of source, model and options: what must be equal to go on.
        source: the file; empty for an array. level: of its pyramid.
        size: of the image. chunk: of the stores. block: of the cores of tiles, a multiple of `chunk`.
        predict: how the network runs, with what a probe found. threads: of a process.
        memory: bytes that a process may take for it.
        shift, scale: the intensity of the whole image, one number a channel.
        spread: 1st to 99th percentile of its gray values, one a channel, where empty blocks are skipped; else empty.
        where: a coarse mask, 0 in blocks to be skipped; empty for none.
        stores: which results are kept: "labels", "probabilities", "confidence", "uncertainty".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: dict[str, Any]
    source: str
    level: int
    size: tuple[int, ...]
    chunk: tuple[int, ...]
    block: tuple[int, ...]
    predict: PredictSettings
    threads: int
    memory: int
    shift: list[float]
    scale: list[float]
    spread: list[float]
    where: str
    stores: list[str]

    @property
    def grid(self) -> Grid:
        """How the image is cut into blocks."""
        return Grid.regular(self.size, self.block)

    @property
    def blocks(self) -> int:
        """Number of blocks; they are numbered along the last axis first."""
        return len(self.grid)

    def core(self, index: int) -> Window:
        """The window of the image that a block answers for."""
        return self.grid.window(index)


class Look(NamedTuple):
    """What one view of a block needs: the tile in the image seen this way, and its pixels as they were read."""

    view: View
    tile: Tile
    pixels: Shaped[np.ndarray, "c *tile"]


class _Model(NamedTuple):
    """What a process has loaded, and the memory that it held when it had."""

    card: ModelCard
    runner: Runner
    before: int


@dataclass(frozen=True)
class Job:
    """The blocks of one image, in any process: what it opens stays open. Pickled, it is opened anew.

    Attributes:
        folder: the work folder.
        array: the image where it is no file.
    """

    folder: Path
    array: Windows | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Job, (self.folder, self.array)

    @cached_property
    def plan(self) -> BlockPlan:
        """Of the work folder."""
        return BlockPlan.model_validate_json((self.folder / PLAN).read_text(encoding="utf-8"))

    def run(self, index: int) -> bool:
        """Read, predict and store one block; whether there was anything to predict. Doing it again does no harm."""
        looks = self.read(index)
        self.write(index, self.predict(index, looks))
        return bool(looks)

    def read(self, index: int) -> list[Look]:
        """What the network must be given for a block; nothing where the block is skipped.

        Raises:
            ImageError: the source is damaged there, or has gone.
        """
        plan, core = self.plan, self.plan.core(index)
        if self._where is not None and not _any_in(self._where, core, plan.size):
            return []
        geometries = self.card.network.axes
        looks: list[Look] = []
        for view in views_of(self.card, plan.predict):
            turned = view.turn_size(plan.size)
            # All tiles are as large as inner ones, so that each works in the memory that the one before left.
            inner = zip(geometries, plan.block, strict=True)
            least = view.turn_size([axis.tile(9 * edge, 4 * edge, 5 * edge).length for axis, edge in inner])
            spans = zip(geometries, turned, view.turn(core, plan.size), least, strict=True)
            tile = Tile(tuple(axis.tile(n, part.start, part.stop, enough) for axis, n, part, enough in spans))
            pixels = read_mirrored(view.of(self._image), tile)
            if not looks and is_empty(pixels, plan.spread):
                return []
            looks.append(Look(view, tile, pixels))
        return looks

    def predict(self, index: int, looks: Sequence[Look]) -> dict[str, np.ndarray]:
        """What is stored of a block, by the name of the store; a block without looks is all of the first class."""
        plan = self.plan
        if machine.taken_memory() > self._model.before + KEPT * plan.memory:
            machine.return_freed_memory()
        if looks:
            shift, scale = (np.array(each, np.float32) for each in (plan.shift, plan.scale))
            intensity = Intensity(shift, scale, self.card.normalise.clipped)
            seen = (each.view.undo(self.runner(intensity.apply(each.pixels), each.tile.keep)) for each in looks)
            planes = next(seen)
            for other in seen:
                planes = planes + other
            if len(looks) > 1:
                planes /= np.float32(len(looks))
        else:
            size = (part.stop - part.start for part in plan.core(index))
            planes = np.zeros((plane_count(self.card, plan.predict), *size), np.float32)
            planes[0] = 1
        return {name: RESULTS[name](planes, self.card, plan.predict) for name in plan.stores}

    def write(self, index: int, results: Mapping[str, np.ndarray]) -> None:
        """Store what `predict` gave of a block; then it is durable.

        Raises:
            OutputError: the disk is full, or may not be written.
        """
        core = self.plan.core(index)
        for name, array in results.items():
            store = LabelStore.open(self.folder / name)
            store.write(core, array)
            store.sync(core)

    @cached_property
    def _image(self) -> Windows:
        if self.array is not None:
            return self.array
        return open_windows(Path(self.plan.source), alpha=self.card.alpha, level=self.plan.level)

    @cached_property
    def _where(self) -> Bool[np.ndarray, "*coarse"] | None:
        return read_mask(Path(self.plan.where)) != 0 if self.plan.where else None

    @cached_property
    def _model(self) -> _Model:
        (model,) = (path for path in self.folder.glob(f"{MODEL}.*") if path.suffix != ".bin")
        card, runner = load_runner(model, self.plan.predict, self.plan.threads)
        return _Model(card, runner, machine.taken_memory())

    @property
    def card(self) -> ModelCard:
        """Of the model."""
        return self._model.card

    @property
    def runner(self) -> Runner:
        """The network."""
        return self._model.runner


RESULTS: dict[str, Callable[[np.ndarray, ModelCard, PredictSettings], np.ndarray]] = {
    "labels": lambda planes, card, settings: most_probable(planes[: card.network.classes]),
    "probabilities": lambda planes, card, settings: planes[: card.network.classes],
    "confidence": lambda planes, card, settings: confidence(planes[1]),
    "uncertainty": uncertainty_of,
}
"""What of that which the runner gives is stored under each name."""


def choose_block(
    card: ModelCard, size: Sequence[int], sample_bytes: int, limit: int, settings: PredictSettings
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The chunk and the block, in pixels along each axis, with which a process stays below `limit` bytes.

    Args:
        sample_bytes: of one number of the image as its file holds it.
        settings: with the precision that a probe found.

    Raises:
        SettingsError: not even the smallest tile fits.
    """
    network, dims = card.network, len(size)
    # While the network works on a tile, the next one is read and the one before is written.
    beside = network.in_channels * (2 * sample_bytes + 4) + 2 * 4 * plane_count(card, settings)
    needs = bytes_per_pixel(card, settings.precision)
    reads = largest_tile(card, size, int(limit * needs / (needs + beside)), settings.precision)
    chunk, block = [], []
    for axis, n, read in zip(network.axes, size, reads, strict=True):
        most = max(axis.stride, read - axis.halo)
        count = -(-n // most)
        parts = max(1, round(n / count / CHUNK[dims]))
        wanted, allowed = -(-n // (count * parts * axis.stride)), most // (parts * axis.stride)
        chunk.append(axis.stride * max(1, min(wanted, allowed)))
        block.append(chunk[-1] * parts)
    return tuple(chunk), tuple(block)


def is_empty(pixels: Shaped[np.ndarray, "c *size"], spread: Sequence[float]) -> bool:
    """Whether the gray values of a block differ by less than `EMPTY` of the image's `spread`, in each channel.

    Every pixel counts: one bright cell in a dark block is not nothing. Without a spread no block is empty.
    """
    if not spread:
        return False
    values = pixels.reshape(len(pixels), -1)
    return bool((values.max(1).astype(np.float64) - values.min(1) < EMPTY * np.asarray(spread)).all())


def _any_in(where: Bool[np.ndarray, "*coarse"], core: Window, size: Sequence[int]) -> bool:
    """Whether a mask of any size, laid over the image, is set anywhere in a window of it."""
    ends = zip(core, where.shape, size, strict=True)
    return bool(where[tuple(slice(p.start * m // n, -(-p.stop * m // n)) for p, m, n in ends)].any())


def fits_in_memory(
    card: ModelCard, size: Sequence[int], image_bytes: int, limit: int, settings: PredictSettings, *, objects: bool
) -> bool:
    """Whether an image, its probabilities and labels, and a tile that is worth the name stay below `limit` bytes."""
    pixels, a_pixel = math.prod(size), 1 + (24 if objects else 0)
    smallest = math.prod(axis.smallest_tile for axis in card.network.axes)
    tile = min(pixels, 4 * smallest) * bytes_per_pixel(card)
    resident = resident_bytes(card, image_bytes, pixels, settings)
    return image_bytes <= MAX_BYTES and resident + pixels * a_pixel + tile <= limit
