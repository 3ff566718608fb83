"""The command line: parse, call, print. People read standard error; `--json` alone writes to standard output."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from useg.console import (
    count,
    describe_image,
    describe_model,
    prediction_bars,
    print_json,
    print_out,
    progress_bar,
    say,
    show_check,
    show_result,
    show_scores,
    training_watcher,
)
from useg.errors import ImageError, SettingsError, UsegError
from useg.options import parse_bytes, parse_folds, parse_format, parse_ignore, parse_settings, parse_unlabelled

app = typer.Typer(
    name="useg",
    help="From a handful of annotated images to a segmentation of all the others: the U-Net, on the computer you have.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DataArgument = Annotated[
    Path,
    typer.Argument(help="Folder with images/ and masks/, or any other layout that `useg check --help` lists."),
]
ModelArgument = Annotated[Path, typer.Argument(help="A model file or a run folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="A setting by name: network.width=32. Repeatable.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
MemoryOption = Annotated[
    str | None, typer.Option(help="Most memory to take, such as 4GB; default half of what is free.")
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
RegionsOption = Annotated[
    int | None,
    typer.Option(help="Also score the connected regions of this class: V_rand, V_info, warping error."),
]


@app.command()
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
    say(f"pictures  {result.pictures}  (image | truth | prediction | errors, one file a test image)")


@app.command()
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
    from useg.data.prepare import check_layout
    from useg.data.preview import preview
    from useg.images.files import write_picture

    layout = find_layout(data)
    with progress_bar("checking", len(layout.train) + len(layout.val)) as advance:
        found = check_layout(
            layout,
            ignore=parse_ignore(ignore),
            unlabelled=parse_unlabelled(unlabelled),
            progress=lambda done, total: advance(),
        )
    picture = preview(found) if sheet or not as_json else None
    target = sheet or Path(f"check-{data.resolve().stem}.png")
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


@app.command()
def train(
    data: Annotated[Path | None, typer.Argument(help="The data set; may be left out with --resume.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Run folder, made if missing.")] = ...,  # type: ignore[assignment]
    minutes: Annotated[float | None, typer.Option(help="Time budget, everything included [10].", min=0.05)] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in optimisation steps instead.", min=1)] = None,
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
    if recipe not in ("auto", "paper"):
        raise SettingsError(f"--recipe {recipe}: use auto or paper")
    since = seconds_since_start()
    from useg.train import train as run_training

    with training_watcher() as watcher:
        result = run_training(
            data,
            out,
            minutes=minutes,
            steps=steps,
            recipe=recipe,  # type: ignore[arg-type]
            resume=resume,
            device=device,
            overrides=overrides,
            watch=watcher,
            spent=since,
        )
    show_result(result)
    if not result.finished:
        raise typer.Exit(130)


@app.command()
def predict(
    model: ModelArgument,
    inputs: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the label images.")],
    probabilities: Annotated[
        bool,
        typer.Option("--probabilities", help="Also write <stem>_probabilities.tif, float32, one plane a class."),
    ] = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty", help="Also write <stem>_uncertainty.tif and expected-dice.csv: where not to trust."
        ),
    ] = False,
    folds: Annotated[
        str | None, typer.Option(help="Of a model of several folds those to average, such as 0,2; default all.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="Of the label images: png, tif, npy, nii.gz, dcm or ome.zarr; default that of each image."),
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="Number the objects, instead of classes: TIFF of 16 or 32 bits.")
    ] = False,
    geojson: Annotated[bool, typer.Option("--geojson", help="With --instances: outlines that QuPath opens.")] = False,
    rois: Annotated[bool, typer.Option("--rois", help="With --instances: outlines as a ROI zip of ImageJ.")] = False,
    table: Annotated[bool, typer.Option("--table", help="With --instances: a CSV, one row an object.")] = False,
    tta: TtaOption = False,
    max_memory: MemoryOption = None,
    device: DeviceOption = "auto",
    workers: Annotated[int, typer.Option(help="Processes that share the work, in blocks (useg[cluster]).", min=1)] = 1,
    scheduler: Annotated[
        str, typer.Option(help="Address of a dask scheduler whose workers do it, such as tcp://host:8786.")
    ] = "",
    where: Annotated[
        Path | None, typer.Option(help="Coarse mask of the image; blocks where it is 0 are left out.")
    ] = None,
    skip_empty: Annotated[bool, typer.Option("--skip-empty", help="Leave out blocks without signal.")] = False,
) -> None:
    """Segment images of any size. Repeating the command goes on where it was.

    An image that does not fit in the memory allowed is predicted in blocks, through a store on disk.
    """
    from useg.predict import Predictor, PredictSettings
    from useg.predict_files import EXPECTED, FileResult, Outputs, find_inputs, precision_used, predict_files
    from useg.predict_store import StoreWatch
    from useg.store_plan import StoreSettings
    from useg.unet.model import read_card
    from useg.workers import WorkerSettings

    if (geojson or rois or table) and not instances:
        raise SettingsError("--geojson, --rois and --table describe objects; add --instances")
    outputs = Outputs(parse_format(format), probabilities, uncertainty, instances, geojson, rois, table)
    sources = find_inputs(inputs, volumes=read_card(model).network.dims == 3)
    settings = PredictSettings(
        device=device,
        precision=precision_used(out),
        max_memory=parse_bytes(max_memory),
        tta=tta,
        folds=parse_folds(folds),
        uncertainty=uncertainty,
    )
    predictor = Predictor.load(model, settings)
    in_blocks = workers > 1 or scheduler or where or skip_empty
    crew = WorkerSettings(workers=workers, scheduler=scheduler)
    store = StoreSettings(workers=crew, where=where, skip_empty=skip_empty) if in_blocks else None
    with prediction_bars(len(sources)) as (advance, on_block):

        def report(result: FileResult) -> None:
            advance()
            if result.error:
                say(f"failed: {result.error}")
            for warning in result.warnings:
                say(f"warning: {result.source}: {warning}")

        told = StoreWatch(on_text=say, on_block=on_block)
        results = predict_files(predictor, model, sources, out, outputs, store=store, watch=report, watch_store=told)
    failed, skipped = sum(r.error is not None for r in results), sum(r.skipped for r in results)
    done = len(results) - failed - skipped
    seconds = sum(r.seconds for r in results)
    objects = f", {count(sum(r.objects or 0 for r in results), 'object')} found" if instances and done else ""
    rest = f"{skipped} were there already, {failed} failed; results in {out}"
    say(f"{done} predicted in {seconds:.1f} s{objects}, {rest}")
    if expected := [(r.expected_dice, r.target.name) for r in results if r.expected_dice is not None]:
        dice, name = min(expected)
        say(f"the Dice to expect is lowest for {name}, {dice:.2f}; see {out / EXPECTED}")
    if failed:
        raise typer.Exit(2)


@app.command()
def evaluate(
    model: ModelArgument,
    data: DataArgument,
    within: WithinOption = None,
    regions: RegionsOption = None,
    unlabelled: UnlabelledOption = "auto",
    overlays: Annotated[Path | None, typer.Option(help="Folder for a picture of every image.")] = None,
    tta: TtaOption = False,
    max_memory: MemoryOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Predict annotated images and score the result."""
    from useg.evaluate import evaluate_folder
    from useg.predict import Predictor, PredictSettings

    settings = PredictSettings(device=device, max_memory=parse_bytes(max_memory), tta=tta)
    predictor = Predictor.load(model, settings)
    with progress_bar("evaluating", None) as advance:
        evaluation = evaluate_folder(
            predictor,
            data,
            within=within,
            unlabelled=parse_unlabelled(unlabelled),
            region_class=regions,
            run=model if model.is_dir() else None,
            overlays=overlays,
            watch=lambda example, prediction: advance(),
        )
    if as_json:
        print_json(evaluation.as_dict())
    else:
        show_scores(evaluation.as_dict(), [c.name for c in predictor.card.classes])


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="Folder of label images, made by any tool.")],
    masks: Annotated[Path, typer.Argument(help="Folder of masks with the same stems.")],
    within: WithinOption = None,
    regions: RegionsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score label images that any tool made."""
    from useg.score_files import score_folders

    names, evaluation = score_folders(predictions, masks, within=within, region_class=regions)
    if as_json:
        print_json(evaluation.as_dict())
    else:
        show_scores(evaluation.as_dict(), names)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A model file, a run folder, an image, or a folder of DICOM slices.")],
) -> None:
    """Say what a model or an image is."""
    from useg.images.files import is_image, is_image_file, read_header

    # By its name too, so that a damaged image is told as one.
    if is_image_file(path) or is_image(path):
        print_out(describe_image(path, read_header(path)))
        return
    from useg.unet.model import read_card

    print_out(describe_model(path, read_card(path)))


def seconds_since_start() -> float:
    """How long this process has been running: imports are part of a user's minutes."""
    import psutil

    return max(0.0, time.time() - psutil.Process().create_time())


def main() -> NoReturn:
    """The `useg` command: errors of ours are one line and exit code 2."""
    try:
        app()
    except UsegError as error:
        say(f"useg: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("useg: stopped")
        sys.exit(130)
    sys.exit(0)
