"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from useg.hub import local_model


def fetched(model: Path | None) -> Path | None:
    """A model as its path here: one of the Hugging Face Hub is fetched if it is new."""
    return local_model(model) if model else model


DataArgument = Annotated[
    Path,
    typer.Argument(help="Folder with images/ and masks/, or any other layout that `useg check --help` lists."),
]
ModelArgument = Annotated[
    Path,
    typer.Argument(
        help="A model file, a run folder, or hf://owner/name[@revision] of the Hugging Face Hub.", callback=fetched
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="A setting by name: network.width=32. Repeatable.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
BackendOption = Annotated[
    str,
    typer.Option(help="torch, onnxruntime, openvino or openvino-int8; auto: the fastest that `useg benchmark` found."),
]
MemoryOption = Annotated[
    str | None,
    typer.Option(
        help="Most memory to take, such as 4GB, the program itself (0.5 GB) counted; default half of what is free."
    ),
]
TtaOption = Annotated[bool, typer.Option("--tta", help="Average over the flips and turns that suit these images.")]
UnlabelledOption = Annotated[
    str,
    typer.Option(help="What 0 means in masks: background, or ignore (not annotated); auto refuses what looks sparse."),
]
IgnoreOption = Annotated[
    str | None, typer.Option(help="Mask value of pixels that are not annotated: a number, or a colour #rrggbb.")
]
WithinOption = Annotated[Path | None, typer.Option(help="Folder of masks: score only inside them.")]
SurfacesOption = Annotated[
    bool,
    typer.Option("--surfaces", help="Measure surface distances of images too; of volumes they always are."),
]
RegionsOption = Annotated[
    int | None,
    typer.Option(help="Also score the connected regions of this class: V_rand, V_info, warping error."),
]
