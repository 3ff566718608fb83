"""Look at the data, choose the settings, say why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from useg.data.dataset import Example, middle_plane
from useg.data.legend import Legend
from useg.data.orientation import find_symmetries
from useg.data.samples import Sampler, class_shares
from useg.errors import SettingsError
from useg.recipes import WIDTHS, auto_recipe, paper_recipe
from useg.settings import Settings, override
from useg.unet.borders import BorderSettings, touching_share
from useg.unet.model import ModelCard
from useg.unet.normalise import NormaliseSettings
from useg.words import kind_of

ENOUGH_STEPS = 2500
"""A network is only made wider while this many steps fit into the budget: fewer steps of a wider one teach less."""
USABLE = 0.8
"""Share of a budget of minutes that is left for steps: reading, samples and validations take the rest."""
START_RATE = 0.5
"""The highest learning rate of a run that starts from an earlier model, as a share of that of a fresh one.

Between two cases, one seed each, judged on held-out images. Nuclei, from a model of half of them, 300 steps: panoptic
quality 0.609, 0.637, 0.645 and 0.638 with 1, 0.5, 0.3 and 0.1; 0.579 afresh. Vessels, from a model of membranes with
other channels, 250 steps: Dice 0.776, 0.762 and 0.730 with 1, 0.5 and 0.3; 0.797 afresh, so that model was no help.
"""


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
    dims = train[0].labels.ndim
    planes = [(middle_plane(e.image, dims), middle_plane(e.labels, dims)) for e in train]
    symmetries = find_symmetries([image for image, _ in planes], [labels for _, labels in planes])
    shares = class_shares(train, legend.classes)
    channels = train[0].image.shape[0]
    kept = {"in_channels": channels, "classes": legend.classes}
    if start is not None and start.network.dims != dims:
        kinds = {2: "images", 3: "volumes"}
        raise SettingsError(
            f"--from: is a model of {kinds[start.network.dims]}, but these are {kinds[dims]}; name one of {kinds[dims]}"
        )
    given = None if start is None else start.network.model_copy(update=kept)
    if base.recipe == "paper":
        planned = paper_recipe(train, legend, shares, given)
    else:
        planned = auto_recipe(train, legend, shares, symmetries, given, overrides or {}, base.data.ct)
    settings, reasons = base.model_copy(update=planned.settings), planned.reasons
    settings = override(settings if start is None else _from_start(settings, start), overrides or {})
    _check_fit(settings, dims, channels, legend.classes)
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
    pixels = f"{n.patch}x{n.patch} patches" if n.patch > 1 else f"single {kind_of(n.dims)[1]}"
    return (
        f"network: that of the earlier model, depth {n.depth}, width {n.width}, {n.padding} padding, norm: {n.norm}, "
        f"on {pixels}; it has learned before, so the learning rate rises to {rate:g} only"
    )


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


def _check_fit(settings: Settings, dims: int, channels: int, classes: int) -> None:
    """Refuse settings that each are possible but do not belong to these images, or to one another."""
    n = settings.network
    faults = {
        "network.dims": n.dims != dims and f"{n.dims}, but the images have {dims} axes",
        "samples.crop": len(settings.samples.crop) != dims
        and f"{len(settings.samples.crop)} numbers, but the images have {dims} axes",
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
    coarsest = settings.samples.batch
    for axis, size in zip(n.axes, settings.samples.crop, strict=True):
        if not axis.fits(size):
            raise SettingsError(f"--set samples.crop: {size} pixels do not fit this network; {axis.fit_up(size)} do")
        coarsest *= max(1, size // axis.stride)
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
        NormaliseSettings(kind="none"),  # no gray value is looked at
        classes=classes,
        margins=[axis.margin for axis in settings.network.axes],
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
