"""`useg predict` and `useg suggest`: from a model to segmentations, and to what to annotate next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from useg.cli.arguments import BackendOption, DeviceOption, JsonOption, MemoryOption, ModelArgument, TtaOption
from useg.console import prediction_bars, print_json, progress_bar, say
from useg.errors import SettingsError
from useg.options import parse_folds, parse_format, parse_memory
from useg.words import count


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
        typer.Option(
            help="Of the label images: png, tif, npy, nii.gz, nrrd, dcm or ome.zarr; default that of each image."
        ),
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
    backend: BackendOption = "auto",
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
    from useg.backends.choose import choose_backend
    from useg.predict import Predictor, PredictSettings
    from useg.predict_files import EXPECTED, FileResult, Outputs, begun_with, find_inputs, predict_files
    from useg.predict_store import StoreWatch
    from useg.store_plan import StoreSettings
    from useg.unet.model import read_card
    from useg.workers import WorkerSettings

    if (geojson or rois or table) and not instances:
        raise SettingsError("--geojson, --rois and --table describe objects; add --instances")
    outputs = Outputs(parse_format(format), probabilities, uncertainty, instances, geojson, rois, table)
    sources = find_inputs(inputs, volumes=read_card(model).network.dims == 3)
    begun = begun_with(out)
    settings = PredictSettings(
        device=device,
        precision=begun.precision,
        max_memory=parse_memory(max_memory, 1 if workers == 1 else workers + 1),
        tta=tta,
        folds=parse_folds(folds),
        uncertainty=uncertainty,
    )
    chosen = choose_backend(model, settings, backend, begun.model)
    if chosen.told:
        say(chosen.told)
    predictor = Predictor.load(chosen.model, chosen.settings)
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
        results = predict_files(
            predictor, chosen.model, sources, out, outputs, store=store, watch=report, watch_store=told
        )
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


def suggest(
    model: ModelArgument,
    inputs: Annotated[list[Path], typer.Argument(help="Images that nobody annotated, or folders of them.")],
    number: Annotated[int, typer.Option("-n", "--count", help="How many to suggest.", min=1)] = 10,
    export: Annotated[
        Path | None,
        typer.Option(help="New folder for them: images/, and masks/ that hold the model's proposals, to be corrected."),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Contact sheet of the suggestions [suggest-FOLDER.png here; none with --json]."),
    ] = None,
    region: Annotated[
        int,
        typer.Option(help="An image more than twice as long is offered in regions of about so many pixels.", min=32),
    ] = 512,
    tta: TtaOption = False,
    max_memory: MemoryOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Say which images to annotate next: those that the model is unsure about, and that are unlike all others.

    Images that the run was trained on are left out.
    """
    from useg.images.files import write_picture
    from useg.predict import Predictor, PredictSettings
    from useg.predict_files import find_inputs
    from useg.suggest.proposals import contact_sheet_of, export_suggestions, require_new_folder
    from useg.suggest.ranking import SuggestSettings, annotated_in
    from useg.suggest.ranking import suggest as find_suggestions

    if export:
        require_new_folder(export)
    predictor = Predictor.load(model, PredictSettings(device=device, max_memory=parse_memory(max_memory), tta=tta))
    known, sources = annotated_in(model), find_inputs(inputs, volumes=predictor.card.network.dims == 3)
    with progress_bar("looking", len(known) + len(sources)) as advance:
        found = find_suggestions(
            predictor,
            sources,
            SuggestSettings(count=number, region=region),
            annotated=known,
            watch=lambda path, error: advance(),
        )
    for _, error in found.failed:
        say(f"failed: {error}")
    if found.annotated:
        say(f"{count(len(found.annotated), 'image')} left out, for the model was trained on the same pixels")
    if as_json:
        print_json(found.as_dict())
    for place, one in enumerate(found.chosen, 1):
        say(f"{place}. {one.name}: {one.reason}")
    if found.chosen and (sheet or not as_json):
        target = sheet or Path(f"suggest-{inputs[0].resolve().stem}.png")
        write_picture(target, contact_sheet_of(predictor, found.chosen))
        say(f"contact sheet: {target}")
    if export and found.chosen:
        export_suggestions(predictor, found.chosen, export)
        say(f"correct the masks in {export / 'masks'}, then add images and masks to the training set")
    if found.failed:
        raise typer.Exit(2)
