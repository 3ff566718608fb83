"""Where not to trust a model or its scores, in plain words: what the numbers alone do not say to everyone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from useg.data.similar import nearly_equal
from useg.metrics.bootstrap import MIN_GROUPS, Intervals
from useg.metrics.calibration import Reliability
from useg.report.content import Caution, Expected, ImageEntry, Training
from useg.report.gallery import Shown
from useg.report.trained import Trained
from useg.scores import Evaluation
from useg.unet.model import ModelCard
from useg.words import count, listing, percent

FEW_IMAGES = 10
"""Fewer images than this, trained on or scored, are told."""
SELDOM = 3
"""A class in fewer scored images than this is told."""
POOR = 0.7
"""A class whose Dice is below this is told, with what it is taken for."""
TOLD = 3
"""So many poor classes have a sentence each, the others share one."""
OUTLIER = 0.15
"""An image so far below the median Dice is told."""
OVERFITTED, DROPPED = 0.1, 0.05
"""Dice on images trained on above that on others, and on validation above that of these images, that are told."""
FALLEN = 0.02
"""How far the validation score may fall behind its best before it is told."""
MISCALIBRATED = 0.05
"""Expected calibration error above which confidence is told to be wrong."""
MANY, UNRELATED = 8, 0.3
"""From so many images on, a rank correlation below this of expected and true Dice is told."""
WRONG_OBJECTS = 0.1
"""Share of the objects missed, false, split or merged that is told."""


@dataclass(frozen=True)
class Known:
    """All that cautions are drawn from.

    Attributes:
        validation: the images chose the model that was kept.
        entries: the worst first. shown: of the gallery, which has the thumbnails.
        trained: what is known of the images trained on. training: the curves. expected: Dice that the model expected.
    """

    evaluation: Evaluation
    card: ModelCard
    intervals: Intervals
    validation: bool
    entries: Sequence[ImageEntry]
    shown: Sequence[Shown]
    trained: Trained | None
    training: Training | None
    expected: Expected | None


def cautions(known: Known) -> tuple[Caution, ...]:
    """Sentences, the gravest first; none where there is nothing to say."""
    found = [
        *_leaks(known),
        *_absent(known),
        *_few(known),
        *_overfitted(known),
        *_poor(known),
        *_objects(known),
        *_outliers(known),
        *_calibration(known.evaluation.reliability),
        *_expectation(known.expected),
        *_unlike(known),
    ]
    return tuple(sorted(found, key=lambda caution: not caution.grave))


def _leaks(known: Known) -> list[Caution]:
    """Scored images that were trained on, or stand in the same group."""
    found = []
    if known.trained:
        scored, seen = known.shown, known.trained
        alike = nearly_equal([*(s.thumbnail for s in scored), *seen.thumbnails])
        pairs = {i: j - len(scored) for i, j, _ in alike if i < len(scored) <= j}
        if pairs:
            which = listing([f"{scored[i].name} and {seen.names[j]}" for i, j in pairs.items()])
            found.append(
                Caution(
                    f"{count(len(pairs), 'scored image')} of {len(scored)} nearly equal an image trained on ({which}): "
                    "the model knows them already, and these scores are too good.",
                    grave=True,
                )
            )
        shared = {s.group for s in scored if s.group} & set(seen.groups)
        if shared:
            found.append(
                Caution(
                    f"The group {listing(sorted(shared))} is among the scored images and among those trained on: "
                    "images of one group resemble each other, and these scores are too good.",
                    grave=True,
                )
            )
    if known.validation:
        found.append(
            Caution(
                "These images were not trained on, but they chose the model that was kept, so the scores are a little "
                "too good. Keep some images apart and score them with useg evaluate."
            )
        )
    return found


def _absent(known: Known) -> list[Caution]:
    """Classes of which nothing, or little, can be said."""
    overlap, found = known.evaluation.overlap, []
    annotated = overlap.images - overlap.unannotated_images
    if overlap.unannotated_images:
        found.append(Caution(f"{count(overlap.unannotated_images, 'image')} without annotation count in no score."))
    for k, kind in enumerate(known.card.classes):
        holding = annotated - overlap.empty_images[k]
        alarms = overlap.false_alarms[k]
        if holding == 0:
            false = f" It was predicted in {count(alarms, 'image')} all the same." if alarms else ""
            found.append(
                Caution(f"No scored image holds “{kind.name}”: how well it is found is not known.{false}", grave=True)
            )
        elif holding < SELDOM < annotated:
            found.append(
                Caution(f"“{kind.name}” is in {count(holding, 'scored image')} only: its score is a rough one.")
            )
    return found


def _few(known: Known) -> list[Caution]:
    """Too few images, or groups, to say much of others."""
    found, number = [], known.intervals.units
    groups = {group for group in known.evaluation.groups if group is not None}
    if known.intervals.unit == "images" and number < FEW_IMAGES:
        found.append(
            Caution(
                f"Only {count(number, 'image')} {'was' if number == 1 else 'were'} scored: others may score quite "
                "differently" + (", and there is no telling how much." if number < 2 else ", more than the bounds say.")
            )
        )
    if known.intervals.unit == "images" and 0 < len(groups) < min(MIN_GROUPS, number):
        found.append(
            Caution(
                f"The images come from {count(len(groups), 'group')} only. Images of one group resemble each other, so "
                "the true bounds are wider than those given."
            )
        )
    learned_from = known.card.trained_on.get("images")
    if isinstance(learned_from, int) and learned_from < FEW_IMAGES:
        found.append(
            Caution(
                f"The model learned from {count(learned_from, 'image')} only: what they do not show it cannot know."
            )
        )
    return found


def _overfitted(known: Known) -> list[Caution]:
    """Better on what was trained on, or on the validation images, than here; or trained for too long."""
    found, here = [], known.evaluation.overlap.foreground_dice
    seen = known.trained.dice if known.trained else None
    if seen is not None and seen - here > OVERFITTED:
        found.append(
            Caution(
                f"Over-fitting: on images that it was trained on the model has Dice {seen:.2f}, on these {here:.2f}. "
                "More and more varied annotated images help here, longer training does not.",
                grave=True,
            )
        )
    before = known.card.scores.get("foreground_dice")
    if not known.validation and isinstance(before, float) and before - here > DROPPED:
        found.append(
            Caution(
                f"On the validation images the model had Dice {before:.2f}, here {here:.2f}: these images are "
                "harder, or unlike those that it was trained and chosen with.",
                grave=True,
            )
        )
    for curve in known.training.scores if known.training else ():
        best = int(np.argmax(curve.y))
        if curve.y[best] - curve.y[-1] > FALLEN:
            found.append(
                Caution(
                    f"The {curve.name} of the validation images fell from {curve.y[best]:.3f} at step "
                    f"{curve.x[best]:.0f} to {curve.y[-1]:.3f} at the end: training longer does not help."
                )
            )
    return found


def _poor(known: Known) -> list[Caution]:
    """Classes that are found badly, the worst of them with what they are taken for."""
    overlap, names = known.evaluation.overlap, [c.name for c in known.card.classes]
    counts = np.array(overlap.confusion, float)
    poor = [k for k in np.argsort(overlap.dice) if overlap.dice[k] < POOR and counts[k].any()]
    told = []
    for k in poor[:TOLD]:
        lost, false = counts[k].copy(), counts[:, k].copy()
        lost[k] = false[k] = 0
        if lost.sum() >= false.sum():
            why = f"{percent(lost.max() / counts[k].sum())} of it is taken for “{names[int(lost.argmax())]}”"
        else:
            share = false.max() / counts[:, k].sum()
            why = f"{percent(share)} of what is called so is “{names[int(false.argmax())]}”"
        told.append(Caution(f"“{names[k]}” is found poorly (Dice {overlap.dice[k]:.2f}): {why}."))
    others = [f"“{names[k]}” ({overlap.dice[k]:.2f})" for k in poor[TOLD:]]
    return [*told, *([Caution(f"Also found poorly: {listing(others)}.")] if others else [])]


def _objects(known: Known) -> list[Caution]:
    """Objects that are missed, made up, split or merged often."""
    objects = known.evaluation.objects
    if objects is None or not objects.truth_objects:
        return []
    kinds = {
        "are missed": objects.missed,
        "more are found where there are none": objects.spurious,
        "are split": objects.splits,
        "more are found that hold several": objects.merges,
    }
    told = [f"{number} {words}" for words, number in kinds.items() if number > WRONG_OBJECTS * objects.truth_objects]
    return [Caution(f"Of {objects.truth_objects} objects {listing(told)}.")] if told else []


def _outliers(known: Known) -> list[Caution]:
    """Images far below the others."""
    scored = [(e.name, e.dice) for e in known.entries if e.dice is not None]
    if len(scored) < 3:
        return []
    median = float(np.median([dice for _, dice in scored]))
    low = [f"{name} ({dice:.2f})" for name, dice in scored if median - dice > OUTLIER]
    if not low:
        return []
    return [Caution(f"Half of the images have a Dice of {median:.2f} or more, but not {listing(low)}.")]


def _calibration(found: Reliability | None) -> list[Caution]:
    """Confidence that is not what it says."""
    if found is None or not found.error > MISCALIBRATED:
        return []
    counts = np.array(found.counts, float)
    sure, right = (float(np.nansum(counts * values) / counts.sum()) for values in (found.confidence, found.accuracy))
    way = "too sure of itself" if sure > right else "too unsure"
    return [
        Caution(
            f"The model is {way}: its mean confidence is {percent(sure)}, and {percent(right)} of what it says is "
            "right. Do not read its probabilities as chances."
        )
    ]


def _expectation(found: Expected | None) -> list[Caution]:
    """A model that does not know which images it does badly on."""
    if found is None or len(found.names) < MANY or not found.spearman < UNRELATED:
        return []
    return [
        Caution(
            "The Dice that the model expects of an image says little of the true one (rank correlation "
            f"{found.spearman:.2f}): do not trust an image because the model does."
        )
    ]


def _unlike(known: Known) -> list[Caution]:
    """Images unlike those trained on."""
    odd = [entry for entry in known.entries if entry.warnings]
    if not odd:
        return []
    more = f" (and {len(odd) - 1} more images)" if len(odd) > 1 else ""
    return [Caution(f"Unlike the images trained on: {odd[0].name}{more}: {odd[0].warnings[0]}.")]
