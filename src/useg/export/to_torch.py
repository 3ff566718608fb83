"""`useg export --to torch`: a model as a program of `torch.export`, for C++, AOTInductor and other users of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from useg.atomic import replacing
from useg.errors import SettingsError
from useg.export.parity import SIZES, random_sizes
from useg.export.proof import Exported, load_networks, metadata, prove, torch_runner
from useg.unet.geometry import Geometry
from useg.unet.model import ModelCard
from useg.unet.network import UNet, fold_batch_norm

MOST_EDGE = 1 << 15
"""Of an image, in strides."""


def export_torch(model: Path, out: Path, folds: Sequence[int] = ()) -> Exported:
    """Write a model as a program of `torch.export`, and keep it if it gives the same probabilities, to `TOLERANCE`.

    What goes in and out, and the metadata, are those of `export_onnx`; they are extra files of the archive. Sizes whose
    deepest feature map has one pixel are not taken: `torch.export` treats 1 apart.

    The file is for programs that load it themselves, with `torch.export.load`. That unpickles, so it must not be given
    files of strangers; useg only writes such files.

    Args:
        model: a model file or run folder. out: the file to write, `.pt2`; it is replaced.
        folds: of a model of several networks those to export, from 0; all without.

    Raises:
        MissingError, ModelError, SettingsError: see `useg.unet.model.load_model`; and `out` is not named `.pt2`.
        OutputError: the file cannot be written. ExportError: the program gives other probabilities.
    """
    if out.suffix.lower() != ".pt2":
        raise SettingsError(f"{out}: a program of torch.export is named .pt2; name it so")
    card, networks = load_networks(model, folds)
    program = _trace(card, networks)
    first = max(map(_first_step, card.network.axes))
    with replacing(out) as temporary:
        torch.export.save(program, temporary, extra_files=metadata(card))
        theirs = _Program(torch.export.load(temporary).module())
        ours = torch_runner(card, networks)
        ours.spread = False
        sizes = random_sizes(card.network, first=first)
        difference = prove(out, ours, theirs, card, sizes)
        size = temporary.stat().st_size
    return Exported(out, size, len(networks), SIZES, difference)


class _Whole(nn.Module):
    """From a normalised image to the mean probabilities."""

    def __init__(self, card: ModelCard, networks: Sequence[UNet]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(fold_batch_norm(each) for each in networks)
        shift = torch.tensor(card.shift).view(1, -1, *[1] * card.network.dims)
        self.register_buffer("shift", shift)
        self.temperature = card.temperature

    def forward(self, image: Float[Tensor, "1 c *size"]) -> Float[Tensor, "1 k *out"]:
        scores = [(network(image) + self.shift) / self.temperature for network in self.networks]
        return torch.stack([each.softmax(1) for each in scores]).mean(0)


class _Program:
    """A loaded program as a runner."""

    def __init__(self, program: nn.Module) -> None:
        self.program = program

    def __call__(self, tile: Float[np.ndarray, "c *size"], keep: Sequence[slice]) -> Float[np.ndarray, "k *kept"]:
        with torch.inference_mode():
            found: Any = self.program(torch.from_numpy(tile)[None]).numpy()
        return found[(0, slice(None), *keep)]


def _trace(card: ModelCard, networks: Sequence[UNet]) -> torch.export.ExportedProgram:
    n = card.network
    # No two axes alike, lest they be taken for one.
    image = torch.zeros(1, n.in_channels, *(g.smallest + g.stride * k for k, g in enumerate(n.axes, start=2)))
    sizes: dict[int, Any] = {}
    for place, (g, name) in enumerate(zip(n.axes, "zyx"[3 - n.dims :], strict=True), start=2):
        step = torch.export.Dim(name, min=_first_step(g), max=MOST_EDGE)
        sizes[place] = g.stride * step + g.smallest if g.smallest else g.stride * step
    with torch.no_grad():
        return torch.export.export(_Whole(card, networks).eval(), (image,), dynamic_shapes=(sizes,))


def _first_step(geometry: Geometry) -> int:
    """Strides above the smallest size, of the smallest one that the program takes."""
    return 1 if geometry.stride in (1, geometry.smallest) else 0
