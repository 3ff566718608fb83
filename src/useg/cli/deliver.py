"""`useg export`: a model in the formats of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from useg.cli.arguments import ModelArgument
from useg.console import say
from useg.errors import SettingsError
from useg.options import parse_folds


def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write: model.onnx, model.xml or model.pt2.")],
    to: Annotated[str, typer.Option("--to", help="The format: onnx, openvino, openvino-int8 or torch.")] = "onnx",
    folds: Annotated[
        str | None, typer.Option(help="Of a model of several folds those to average, such as 0,2; default all.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="With openvino-int8: folder of images like those to predict; default those of the run."),
    ] = None,
) -> None:
    """Write a model for other programs, and keep it only if it gives the same result there.

    `useg predict` runs model.onnx and model.xml without torch.
    """
    from useg.export import export_onnx, export_openvino, samples_of

    if calibrate and to != "openvino-int8":
        raise SettingsError("--calibrate: only int8 is calibrated; add --to openvino-int8")
    chosen = parse_folds(folds)
    match to:
        case "onnx":
            done = export_onnx(model, out, chosen)
        case "openvino":
            done = export_openvino(model, out, chosen)
        case "openvino-int8":
            done = export_openvino(model, out, chosen, samples_of(model, calibrate))
        case "torch":
            from useg.export.to_torch import export_torch

            done = export_torch(model, out, chosen)
        case _:
            raise SettingsError(f"--to {to}: models are exported to onnx, openvino, openvino-int8 or torch")
    networks = f", the mean of {done.networks} networks" if done.networks > 1 else ""
    opset = f", opset {done.opset}" if done.opset else ""
    before = "before int8, " if done.agreement is not None else ""
    say(
        f"{done.path}: {done.bytes / 1e6:.1f} MB{opset}{networks}; {before}probabilities differ from torch's by at "
        f"most {done.difference:.1e} at {done.sizes} random sizes"
    )
    if done.agreement is not None:
        where = "held-out images" if done.held_out else "the images"
        say(
            f"int8 gives {done.agreement:.2%} of the pixels the label of float32, on {done.tiles[1]} tiles of {where} "
            f"(calibrated on {done.tiles[0]})"
        )
    if to != "torch":
        say(f"next: useg predict {done.path} IMAGES -o OUT")
