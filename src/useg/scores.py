"""From predicted and annotated images to their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8

from useg.errors import SettingsError
from useg.labels import IGNORE
from useg.metrics.bootstrap import bootstrap
from useg.metrics.calibration import Reliability, reliability
from useg.metrics.objects import ObjectScores, match_objects, object_scores
from useg.metrics.overlap import OverlapScores, confusion_matrix, overlap_scores, plain
from useg.metrics.rand import RegionScores, at_threshold, best_over_thresholds
from useg.metrics.surface import SurfaceScores, surface_distances, surface_scores
from useg.metrics.warping import warping_error
from useg.words import kind_of

Surfaces = Literal["none", "volumes", "all"]
"""Of which images surface distances are measured. Of volumes they take less than a tenth of the time of a prediction,
of large images up to half of it."""


class Honesty(NamedTuple):
    """What the probabilities of one image said of themselves, see `useg.metrics.calibration.count_reliability`.

    Attributes:
        calibrated, uncalibrated: counts by confidence, as predicted, and without the calibration of the model.
        expected_dice: see `Prediction.expected_dice`.
    """

    calibrated: Float[np.ndarray, "3 bins"]
    uncalibrated: Float[np.ndarray, "3 bins"]
    expected_dice: float | None


@dataclass(frozen=True)
class Scored:
    """One image with its truth: what is to be scored.

    Attributes:
        truth: class of each pixel, or IGNORE.
        labels: predicted class of each pixel.
        probabilities: float32 `K [Z] Y X` where the predictor gave them.
        within: pixels that count; None is all.
        objects, found: ids of the true and of the predicted objects, 0 elsewhere, where there are any.
        group: what the image belongs to, where somebody said.
        honesty: of the probabilities, where there were some.
        spacing, unit: pixel size along each axis, where it is known.
    """

    name: str
    truth: UInt8[np.ndarray, "*size"]
    labels: UInt8[np.ndarray, "*size"]
    probabilities: Float[np.ndarray, "k *size"] | None = None
    within: Bool[np.ndarray, "*size"] | None = None
    objects: Integer[np.ndarray, "*size"] | None = None
    found: Integer[np.ndarray, "*size"] | None = None
    group: str | None = None
    honesty: Honesty | None = None
    spacing: tuple[float, ...] | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Regions:
    """How well the connected regions of one class come apart (ISBI 2012 challenge).

    Attributes:
        region_class: the class whose regions count, such as the interior of cells.
        best: at the best threshold of the scored images themselves, as the challenge does.
        validation: at the threshold that was best on the validation images; None without them.
        warping_error: of the labels, mean over images.
    """

    region_class: int
    best: RegionScores
    validation: RegionScores | None
    warping_error: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of a set of images.

    Attributes:
        overlap: pixel scores, pooled and per image.
        images: name and Dice of each class (NaN where neither truth nor prediction has it), image by image.
        confusions: pixels of each true class (row) given to each class (column), of each image, in the same order.
        groups: what each image belongs to, None where nobody said.
        regions: only where they were asked for.
        reliability: of the probabilities; uncalibrated: without that of the model. None where only labels are known.
        expected_dice: mean foreground Dice that the model expects of itself, of each image; empty without
            probabilities, None where it sees nothing in an image.
        objects: how well objects were found and parted, where masks and predictions number them.
        surfaces: how far apart surfaces are, where that was measured.
        dims: axes of the images; 2 where some are flat and some are volumes.
    """

    overlap: OverlapScores
    images: list[tuple[str, tuple[float, ...]]]
    confusions: list[Int[np.ndarray, "k k"]]
    groups: list[str | None]
    regions: Regions | None
    objects: ObjectScores | None
    reliability: Reliability | None = None
    uncalibrated: Reliability | None = None
    expected_dice: list[float | None] = field(default_factory=list)
    surfaces: SurfaceScores | None = None
    dims: int = 2

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None, ready for JSON."""
        images = [{"name": name, "dice": plain(dice)} for name, dice in self.images]
        for image, expected in zip(images, self.expected_dice, strict=False):
            image["expected_dice"] = expected
        for image, measured in zip(images, self.surfaces.per_image if self.surfaces else (), strict=False):
            image["hausdorff95"] = [plain(each.hausdorff95) for each in measured]
            image["average_distance"] = [plain(each.average) for each in measured]
        return {
            **self.overlap.as_dict(),
            "dims": self.dims,
            "per_image": images,
            "regions": asdict(self.regions) if self.regions else None,
            "objects": self.objects.as_dict() if self.objects else None,
            "surfaces": self.surfaces.as_dict() if self.surfaces else None,
            "intervals": bootstrap(self.confusions, self.groups).as_dict(),
            "calibration": self.reliability.as_dict() if self.reliability else None,
            "uncalibrated": self.uncalibrated.as_dict() if self.uncalibrated else None,
        }


def score(
    images: Sequence[Scored],
    classes: int,
    region_class: int | None = None,
    region_threshold: float | None = None,
    surfaces: Surfaces = "volumes",
) -> Evaluation:
    """Score predictions.

    Args:
        images: at least one.
        classes: number of classes.
        region_class: also score the connected regions of this class: V_rand, V_info, Rand error, warping error.
        region_threshold: probability found on validation images, at which the regions are scored as well.
        surfaces: of which images the surface distances are measured.
    """
    check_region(region_class, classes)
    confusions = [confusion_matrix(i.truth, i.labels, classes, within=i.within) for i in images]
    per_image = [(i.name, dice_of(c)) for i, c in zip(images, confusions, strict=True)]
    regions = _regions(images, region_class, region_threshold) if region_class is not None else None
    groups = [i.group for i in images]
    dims = min(i.truth.ndim for i in images)
    found = Evaluation(overlap_scores(confusions), per_image, confusions, groups, regions, _objects(images), dims=dims)
    if surfaces == "all" or (surfaces == "volumes" and dims == 3):
        found = replace(found, surfaces=_surfaces(images, classes))
    told = [i.honesty for i in images if i.honesty]
    if len(told) < len(images):
        return found
    return replace(
        found,
        reliability=reliability([each.calibrated for each in told]),
        uncalibrated=reliability([each.uncalibrated for each in told]),
        expected_dice=[each.expected_dice for each in told],
    )


def check_region(region_class: int | None, classes: int) -> None:
    """See that there is such a class. Raises SettingsError."""
    if region_class is not None and not 0 <= region_class < classes:
        raise SettingsError(f"--regions {region_class}: there is no such class; there are 0 to {classes - 1}")


def dice_of(confusion: Int[np.ndarray, "k k"]) -> tuple[float, ...]:
    """Dice of each class from a confusion matrix; NaN for a class that neither side holds."""
    both = confusion.sum(0) + confusion.sum(1)
    return tuple(float(2 * c / b) if b else float("nan") for c, b in zip(np.diag(confusion), both, strict=True))


def find_threshold(images: Sequence[Scored], region_class: int) -> float:
    """The probability of `region_class` at which the connected regions of these images come out best."""
    return best_over_thresholds([_stack(i, region_class) for i in images]).threshold


def _objects(images: Sequence[Scored]) -> ObjectScores | None:
    """Scores of objects; None unless every image has true and predicted ones."""
    matches = []
    for image in images:
        if image.objects is None or image.found is None:
            return None
        ignored = (image.truth == IGNORE) | ~_counted(image)
        matches.append(match_objects(image.objects, image.found, ignored=ignored))
    return object_scores(matches)


def _surfaces(images: Sequence[Scored], classes: int) -> SurfaceScores:
    """Surface distances, in the unit of the pixel size where all images know it in the same one, else in pixels."""
    known = all(i.spacing for i in images) and len({i.unit for i in images}) == 1
    measured = [
        surface_distances(i.truth, i.labels, classes, spacing=i.spacing if known else None, within=i.within)
        for i in images
    ]
    if known:
        return surface_scores(measured, images[0].unit or "units of the pixel size")
    return surface_scores(measured, kind_of(images[0].truth.ndim)[1])


def _regions(images: Sequence[Scored], region_class: int, threshold: float | None) -> Regions:
    stack = [_stack(i, region_class) for i in images]
    return Regions(
        region_class,
        best_over_thresholds(stack),
        at_threshold(stack, threshold) if threshold is not None else None,
        float(
            np.mean([warping_error(*(_counted(i) & (x == region_class) for x in (i.truth, i.labels))) for i in images])
        ),
    )


def _stack(image: Scored, region_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth, where it counts, and probability of the region class; labels alone count as certain."""
    truth = (image.truth == region_class) & _counted(image)
    if image.probabilities is None:
        return truth, (image.labels == region_class).astype(np.float32)
    return truth, image.probabilities[region_class]


def _counted(image: Scored) -> Bool[np.ndarray, "*size"]:
    """Pixels that count."""
    return np.ones(image.truth.shape, bool) if image.within is None else image.within
