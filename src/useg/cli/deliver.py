"""`useg export`: a model in the formats of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from useg.cli.arguments import ModelArgument
from useg.console import say
from useg.errors import SettingsError
from useg.options import parse_folds
from useg.words import count

if TYPE_CHECKING:
    from useg.export import Owner
    from useg.report.content import Report


def export(
    model: ModelArgument,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="What to write: model.onnx, model.xml, model.pt2, model.zip, or a folder."),
    ],
    to: Annotated[
        str, typer.Option("--to", help="The format: onnx, openvino, openvino-int8, torch, bioimageio (.zip) or hub.")
    ] = "onnx",
    folds: Annotated[
        str | None, typer.Option(help="Of a model of several folds those to average, such as 0,2; default all.")
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="With openvino-int8: folder of images like those to predict; default those of the run."),
    ] = None,
    author: Annotated[
        list[str] | None, typer.Option(help="With bioimageio and hub: who made the model. Repeatable.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", help="With bioimageio and hub: its licence as SPDX writes it, such as CC-BY-4.0."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="With bioimageio and hub: annotated folder to score it on; default what its run held out.",
        ),
    ] = None,
) -> None:
    """Write a model for other programs, and keep it only if it gives the same result there.

    `useg predict` runs model.onnx and model.xml without torch. A package of bioimage.io and a folder for the Hugging
    Face Hub come with a page that says how well the model does, and where not to trust it.
    """
    from useg.export import Owner

    if calibrate and to != "openvino-int8":
        raise SettingsError("--calibrate: only int8 is calibrated; add --to openvino-int8")
    if (author or licence or data) and to not in ("bioimageio", "hub"):
        raise SettingsError(
            "--author, --license and --data: stand on the page of a model; add --to bioimageio or --to hub"
        )
    chosen, owner = parse_folds(folds), Owner(tuple(author or ()), licence)
    match to:
        case "onnx" | "openvino" | "openvino-int8" | "torch":
            _export_network(model, out, to, chosen, calibrate)
        case "bioimageio":
            _export_package(model, out, owner, chosen, data)
        case "hub":
            if chosen:
                raise SettingsError("--folds: the Hub gets the model file as it is; leave it out")
            _export_folder(model, out, owner, data)
        case _:
            raise SettingsError(
                f"--to {to}: models are exported to onnx, openvino, openvino-int8, torch, bioimageio or hub"
            )


def _export_network(model: Path, out: Path, to: str, folds: tuple[int, ...], calibrate: Path | None) -> None:
    """The network alone, in the words of another engine."""
    from useg.export import export_onnx, export_openvino, samples_of

    match to:
        case "onnx":
            done = export_onnx(model, out, folds)
        case "openvino":
            done = export_openvino(model, out, folds)
        case "openvino-int8":
            done = export_openvino(model, out, folds, samples_of(model, calibrate))
        case _:
            from useg.export.to_torch import export_torch

            done = export_torch(model, out, folds)
    opset = f", opset {done.opset}" if done.opset else ""
    before = "before int8, " if done.agreement is not None else ""
    say(
        f"{done.path}: {done.bytes / 1e6:.1f} MB{opset}{_mean_of(done.networks)}; {before}probabilities differ from "
        f"torch's by at most {done.difference:.1e} at {done.sizes} random sizes"
    )
    if done.agreement is not None:
        where = "held-out images" if done.held_out else "the images"
        say(
            f"int8 gives {done.agreement:.2%} of the pixels the label of float32, on {done.tiles[1]} tiles of {where} "
            f"(calibrated on {done.tiles[0]})"
        )
    if to != "torch":
        say(f"next: useg predict {done.path} IMAGES -o OUT")


def _export_package(model: Path, out: Path, owner: Owner, folds: tuple[int, ...], data: Path | None) -> None:
    """A package of bioimage.io."""
    from useg.export.to_bioimageio import export_bioimageio, require_package

    require_package(out, owner)
    done = export_bioimageio(model, out, owner, folds, _report(model, data))
    say(
        f"{done.path}: {done.bytes / 1e6:.1f} MB{_mean_of(done.networks)}; probabilities differ from torch's by at "
        f"most {done.graph_difference:.1e} at {done.sizes} random sizes, and {done.difference:.1e} on its test image"
    )
    if not done.exact:
        say("other programs normalise a little differently, so results there may differ; its page says how")
    _say_unnamed(owner)
    if done.tests:
        say(f"bioimageio.core passed it in {count(done.tests, 'test')}")
    else:
        say(f"next: bioimageio test {done.path}  (bioimageio.core, which is not installed here)")


def _export_folder(model: Path, out: Path, owner: Owner, data: Path | None) -> None:
    """A folder for the Hugging Face Hub."""
    from useg.export.to_hub import export_hub, require_folder

    require_folder(model, out)
    done = export_hub(model, out, owner, _report(model, data))
    cautions = f", which tells {count(done.cautions, 'caution')}" if done.cautions else ""
    say(f"{done.path}: the model as it is ({done.bytes / 1e6:.1f} MB), its card, and its page README.md{cautions}")
    _say_unnamed(owner)
    say(f"next: hf upload OWNER/{out.resolve().name} {done.path}")
    say(f"then: useg predict hf://OWNER/{out.resolve().name} IMAGES -o OUT")


def _report(model: Path, data: Path | None) -> Report | None:
    """The scores for its page."""
    from useg.export import judge

    if data or model.is_dir():
        say(f"scoring it on {data or 'the images that its run held out'}")
    return judge(model, data)


def _say_unnamed(owner: Owner) -> None:
    if not owner.authors:
        say("no --author was given: its page names nobody")
    if not owner.licence:
        say("no --license was given: its page says that nobody but its owner may use it")


def _mean_of(networks: int) -> str:
    return f", the mean of {networks} networks" if networks > 1 else ""
