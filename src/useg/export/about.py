"""What others should know of a model before they use it, as a page in Markdown: from its card, and from a report.

The words on scores and on where not to trust them are those of the report (`useg.report`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from useg.data.prepare import prepare
from useg.errors import UsegError
from useg.evaluate import evaluate, evaluate_folder
from useg.predict import Predictor
from useg.report.content import Report
from useg.report.gallery import Gallery
from useg.report.gather import report_of
from useg.report.trained import trained_in
from useg.settings import load_settings
from useg.unet.model import ModelCard
from useg.words import bounds, count, figure, kind_of, listing

PAPER = "O. Ronneberger, P. Fischer, T. Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015"
PAPER_DOI = "10.1007/978-3-319-24574-4_28"
NO_LICENCE = (
    "No licence was given when this model was exported. Without one nobody but its owner may use it: ask them, or, if "
    "that is you, name one."
)


@dataclass(frozen=True)
class Owner:
    """What only people know of a model.

    Attributes:
        authors: their names. licence: an SPDX identifier such as "CC-BY-4.0"; None is told as such.
    """

    authors: tuple[str, ...] = ()
    licence: str | None = None


def judge(model: Path, data: Path | None = None) -> Report | None:
    """Score a model again, on `data` or on the images held out of its training, and say where not to trust it.

    Args:
        model: a run folder, or a model file. data: an annotated folder; its `test/` when it has one.

    Returns:
        None where nothing is to be scored on: no `data`, and no run folder whose data are still there.

    Raises:
        UsegError: the model cannot be used, or `data` cannot be scored.
    """
    predictor = Predictor.load(model)
    gallery, run = Gallery(predictor.card), model if model.is_dir() else None
    if data is not None:
        evaluation = evaluate_folder(predictor, data, watch=gallery.add)
        what = f"{count(len(evaluation.images), 'image')} of the folder {data.resolve().name}"
    else:
        try:
            s = load_settings(model / "settings.toml").data
            held_out = prepare(Path(s.folder), **s.how_to_read()).parts.validation
        except (UsegError, OSError):
            return None
        evaluation = evaluate(predictor, held_out, watch=gallery.add)
        what = count(len(held_out), "image")
    return report_of(
        evaluation,
        predictor.card,
        gallery,
        data=what,
        command="",
        seconds=0.0,
        validation=data is None,
        run=run,
        trained=trained_in(run) if run else None,
    )


def model_page(name: str, card: ModelCard, report: Report | None, owner: Owner, use: Sequence[str]) -> str:
    """The page. Pixels of the user's images are not in it.

    Args:
        name: of the model. report: see `judge`. use: paragraphs on how to run it.
    """
    return (
        "\n\n".join(
            [
                f"# {plain(name)}",
                plain(" ".join(summary(card, report))),
                "## Use",
                *use,
                "## Input and output",
                _input(card),
                _output(card),
                "## Where not to trust it",
                *limits(card, report),
                "## Scores",
                *_scores(card, report),
                "## Validation",
                "Before you rely on it, annotate a few of your own images and compare: `useg evaluate MODEL FOLDER` "
                "scores it with 95 % bounds, `useg score PREDICTIONS MASKS` scores label images that any program made.",
                "## Authors and licence",
                f"Authors: {plain(listing(owner.authors))}." if owner.authors else "Authors: not named.",
                f"Licence: {plain(owner.licence)}." if owner.licence else NO_LICENCE,
                f"Made with useg {card.version}. The network is the U-Net: {PAPER}, doi:{PAPER_DOI}.",
            ]
        ).rstrip()
        + "\n"
    )


def summary(card: ModelCard, report: Report | None) -> tuple[str, ...]:
    """What the model is and what it learned from, in sentences."""
    if report:
        return report.summary
    names, on = listing([f"“{one.name}”" for one in card.classes]), card.trained_on
    learned = f"It learned from {count(on['images'], 'annotated image')}." if "images" in on else ""
    what = "find and number objects" if card.masks == "instances" else f"tell {len(card.classes)} classes apart"
    return tuple(filter(None, (f"A U-Net for {card.network.dims}-D images, to {what} ({names}).", learned)))


def limits(card: ModelCard, report: Report | None) -> list[str]:
    """Where not to trust the model, the gravest first."""
    seen, told = card.input, [f"- {plain(caution.text)}" for caution in report.cautions] if report else []
    _, pixels = kind_of(card.network.dims)
    spacing = f", {pixels} of {' x '.join(f'{n:g}' for n in seen.spacing)} {seen.unit or ''}" if seen.spacing else ""
    gray = ", ".join(f"{low:g} to {high:g}" for low, high in zip(seen.low, seen.high, strict=True))
    return [
        "\n".join(
            [
                *told,
                f"- It knows images like those trained on: {' or '.join(seen.types)}, most gray values from {gray}"
                f"{plain(spacing).rstrip()}. Of others, nothing is known.",
            ]
        )
    ]


def plain(text: str) -> str:
    """Text as Markdown shows it to the letter: names come from users."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))


def _input(card: ModelCard) -> str:
    n = card.network
    how = {
        "image": "each channel of each image to mean 0 and standard deviation 1; the statistics leave out padding, and "
        f"values beyond the percentiles {card.normalise.clip[0]:g} and {card.normalise.clip[1]:g} count as these",
        "fixed": "by mean and standard deviation of the training images"
        + "".join(f", clipped to {low:g} .. {high:g} before" for low, high in card.normalise.bounds),
        "none": "not at all",
    }[card.normalise.kind]
    _, pixels = kind_of(n.dims)
    fields = [axis.receptive_field for axis in n.axes]
    field = (
        f"{fields[0]} {pixels} along each axis" if len(set(fields)) == 1 else f"{' x '.join(map(str, fields))} {pixels}"
    )
    return (
        f"Input: gray values as they stand in the file, {count(n.in_channels, 'channel')}, {n.dims}-D. They are "
        f"normalised: {how}. A {pixels[:-1]} of the result depends on {field}."
    )


def _output(card: ModelCard) -> str:
    names = ", ".join(f"{k} {plain(one.name)}" for k, one in enumerate(card.classes))
    apart = ""
    if found := card.objects:
        apart = (
            f" Objects are parted by seeds above {found.seed_threshold:g} that grow above {found.threshold:g}; those "
            f"of less than {found.smallest} {kind_of(card.network.dims)[1]} are left out."
        )
    return f"Output: the probability of each class ({names}), calibrated on the held-out images.{apart}"


def _scores(card: ModelCard, report: Report | None) -> list[str]:
    if report:
        rows = [
            f"| {plain(row.name)} | {figure(row.dice)} | {bounds(row.dice_interval)} | {figure(row.iou)} | "
            f"{bounds(row.iou_interval)} | {row.images} |"
            for row in report.rows
        ]
        numbers = "; ".join(f"{one.title} {one.value}" + f" ({one.note})" * bool(one.note) for one in report.figures)
        head = "| class | Dice | 95 % | IoU | 95 % | images |\n|---|---|---|---|---|---|"
        return [plain(numbers) + ".", "\n".join([head, *rows]), plain(report.drawn)]
    found = card.scores.get("dice")
    if not found:
        return ["Not scored."]
    dice = ", ".join(f"{plain(one.name)} {figure(value)}" for one, value in zip(card.classes, found, strict=True))
    return [
        f"Dice of each class: {dice}, on {count(card.scores.get('images', 0), 'image')} held out of the training. They "
        "chose the model that was kept, so these scores are a little too good. There are no bounds."
    ]
