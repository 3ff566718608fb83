"""What a recipe chooses: "auto" plans from what the training images look like, "paper" does as the paper did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from useg.data.augment import NO_AUGMENTATION, AugmentSettings
from useg.data.ct import normalise_ct
from useg.data.dataset import Example
from useg.data.legend import Legend
from useg.data.order import ordered_axes
from useg.data.orientation import UPRIGHT_TURN, Symmetries
from useg.data.samples import SampleSettings
from useg.data.spacing import common_spacing
from useg.data.thickness import class_thickness
from useg.unet.borders import BorderSettings
from useg.unet.losses import LossSettings
from useg.unet.normalise import NormaliseSettings
from useg.unet.optimise import OptimiserSettings
from useg.unet.settings import UNetSettings, volume_settings
from useg.volume_plan import ALIKE, Axes, about_axes, cube, plan_axes, plan_neighbours, some_slices
from useg.words import kind_of, listing

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
WIDEN = 1
"""A gap of three pixels between touching objects, not the paper's one: more of them come apart."""
DEEP = 0.5
"""How much a coarser level of the expansive path weighs beside the next finer one; of volumes it was not measured."""
FINE = 4.0
"""Where the thinner half of the classes is thinner than this, in pixels, the network must look at single pixels."""


@dataclass(frozen=True)
class Choice:
    """Sections of the settings that a recipe decides, and the sentences that say why."""

    settings: dict[str, Any]
    reasons: list[str]


@dataclass(frozen=True)
class _Look:
    """What the training images and masks look like.

    Attributes:
        dims: axes of an image. edges: of a pixel, as far as they are known.
        neighbours: of the slices of volumes that are worked on one by one; None where they are not.
        sides: pixels along the axes of an image, or of such a slice, that a crop can count on.
        even: whether edges of pixels are about as long along all these axes.
        thickness: pixels across the structures of the masks.
        ordered: the two classes, if any, that keep their order along (z, y, x).
    """

    dims: int
    edges: tuple[float, ...] | None
    neighbours: int | None
    sides: list[int]
    even: bool
    thickness: float
    ordered: list[tuple[int, int] | None]

    @property
    def kind(self) -> int:
        """Axes that the network looks along: a network of images works on images, or on the slices of volumes."""
        return len(self.sides)


def auto_recipe(
    train: Sequence[Example],
    legend: Legend,
    shares: np.ndarray,
    symmetries: Symmetries,
    given: UNetSettings | None,
    asked: Mapping[str, Any],
    ct: Literal["auto", "yes", "no"],
) -> Choice:
    """Plan from the images.

    Args:
        train: the images to train on. legend: the classes in their masks. shares: of each class among all pixels.
        symmetries: in which the images look alike.
        given: the network of an earlier model, to be trained further; None plans one.
        asked: what the user insists on, by dotted name.
        ct: whether gray values are CT numbers, see `useg.data.ct`.
    """
    look = _look(train, legend, given, asked)
    patch = 2 if look.thickness >= FINE and min(look.sides) >= CROP[look.kind] and look.even else 1
    # Patches halve what the network works on: its crops may be larger.
    largest = CROP[look.kind] if (given.patch if given else patch) == 1 else CROP[look.kind] * 3 // 2
    if look.kind == 2:
        crop = tuple(min(largest, max(n, CROP[2] // 4)) for n in look.sides)
        axes = Axes(int(np.clip(np.log2(max(min(look.sides), 2 * COARSEST) / COARSEST), 1, 4)))
    else:
        lengths = look.edges or (1.0,) * look.dims
        crop = cube(lengths, look.sides, largest**3)
        axes = plan_axes(lengths, crop)
    network = given or UNetSettings(
        in_channels=train[0].image.shape[0],
        classes=legend.classes,
        dims=look.dims,
        depth=axes.depth,
        width=WIDTHS[0],
        doublings=3,
        padding="same",
        norm="batch",
        dropout=0.0,
        patch=patch,
        flat=axes.flat,
        pools=axes.pools,
        neighbours=look.neighbours,
    )
    # Of slices one is learned at a time, with its neighbours.
    crop = tuple(axis.fit_up(n) for axis, n in zip(network.axes, (1,) * (look.dims - look.kind) + crop, strict=True))
    rare = [k for k in range(legend.classes) if 0 < shares[k] < RARE]
    samples = SampleSettings(
        crop=crop,
        batch=int(np.clip(round(BATCH * largest**look.kind / math.prod(crop[-look.kind :])), BATCH, MOST)),
        rare_share=0.5 if rare else 0.0,
        rare_classes=rare,
    )
    same = asked.get("network.padding", network.padding) == "same"
    loss = LossSettings(dice=1.0, deep=DEEP if same and look.kind == 2 else 0.0)
    if legend.kind == "instances":
        loss = loss.model_copy(update={"borders": BorderSettings(widen=WIDEN)})
    normalise, about_values = NormaliseSettings(), "gray values: each channel of each image to mean 0, deviation 1"
    if ct == "yes" or (ct == "auto" and all(e.hounsfield for e in train)):
        normalise, about_values = normalise_ct(train)
    reasons = [
        f"network: {'of volumes, ' if look.kind == 3 else ''}depth {network.depth}, same padding, batch normalisation",
        *([about_axes(network, look.edges, train[0].unit)] if look.dims == 3 and not given else []),
        *([_about_resolution(look, patch, legend)] if not given else []),
        f"samples: {samples.batch} crops of {'x'.join(map(str, crop))} {kind_of(look.dims)[1]} a step"
        + (f"; half of them seek the rare {', '.join(legend.names[k] for k in rare)}" if rare else ""),
        _about_augmentation(look, symmetries, legend),
        f"loss: cross-entropy + Dice{', at coarser levels too' if loss.deep else ''}; {about_values}",
    ]
    augment = _augmentation(look, symmetries, crop)
    chosen = {"network": network, "samples": samples, "augment": augment, "loss": loss, "normalise": normalise}
    return Choice(chosen, reasons)


def _look(train: Sequence[Example], legend: Legend, given: UNetSettings | None, asked: Mapping[str, Any]) -> _Look:
    dims = train[0].labels.ndim
    sizes, edges = np.array([e.labels.shape for e in train]), common_spacing(train)
    lengths = edges or (1.0,) * dims
    neighbours = given.neighbours if given else None
    if dims == 3 and not given and not {"network.flat", "network.pools"} & asked.keys():
        wish = asked.get("network.neighbours")
        neighbours = wish if wish in range(9) else plan_neighbours(lengths, float(np.median(sizes[:, 0])))
    kind = 2 if neighbours is not None else dims
    # Of images the shortest side anywhere; volumes are short along one axis, each axis has a size of its own.
    sides = [int(n) for n in (np.full(2, sizes[:, -2:].min()) if kind == 2 else np.median(sizes, axis=0))]
    # Of two classes the thinner one; of many, single thin ones are not worth a quarter of the samples of all others.
    widths = class_thickness(some_slices(train) if kind < dims else train, legend.classes)
    return _Look(
        dims=dims,
        edges=edges,
        neighbours=neighbours,
        sides=sides,
        # Patches are as long as wide, so that they would join what a flat axis keeps apart.
        even=kind == 2 or max(lengths) < ALIKE * min(lengths),
        thickness=float(np.nanpercentile(widths, 50, method="lower")),
        ordered=[*[None] * (3 - dims), *ordered_axes(train, legend.classes)],
    )


def _augmentation(look: _Look, symmetries: Symmetries, crop: Sequence[int]) -> AugmentSettings:
    """As varied as the images are; a mirror must not swap classes that keep their order."""
    z, y, x = (pair is not None for pair in look.ordered)
    return AugmentSettings(
        rotate=UPRIGHT_TURN if y or x else symmetries.turn,
        tilt=UPRIGHT_TURN if look.kind == 3 and look.even else 0.0,
        within_slices=look.kind < look.dims,
        spacing=look.edges or () if look.dims == 3 else (),
        mirror_x=symmetries.mirror_x and not x,
        mirror_y=symmetries.mirror_y and not y,
        mirror_z=symmetries.mirror_y and not z and look.dims == 3,
        transpose=symmetries.transpose and not y and not x,
        elastic_sd=10 * max(crop) / CROP[2],
        elastic_grid=5,
    )


def _about_resolution(look: _Look, patch: int, legend: Legend) -> str:
    """On how fine a grid the network works."""
    _, pixels = kind_of(look.kind)
    # Measured of images; of volumes it is not known how many.
    more = "four times as many samples" if look.kind == 2 else "more samples in its time"
    patches = f"{'x'.join('2' * look.kind)} patches and sees {more}"
    return (
        f"resolution: {'the thinner class' if legend.classes == 2 else 'half of the classes'} is up to "
        f"{look.thickness:.0f} {pixels} thick, so the network works on {patches if patch > 1 else f'single {pixels}'}"
    )


def _about_augmentation(look: _Look, symmetries: Symmetries, legend: Legend) -> str:
    """How images are varied, and why not more."""
    axes: dict[tuple[int, int], list[str]] = {}
    for axis, pair in zip("zyx", look.ordered, strict=True):
        if pair:
            axes.setdefault(pair, []).append(axis)
    kept = [
        f"; but {legend.names[first]} and {legend.names[second]} keep their order along {listing(along)}, "
        f"which {'is' if len(along) == 1 else 'are'} not mirrored"
        for (first, second), along in axes.items()
    ]
    return f"augmentation: {symmetries.reason}{''.join(kept)}"


def paper_recipe(train: Sequence[Example], legend: Legend, shares: np.ndarray, given: UNetSettings | None) -> Choice:
    """What the 2015 paper did, or the 3-D one of 2016; arguments as in `auto_recipe`."""
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
        f"samples: one tile of {'x'.join(map(str, tile))} {kind_of(dims)[1]} a step",
        "loss: cross-entropy, classes weighted by the inverse of their share; SGD with momentum 0.99",
        "augmentation: rotations, flips and elastic deformation (3x3 grid, 10 pixels), as in the paper",
    ]
    return Choice(chosen, reasons)
