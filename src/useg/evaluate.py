"""Score predictions against annotated images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8

from useg.data.dataset import (
    Example,
    Pair,
    describe_size,
    find_partners,
    load_example,
)
from useg.data.layouts import find_layout
from useg.data.legend import Legend
from useg.data.stacks import Pages
from useg.errors import DataError, SettingsError
from useg.images.files import read_mask, write_picture
from useg.images.image import Image
from useg.labels import IGNORE
from useg.metrics.bootstrap import bootstrap
from useg.metrics.calibration import Reliability, count_reliability, reliability, temper
from useg.metrics.objects import ObjectScores, match_objects, object_scores
from useg.metrics.overlap import OverlapScores, confusion_matrix, overlap_scores, plain
from useg.metrics.rand import RegionScores, at_threshold, best_over_thresholds
from useg.metrics.warping import warping_error
from useg.objects.separate import separate
from useg.pictures.overlay import ERROR_LEGEND, error_map, overlay, to_gray_rgb
from useg.pictures.palette import object_colours
from useg.pictures.sheet import contact_sheet
from useg.predict import Prediction, Predictor
from useg.run_data import images_of_run
from useg.unet.model import ModelCard


class Honesty(NamedTuple):
    """What the probabilities of one image said of themselves, see `useg.metrics.calibration.count_reliability`.

    Attributes:
        calibrated, uncalibrated: counts by confidence, as predicted and at temperature 1.
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
        reliability: of the probabilities; uncalibrated: at temperature 1. None where only labels are known.
        expected_dice: mean foreground Dice that the model expects of itself, of each image; empty without
            probabilities, None where it sees nothing in an image.
        objects: how well objects were found and parted, where masks and predictions number them.
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

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None, ready for JSON."""
        images = [{"name": name, "dice": plain(dice)} for name, dice in self.images]
        for image, expected in zip(images, self.expected_dice, strict=False):
            image["expected_dice"] = expected
        return {
            **self.overlap.as_dict(),
            "per_image": images,
            "regions": asdict(self.regions) if self.regions else None,
            "objects": self.objects.as_dict() if self.objects else None,
            "intervals": bootstrap(self.confusions, self.groups).as_dict(),
            "calibration": self.reliability.as_dict() if self.reliability else None,
            "uncalibrated": self.uncalibrated.as_dict() if self.uncalibrated else None,
        }


def evaluate(
    predictor: Predictor,
    examples: Iterable[Example],
    *,
    within: Callable[[Example], Bool[np.ndarray, "*size"] | None] | None = None,
    region_class: int | None = None,
    region_threshold: float | None = None,
    watch: Callable[[Example, Prediction], None] | None = None,
) -> Evaluation:
    """Predict annotated images, the same way as `predict` does, and score them.

    Args:
        examples: annotated images; consumed one at a time.
        within: gives the pixels of an example that count.
        region_class, region_threshold: see `score`.
        watch: called with each example and its prediction, for pictures and progress.
    """
    scored = predict_examples(predictor, examples, within=within, keep=region_class is not None, watch=watch)
    return score(list(scored), predictor.card.network.classes, region_class, region_threshold)


def predict_examples(
    predictor: Predictor,
    examples: Iterable[Example],
    *,
    within: Callable[[Example], Bool[np.ndarray, "*size"] | None] | None = None,
    keep: bool = False,
    watch: Callable[[Example, Prediction], None] | None = None,
) -> Iterator[Scored]:
    """Predict annotated images one at a time, the same way as `predict` does; what `score` takes.

    Args:
        keep: keep the probabilities, which are large.
        within, watch: see `evaluate`.
    """
    temperature = predictor.card.temperature
    for example in examples:
        axes = "CYX" if example.labels.ndim == 2 else "CZYX"
        image = Image(example.image, axes, example.spacing, example.unit, path=Path(example.name))
        prediction = predictor.predict(image)
        if watch:
            watch(example, prediction)
        probabilities = prediction.probabilities if keep else None
        inside = within(example) if within else None
        found = predictor.objects(prediction) if example.objects is not None and predictor.card.objects else None
        calibrated = uncalibrated = count_reliability(prediction.probabilities, example.labels, within=inside)
        if temperature != 1:
            at_1 = temper(prediction.probabilities, 1 / temperature)
            uncalibrated = count_reliability(at_1, example.labels, within=inside)
        honesty = Honesty(calibrated, uncalibrated, prediction.expected_dice)
        yield Scored(
            example.name,
            example.labels,
            prediction.labels,
            probabilities,
            inside,
            example.objects,
            found,
            example.group,
            honesty,
        )


def score(
    images: Sequence[Scored],
    classes: int,
    region_class: int | None = None,
    region_threshold: float | None = None,
) -> Evaluation:
    """Score predictions.

    Args:
        images: at least one.
        classes: number of classes.
        region_class: also score the connected regions of this class: V_rand, V_info, Rand error, warping error.
        region_threshold: probability found on validation images, at which the regions are scored as well.
    """
    _check_region(region_class, classes)
    confusions = [confusion_matrix(i.truth, i.labels, classes, within=i.within) for i in images]
    per_image = [(i.name, dice_of(c)) for i, c in zip(images, confusions, strict=True)]
    regions = _regions(images, region_class, region_threshold) if region_class is not None else None
    groups = [i.group for i in images]
    found = Evaluation(overlap_scores(confusions), per_image, confusions, groups, regions, _objects(images))
    told = [i.honesty for i in images if i.honesty]
    if len(told) < len(images):
        return found
    return replace(
        found,
        reliability=reliability([each.calibrated for each in told]),
        uncalibrated=reliability([each.uncalibrated for each in told]),
        expected_dice=[each.expected_dice for each in told],
    )


def _check_region(region_class: int | None, classes: int) -> None:
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


def evaluate_folder(
    predictor: Predictor,
    data: str | Path,
    *,
    within: str | Path | None = None,
    unlabelled: Literal["auto", "background", "ignore"] = "auto",
    region_class: int | None = None,
    run: str | Path | None = None,
    overlays: str | Path | None = None,
    watch: Callable[[Example, Prediction], None] | None = None,
) -> Evaluation:
    """Predict and score an annotated folder (its `test/` when it has one).

    Args:
        data: a data set in any layout that `useg check --help` lists.
        within: folder of masks; only pixels inside them (any value but 0) count.
        unlabelled: "ignore" leaves out pixels whose mask is 0, as not annotated; else 0 is what it was in training.
        region_class: see `score`.
        run: run folder of the model; its validation images give the threshold for the regions.
        overlays: folder for a picture of each image: image, truth, prediction, errors.
        watch: called after each image.

    Raises:
        DataError, ImageError, MissingError: the data cannot be scored.
    """
    _check_region(region_class, predictor.card.network.classes)
    pages: Pages = "images" if predictor.card.network.dims == 2 else "volume"
    layout = find_layout(Path(data), alpha=predictor.card.alpha, pages=pages)
    pairs = layout.test or layout.train
    legend = legend_of_model(predictor.card)
    if unlabelled == "background" and legend.ignore == 0:
        raise SettingsError("--unlabelled background: 0 meant not annotated in training; leave it out")
    zero = legend.values.index(0) if unlabelled == "ignore" and 0 in legend.values else None
    channels = predictor.card.network.in_channels

    def load(pair: Pair) -> Example:
        example = load_example(pair, legend, channels)
        if zero is None:
            return example
        return replace(example, labels=np.where(example.labels == zero, np.uint8(IGNORE), example.labels))

    inside = find_partners(Path(within), [pair.name for pair in pairs], "region") if within else {}

    def on_prediction(example: Example, prediction: Prediction) -> None:
        if overlays:
            picture = picture_of(example, prediction, predictor.card)
            write_picture(Path(overlays) / f"{example.name}.png", picture)
        if watch:
            watch(example, prediction)

    return evaluate(
        predictor,
        map(load, pairs),
        within=(lambda e: _region(inside[e.name], e)) if within else None,
        region_class=region_class,
        region_threshold=_validation_threshold(predictor, Path(run), region_class)
        if run and region_class is not None
        else None,
        watch=on_prediction,
    )


def _region(path: Path, example: Example) -> Bool[np.ndarray, "*size"]:
    """Pixels inside a mask, of the size of the example."""
    region = read_mask(path) > 0
    if region.shape != example.labels.shape:
        raise DataError(
            f"{path}: it is {describe_size(region.shape)}, but {example.name} is "
            f"{describe_size(example.labels.shape)}; give both the same size"
        )
    return region


def legend_of_model(card: ModelCard) -> Legend:
    """What mask values mean to a model: the meaning that they had in its training masks."""
    names, values = [c.name for c in card.classes], [c.value for c in card.classes]
    return Legend(values=values, ignore=card.ignore, names=names, kind=card.masks)


def picture_of(example: Example, prediction: Prediction, card: ModelCard) -> UInt8[np.ndarray, "y x 3"]:
    """Image, truth, prediction and errors side by side."""
    below, colours = to_gray_rgb(example.image), [c.colour for c in card.classes]
    truth, predicted = example.labels, prediction.labels
    if example.objects is not None and card.objects is not None:
        colours = object_colours()
        truth, predicted = example.objects, separate(prediction.probabilities[1], card.objects)
    row = [
        (example.name, below),
        ("truth", overlay(below, truth, colours)),
        ("prediction", overlay(below, predicted, colours)),
        ("errors", error_map(example.labels, prediction.labels)),
    ]
    return contact_sheet([row], tile=min(512, max(256, *example.labels.shape)), legend=ERROR_LEGEND)


def _validation_threshold(predictor: Predictor, run: Path, region_class: int) -> float | None:
    """The threshold that suits the run's validation images best; None when its data have gone."""
    parts = images_of_run(run)
    if parts is None:
        return None
    scored = []
    for example in parts.validation:
        prediction = predictor.predict(example.image)
        scored.append(Scored(example.name, example.labels, prediction.labels, prediction.probabilities))
    return find_threshold(scored, region_class)
