"""Look at the data, choose the settings, say why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from useg.data.augment import NO_AUGMENTATION, AugmentSettings
from useg.data.dataset import Example
from useg.data.legend import Legend
from useg.data.orientation import Symmetries, find_symmetries
from useg.data.samples import Sampler, SampleSettings, class_shares
from useg.data.thickness import class_thickness
from useg.errors import SettingsError
from useg.settings import Settings, override
from useg.unet.borders import BorderSettings, touching_share
from useg.unet.losses import LossSettings
from useg.unet.model import ModelCard
from useg.unet.optimise import OptimiserSettings
from useg.unet.settings import UNetSettings

RARE = 0.05
"""A class with a smaller share of the pixels than this is rare: crops seek it."""
CROP = 256
"""Input pixels of a planned sample along an axis, where the images have as many; half as many more for patches."""
BATCH = 2
"""Crops of full size in a step, more where images are smaller: few, because in a bounded time many steps teach more."""
WIDTHS = (16, 24, 32, 48, 64)
"""Widths that are planned, the narrowest first."""
ENOUGH_STEPS = 2500
"""A network is only made wider while this many steps fit into the budget: fewer steps of a wider one teach less."""
WIDEN = 1
"""A gap of three pixels between touching objects, not the paper's one: more of them come apart."""
USABLE = 0.8
"""Share of a budget of minutes that is left for steps: reading, samples and validations take the rest."""
START_RATE = 0.5
"""The highest learning rate of a run that starts from an earlier model, as a share of that of a fresh one.

Between two cases, one seed each, judged on held-out images. Nuclei, from a model of half of them, 300 steps: panoptic
quality 0.609, 0.637, 0.645 and 0.638 with 1, 0.5, 0.3 and 0.1; 0.579 afresh. Vessels, from a model of membranes with
other channels, 250 steps: Dice 0.776, 0.762 and 0.730 with 1, 0.5 and 0.3; 0.797 afresh, so that model was no help.
"""
FINE = 4.0
"""Where the thinner half of the classes is thinner than this, in pixels, the network must look at single pixels."""


@dataclass(frozen=True)
class Plan:
    """Settings, and the sentences that say why they are so."""

    settings: Settings
    reasons: list[str]


def make_plan(
    train: Sequence[Example],
    legend: Legend,
    base: Settings,
    overrides: Mapping[str, Any] | None = None,
    pace: Callable[[Settings], float] | None = None,
    start: ModelCard | None = None,
) -> Plan:
    """Choose all settings for the training images.

    Args:
        train: the images that will be trained on (not those held out).
        legend: the classes found in the masks.
        base: recipe, seed, data, budget and machine; its other sections are replaced by what is planned.
        overrides: dotted names and values that the user insists on, such as {"network.width": 32}.
        pace: seconds that a training step takes with given settings; None plans the narrowest network.
        start: card of the model that training starts from: its network and its normalisation are taken, but for the
            numbers of channels and classes, and the learning rate stays lower.

    Raises:
        SettingsError: an override does not exist or has a value that it cannot have.
    """
    symmetries = find_symmetries([e.image for e in train], [e.labels for e in train])
    shares = class_shares(train, legend.classes)
    channels = train[0].image.shape[0]
    kept = {"in_channels": channels, "classes": legend.classes}
    given = None if start is None else start.network.model_copy(update=kept)
    if base.recipe == "paper":
        planned = _paper(train, legend, shares, given)
    else:
        planned = _auto(train, legend, shares, symmetries, given)
    settings, reasons = base.model_copy(update=planned.settings), planned.reasons
    settings = override(settings if start is None else _from_start(settings, start), overrides or {})
    _check_fit(settings, channels, legend.classes)
    if start is not None:
        reasons = [_about_start(settings), *reasons[1:]]
    if legend.kind == "instances":
        reasons = [*reasons, _about_borders(train, settings.loss.borders)]
    probed = start is None and "network.width" not in (overrides or {})
    if base.recipe == "auto" and pace is not None and probed:
        settings, reason = _widen(settings, pace)
        reasons = [reasons[0], reason, *reasons[1:]]
    if "score_shift" in (overrides or {}):
        return Plan(settings, reasons)
    shift, reason = _score_shift(train, settings, shares)
    reasons = [*reasons, reason] if reason else reasons
    return Plan(settings.model_copy(update={"score_shift": shift}), reasons)


def _widen(settings: Settings, pace: Callable[[Settings], float]) -> tuple[Settings, str]:
    """The widest network that still takes enough steps within the budget."""
    minutes, steps = settings.budget.minutes, settings.budget.steps
    chosen, why = settings, ""
    for width in WIDTHS:
        wider = settings.model_copy(update={"network": settings.network.model_copy(update={"width": width})})
        if steps is not None:
            # Steps say nothing of time: a network of twice the width is worth twice as many.
            enough, reason = steps >= ENOUGH_STEPS * width / WIDTHS[0], f"for a budget of {steps} steps"
        else:
            assert minutes is not None
            seconds = pace(wider)
            possible = USABLE * 60 * minutes / seconds
            enough = possible >= ENOUGH_STEPS
            reason = f"about {possible:.0f} steps of {seconds:.2f} s fit into {minutes:g} minutes on this machine"
        if width > WIDTHS[0] and not enough:
            break
        chosen, why = wider, reason
    return chosen, f"width: {chosen.network.width}, {why}; a wider network learns more per step, but takes fewer"


@dataclass(frozen=True)
class _Choice:
    """Sections of the settings that a recipe decides."""

    settings: dict[str, Any]
    reasons: list[str]


def _from_start(settings: Settings, start: ModelCard) -> Settings:
    """What else the earlier model decides: how gray values are read, where it knows as many channels, and the rate."""
    fits = start.normalise.kind != "fixed" or len(start.normalise.mean) == settings.network.in_channels
    rate = settings.optimiser.learning_rate * START_RATE
    update = {
        "normalise": start.normalise if fits else settings.normalise,
        "optimiser": settings.optimiser.model_copy(update={"learning_rate": rate}),
    }
    return settings.model_copy(update=update)


def _about_start(settings: Settings) -> str:
    n, rate = settings.network, settings.optimiser.learning_rate
    pixels = f"{n.patch}x{n.patch} patches" if n.patch > 1 else "single pixels"
    return (
        f"network: that of the earlier model, depth {n.depth}, width {n.width}, {n.padding} padding, norm: {n.norm}, "
        f"on {pixels}; it has learned before, so the learning rate rises to {rate:g} only"
    )


def _auto(
    train: Sequence[Example], legend: Legend, shares: np.ndarray, symmetries: Symmetries, given: UNetSettings | None
) -> _Choice:
    channels, smallest = train[0].image.shape[0], min(min(e.labels.shape) for e in train)
    # Of two classes the thinner one; of many, single thin ones are not worth a quarter of the samples of all others.
    thickness = float(np.nanpercentile(class_thickness(train, legend.classes), 50, method="lower"))
    patch = 2 if thickness >= FINE and smallest >= CROP else 1
    # The bottleneck should still see a few pixels of the smallest image.
    depth = int(np.clip(np.log2(max(smallest, 16) / 8), 1, 4))
    network = given or UNetSettings(
        in_channels=channels,
        classes=legend.classes,
        depth=depth,
        width=WIDTHS[0],
        doublings=3,
        padding="same",
        norm="batch",
        dropout=0.0,
        patch=patch,
    )
    largest = CROP if network.patch == 1 else CROP * 3 // 2
    crop = network.geometry.fit_up(min(largest, max(smallest, 64)))
    rare = [k for k in range(legend.classes) if 0 < shares[k] < RARE]
    samples = SampleSettings(
        crop=(crop, crop),
        batch=max(2, round(BATCH * (largest / crop) ** 2)),
        rare_share=0.5 if rare else 0.0,
        rare_classes=rare,
    )
    augment = AugmentSettings(
        rotate=symmetries.turn,
        mirror_x=symmetries.mirror_x,
        mirror_y=symmetries.mirror_y,
        transpose=symmetries.transpose,
        elastic_sd=10 * crop / CROP,
        elastic_grid=5,
    )
    reasons = [
        f"network: depth {depth}, same padding, batch normalisation",
        f"resolution: {'the thinner class' if legend.classes == 2 else 'half of the classes'} is up to "
        f"{thickness:.0f} pixels thick, so the network works on "
        + ("2x2 patches and sees four times as many samples" if patch > 1 else "single pixels"),
        f"samples: {samples.batch} crops of {crop}x{crop} pixels a step"
        + (f"; half of them seek the rare {', '.join(legend.names[k] for k in rare)}" if rare else ""),
        f"augmentation: {symmetries.reason}",
        "loss: cross-entropy + Dice; gray values: each channel of each image to mean 0, deviation 1",
    ]
    if given:
        del reasons[1]  # nothing was chosen
    loss = LossSettings(dice=1.0)
    if legend.kind == "instances":
        loss = loss.model_copy(update={"borders": BorderSettings(widen=WIDEN)})
    chosen = {"network": network, "samples": samples, "augment": augment, "loss": loss}
    return _Choice(chosen, reasons)


def _about_borders(train: Sequence[Example], borders: BorderSettings) -> str:
    """How many objects touch, and what is done about it."""
    counts = [touching_share(e.objects) for e in train if e.objects is not None]
    touching, objects = (sum(each) for each in zip(*counts, strict=True))
    told = f"objects: {touching} of {objects} touch another one"
    if not borders.weight:
        return told
    return (
        f"{told}; background between two objects weighs up to {1 + borders.weight:g} times as much, so that they "
        "come apart"
    )


def _paper(train: Sequence[Example], legend: Legend, shares: np.ndarray, given: UNetSettings | None) -> _Choice:
    network = given or UNetSettings(in_channels=train[0].image.shape[0], classes=legend.classes)
    tile = network.geometry.fit_up(572)
    weights = (1 / np.maximum(shares, 1e-3)) / (1 / np.maximum(shares, 1e-3)).mean()
    # Gray-value variation is named in the paper without figures: contrast and brightness stay at their defaults.
    augment = NO_AUGMENTATION.model_copy(
        update={
            "rotate": 180.0,
            "mirror_x": True,
            "mirror_y": True,
            "elastic_sd": 10.0,
            "contrast": 0.2,
            "brightness": 0.2,
        }
    )
    instances = legend.kind == "instances"
    borders = BorderSettings() if instances else BorderSettings(weight=0)
    chosen = {
        "network": network,
        "samples": SampleSettings(crop=(tile, tile), batch=1),
        "augment": augment,
        "loss": LossSettings(class_weights=[round(float(w), 4) for w in weights], borders=borders),
        "optimiser": OptimiserSettings(
            kind="sgd",
            learning_rate=1e-3,
            momentum=0.99,
            weight_decay=0.0,
            schedule="constant",
            warmup=0.0,
            average=0.0,
        ),
    }
    reasons = [
        "network: the paper's, 31.0 M parameters, valid convolutions, dropout",
        f"samples: one tile of {tile}x{tile} pixels a step",
        "loss: cross-entropy, classes weighted by the inverse of their share; SGD with momentum 0.99",
        "augmentation: rotations, flips and elastic deformation (3x3 grid, 10 pixels), as in the paper",
    ]
    return _Choice(chosen, reasons)


def _check_fit(settings: Settings, channels: int, classes: int) -> None:
    """Refuse settings that each are possible but do not belong to these images, or to one another."""
    n, geometry = settings.network, settings.network.geometry
    faults = {
        "network.dims": n.dims != 2 and f"{n.dims}, but the images have 2 axes",
        "network.in_channels": n.in_channels != channels and f"{n.in_channels}, but the images have {channels}",
        "network.classes": n.classes != classes and f"{n.classes}, but the masks have {classes}",
    }
    if settings.normalise.kind == "fixed":
        for name in ("mean", "std"):
            have = len(getattr(settings.normalise, name))
            faults[f"normalise.{name}"] = (
                have != channels and f"{have} entries, but the images have {channels} channels"
            )
    for name, fault in faults.items():
        if fault:
            raise SettingsError(f"--set {name}: {fault}; leave it out")
    if unknown := [k for k in settings.samples.rare_classes if not 0 <= k < classes]:
        raise SettingsError(f"--set samples.rare_classes: there is no class {unknown[0]}; there are 0 to {classes - 1}")
    for size in settings.samples.crop:
        if not geometry.fits(size):
            raise SettingsError(
                f"--set samples.crop: {size} pixels do not fit this network; {geometry.fit_up(size)} do"
            )
    coarsest = settings.samples.batch * math.prod(max(1, size // geometry.stride) for size in settings.samples.crop)
    if n.norm != "none" and coarsest < 2:
        raise SettingsError(
            "--set samples.crop: batch normalisation would see a single value at the bottleneck; "
            "take larger crops, more of them a step, or a smaller network.depth"
        )


def _score_shift(train: Sequence[Example], settings: Settings, shares: np.ndarray) -> tuple[list[float], str]:
    """What takes the bias of the sampling, and of class weights, out of the probabilities again.

    A network trained where class k makes up q_k of the loss, but met where it makes up p_k of the pixels, is put right
    by adding log(p_k / q_k) to its scores (Saerens et al. 2002, equation 2.4).
    """
    classes = settings.network.classes
    weights = np.array(settings.loss.class_weights or [1.0] * classes)
    if not settings.samples.rare_share and np.ptp(weights) == 0:
        return [0.0] * classes, ""
    sampler = Sampler(
        train,
        settings.samples,
        settings.augment,
        settings.normalise,
        classes=classes,
        margin=settings.network.geometry.margin,
        seed=settings.seed,
    )
    seen = sampler.shares() * weights
    seen = seen / seen.sum()
    here = (shares > 0) & (seen > 0)
    shift = np.where(here, np.log(np.where(here, shares, 1) / np.where(here, seen, 1)), 0.0)
    # Scores count up to a constant; that of the commonest class stays as it is.
    shift = shift - shift[int(np.argmax(shares))]
    factors = ", ".join(
        f"{np.exp(-s):.1f}" for s, k in zip(shift, range(classes), strict=True) if k != np.argmax(shares)
    )
    return [round(float(s), 4) for s in shift], (
        f"training over-represents rare classes (odds times {factors}); predicted probabilities are corrected for it"
    )
