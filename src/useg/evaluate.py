"""Predict annotated images, and score the predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

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
from useg.metrics.calibration import count_reliability
from useg.predict import Prediction, Predictor, calibration_of
from useg.run_data import images_of_run
from useg.scored_picture import picture_of
from useg.scores import Evaluation, Honesty, Scored, Surfaces, check_region, find_threshold, score
from useg.unet.model import ModelCard


def evaluate(
    predictor: Predictor,
    examples: Iterable[Example],
    *,
    within: Callable[[Example], Bool[np.ndarray, "*size"] | None] | None = None,
    region_class: int | None = None,
    region_threshold: float | None = None,
    surfaces: Surfaces = "volumes",
    watch: Callable[[Example, Prediction], None] | None = None,
) -> Evaluation:
    """Predict annotated images, the same way as `predict` does, and score them.

    Args:
        examples: annotated images; consumed one at a time.
        within: gives the pixels of an example that count.
        region_class, region_threshold, surfaces: see `score`.
        watch: called with each example and its prediction, for pictures and progress.
    """
    scored = predict_examples(predictor, examples, within=within, keep=region_class is not None, watch=watch)
    return score(list(scored), predictor.card.network.classes, region_class, region_threshold, surfaces)


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
    card = predictor.card
    plain = calibration_of(card).undone
    for example in examples:
        prediction = predictor.predict(image_of(example))
        if watch:
            watch(example, prediction)
        probabilities = prediction.probabilities if keep else None
        inside = within(example) if within else None
        found = predictor.objects(prediction) if example.objects is not None and card.objects else None
        calibrated = uncalibrated = count_reliability(prediction.probabilities, example.labels, within=inside)
        if card.temperature != 1 or any(card.class_bias):
            uncalibrated = count_reliability(plain.apply(prediction.probabilities), example.labels, within=inside)
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
            example.spacing,
            example.unit,
        )


def image_of(example: Example) -> Image:
    """What of an example a model is shown."""
    axes = "CYX" if example.labels.ndim == 2 else "CZYX"
    return Image(example.image, axes, example.spacing, example.unit, path=Path(example.name))


def evaluate_folder(
    predictor: Predictor,
    data: str | Path,
    *,
    within: str | Path | None = None,
    unlabelled: Literal["auto", "background", "ignore"] = "auto",
    region_class: int | None = None,
    surfaces: Surfaces = "volumes",
    run: str | Path | None = None,
    overlays: str | Path | None = None,
    watch: Callable[[Example, Prediction], None] | None = None,
) -> Evaluation:
    """Predict and score an annotated folder (its `test/` when it has one).

    Args:
        data: a data set in any layout that `useg check --help` lists.
        within: folder of masks; only pixels inside them (any value but 0) count.
        unlabelled: "ignore" leaves out pixels whose mask is 0, as not annotated; else 0 is what it was in training.
        region_class, surfaces: see `score`.
        run: run folder of the model; its validation images give the threshold for the regions.
        overlays: folder for a picture of each image: image, truth, prediction, errors.
        watch: called after each image.

    Raises:
        DataError, ImageError, MissingError: the data cannot be scored.
    """
    check_region(region_class, predictor.card.network.classes)
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
        surfaces=surfaces,
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
