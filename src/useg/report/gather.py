"""From what useg knows to a `Report`: scores, curves, pictures, machine, and what to be careful of."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import useg
from useg import machine
from useg.metrics.bootstrap import Intervals, bootstrap
from useg.metrics.objects import ObjectScores
from useg.metrics.overlap import mean_foreground
from useg.metrics.surface import SurfaceScores
from useg.report.cautions import Known, cautions
from useg.report.content import Expected, Figure, Growth, ImageEntry, Report, ScoreRow, Table
from useg.report.gallery import Gallery
from useg.report.log import RunLog, read_run
from useg.report.trained import Trained
from useg.scores import Evaluation
from useg.unet.model import ModelCard
from useg.words import NOTHING, bounds, count, duration, figure, kind_of, listing, percent


def report_of(
    evaluation: Evaluation,
    card: ModelCard,
    gallery: Gallery,
    *,
    data: str,
    command: str,
    seconds: float,
    validation: bool = False,
    run: Path | None = None,
    trained: Trained | None = None,
    tables: Sequence[Table] = (),
    growth: Growth | None = None,
) -> Report:
    """All that the page says.

    Args:
        evaluation: scores; the gallery was shown the same images in the same order.
        card: of the model that was scored.
        data: the images that were scored, in words: "8 test images of nuclei".
        command: what was typed. seconds: how long scoring took.
        validation: the images are those held out of the training, which chose the model.
        run: its folder, for the curves and settings; without them that much is left out.
        trained: what is known of the images trained on.
        tables, growth: what only some reports have: folds, before and after, how much data is enough.
    """
    intervals, surfaces = bootstrap(evaluation.confusions, evaluation.groups), evaluation.surfaces
    entries = _entries(evaluation, gallery)
    _, pixels = kind_of(evaluation.dims)
    log = read_run(run, card.scores.get("step")) if run else None
    training = log.training if log else None
    expected = _expected(entries)
    known = Known(evaluation, card, intervals, validation, entries, gallery.shown, trained, training, expected)
    commands = [(command, "made this page"), (log.command if log else "", "trains again with the settings below")]
    return Report(
        title=f"How good is {run.resolve().name if run else 'this model'}?",
        summary=_summary(card, data, validation, pixels),
        figures=_figures(evaluation, intervals, pixels),
        cautions=cautions(known),
        rows=_rows(evaluation, card, intervals),
        drawn=_drawn(intervals, evaluation.groups),
        confusion=evaluation.overlap.confusion,
        images=entries,
        objects=card.objects is not None,
        tables=(
            *(_objects(evaluation.objects) if evaluation.objects else ()),
            *([_surfaces(surfaces, [c.name for c in card.classes])] if surfaces else ()),
            *tables,
        ),
        pixels=pixels,
        reliability=evaluation.reliability,
        uncalibrated=evaluation.uncalibrated,
        expected=expected,
        training=training,
        growth=growth,
        facts=_facts(card, seconds, len(entries), log),
        commands=tuple((typed, what) for typed, what in commands if typed),
        settings=log.settings if log else "",
    )


def _summary(card: ModelCard, data: str, validation: bool, pixels: str) -> tuple[str, ...]:
    n, on = card.network, card.trained_on
    what = "find and number objects" if card.masks == "instances" else f"tell {n.classes} classes apart"
    names = listing([f"“{c.name}”" for c in card.classes])
    learned = f"It learned from {count(on['images'], 'annotated image')}" if "images" in on else ""
    large = f", {on['pixels'] / 1e6:.1f} million {pixels}" if learned and "pixels" in on else ""
    folder = f", of the folder {on['folder']}" if learned and on.get("folder") else ""
    held_out = ", which were held out of the training" if validation else ""
    return tuple(
        sentence
        for sentence in (
            f"A U-Net that was trained to {what} ({names}): {n.dims}-D, depth {n.depth}, width {n.width}, {n.padding} "
            f"padding, norm: {n.norm}.",
            f"{learned}{large}{folder}." if learned else "",
            f"Scored here on {data}{held_out}.",
        )
        if sentence
    )


def _figures(evaluation: Evaluation, intervals: Intervals, pixels: str) -> tuple[Figure, ...]:
    overlap, objects = evaluation.overlap, evaluation.objects
    known = not math.isnan(intervals.foreground_dice[0])
    found = [
        Figure(
            "Dice of the foreground",
            figure(overlap.foreground_dice),
            f"95 %: {bounds(intervals.foreground_dice)}" if known else "one image: no bounds",
        ),
        Figure(
            "IoU of the foreground",
            figure(overlap.foreground_iou),
            f"95 %: {bounds(intervals.foreground_iou)}" if known else "",
        ),
        Figure(
            f"{pixels.capitalize()} that are right", f"{100 * overlap.pixel_accuracy:.1f} %", f"of {overlap.pixels:,}"
        ),
    ]
    if objects:
        found.insert(
            0,
            Figure(
                "Panoptic quality",
                figure(objects.panoptic_quality[0]),
                f"of {objects.truth_objects} objects, at IoU {objects.thresholds[0]:g}",
            ),
        )
    if (measured := evaluation.surfaces) and (middle := mean_foreground(measured.average)) is not None:
        found.append(
            Figure("Distance of surfaces", f"{middle:.2f} {measured.unit}", "mean over classes and images (ASSD)")
        )
    error = evaluation.reliability.error if evaluation.reliability else math.nan
    if not math.isnan(error):
        found.append(Figure("Calibration error", f"{100 * error:.1f} %", "confidence against accuracy, mean gap"))
    return tuple(found)


def _rows(evaluation: Evaluation, card: ModelCard, intervals: Intervals) -> tuple[ScoreRow, ...]:
    overlap = evaluation.overlap
    true = np.array(overlap.confusion, float).sum(axis=1)
    annotated = overlap.images - overlap.unannotated_images
    return tuple(
        ScoreRow(
            name=kind.name,
            colour=kind.colour,
            dice=overlap.dice[k],
            dice_interval=intervals.dice[k],
            iou=overlap.iou[k],
            iou_interval=intervals.iou[k],
            image_dice=overlap.image_dice[k],
            images=annotated - overlap.empty_images[k],
            absent=overlap.empty_images[k],
            false_alarms=overlap.false_alarms[k],
            share=float(true[k] / max(1.0, true.sum())),
        )
        for k, kind in enumerate(card.classes)
    )


def _drawn(intervals: Intervals, groups: Sequence[str | None]) -> str:
    """What the intervals are of."""
    if intervals.units < 2:
        return "With one image there is no telling how much others would differ, so no bounds are given."
    said = (
        f"The bounds hold 95 % of the scores that draws of {intervals.units} {intervals.unit} with replacement have "
        "(bootstrap)"
    )
    if intervals.unit == "groups":
        return f"{said}; whole groups are drawn, because images of one group resemble each other."
    if any(group is not None for group in groups):
        return f"{said}; the groups are too few, or hold one image each, to be drawn instead."
    return f"{said}. If some of these images belong together (one patient, one film), the true bounds are wider."


def _entries(evaluation: Evaluation, gallery: Gallery) -> tuple[ImageEntry, ...]:
    """The images, the worst first; those with nothing to find, rightly, at the end."""
    expected = evaluation.expected_dice or [None] * len(evaluation.images)
    entries = []
    surfaces = _farthest(evaluation.surfaces) if evaluation.surfaces else [""] * len(expected)
    for (name, dice), shown, hoped, apart in zip(evaluation.images, gallery.shown, expected, surfaces, strict=True):
        present = [d for d in dice[1:] if not math.isnan(d)]
        mean = float(np.mean(present)) if present else None
        entries.append(
            ImageEntry(
                name,
                shown.group,
                mean,
                dice,
                hoped,
                shown.size,
                shown.picture,
                shown.warnings,
                surfaces=apart,
                planes=shown.planes,
            )
        )
    return tuple(sorted(entries, key=lambda e: math.inf if e.dice is None else e.dice))


def _objects(found: ObjectScores) -> tuple[Table, Table]:
    """How well objects are found, and what is wrong with them."""
    measures = (
        ("F1", found.f1, found.mean_f1),
        ("average precision", found.average_precision, found.mean_average_precision),
        ("panoptic quality", found.panoptic_quality, found.mean_panoptic_quality),
    )
    faults = (
        ("missed", found.missed, found.truth_objects, "annotated"),
        ("false: nothing is there", found.spurious, found.predicted_objects, "predicted"),
        ("one split into several", found.splits, found.truth_objects, "annotated"),
        ("several merged into one", found.merges, found.predicted_objects, "predicted"),
    )
    return (
        Table(
            "Objects",
            f"{count(found.truth_objects, 'object')} annotated, {found.predicted_objects} predicted. Two match when "
            "they share enough of their area (IoU): at 0.5 roughly, at 0.75 well. The mean IoU of the annotated "
            f"objects (SEG) is {figure(found.seg)}.",
            ("measure", "at IoU 0.5", "at IoU 0.75", "mean 0.5 to 0.95"),
            tuple((name, figure(scores[0]), figure(scores[5]), figure(mean)) for name, scores, mean in measures),
        ),
        Table(
            "What is wrong with objects",
            "",
            ("fault", "objects", "share"),
            tuple(
                (name, str(number), f"{percent(number / of)} of those {which}" if of else NOTHING)
                for name, number, of, which in faults
            ),
        ),
    )


def _surfaces(found: SurfaceScores, names: Sequence[str]) -> Table:
    """How far apart the surfaces are; class 0 has that of all others."""
    apart = any((*found.missed, *found.false_alarms))
    return Table(
        "Surfaces",
        f"How far the predicted surface of a class lies from the true one, in {found.unit}: mean over the images in "
        "which both have one. The Hausdorff distance leaves out the farthest 5 %; the average is symmetric (ASSD)."
        + (" Where a class is missed, or is a false alarm, there is no distance." if apart else ""),
        ("class", "95 % Hausdorff", "average", "images measured", "missed", "false alarms"),
        tuple(
            (
                names[k],
                _distance(found.hausdorff95[k]),
                _distance(found.average[k]),
                *(str(counts[k]) for counts in (found.images, found.missed, found.false_alarms)),
            )
            for k in range(1, len(names))
        ),
    )


def _farthest(found: SurfaceScores) -> list[str]:
    """Of each image the class whose surface is off most, in words; "" where none can be measured."""
    farthest = [max((d for d, *_ in each if not math.isnan(d)), default=math.nan) for each in found.per_image]
    return ["" if math.isnan(d) else f"95 % of the surfaces within {d:.2f} {found.unit}" for d in farthest]


def _distance(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.2f}"


def _expected(entries: Sequence[ImageEntry]) -> Expected | None:
    known = [(e.name, e.expected, e.dice) for e in entries if e.expected is not None and e.dice is not None]
    if not known:
        return None
    names, expected, true = zip(*known, strict=True)
    return Expected(names, expected, true, _spearman(expected, true))


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlation of the ranks, -1..1; NaN with fewer than three pairs or where all of a side are equal."""
    from scipy.stats import rankdata

    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return math.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _facts(card: ModelCard, seconds: float, images: int, log: RunLog | None) -> tuple[tuple[str, str], ...]:
    facts = []
    if log and log.steps:
        kept = f"; the model of step {card.scores['step']} was kept" if "step" in card.scores else ""
        facts.append(("training", f"{count(log.steps, 'step')}, {duration(log.seconds)} in them{kept}"))
    facts += [
        ("scoring", f"{duration(seconds)} for {count(images, 'image')}"),
        ("memory", f"{machine.peak_memory() / 1e9:.1f} GB at most, of the process that wrote this page"),
        ("machine", f"{machine.cpu_name()}; cores: {machine.cores()}; {platform.system()} {platform.machine()}"),
        ("versions", ", ".join(_versions())),
    ]
    return tuple(facts)


def _versions() -> list[str]:
    found = [f"useg {useg.__version__}", f"Python {platform.python_version()}"]
    for name in ("torch", "numpy", "scipy", "scikit-image"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
