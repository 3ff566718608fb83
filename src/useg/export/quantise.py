"""Convolutions in int8, by nncf's quantisation after training (extra `int8`).

Each feature map is multiplied by a number of its own so that it fits in eight bits. That number is found on tiles of
images that the network will meet, so whatever changes gray values must be as in prediction. It costs accuracy, which is
measured on other tiles.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from useg.errors import DataError, ExportError, MissingError, SettingsError, extra
from useg.images.files import is_image_file, read
from useg.images.windows import windows_of
from useg.predict import most_probable, require_input
from useg.run_data import images_of_run
from useg.runner import Runner
from useg.unet.geometry import Tile, plan_tiles
from useg.unet.model import ModelCard, find_model, read_card
from useg.unet.normalise import measure
from useg.views import read_mirrored

TILES = 24
"""So many tiles a network is quantised on, and as many it is compared on; twice as many changed nothing."""
EDGE = {2: 512, 3: 96}
"""Of a tile, in pixels; at least what the network needs."""
LEAST_AGREEMENT = 0.99
"""Share of the pixels that must keep their label."""


class Fed(NamedTuple):
    """A tile of an image, and what the network is fed of it: normalised float32 `C *size`."""

    tile: Tile
    pixels: np.ndarray


@dataclass(frozen=True)
class Samples:
    """Tiles of images, as the network is fed them.

    Attributes:
        calibrate: to quantise it on. compare: to hold its labels against those of float32.
        held_out: whether those are of images that training held out.
        size: of the first image.
    """

    calibrate: list[Fed]
    compare: list[Fed]
    held_out: bool
    size: tuple[int, ...]


def samples_of(model: Path, data: Path | None = None) -> Samples:
    """Tiles to quantise a model on: of the images of its run, or of those in `data`.

    Args:
        model: a model file or run folder. data: a folder of images like those to be predicted, of which every fourth is
            compared on.

    Raises:
        SettingsError: the run's images cannot be found. MissingError, DataError, ImageError: `data` holds none.
    """
    model = find_model(model)
    card = read_card(model)
    if data is not None:
        images = [_read(path, card) for path in _images_in(data)]
        others = [array for k, array in enumerate(images) if k % 4]
        return Samples(_draw(others or images, card), _draw(images[::4], card), False, images[0].shape[1:])
    parts = images_of_run(model.parent)
    if parts is None:
        raise SettingsError(
            f"{model}: the images that it was trained on cannot be found, and int8 is calibrated on such; name a "
            "folder of them with --calibrate"
        )
    train, held_out = ([example.image for example in part] for part in (parts.train, parts.validation))
    return Samples(_draw(train, card), _draw(held_out or train, card), bool(held_out), train[0].shape[1:])


def quantise(network: Any, samples: Samples, out: Path) -> Any:
    """An OpenVINO model whose convolutions compute in int8, all but the first and the last of each of its networks.

    Those two cost next to nothing, and of all layers they lose the most.

    Raises:
        MissingExtraError: nncf is not here.
    """
    with extra(out, "int8"):
        import nncf
    nncf.set_log_level(logging.ERROR)
    scope = nncf.IgnoredScope(names=_first_and_last(network))
    tiles = [each.pixels[None] for each in samples.calibrate]
    with redirect_stdout(StringIO()):  # its bars
        return nncf.quantize(network, nncf.Dataset(tiles), subset_size=len(tiles), ignored_scope=scope)


def _first_and_last(network: Any) -> list[str]:
    """Names of the first and the last convolution of each network, whose weights are named `networkN. ...`."""
    ends: dict[str, tuple[str, str]] = {}
    for layer in network.get_ordered_ops():
        if layer.get_type_name() in ("Convolution", "ConvolutionBackpropData"):
            name = layer.get_friendly_name()
            member = layer.input_value(1).get_node().get_friendly_name().partition(".")[0]
            ends[member] = (ends.get(member, (name,))[0], name)
    return sorted({name for pair in ends.values() for name in pair})


def require_agreement(out: Path, ours: Runner, theirs: Runner, samples: Samples) -> float:
    """Share of the pixels that two runners give the same label.

    Raises:
        ExportError: it is less than `LEAST_AGREEMENT`.
    """
    agreement = agreement_of(*(labels_of(runner, samples.compare) for runner in (ours, theirs)))
    if agreement < LEAST_AGREEMENT:
        raise ExportError(
            f"{out}: in int8 only {agreement:.2%} of the pixels keep their label, and {LEAST_AGREEMENT:.0%} must; "
            "nothing was kept, export in float32"
        )
    return agreement


def labels_of(runner: Runner, tiles: Sequence[Fed]) -> list[UInt8[np.ndarray, "*size"]]:
    """The labels that a runner gives tiles of images."""
    return [most_probable(runner(values, tile.keep)) for tile, values in tiles]


def agreement_of(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Share of the pixels whose label is the same, over all label images."""
    same = sum(int((a == b).sum()) for a, b in zip(ours, theirs, strict=True))
    return same / sum(labels.size for labels in ours)


def _draw(images: Sequence[np.ndarray], card: ModelCard) -> list[Fed]:
    """Tiles drawn among all those of the images, the same each time."""
    axes = card.network.axes
    largest = [max(EDGE[len(axes)], axis.smallest_tile) for axis in axes]
    places = [(k, tile) for k, array in enumerate(images) for tile in plan_tiles(axes, array.shape[1:], largest)]
    drawn = np.random.default_rng(0).permutation(len(places))[:TILES]
    return [
        Fed(tile, measure(images[k], card.normalise).apply(read_mirrored(windows_of(images[k]), tile)))
        for k, tile in (places[int(place)] for place in sorted(drawn))
    ]


def _images_in(data: Path) -> list[Path]:
    """Images of a folder, spread over all of them: of each some tiles are drawn."""
    if not data.is_dir():
        raise MissingError(f"{data}: there is no such folder of images")
    found = sorted(path for path in data.iterdir() if is_image_file(path))
    if not found:
        raise DataError(f"{data}: holds no images; name a folder of images like those to be predicted")
    return found[:: -(-len(found) // (2 * TILES))]


def _read(path: Path, card: ModelCard) -> Shaped[np.ndarray, "c *size"]:
    array = read(path, alpha=card.alpha).array
    require_input(card, str(path), array.shape)
    return array.astype(np.uint8) if array.dtype == np.bool_ else array
