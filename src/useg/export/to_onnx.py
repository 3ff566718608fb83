"""`useg export --to onnx`: a model as an ONNX file that carries all that prediction needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from useg import __version__
from useg.atomic import replacing
from useg.engines.runner import ExportedRunner
from useg.errors import ExportError, SettingsError, extra
from useg.export.onnx_graph import IR_VERSION, OPSET, build_graph
from useg.export.parity import SIZES, random_sizes
from useg.export.proof import Exported, load_networks, metadata, prove, torch_runner
from useg.unet.model import ModelCard
from useg.unet.network import UNet
from useg.unet.onnx_header import is_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

MOST_BYTES = 2_000_000_000
"""Of an ONNX file: protobuf knows no messages of 2 GiB."""


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
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401  the proof needs it
    card, networks = load_networks(model, folds)
    proto = onnx_model(model, card, networks, metadata(card))
    with replacing(out) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        theirs = ExportedRunner(temporary, card, spread=card.members > 1)
        difference = prove(out, torch_runner(card, networks), theirs, card, random_sizes(card.network))
        size = temporary.stat().st_size
    return Exported(out, size, len(networks), SIZES, difference, opset=OPSET)


def onnx_model(
    model: Path, card: ModelCard, networks: Sequence[UNet], told: Mapping[str, str] | None = None
) -> ModelProto:
    """The networks of `model` as an ONNX model with metadata `told`.

    Raises:
        ExportError: the network is too large for ONNX.
    """
    import onnx

    weights = sum(value.numel() * value.element_size() for each in networks for value in each.state_dict().values())
    if weights > MOST_BYTES:
        raise ExportError(
            f"{model}: {len(networks)} networks of {weights / 1e9:.1f} GB together, and an ONNX file holds 2; export "
            "fewer folds"
        )
    proto = onnx.helper.make_model(
        build_graph(networks, card.shift, card.temperature),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="useg",
        producer_version=__version__,
        doc_string=_description(card),
    )
    onnx.helper.set_model_props(proto, dict(told or {}))
    onnx.checker.check_model(proto)
    return proto


def _description(card: ModelCard) -> str:
    names = ", ".join(one.name for one in card.classes)
    return f"U-Net of useg {card.version} for {card.network.dims}-D images; classes: {names}"
