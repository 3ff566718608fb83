"""What could be annotated next: an image, a region of a large one, or a volume, predicted and told in a few numbers.

file -> Part (pixels and probabilities, in memory one at a time) -> Candidate (what stays of it)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped, UInt8

from useg import machine
from useg.blocks import fits_in_memory
from useg.data.dataset import evenly, in_channels
from useg.errors import ImageError
from useg.images.files import open_windows, read, read_header
from useg.images.image import Header, Image
from useg.images.windows import Window, Windows
from useg.metrics.uncertainty import expected_dice
from useg.predict import Predictor, most_probable
from useg.unet.geometry import Tile
from useg.unet.model import InputSeen, ModelCard
from useg.unet.normalise import Intensity, measure, sample_steps, subsample
from useg.views import read_mirrored

SURE = 0.75
"""Below this probability of its class a pixel is told to be unsure."""
LITTLE = 0.01
"""Share of the pixels at which a class counts half in the expected Dice."""
BORDER = 2
"""Pixels from another class up to which a pixel is told to be at a border."""
MOST_REGIONS = 256
"""Regions of one image that are looked at, evenly spread where it has more: it may be a slide of gigapixels."""
MOST_UNSURE = 100_000
"""Unsure pixels of an image that are asked which classes they waver between."""
SCALES = 4
"""Of the texture: single pixels, and 2, 4, 8 times coarser."""
BRIGHT, CONTRAST, DETAIL = 0, 1, 2
"""Where a description begins with what people have a word for."""
FLOORS = {"gray": 0.02, "texture": 0.1, "classes": 0.02}
"""Least spread of a number that makes images differ; below it is noise."""


@dataclass(frozen=True, eq=False)
class Part:
    """An image, or a region of one, and what the model says of it.

    Attributes:
        region: its window in the image, None for the whole.
        image: as its file holds it, with the pixel size; cut out where it is a region.
        labels, probabilities: of `useg.predict.Prediction`, for the part.
    """

    region: Window | None
    image: Image
    labels: UInt8[np.ndarray, "*size"]
    probabilities: Float[np.ndarray, "k *size"]


@dataclass(frozen=True)
class Doubt:
    """How unsure a model is of a part.

    Attributes:
        mistakes: share of its pixels that its probabilities let expect to be wrong: the mean of 1 - the greatest.
        dice_lost: 1 - the Dice that they let expect, mean over the classes that it may hold but class 0; towards 0
            where it holds hardly anything, for there the Dice of two specks says nothing.
        unsure: share of pixels whose class is less than `SURE`.
        at_borders: share of these that lie at a border between classes.
        between: the two classes that most of them waver between.
    """

    mistakes: float
    dice_lost: float
    unsure: float
    at_borders: float
    between: tuple[int, int]

    @property
    def uncertainty(self) -> float:
        """0..1, the geometric mean of both: many objects make many mistakes, few ones lose much Dice."""
        return math.sqrt(self.mistakes * self.dice_lost)


@dataclass(frozen=True, eq=False)
class Candidate:
    """What stays of a part: enough to rank it and to say why.

    Attributes:
        source: the file. region: see `Part`.
        checksum: of the pixels, however the file packs them.
        doubt: see there.
        description: numbers that are near for images that look alike; see `describe`.
    """

    source: Path
    region: Window | None
    checksum: str
    doubt: Doubt
    description: Float[np.ndarray, " d"]


def look(predictor: Predictor, source: Path | Windows, edge: int, *, page: int | None = None) -> list[Candidate]:
    """All candidates of one image.

    Args:
        source: its file, or an array by `useg.images.windows_of` whose path says what it is called.
        edge: see `regions_of`. Of more than `MOST_REGIONS` so many are looked at. Volumes are looked at whole.
        page: of a TIFF, see `useg.images.read`.

    Raises:
        ImageError, MissingError: it cannot be read, is no image for this model, or a volume too large for memory.
        SettingsError: the memory allowed is too small for any tile.
    """
    card = predictor.card
    header, path = _header(source, page), source if isinstance(source, Path) else source.path or Path("image")
    predictor.require_input(str(path), (card.network.in_channels, *header.size))
    fits, volume = _fits(predictor, header), len(header.size) == 3
    if volume and not fits:
        raise ImageError(f"{path}: is a volume too large for the memory allowed; cut it into parts")
    regions = [None] if volume else regions_of(header.size, edge, whole=fits)
    seen = []
    for part in parts_of(predictor, source, [regions[i] for i in evenly(len(regions), MOST_REGIONS)], page=page):
        doubt = doubt_of(part.probabilities, part.labels)
        description = describe(part.image.array, part.probabilities, card.input)
        seen.append(Candidate(path, part.region, checksum(part.image.array), doubt, description))
    return seen


def regions_of(size: Sequence[int], edge: int, *, whole: bool = True) -> list[Window | None]:
    """Equal regions of about `edge` pixels along an axis that tile an image.

    Args:
        whole: an image of at most twice that length is one part, named None.

    >>> regions_of((600, 1100), 512)
    [(slice(0, 600, None), slice(0, 550, None)), (slice(0, 600, None), slice(550, 1100, None))]
    """
    if whole and max(size) <= 2 * edge:
        return [None]
    cuts = [np.linspace(0, n, max(1, round(n / edge)) + 1).round().astype(int).tolist() for n in size]
    return list(product(*([slice(a, b) for a, b in pairwise(each)] for each in cuts)))


def parts_of(
    predictor: Predictor, source: Path | Windows, regions: Sequence[Window | None], *, page: int | None = None
) -> Iterator[Part]:
    """Predict regions of one image, or the whole: at once where that fits into the memory allowed, else one by one.

    Raises:
        ImageError, MissingError, SettingsError: as `look`.
    """
    card, header = predictor.card, _header(source, page)
    if not _fits(predictor, header):
        with open_windows(source, alpha=card.alpha) if isinstance(source, Path) else source as windows:
            predictor.require_input(str(windows.path), (windows.header.channels, *windows.header.size))
            intensity = measure(windows.strided(sample_steps(header.size)), card.normalise)
            for region in regions:
                yield _of_windows(predictor, windows, intensity, region or windows.whole)
        return
    image = read(source, page=page, alpha=card.alpha) if isinstance(source, Path) else source.image()
    prediction = predictor.predict(replace(image, array=in_channels(image.array, card.network.in_channels)))
    for region in regions:
        if region is None:
            yield Part(None, image, prediction.labels, prediction.probabilities)
        else:
            cut = replace(image, array=image.array[(slice(None), *region)], place=None)
            yield Part(region, cut, prediction.labels[region], prediction.probabilities[(slice(None), *region)])


def _header(source: Path | Windows, page: int | None) -> Header:
    return read_header(source, page=page) if isinstance(source, Path) else source.header


def _fits(predictor: Predictor, header: Header) -> bool:
    limit = predictor.settings.max_memory or machine.free_memory() // 2
    return fits_in_memory(predictor.card, header.size, header.nbytes, limit, predictor.settings, objects=False)


def _of_windows(predictor: Predictor, windows: Windows, intensity: Intensity, region: Window) -> Part:
    """One region of an image that is too large for memory, as the prediction of the whole would have it."""
    header, network = windows.header, predictor.card.network
    spans = zip(network.axes, header.size, region, strict=True)
    tile = Tile(tuple(axis.tile(n, part.start, part.stop) for axis, n, part in spans))
    planes = predictor.runner(intensity.apply(read_mirrored(windows, tile)), tile.keep)
    probabilities = planes[: network.classes]
    image = Image(windows.read(region), header.axes, header.spacing, header.unit, windows.path)
    return Part(region, image, most_probable(probabilities), probabilities)


def checksum(pixels: Shaped[np.ndarray, "c *size"]) -> str:
    """Of the pixels and their type: equal for a copy of an image, however its file is packed or called."""
    hashed = hashlib.blake2b(f"{pixels.dtype.newbyteorder('=')} {pixels.shape}".encode(), digest_size=16)
    hashed.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("=")).data)
    return hashed.hexdigest()


def doubt_of(probabilities: Float[np.ndarray, "k *size"], labels: UInt8[np.ndarray, "*size"]) -> Doubt:
    """How unsure the model is, and where."""
    from scipy.ndimage import maximum_filter, minimum_filter

    best = probabilities.max(0)
    unsure = best < SURE
    count, mistakes = int(unsure.sum()), float(1 - best.mean(dtype=np.float64))
    lost = _dice_lost(probabilities, labels)
    if count == 0:
        return Doubt(mistakes, lost, 0.0, 0.0, (0, 0))
    window = 2 * BORDER + 1
    border: Bool[np.ndarray, "*size"] = maximum_filter(labels, window) != minimum_filter(labels, window)
    asked = probabilities[:, unsure][:, :: -(-count // MOST_UNSURE)]
    first, second = np.sort(np.argsort(asked, axis=0)[-2:], axis=0)
    pairs = np.bincount(first * len(probabilities) + second)
    one, other = divmod(int(pairs.argmax()), len(probabilities))
    return Doubt(mistakes, lost, count / unsure.size, float(border[unsure].mean()), (one, other))


def _dice_lost(probabilities: Float[np.ndarray, "k *size"], labels: UInt8[np.ndarray, "*size"]) -> float:
    """1 - the expected Dice, mean over the classes but class 0, those that are hardly there counted for little."""
    pixels, classes = labels.size, len(probabilities)
    counts = np.bincount(labels.reshape(-1), minlength=classes)
    share = (counts + probabilities.reshape(classes, -1).sum(1, dtype=np.float64))[1:] / (2 * pixels)
    weight = share / (share + LITTLE)
    lost = np.nan_to_num(1 - expected_dice(probabilities, labels)[1:], nan=0.0)
    return float((weight * lost).sum() / max(1.0, weight.sum()))


def describe(
    pixels: Num[np.ndarray, "c *size"], probabilities: Float[np.ndarray, "k *size"], seen: InputSeen
) -> Float[np.ndarray, " d"]:
    """What an image looks like, in a few numbers that do not mind a shift, a flip or a turn.

    Gray values (in units of the range of the training images), how they change from pixel to pixel at several scales,
    and how much of each class the model sees. The first three are `BRIGHT`, `CONTRAST` and `DETAIL`.
    """
    dims = pixels.ndim - 1
    low, high = (np.array(ends, np.float32).reshape(-1, *[1] * dims) for ends in (seen.low, seen.high))
    scale = np.maximum(high - low, 1e-6)
    values = np.nan_to_num(subsample(pixels).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if len(values) != len(low):
        values = in_channels(values, len(low))
    values = ((values - low) / scale).clip(-2, 3)
    gray = values.mean(0)
    darkest, dark, middle, bright, brightest = np.percentile(gray, (2, 25, 50, 75, 98))
    steep = []
    for _ in range(SCALES):
        steps = [np.abs(np.diff(gray, axis=axis)) for axis in range(dims)]
        steep.append(np.log(1e-3 + sum(float(each.mean()) for each in steps if each.size)))
        gray = halved(gray) if min(gray.shape) > 1 else gray
    shares = np.sqrt(probabilities.reshape(len(probabilities), -1).mean(1))
    tones = [darkest, dark, bright, brightest, *values.reshape(len(values), -1).mean(1)]
    return np.array([middle, brightest - darkest, steep[0] - steep[2], *tones, *steep, *shares], np.float64)


def halved(gray: Float[np.ndarray, "*size"]) -> Float[np.ndarray, "*half"]:
    """Means of 2 pixels along each axis; an odd size is filled up with 0."""
    filled = np.pad(gray, [(0, n % 2) for n in gray.shape])
    pairs = filled.reshape([edge for n in filled.shape for edge in (n // 2, 2)])
    return pairs.mean(tuple(range(1, pairs.ndim, 2)))


def floors(card: ModelCard) -> Float[np.ndarray, " d"]:
    """Least spread that counts, for each number of `describe`."""
    gray, texture, classes = FLOORS["gray"], FLOORS["texture"], FLOORS["classes"]
    tones, network = [gray] * (4 + card.network.in_channels), card.network
    return np.array([gray, gray, texture, *tones, *[texture] * SCALES, *[classes] * network.classes])
