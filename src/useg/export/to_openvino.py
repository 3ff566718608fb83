"""`useg export --to openvino`: a model as an OpenVINO file, in float32 or quantised to int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from useg.atomic import replacing
from useg.engines.openvino_engine import import_openvino
from useg.engines.runner import ExportedRunner
from useg.errors import SettingsError, extra
from useg.export.parity import SIZES, random_sizes
from useg.export.proof import Exported, load_networks, metadata, prove, torch_runner
from useg.export.quantise import Samples, quantise, require_agreement
from useg.export.to_onnx import onnx_model
from useg.runner import TorchRunner
from useg.unet.model import ModelCard
from useg.unet.openvino_header import SECTION, WEIGHTS, is_openvino, weights_digest, weights_of


def export_openvino(model: Path, out: Path, folds: Sequence[int] = (), samples: Samples | None = None) -> Exported:
    """Write a model for OpenVINO, and keep it if it gives the same probabilities as torch, to `TOLERANCE`.

    Two files: the network as `.xml`, and its weights, float32, in a `.bin` beside it, whose checksum the `.xml` holds.
    What goes in and out, and the metadata, are those of `export_onnx`; they stand in the section `useg` of the model's
    runtime information.

    With `samples` the network is then quantised: its convolutions compute in int8, and it is kept if it gives the same
    labels as torch in float32, see `require_agreement`.

    Args:
        model: a model file or run folder. out: the file to write, `.xml`; it and its `.bin` are replaced.
        folds: of a model of several networks those to export, from 0; all without.
        samples: tiles of images to quantise the network on; see `useg.export.quantise.samples_of`.

    Raises:
        MissingError, ModelError, SettingsError: see `useg.unet.model.load_model`; and `out` is not named `.xml`.
        MissingExtraError: onnx, openvino or nncf is not here. OutputError: the files cannot be written.
        ExportError: the network is too large for ONNX, or the files give other probabilities or labels.
    """
    if not is_openvino(out):
        raise SettingsError(f"{out}: an OpenVINO file is named .xml; name it so")
    openvino = import_openvino(out)
    with extra(out, "export"):
        import onnx  # noqa: F401  the way to OpenVINO
    card, networks = load_networks(model, folds)
    network = openvino.Core().read_model(onnx_model(model, card, networks).SerializeToString())
    ours = torch_runner(card, networks)
    with replacing(out) as temporary, replacing(weights_of(out)) as weights:
        _save(openvino, network, temporary, metadata(card))
        difference = _prove(out, temporary, ours, card)
        done = Exported(out, 0, len(networks), SIZES, difference)
        if samples:
            _save(openvino, quantise(network, samples, out), temporary, metadata(card))
            agreement = require_agreement(out, ours, ExportedRunner(temporary, card), samples)
            tiles = len(samples.calibrate), len(samples.compare)
            done = replace(done, agreement=agreement, tiles=tiles, held_out=samples.held_out)
        return replace(done, bytes=temporary.stat().st_size + weights.stat().st_size)


def _prove(out: Path, written: Path, ours: TorchRunner, card: ModelCard) -> float:
    """The largest difference from torch. What is loaded for it lets go of the file when it returns."""
    theirs = ExportedRunner(written, card, "float32", spread=card.members > 1)
    return prove(out, ours, theirs, card, random_sizes(card.network))


def _save(openvino: Any, network: Any, path: Path, told: dict[str, str]) -> None:
    """Write both files. The first time is for the checksum of the weights, which are written the same each time."""
    for name, value in told.items():
        network.set_rt_info(value, [SECTION, name])
    openvino.save_model(network, path, compress_to_fp16=False)
    network.set_rt_info(weights_digest(weights_of(path)), [SECTION, WEIGHTS])
    openvino.save_model(network, path, compress_to_fp16=False)
