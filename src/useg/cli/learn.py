"""`useg demo`, `useg check` and `useg train`: from annotated images to a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from useg.cli.arguments import (
    DataArgument,
    DeviceOption,
    IgnoreOption,
    JsonOption,
    SetOption,
    UnlabelledOption,
    fetched,
)
from useg.console import print_json, progress_bar, say, training_watcher, typed
from useg.errors import ImageError, SettingsError
from useg.options import parse_ignore, parse_settings, parse_track, parse_unlabelled
from useg.tables import show_check, show_result, show_scores

if TYPE_CHECKING:
    from useg.folds import FoldsResult
    from useg.learning_curve import LearningCurve
    from useg.watch import TrainResult


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the data, the run and the pictures.")] = Path(
        "useg-demo"
    ),
    minutes: Annotated[float, typer.Option(help="Time to train.", min=0.1)] = 2.0,
) -> None:
    """Make a small data set, train, predict, score: proves the install."""
    from useg.demo import run_demo

    say(f"A data set of touching cells that useg draws itself, {minutes:g} minutes of training, and its scores.")
    with training_watcher() as watcher:
        result = run_demo(out, minutes=minutes, watch=watcher)
    say("")
    show_scores(result.evaluation.as_dict(), ["background", "cell"])
    say(f"\nmodel     {result.run / 'model.safetensors'}")
    say(f"data      {result.data}")
    say(f"report    {result.report}  (open it in a browser)")
    say(f"pictures  {result.pictures}  (image | truth | prediction | errors, one file a test image)")


def check(
    data: DataArgument,
    ignore: IgnoreOption = None,
    unlabelled: UnlabelledOption = "auto",
    sheet: Annotated[
        Path | None, typer.Option(help="Contact sheet of images and masks [check-DATA.png here; none with --json].")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what training would see, and every problem with its file and remedy.

    Recognised without an option are

    \b
      project.toml of `useg serve` beside images/ + masks/; images without a
        mask are passed over
      images/ + masks/ (or labels/, annotations/), same names; a mask may end in
        _mask, _seg, _label
      train/, and if you like val/ and test/, each in one of these layouts
      masks beside images: x.png with x_mask.png, x_seg.tif or x_label.png
      a table (CSV or TSV) with the columns image and mask, and if you like
        group and split (train, val, test)
      imagesTr/ + labelsTr/ of nnU-Net, with its dataset.json
      01/ + 01_GT/SEG/ of the Cell Tracking Challenge
      COCO JSON with outlines, and its images; LabelMe JSON, one an image
      two multi-page TIFFs: stack.tif + stack_mask.tif, or in images/ + masks/

    Masks hold one number or one colour a class, or ids of objects. Names and colours come from a legend.csv (value
    or colour, name), legend.json or classes.txt in DATA; an entry named void or ignore means not annotated.
    """
    from dataclasses import asdict

    from useg.data.layouts import find_layout
    from useg.data.prepare import check_layout, decoder_of
    from useg.data.preview import preview
    from useg.images.files import write_picture

    layout = find_layout(data)
    target = sheet or Path(f"check-{data.resolve().stem}.png")
    decoder = decoder_of(layout, target.parent)
    with progress_bar("checking", len(layout.train) + len(layout.val)) as advance:
        found = check_layout(
            layout,
            ignore=parse_ignore(ignore),
            unlabelled=parse_unlabelled(unlabelled),
            progress=lambda done, total: advance(),
            decoder=decoder,
        )
    picture = preview(found, decoder) if sheet or not as_json else None
    if picture is not None:
        try:
            write_picture(target, picture)
        except ImageError as error:
            if sheet:
                raise
            say(f"no contact sheet: {error}")  # nobody asked for it by name
            picture = None
    if as_json:
        legend = found.legend.model_dump() if found.legend else None
        parts = {"train": len(layout.train), "val": len(layout.val), "test": len(layout.test)}
        print_json(
            {
                "layout": {"kind": layout.kind, "images": parts, "legend": layout.legend},
                "legend": legend,
                "problems": [asdict(p) for p in found.problems],
                "summary": asdict(found.summary),
            }
        )
    else:
        show_check(layout, found)
        if picture is not None:
            say(f"contact sheet: {target}")
    if found.errors:
        raise typer.Exit(2)


def train(
    data: Annotated[Path | None, typer.Argument(help="The data set; may be left out with --resume.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder, made if missing.")] = ...,  # type: ignore[assignment]
    minutes: Annotated[float | None, typer.Option(help="Time budget, everything included [10].", min=0.05)] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in optimisation steps instead.", min=1)] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Cross-validate: a model a fold, all in this one budget; predict averages them."),
    ] = None,
    learning_curve: Annotated[
        bool,
        typer.Option("--learning-curve", help="Train on 1/8, 1/4, 1/2 and all images: what more of them would bring."),
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A model (file, run folder or hf://) to start from: what fits is taken. If no new one is better, it "
            "stays.",
            callback=fetched,
        ),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(help="Show the run to tensorboard, mlflow, wandb or trackio, here; commas between them."),
    ] = None,
    recipe: Annotated[str, typer.Option(help="auto (planned from the data) or paper (the 2015 paper).")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    ignore: IgnoreOption = None,
    unlabelled: UnlabelledOption = "auto",
    device: DeviceOption = "auto",
    settings: SetOption = None,
) -> None:
    """Train a U-Net on a folder of annotated images."""
    overrides = parse_settings(settings or [])
    if ignore is not None:
        overrides["data.ignore"] = parse_ignore(ignore)
    if unlabelled != "auto":
        overrides["data.unlabelled"] = parse_unlabelled(unlabelled)
    if track is not None:
        overrides["track"] = parse_track(track)
    if recipe not in ("auto", "paper"):
        raise SettingsError(f"--recipe {recipe}: use auto or paper")
    if folds is not None and learning_curve:
        raise SettingsError("--folds and --learning-curve: ask for one of them at a time")
    if start is not None and (folds is not None or learning_curve):
        raise SettingsError("--from: starts one run; leave out --folds and --learning-curve")
    since = seconds_since_start()
    from useg.folds import FOLDS, train_folds
    from useg.learning_curve import CURVE, train_learning_curve
    from useg.train import train as run_training

    with training_watcher() as watcher:
        how: dict[str, Any] = {
            "minutes": minutes,
            "steps": steps,
            "recipe": recipe,
            "resume": resume,
            "device": device,
            "overrides": overrides,
            "watch": watcher,
            "spent": since,
            "command": typed(),
        }
        result: TrainResult | FoldsResult | LearningCurve
        if folds is not None or (resume and (out / FOLDS).is_file()):
            result = train_folds(data, out, folds=folds, **how)
        elif learning_curve or (resume and (out / CURVE).is_file()):
            result = train_learning_curve(data, out, **how)
        else:
            result = run_training(data, out, start=start, **how)
    show_result(result)
    if not result.finished:
        raise typer.Exit(130)


def seconds_since_start() -> float:
    """How long this process has been running: imports are part of a user's minutes."""
    import psutil

    return max(0.0, time.time() - psutil.Process().create_time())
