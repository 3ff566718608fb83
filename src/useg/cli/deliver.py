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
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write, such as model.onnx.")],
    to: Annotated[str, typer.Option("--to", help="The format: onnx.")] = "onnx",
    folds: Annotated[
        str | None, typer.Option(help="Of a model of several folds those to average, such as 0,2; default all.")
    ] = None,
) -> None:
    """Write a model for other programs, and keep it only if it gives the same result there.

    `useg predict model.onnx` runs it without torch.
    """
    if to != "onnx":
        raise SettingsError(f"--to {to}: models are exported to onnx")
    from useg.export import export_onnx

    done = export_onnx(model, out, parse_folds(folds))
    networks = f", the mean of {done.networks} networks" if done.networks > 1 else ""
    say(
        f"{done.path}: {done.bytes / 1e6:.1f} MB, opset {done.opset}{networks}; "
        f"probabilities differ from torch's by at most {done.difference:.1e} at {done.sizes} random sizes"
    )
    say(f"next: useg predict {done.path} IMAGES -o OUT")
