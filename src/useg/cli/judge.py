"""`useg evaluate`, `useg score` and `useg info`: how good a segmentation is, and what a file is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from useg.cli.arguments import (
    BackendOption,
    DataArgument,
    DeviceOption,
    JsonOption,
    MemoryOption,
    ModelArgument,
    RegionsOption,
    SurfacesOption,
    TtaOption,
    UnlabelledOption,
    WithinOption,
    fetched,
)
from useg.console import print_json, print_out, progress_bar, say, typed
from useg.options import parse_memory, parse_unlabelled
from useg.tables import describe_image, describe_model, show_scores

if TYPE_CHECKING:
    from useg.data.dataset import Example
    from useg.predict import Prediction


def evaluate(
    model: ModelArgument,
    data: DataArgument,
    within: WithinOption = None,
    regions: RegionsOption = None,
    surfaces: SurfacesOption = False,
    unlabelled: UnlabelledOption = "auto",
    report: Annotated[
        Path | None, typer.Option(help="The page to read in a browser [RUN/report.html for a run folder].")
    ] = None,
    overlays: Annotated[Path | None, typer.Option(help="Folder for a picture of every image.")] = None,
    tta: TtaOption = False,
    max_memory: MemoryOption = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Predict annotated images and score the result."""
    from useg.backends.choose import choose_backend
    from useg.evaluate import evaluate_folder
    from useg.predict import Predictor, PredictSettings
    from useg.report.gallery import Gallery
    from useg.report.run import REPORT, report_evaluation

    settings = PredictSettings(device=device, max_memory=parse_memory(max_memory), tta=tta)
    chosen = choose_backend(model, settings, backend)
    if chosen.told:
        say(chosen.told)
    predictor = Predictor.load(chosen.model, chosen.settings)
    page = report or (model / REPORT if model.is_dir() else None)
    gallery, begun = Gallery(predictor.card), time.monotonic()

    def show(example: Example, prediction: Prediction) -> None:
        advance()
        if page:
            gallery.add(example, prediction)

    with progress_bar("evaluating", None) as advance:
        evaluation = evaluate_folder(
            predictor,
            data,
            within=within,
            unlabelled=parse_unlabelled(unlabelled),
            region_class=regions,
            surfaces="all" if surfaces else "volumes",
            run=model if model.is_dir() else None,
            overlays=overlays,
            watch=show,
        )
    if page:
        report_evaluation(
            page,
            evaluation,
            gallery,
            run=model if model.is_dir() else None,
            data=str(data),
            command=typed(),
            seconds=time.monotonic() - begun,
        )
    if as_json:
        print_json(evaluation.as_dict())
    else:
        show_scores(evaluation.as_dict(), [c.name for c in predictor.card.classes])
        if page:
            say(f"report: {page}")


def score(
    predictions: Annotated[Path, typer.Argument(help="Folder of label images, made by any tool.")],
    masks: Annotated[Path, typer.Argument(help="Folder of masks with the same stems.")],
    within: WithinOption = None,
    regions: RegionsOption = None,
    surfaces: SurfacesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score label images that any tool made."""
    from useg.score_files import score_folders

    names, evaluation = score_folders(
        predictions, masks, within=within, region_class=regions, surfaces="all" if surfaces else "volumes"
    )
    if as_json:
        print_json(evaluation.as_dict())
    else:
        show_scores(evaluation.as_dict(), names)


def info(
    path: Annotated[
        Path,
        typer.Argument(
            help="A model file, a run folder, hf://owner/name, an image, or a folder of DICOM slices.", callback=fetched
        ),
    ],
) -> None:
    """Say what a model or an image is."""
    from useg.images.files import is_image, is_image_file, read_header

    # By its name too, so that a damaged image is told as one.
    if is_image_file(path) or is_image(path):
        print_out(describe_image(path, read_header(path)))
        return
    from useg.unet.model import read_card

    print_out(describe_model(path, read_card(path)))
