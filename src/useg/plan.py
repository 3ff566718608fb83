"""Look at the data, choose the settings, say why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from useg.data.augment import NO_AUGMENTATION, AugmentSettings
from useg.data.ct import normalise_ct
from useg.data.dataset import Example, middle_plane
from useg.data.legend import Legend
from useg.data.order import ordered_axes
from useg.data.orientation import UPRIGHT_TURN, Symmetries, find_symmetries
from useg.data.samples import Sampler, SampleSettings, class_shares
from useg.data.spacing import common_spacing
from useg.data.thickness import class_thickness
from useg.errors import SettingsError
from useg.settings import Settings, override
from useg.unet.borders import BorderSettings, touching_share
from useg.unet.losses import LossSettings
from useg.unet.model import ModelCard
from useg.unet.normalise import NormaliseSettings
from useg.unet.optimise import OptimiserSettings
from useg.unet.settings import UNetSettings, volume_settings
from useg.volume_plan import ALIKE, Axes, about_axes, cube, plan_axes, plan_neighbours, some_slices

RARE = 0.05
"""A class with a smaller share of the pixels than this is rare: crops seek it."""
CROP = {2: 256, 3: 64}
"""Input pixels of a planned sample along an axis of images and, where edges are equal, of volumes, where they have as
many; half as many more for patches."""
COARSEST = 8
"""Pixels along an axis of an image that the bottleneck should still see."""
BATCH, MOST = 2, 32
"""Crops of full size in a step, and the most where images are smaller: few, because in a bounded time many steps teach
more."""
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
        planned = _paper(train, legend, shares, given)
    else:
        planned = _auto(train, legend, shares, symmetries, given, overrides or {}, base.data.ct)
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
    train: Sequence[Example],
    legend: Legend,
    shares: np.ndarray,
    symmetries: Symmetries,
    given: UNetSettings | None,
    asked: Mapping[str, Any],
    ct: Literal["auto", "yes", "no"],
) -> _Choice:
    channels, dims = train[0].image.shape[0], train[0].labels.ndim
    sizes, edges = np.array([e.labels.shape for e in train]), common_spacing(train)
    lengths = edges or (1.0,) * dims
    neighbours = given.neighbours if given else None
    if dims == 3 and not given and not {"network.flat", "network.pools"} & asked.keys():
        wish = asked.get("network.neighbours")
        neighbours = wish if wish in range(9) else plan_neighbours(lengths, float(np.median(sizes[:, 0])))
    # A network of images works on images, or on the slices of volumes.
    kind = 2 if neighbours is not None else dims
    # Of images the shortest side anywhere; volumes are short along one axis, each axis has a size of its own.
    sides = [int(n) for n in (np.full(2, sizes[:, -2:].min()) if kind == 2 else np.median(sizes, axis=0))]
    smallest = min(sides)
    # Of two classes the thinner one; of many, single thin ones are not worth a quarter of the samples of all others.
    widths = class_thickness(some_slices(train) if kind < dims else train, legend.classes)
    thickness = float(np.nanpercentile(widths, 50, method="lower"))
    # Patches are as long as wide, so that they would join what a flat axis keeps apart.
    even = kind == 2 or max(lengths) < ALIKE * min(lengths)
    patch = 2 if thickness >= FINE and smallest >= CROP[kind] and even else 1
    largest = CROP[kind] if (given.patch if given else patch) == 1 else CROP[kind] * 3 // 2
    if kind == 2:
        crop = tuple(min(largest, max(n, CROP[2] // 4)) for n in sides)
        axes = Axes(int(np.clip(np.log2(max(smallest, 2 * COARSEST) / COARSEST), 1, 4)))
    else:
        crop = cube(lengths, sides, largest**3)
        axes = plan_axes(lengths, crop)
    network = given or UNetSettings(
        in_channels=channels,
        classes=legend.classes,
        dims=dims,
        depth=axes.depth,
        width=WIDTHS[0],
        doublings=3,
        padding="same",
        norm="batch",
        dropout=0.0,
        patch=patch,
        flat=axes.flat,
        pools=axes.pools,
        neighbours=neighbours,
    )
    # Of slices one is learned at a time, with its neighbours.
    crop = tuple(axis.fit_up(n) for axis, n in zip(network.axes, (1,) * (dims - kind) + crop, strict=True))
    rare = [k for k in range(legend.classes) if 0 < shares[k] < RARE]
    samples = SampleSettings(
        crop=crop,
        batch=int(np.clip(round(BATCH * largest**kind / math.prod(crop[-kind:])), BATCH, MOST)),
        rare_share=0.5 if rare else 0.0,
        rare_classes=rare,
    )
    ordered = ordered_axes(train, legend.classes)
    ordered_z, ordered_y, ordered_x = [None] * (3 - dims) + ordered
    augment = AugmentSettings(
        rotate=UPRIGHT_TURN if ordered_y or ordered_x else symmetries.turn,
        tilt=UPRIGHT_TURN if kind == 3 and even else 0.0,
        within_slices=kind < dims,
        spacing=edges or () if dims == 3 else (),
        mirror_x=symmetries.mirror_x and not ordered_x,
        mirror_y=symmetries.mirror_y and not ordered_y,
        mirror_z=symmetries.mirror_y and not ordered_z and dims == 3,
        transpose=symmetries.transpose and not ordered_y and not ordered_x,
        elastic_sd=10 * max(crop) / CROP[2],
        elastic_grid=5,
    )
    normalise, about_values = NormaliseSettings(), "gray values: each channel of each image to mean 0, deviation 1"
    if ct == "yes" or (ct == "auto" and all(e.hounsfield for e in train)):
        normalise, about_values = normalise_ct(train)
    reasons = [
        f"network: {'of volumes, ' if kind == 3 else ''}depth {network.depth}, same padding, batch normalisation",
        *([about_axes(network, edges, train[0].unit)] if dims == 3 else []),
        f"resolution: {'the thinner class' if legend.classes == 2 else 'half of the classes'} is up to "
        f"{thickness:.0f} pixels thick, so the network works on "
        + (f"{'x'.join('2' * kind)} patches and sees four times as many samples" if patch > 1 else "single pixels"),
        f"samples: {samples.batch} crops of {'x'.join(map(str, crop))} pixels a step"
        + (f"; half of them seek the rare {', '.join(legend.names[k] for k in rare)}" if rare else ""),
        f"augmentation: {symmetries.reason}"
        + "".join(
            f"; but {legend.names[pair[0]]} and {legend.names[pair[1]]} keep their order along {axis}, which is not "
            "mirrored"
            for axis, pair in zip("zyx"[3 - dims :], ordered, strict=True)
            if pair
        ),
        f"loss: cross-entropy + Dice; {about_values}",
    ]
    if given:
        del reasons[1:dims]  # nothing was chosen
    loss = LossSettings(dice=1.0)
    if legend.kind == "instances":
        loss = loss.model_copy(update={"borders": BorderSettings(widen=WIDEN)})
    chosen = {"network": network, "samples": samples, "augment": augment, "loss": loss, "normalise": normalise}
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
    dims, ends = train[0].labels.ndim, {"in_channels": train[0].image.shape[0], "classes": legend.classes}
    network = given or (UNetSettings(**ends) if dims == 2 else volume_settings(**ends))
    sizes = (572, 572) if dims == 2 else (116, 132, 132)
    tile = tuple(axis.fit_up(n) for axis, n in zip(network.axes, sizes, strict=True))
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
        "samples": SampleSettings(crop=tile, batch=1),
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
        "network: the paper's, 31.0 M parameters, valid convolutions, dropout"
        if dims == 2
        else "network: the 3-D paper's, 19.1 M parameters, valid convolutions, batch normalisation",
        f"samples: one tile of {'x'.join(map(str, tile))} pixels a step",
        "loss: cross-entropy, classes weighted by the inverse of their share; SGD with momentum 0.99",
        "augmentation: rotations, flips and elastic deformation (3x3 grid, 10 pixels), as in the paper",
    ]
    return _Choice(chosen, reasons)


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
