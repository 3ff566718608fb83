"""Annotated images -> samples -> batches. Sample i of step s is a pure function of (seed, s, i)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field

from useg.data.augment import (
    AugmentSettings,
    fold,
    resample_image,
    resample_labels,
    vary_gray_values,
    warp_field,
)
from useg.data.border_fields import KeptFields
from useg.data.dataset import Example
from useg.labels import IGNORE
from useg.parts import count, find, parts
from useg.unet.borders import part_objects, weigh
from useg.unet.normalise import NormaliseSettings, measure

POSITIONS = 4096
"""Pixels of a rare class that are remembered per image: enough places to put a crop."""


class SampleSettings(BaseModel):
    """How crops are cut.

    Attributes:
        crop: input pixels of a sample, (y, x) or (z, y, x).
        batch: samples a step.
        rare_share: share of the samples that are centred on a pixel of a rare class.
        rare_classes: those classes; each gets an equal part of `rare_share`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop: tuple[int, ...] = Field(default=(256, 256), min_length=2, max_length=3)
    batch: int = Field(default=4, ge=1)
    rare_share: float = Field(default=0.0, ge=0, le=1)
    rare_classes: list[int] = []


@dataclass(frozen=True)
class Sample:
    """Network input, labels and weights of the network's output, and the name of the image that it is from.

    `weights` say how much each pixel counts; None where all count the same.
    """

    image: Float[np.ndarray, "c *crop"]
    labels: UInt8[np.ndarray, "*inner"]
    weights: Float[np.ndarray, "*inner"] | None
    name: str


@dataclass(frozen=True)
class Batch:
    """Samples of one step: network input, labels and weights of the network's output, and the images they are from."""

    images: Float[np.ndarray, "n c *crop"]
    labels: UInt8[np.ndarray, "n *inner"]
    weights: Float[np.ndarray, "n *inner"] | None
    names: tuple[str, ...]


def join(samples: Sequence[Sample]) -> Batch:
    """Samples as one batch."""
    weights = [s.weights for s in samples if s.weights is not None]
    return Batch(
        np.stack([s.image for s in samples]),
        np.stack([s.labels for s in samples]),
        np.stack(weights) if weights else None,
        tuple(s.name for s in samples),
    )


class Sampler:
    """Draws samples from annotated images, in their own pixel type.

    Args:
        examples: images `C Y X` with labels `Y X`, or volumes `C Z Y X` with labels `Z Y X`.
        margins: pixels by which the network's output is smaller than the crop, at each end of each axis; () is none, as
            with "same" padding.
        widen: pixels by which the gap between touching objects is wider at either side, see `part_objects`.
        fields: of each example, what its border weights are made of (`unet.borders.border_fields`); None weighs all
            pixels the same.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        samples: SampleSettings,
        augment: AugmentSettings,
        normalise: NormaliseSettings,
        *,
        classes: int,
        margins: Sequence[int] = (),
        seed: int = 0,
        widen: int = 0,
        fields: KeptFields | Sequence[Float[np.ndarray, "f *space"]] | None = None,
    ) -> None:
        self.examples, self.settings, self.augment = list(examples), samples, augment
        self.classes, self.seed = classes, seed
        margins = margins or [0] * len(samples.crop)
        self._inner = tuple(slice(m, n - m) for m, n in zip(margins, samples.crop, strict=True))
        self.widen, self.fields = widen, fields
        self._intensity = [measure(e.image, normalise) for e in self.examples]
        self._places = {k: self._find(k) for k in samples.rare_classes}
        self._rare = [k for k, places in self._places.items() if places]

    def batch(self, step: int) -> Batch:
        """All samples of a step."""
        return join([self.sample(step, i) for i in range(self.settings.batch)])

    def sample(self, step: int, index: int) -> Sample:
        """Sample `index` of `step`."""
        rng, which, field = self._draw(step, index)
        example = self.examples[which]
        places = fold(field, example.labels.shape)
        image = self._intensity[which].apply(resample_image(example.image, places))
        image = vary_gray_values(rng, image, self.augment)
        inner = places[self._inner]
        labels = resample_labels(example.labels, inner)
        if example.objects is not None:
            # Cut after the warp, in which a gap of one pixel would vanish.
            parted = part_objects(resample_labels(example.objects, inner), self.widen)
            labels = np.where((labels == 1) & (parted == 0), np.uint8(0), labels)
        weights = None
        if self.fields is not None:
            weights = weigh(resample_image(self.fields[which], inner), labels)
        return Sample(image, labels, weights, example.name)

    def shares(self, count: int = 256) -> Float[np.ndarray, " k"]:
        """Share of each class among the annotated pixels that training will see, from `count` samples."""
        counts = np.zeros(256)
        for index in range(count):
            _, which, field = self._draw(-1, index)
            labels = self.examples[which].labels
            # Every fourth pixel along an axis tells the shares as well.
            thinned = fold(field, labels.shape)[tuple(slice(s.start, s.stop, 4) for s in self._inner)]
            counts += np.bincount(resample_labels(labels, thinned).ravel(), minlength=256)
        return counts[: self.classes] / max(1, counts[: self.classes].sum())

    def _draw(self, step: int, index: int) -> tuple[np.random.Generator, int, Float[np.ndarray, "d *crop"]]:
        rng = np.random.default_rng([self.seed, step + 1, index])
        which, centre = self._place(rng)
        return rng, which, warp_field(rng, centre, self.settings.crop, self.augment)

    def _place(self, rng: np.random.Generator) -> tuple[int, list[float]]:
        """An image and the centre of a crop in it."""
        if self._rare and rng.random() < self.settings.rare_share:
            places = self._places[self._rare[rng.integers(len(self._rare))]]
            which, pixels = places[rng.integers(len(places))]
            pixel = pixels[rng.integers(len(pixels))]
            # The pixel lies anywhere in the middle half of the crop, not always at its centre.
            jitter = [rng.uniform(-0.25, 0.25) * (s.stop - s.start) for s in self._inner]
            return which, [float(p + j) for p, j in zip(pixel, jitter, strict=True)]
        which = int(rng.integers(len(self.examples)))
        return which, [float(rng.uniform(0, n - 1)) for n in self.examples[which].labels.shape]

    def _find(self, label: int) -> list[tuple[int, np.ndarray]]:
        """Images that hold the class, each with some of its pixels."""
        found = []
        for which, example in enumerate(self.examples):
            labels, holds = example.labels, partial(np.equal, label)
            if not (pixels := count(labels, holds)):
                continue
            ranks = np.arange(min(pixels, POSITIONS))
            if pixels > POSITIONS:
                ranks = np.random.default_rng([which, label]).choice(pixels, POSITIONS, replace=False)
            places = np.unravel_index(find(labels, holds, ranks), labels.shape)
            found.append((which, np.stack(places, axis=1).astype(np.int32)))
        return found


def class_shares(examples: Sequence[Example], classes: int) -> Float[np.ndarray, " k"]:
    """Share of each class among all annotated pixels."""
    counts = sum(
        np.bincount(part.ravel(), minlength=IGNORE + 1)[:classes] for e in examples for part in parts(e.labels)
    )
    return np.asarray(counts) / max(1, int(np.sum(counts)))


def make_batches(
    sampler: Sampler, steps: Iterator[int], *, threads: int, ahead: int = 0, part: range | None = None
) -> Iterator[Batch]:
    """Batches for `steps`, in order, their samples made side by side by `threads`; of each step all samples or `part`.

    With `ahead` 0 a batch is made when it is asked for, so that samples and network take turns: threads that share
    the processor with a network cost it more than the time that they need. Beside a GPU they may work `ahead` batches
    beyond the consumer. An exception in a thread is raised here, at the batch that it belongs to.

    Nothing in a sample may be an operation that torch computes on several threads. It would start them for each of
    these; where there are more than cores, those of the network sleep between its layers, and a step takes half as
    long again.
    """
    waiting: deque[list[Future[Sample]]] = deque()
    part = range(sampler.settings.batch) if part is None else part
    with ThreadPoolExecutor(threads, thread_name_prefix="samples") as pool:
        try:
            for step in steps:
                waiting.append([pool.submit(sampler.sample, step, i) for i in part])
                if len(waiting) > ahead:
                    yield join([sample.result() for sample in waiting.popleft()])
            while waiting:
                yield join([sample.result() for sample in waiting.popleft()])
        finally:
            for future in chain.from_iterable(waiting):
                future.cancel()
