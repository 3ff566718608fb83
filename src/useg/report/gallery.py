"""Pictures of scored images for a page: each image once, over it layers of few colours, all in a budget of bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float16, Integer, Num, UInt8
from PIL import Image

from useg.data.dataset import Example, middle_plane
from useg.data.similar import thumbnail
from useg.labels import IGNORE
from useg.objects.separate import separate
from useg.pictures.overlay import ERROR_LEGEND, border, error_kinds, to_gray_rgb, wrong
from useg.pictures.palette import IGNORED, object_colours
from useg.predict import Prediction
from useg.report.content import Colour, Picture
from useg.scored_picture import sheet_for
from useg.unet.model import ModelCard
from useg.words import kind_of

BUDGET = 21_500_000
"""Bytes of all pictures of a page; written as text they take a third more."""
LARGEST_EDGE, SMALLEST_EDGE = 1024, 128
"""Pixels along the longer side of a picture: at first, and when there are very many."""
SHRINK = 0.84
"""Of the longer side, each time that the pictures exceed the budget."""
QUALITY = 82
"""Of the JPEG."""
MOST_COLOURS = 120
"""Of a layer: each is there twice, inside and along the border, and a palette has 256 entries."""
INSIDE, BORDER = 105, 255
"""Opacity of the inside of a region and of its border, 0..255."""
ERROR_OPACITY = (60, 215, 215, 215, 130)
"""Of hit, missed, false, wrong class, not annotated: what is wrong stands out, what is right shows the image."""

Size = tuple[int, int]
"""Width and height, as Pillow has it."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What is kept of one image.

    Attributes:
        name, group, warnings: of the example and its prediction. size: of the whole image, in words.
        wrong: share of the annotated pixels of another class than the truth, 0..1.
        planes: what is shown of a volume, in words.
        thumbnail: to find near copies by.
        picture: None where it had to go.
    """

    name: str
    group: str | None
    size: str
    warnings: tuple[str, ...]
    wrong: float
    thumbnail: Float16[np.ndarray, "t t"]
    picture: Picture | None
    planes: str = ""


class Gallery:
    """Takes scored images one by one and keeps small encoded pictures: `evaluate(..., watch=gallery.add)`.

    When the pictures exceed the budget all are made smaller, and where they are as small as can be, those of the images
    with the fewest errors go. Of volumes some planes are shown, see `useg.scored_picture.sheet_for`.
    """

    def __init__(self, card: ModelCard, budget: int = BUDGET) -> None:
        self.card, self.budget = card, budget
        self.shown: list[Shown] = []
        self.edge = LARGEST_EDGE
        colours = object_colours() if card.objects else [c.colour for c in card.classes]
        self._colours = colours[1 : MOST_COLOURS + 1] or [IGNORED]
        self._bytes = 0

    def add(self, example: Example, prediction: Prediction) -> None:
        """Keep what the page shows of an image and its prediction."""
        dims = example.labels.ndim
        _, pixels = kind_of(dims)
        image, truth = example.image, example.labels
        kinds = error_kinds(truth, prediction.labels)
        errors, annotated = wrong(kinds).sum(), (truth != IGNORE).sum()
        true, predicted = truth, prediction.labels
        if self.card.objects is not None and example.objects is not None:
            true, predicted = example.objects, separate(prediction.probabilities[1], self.card.objects)
        if sheet := sheet_for(example, prediction):
            image = sheet.draw(image, np.nan)
            truth, kinds, true, predicted = (sheet.draw(each) for each in (truth, kinds, true, predicted))
        size = width, height = _fitted((truth.shape[1], truth.shape[0]), self.edge)
        picture = Picture(
            width,
            height,
            _jpeg(Image.fromarray(to_gray_rgb(_averaged(image, size)))),
            self._layer(true, truth, size),
            self._layer(predicted, truth, size),
            _errors(_resized(kinds, size)),
        )
        self.shown.append(
            Shown(
                example.name,
                example.group,
                f"{' x '.join(map(str, example.labels.shape))} {pixels}",
                tuple(prediction.warnings),
                float(errors / max(1, annotated)),
                thumbnail(middle_plane(example.image, dims)),
                picture,
                sheet.words if sheet else "",
            )
        )
        self._bytes += picture.size
        while self._bytes > self.budget:
            self._shrink()

    def _layer(self, numbers: Integer[np.ndarray, "y x"], truth: UInt8[np.ndarray, "y x"], size: Size) -> bytes:
        """Classes or objects as a PNG; beyond the colours they go round again."""
        count = len(self._colours)
        folded = np.where(numbers > 0, 1 + (numbers - 1) % count, 0).astype(np.uint8)
        return _regions(_resized(np.where(truth == IGNORE, np.uint8(IGNORE), folded), size), self._colours)

    def _shrink(self) -> None:
        """Make all pictures smaller; where they are as small as can be, leave out one with the fewest errors."""
        if self.edge > SMALLEST_EDGE:
            self.edge = max(SMALLEST_EDGE, round(self.edge * SHRINK))
            self.shown = [
                replace(each, picture=_smaller(each.picture, self.edge, self._colours)) if each.picture else each
                for each in self.shown
            ]
        else:
            best = min((i for i, each in enumerate(self.shown) if each.picture), key=lambda i: self.shown[i].wrong)
            self.shown[best] = replace(self.shown[best], picture=None)
        self._bytes = sum(each.picture.size for each in self.shown if each.picture)


def _fitted(size: Size, edge: int) -> Size:
    """The size at which the longer side has at most so many pixels."""
    scale = min(1.0, edge / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(labels: UInt8[np.ndarray, "_ _"], size: Size) -> UInt8[np.ndarray, "_ _"]:
    """Labels at another size; none is made up in between."""
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


def _averaged(image: Num[np.ndarray, "c y x"], size: Size) -> Num[np.ndarray, "c _ _"]:
    """Gray values at a size that is not larger."""
    if size == (image.shape[2], image.shape[1]):
        return image
    channels = [Image.fromarray(np.asarray(channel, np.float32)) for channel in image]
    return np.stack([np.asarray(channel.resize(size, Image.Resampling.BOX)) for channel in channels])


def _jpeg(picture: Image.Image) -> bytes:
    """A picture, gray where it has no colour."""
    red, green, blue = picture.convert("RGB").split()
    gray = red.tobytes() == green.tobytes() == blue.tobytes()
    file = io.BytesIO()
    (red if gray else picture).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _regions(labels: UInt8[np.ndarray, "y x"], colours: Sequence[Colour]) -> bytes:
    """Labels 1, 2, ... in their colours, strong along borders; 0 is clear and IGNORE gray."""
    count = len(colours)
    edge = border(labels) & (labels > 0) & (labels != IGNORE)
    palette = [((0, 0, 0), 0), *((c, INSIDE) for c in colours), *((c, BORDER) for c in colours)]
    palette += [((0, 0, 0), 0)] * (IGNORE - len(palette)) + [(IGNORED, INSIDE)]
    return _png(np.where(edge, labels + np.uint8(count), labels), palette)


def _errors(kinds: UInt8[np.ndarray, "y x"]) -> bytes:
    """What `error_kinds` counted, in the colours of its legend."""
    colours = [(colour, opacity) for (_, colour), opacity in zip(ERROR_LEGEND, ERROR_OPACITY, strict=True)]
    return _png(kinds, [((0, 0, 0), 0), *colours])


def _png(index: UInt8[np.ndarray, "y x"], palette: Sequence[tuple[Colour, int]]) -> bytes:
    """A picture of so many colours, each with its opacity 0..255."""
    picture = Image.fromarray(index, "P")
    picture.putpalette([value for colour, _ in palette for value in colour])
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=4, transparency=bytes(opacity for _, opacity in palette))
    return file.getvalue()


def _indices(png: bytes) -> UInt8[np.ndarray, "_ _"]:
    """What `_png` was given."""
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


def _smaller(picture: Picture, edge: int, colours: Sequence[Colour]) -> Picture:
    """The same picture, its longer side of at most so many pixels; borders are drawn anew."""
    size = width, height = _fitted((picture.width, picture.height), edge)
    if size == (picture.width, picture.height):
        return picture

    def regions(layer: bytes) -> bytes:
        index, count = _indices(layer), len(colours)
        inside = np.where((index > count) & (index != IGNORE), index - np.uint8(count), index)
        return _regions(_resized(inside, size), colours)

    with Image.open(io.BytesIO(picture.image)) as image:
        shown = _jpeg(image.resize(size, Image.Resampling.BOX))
    errors = _errors(_resized(_indices(picture.errors), size))
    return Picture(width, height, shown, regions(picture.truth), regions(picture.prediction), errors)
