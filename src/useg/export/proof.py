"""What all exports share: the networks and how to feed them in words, and the proof that they give the same result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from useg.errors import ExportError
from useg.export.parity import TOLERANCE, largest_difference
from useg.runner import Runner, TorchRunner
from useg.unet.model import KEY, ModelCard, load_model
from useg.unet.network import UNet


@dataclass(frozen=True)
class Exported:
    """An export that was proved.

    Attributes:
        path: the file. bytes: its size, with the weights where they lie beside it.
        networks: of the model whose mean it gives.
        sizes: how many random sizes it was compared with torch at, in float32.
        difference: the largest one of any probability, at most `useg.export.parity.TOLERANCE`; of a quantised network
            that before it was quantised.
        opset: of the operators in an ONNX file.
        agreement: of a quantised network, the share of pixels that it gives the label that float32 gives, 0..1.
        tiles: of images, that it was quantised on and compared on.
        held_out: whether those that it was compared on are of images that training held out.
    """

    path: Path
    bytes: int
    networks: int
    sizes: int
    difference: float
    opset: int | None = None
    agreement: float | None = None
    tiles: tuple[int, int] = (0, 0)
    held_out: bool = False


def load_networks(model: Path, folds: Sequence[int]) -> tuple[ModelCard, list[UNet]]:
    """The networks of a model that are to be exported, and the card that the export gets.

    Raises:
        MissingError, ModelError, SettingsError: see `useg.unet.model.load_model`.
    """
    card, networks = load_model(model, folds)
    return card.model_copy(update={"members": len(networks)}), networks


def torch_runner(card: ModelCard, networks: Sequence[UNet]) -> TorchRunner:
    """What an export is held against."""
    spread = card.members > 1
    return TorchRunner(networks, "cpu", "float32", shift=card.shift, temperature=card.temperature, spread=spread)


def prove(out: Path, ours: Runner, theirs: Runner, card: ModelCard, sizes: Sequence[tuple[int, ...]]) -> float:
    """The largest difference between an export and torch.

    Raises:
        ExportError: it is too large.
    """
    difference = largest_difference(ours, theirs, card.network, sizes)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{out}: its probabilities differ from torch's by up to {difference:.2g}, more than {TOLERANCE:g}; nothing "
            "was kept, please report it"
        )
    return difference


def metadata(card: ModelCard) -> dict[str, str]:
    """The card, and beside it what a program needs to know that does not read it, in words."""
    n = card.network
    border = (
        "mirror the image at its border without repeating the edge pixel"
        if n.padding == "valid"
        else "whole images may be fed, filled up at the far ends to the grid by mirroring"
    )
    if n.neighbours:
        border += f", with {n.neighbours} mirrored slices before the first and behind the last"

    def along(words: str) -> str:
        """Said once where all axes are alike, else of each."""
        each = [words.format(axis) for axis in n.axes]
        if len(set(each)) == 1:
            return f"along each axis {each[0]}"
        return ". ".join(f"along {name} {said}" for name, said in zip("zyx"[3 - n.dims :], each, strict=True))

    return {
        KEY: card.model_dump_json(),
        "useg.input": f"float32, 1 x {n.in_channels} channels x {'Z x ' * (n.dims - 2)}Y x X, normalised: "
        f"{card.normalise.model_dump_json()}",
        "useg.output": f"probabilities of {n.classes} classes: {', '.join(one.name for one in card.classes)}",
        "useg.sizes": along("{0.smallest} + any multiple of {0.stride} pixels; the output is {0.shrink} less"),
        "useg.border": f"{border}; " + along("output pixel 0 lies over input pixel {0.margin}"),
        "useg.halo": along(
            "tiles start on multiples of {0.stride} pixels; of their output the first {0.lead} and the last {0.trail} "
            "pixels depend on what lies outside"
        ),
        "useg.receptive_field": along("{0.receptive_field} pixels"),
    }
