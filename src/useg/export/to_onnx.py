"""`useg export --to onnx`: a model as an ONNX file that carries all that prediction needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from useg import __version__
from useg.atomic import replacing
from useg.errors import ExportError, SettingsError, extra
from useg.export.onnx_graph import IR_VERSION, OPSET, build_graph
from useg.export.parity import SIZES, TOLERANCE, largest_difference, random_sizes
from useg.onnx_runner import OnnxRunner
from useg.runner import TorchRunner
from useg.unet.model import KEY, ModelCard, load_model
from useg.unet.network import UNet
from useg.unet.onnx_header import is_onnx

MOST_BYTES = 2_000_000_000
"""Of an ONNX file: protobuf knows no messages of 2 GiB."""


@dataclass(frozen=True)
class Exported:
    """An export that was proved.

    Attributes:
        path: the file. bytes: its size. opset: of the operators in it.
        networks: of the model whose mean it gives.
        sizes: how many random sizes it was compared with torch at, in float32.
        difference: the largest one of any probability, at most `useg.export.parity.TOLERANCE`.
    """

    path: Path
    bytes: int
    opset: int
    networks: int
    sizes: int
    difference: float


def export_onnx(model: Path, out: Path, folds: Sequence[int] = ()) -> Exported:
    """Write a model as ONNX, and keep it if it gives the same probabilities as torch, to `TOLERANCE`.

    The graph takes the normalised image, float32 `1 C [Z] Y X` of any size on the network's grid, and gives
    probabilities `1 K [Z] Y X`, 0..1: corrected by the card's score shift and temperature, averaged over its networks.
    The card lies as JSON under "useg" in the metadata, and beside it, in words, how to feed the graph.

    Args:
        model: a model file or run folder. out: the file to write, `.onnx`; it is replaced.
        folds: of a model of several networks those to export, from 0; all without.

    Raises:
        MissingError, ModelError, SettingsError: see `useg.unet.model.load_model`; and `out` is not named `.onnx`.
        MissingExtraError: onnx or onnxruntime is not here. OutputError: the file cannot be written.
        ExportError: the network is too large for ONNX, or the file gives other probabilities.
    """
    if not is_onnx(out):
        raise SettingsError(f"{out}: an ONNX file is named .onnx; name it so")
    with extra(out, "export"):
        import onnx
        import onnxruntime  # noqa: F401  the proof needs it
    card, networks = load_model(model, folds)
    card = card.model_copy(update={"members": len(networks)})
    weights = sum(value.numel() * value.element_size() for each in networks for value in each.state_dict().values())
    if weights > MOST_BYTES:
        raise ExportError(
            f"{model}: {len(networks)} networks of {weights / 1e9:.1f} GB together, and an ONNX file holds 2; export "
            "fewer folds"
        )
    proto = onnx.helper.make_model(
        build_graph(networks, card.score_shift, card.temperature),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="useg",
        producer_version=__version__,
        doc_string=_description(card),
    )
    onnx.helper.set_model_props(proto, {KEY: card.model_dump_json(), **_hints(card)})
    onnx.checker.check_model(proto)
    with replacing(out) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        difference = _prove(temporary, out, card, networks)
        size = temporary.stat().st_size
    return Exported(out, size, OPSET, len(networks), SIZES, difference)


def _prove(written: Path, out: Path, card: ModelCard, networks: Sequence[UNet]) -> float:
    """The largest difference between the file and torch."""
    spread = card.members > 1
    theirs = OnnxRunner(written, card, spread=spread)
    ours = TorchRunner(networks, "cpu", "float32", shift=card.score_shift, temperature=card.temperature, spread=spread)
    difference = largest_difference(ours, theirs, card.network, random_sizes(card.network))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{out}: its probabilities differ from torch's by up to {difference:.2g}, more than {TOLERANCE:g}; nothing "
            "was kept, please report it"
        )
    return difference


def _description(card: ModelCard) -> str:
    names = ", ".join(one.name for one in card.classes)
    return f"U-Net of useg {card.version} for {card.network.dims}-D images; classes: {names}"


def _hints(card: ModelCard) -> dict[str, str]:
    """What a program needs to know that does not read the card, in words."""
    n, g = card.network, card.network.geometry
    border = (
        "mirror the image at its border without repeating the edge pixel"
        if n.padding == "valid"
        else "whole images may be fed, filled up at the far ends to the grid by mirroring"
    )
    return {
        "useg.input": f"float32, 1 x {n.in_channels} channels x {'Z x ' * (n.dims - 2)}Y x X, normalised: "
        f"{card.normalise.model_dump_json()}",
        "useg.output": f"probabilities of {n.classes} classes: {', '.join(one.name for one in card.classes)}",
        "useg.sizes": f"along each axis {g.smallest} + any multiple of {g.stride} pixels; the output is "
        f"{g.shrink} less",
        "useg.border": f"{border}; output pixel 0 lies over input pixel {g.margin}",
        "useg.halo": f"tiles start on multiples of {g.stride} pixels; of their output the first {g.lead} and the last "
        f"{g.trail} pixels depend on what lies outside",
        "useg.receptive_field": f"{g.receptive_field} pixels",
    }
