"""`useg benchmark`: the fastest way to run a model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from useg.cli.arguments import JsonOption, ModelArgument
from useg.console import print_json, say
from useg.tables import show_benchmark


def benchmark(
    model: ModelArgument,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of images like those to predict, to compare labels on; default those of the run."),
    ] = None,
    compiled: Annotated[bool, typer.Option("--compiled", help="Also torch's compiled network.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure every backend and precision here; `useg predict` then takes the fastest.

    Measured are torch, ONNX Runtime and OpenVINO, in float32, bfloat16 and int8: pace, and how many pixels keep the
    label of float32. What keeps less than 99.5 % of them is not taken unasked. Exports and figures stay beside the
    model, in MODEL.backends/.
    """
    from useg.backends.benchmark import BenchmarkSettings
    from useg.backends.benchmark import benchmark as measure

    note = measure(model, BenchmarkSettings(images=images, compiled=compiled), watch=say)
    if as_json:
        print_json(note.model_dump() | {"best": note.best.model_dump()})
    else:
        show_benchmark(model, note)
