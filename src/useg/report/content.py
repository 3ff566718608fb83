"""What a report says, as plain values: nothing here knows of HTML, of networks or of files.

Scores are 0..1, NaN or None where nothing can be said. `gather.py` fills these in, `page.py` writes them down.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from useg.metrics.bootstrap import Interval
from useg.metrics.calibration import Reliability

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Figure:
    """A number that is shown large: what it is, the number in words, and what stands small below it."""

    title: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Caution:
    """A sentence on where not to trust the model or its scores; a grave one may make them worthless."""

    text: str
    grave: bool = False


@dataclass(frozen=True)
class ScoreRow:
    """Scores of one class.

    Attributes:
        name, colour: of the class.
        dice, iou: over all pixels; `dice_interval`, `iou_interval`: 95 % bounds.
        image_dice: mean over the images that hold the class, of which there are `images`.
        absent: annotated images that do not hold it, in `false_alarms` of which it was predicted.
        share: of the annotated pixels that are of this class.
    """

    name: str
    colour: Colour
    dice: float
    dice_interval: Interval
    iou: float
    iou_interval: Interval
    image_dice: float
    images: int
    absent: int
    false_alarms: int
    share: float


@dataclass(frozen=True)
class Picture:
    """An image and the layers that lie over it, encoded. Sizes in pixels of the encoded files.

    Attributes:
        image: JPEG. truth, prediction, errors: PNG with transparency.
    """

    width: int
    height: int
    image: bytes
    truth: bytes
    prediction: bytes
    errors: bytes

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return len(self.image) + len(self.truth) + len(self.prediction) + len(self.errors)


@dataclass(frozen=True)
class ImageEntry:
    """One scored image.

    Attributes:
        name, group: as in the data set.
        dice: mean over the classes but 0 that truth or prediction hold; None where neither does.
        class_dice: of each class, NaN where neither truth nor prediction holds it.
        expected: the Dice that the model expected of itself, where that is known.
        size: of the whole image, in words. picture: None where it was left out to keep the file small.
        surfaces: how far they are apart, in words. planes: what the picture shows of a volume, in words.
        warnings: ways in which the image is unlike those that the model was trained on.
    """

    name: str
    group: str | None
    dice: float | None
    class_dice: tuple[float, ...]
    expected: float | None
    size: str
    picture: Picture | None
    warnings: tuple[str, ...] = ()
    surfaces: str = ""
    planes: str = ""


@dataclass(frozen=True)
class Curve:
    """A line of a chart: points by ascending x, y finite. `mark` is the place of a point to single out."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    mark: int | None = None


@dataclass(frozen=True)
class Training:
    """How the training went, from its log: smoothed loss, and scores of the validations, by step."""

    loss: Curve
    scores: tuple[Curve, ...]


@dataclass(frozen=True)
class Table:
    """A table with a heading of its own, for what only some reports have: folds, objects, before and after.

    Attributes:
        title, note: heading, and a sentence below it.
        header: one title a column; rows: as many cells each, the first one names the row.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Growth:
    """How the score grew with the number of images trained on, and a sentence on what that means.

    Attributes:
        images: ascending. scores: 0..1, one a number; low, high: their bounds, where there are any.
    """

    images: tuple[int, ...]
    scores: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    sentence: str = ""


@dataclass(frozen=True)
class Expected:
    """The Dice that the model expected of itself against the true one, one point an image.

    Attributes:
        spearman: correlation of their ranks, -1..1; NaN with fewer than 3 images or where all are equal.
    """

    names: tuple[str, ...]
    expected: tuple[float, ...]
    true: tuple[float, ...]
    spearman: float


@dataclass(frozen=True)
class Report:
    """All that the page shows, in its order. What is None or empty is left out.

    Attributes:
        title: of the page. summary: sentences: what was trained on what, and scored on what.
        figures: the numbers that come first.
        cautions: where not to trust the model or these scores, the gravest first.
        rows: scores by class; `drawn` says in a sentence what the intervals are of.
        confusion: pixels, rows truth, columns prediction.
        pixels: what its images are made of, "pixels" or "voxels".
        tables: of objects, surfaces, folds, before and after.
        reliability, uncalibrated: confidence against accuracy, with and without the model's calibration.
        expected: what the model expected of itself. training: the curves. growth: scores by number of images.
        images: the worst first; `objects` is whether the layers show single objects instead of classes.
        facts: time, memory, machine, versions: what and its value.
        commands: what to type to have the same again, and what it does.
        settings: the settings file of the run, to the letter.
    """

    title: str
    summary: tuple[str, ...]
    figures: tuple[Figure, ...]
    cautions: tuple[Caution, ...]
    rows: tuple[ScoreRow, ...]
    drawn: str
    confusion: tuple[tuple[int, ...], ...]
    images: tuple[ImageEntry, ...]
    objects: bool = False
    pixels: str = "pixels"
    tables: tuple[Table, ...] = ()
    reliability: Reliability | None = None
    uncalibrated: Reliability | None = None
    expected: Expected | None = None
    training: Training | None = None
    growth: Growth | None = None
    facts: tuple[tuple[str, str], ...] = ()
    commands: tuple[tuple[str, str], ...] = ()
    settings: str = field(default="", repr=False)
