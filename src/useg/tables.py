"""What people are shown: checks, scores, results, models and images in words and tables, on standard error."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from useg.console import console, say
from useg.words import count, kind_of

if TYPE_CHECKING:
    from useg.backends.note import Note
    from useg.data.check import Check
    from useg.data.layouts import Layout
    from useg.folds import FoldsResult
    from useg.images.image import Header
    from useg.learning_curve import LearningCurve
    from useg.unet.model import ModelCard
    from useg.watch import TrainResult


def describe_image(path: Path, header: Header) -> str:
    """What an image says of itself, for people."""
    size = " x ".join(map(str, header.size))
    kind, pixels = kind_of(len(header.size))
    line = f"{path}: {kind} of {size} {pixels}, channels: {header.channels}, {header.dtype}"
    if header.spacing:
        line += f", {pixels[:-1]} size {' x '.join(f'{s:g}' for s in header.spacing)} {header.unit or ''}".rstrip()
    return f"{line}, {header.place.words}" if header.place else line


def describe_model(path: Path, card: ModelCard) -> str:
    """A model's card for people."""
    n, seen, scores = card.network, card.input, card.scores
    size = "x".join(str(axis.receptive_field) for axis in n.axes)
    kind, (_, pixels) = f"{n.dims}-D" if n.neighbours is None else "2.5-D", kind_of(n.dims)
    lines = [
        f"{path}: U-Net by useg {card.version}",
        f"  network      {kind}, width {n.width}, depth {n.depth}, {n.padding} padding, norm: {n.norm}; "
        f"sees {size} {pixels} around each",
        f"  input        channels: {n.in_channels}; trained on {' or '.join(seen.types)}, gray values "
        + ", ".join(f"{low:g}..{high:g}" for low, high in zip(seen.low, seen.high, strict=True)),
        f"  classes      {', '.join(f'{k} {c.name}' for k, c in enumerate(card.classes))}",
        f"  normalise    {card.normalise.kind}",
        f"  trained on   {', '.join(f'{k}: {v}' for k, v in card.trained_on.items() if k != 'checksums')}",
    ]
    if any(card.score_shift):
        lines.append(f"  score shift  {', '.join(f'{s:g}' for s in card.score_shift)} (takes out the sampling's bias)")
    if any(card.class_bias):
        biases = ", ".join(f"{b:.2f}" for b in card.class_bias)
        lines.append(
            f"  class bias   {biases} (takes out what is chosen too often or seldom, found on the held-out images)"
        )
    if card.temperature != 1:
        lines.append(f"  temperature  {card.temperature:.2f} (takes out over-confidence, found on the held-out images)")
    if card.members > 1:
        lines.append(f"  folds        {card.members} networks, whose probabilities are averaged")
    if scores:
        dice = ", ".join("-" if d is None else f"{d:.3f}" for d in scores["dice"])
        lines.append(f"  validation   Dice of each class {dice}, on {scores['images']} held-out images")
    if found := card.objects:
        lines.append(
            f"  objects      pixels above {found.threshold:g}, seeds above {found.seed_threshold:g}, at least "
            f"{found.smallest} pixels" + _object_words(scores.get("objects"))
        )
    return "\n".join(lines)


def show_benchmark(model: Path, note: Note) -> None:
    """The ways to run a model side by side, and which of them `useg predict` takes, on standard error."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("backend", "precision"):
        table.add_column(title)
    for title in ("Mpx/s", "torch float32 = 1", "same labels", "ready in", ""):
        table.add_column(title, justify="right")
    best = note.best
    for row in note.rows:
        if row.pace:
            labels = "-" if row.agreement is None else f"{row.agreement:.2%}"
            figures = (f"{row.pace:.3g}", f"{row.ratio:.2f}", labels, f"{row.ready:.1f} s", "best" * (row == best))
            table.add_row(row.backend, row.precision, *figures)
    console().print(table)
    for row in note.rows:
        if row.missing:
            say(f"{row.name}: {row.missing}")
    size = " x ".join(map(str, note.tile))
    say(f"pace on a tile of {size} pixels, medians of turns, on {note.cpu}, cores: {note.cores}; exports were proved")
    if note.tiles:
        where = "held-out images" if note.held_out else "the images"
        say(f"labels compared with torch in float32 on {count(note.tiles, 'tile')} of {where}")
    else:
        say("labels were not compared, and int8 needs images too: name a folder of such as you predict with --images")
    say(f"`useg predict {shlex.quote(str(model))}` takes {best.name}; --backend chooses another")


def _object_words(scores: dict[str, Any] | None) -> str:
    if not scores:
        return ""
    return f"; SEG {_figure(scores['seg'])}, panoptic quality {_figure(scores['panoptic_quality'][0])} on validation"


def show_check(layout: Layout, found: Check) -> None:
    """What training would see, and every problem, on standard error."""
    from rich.table import Table

    from useg.data.legend import value_text

    summary, legend = found.summary, found.legend
    parts = {"train": layout.train, "validation": layout.val, "test (not looked at)": layout.test}
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("layout", layout.kind)
    table.add_row("images", ", ".join(f"{name}: {len(pairs)}" for name, pairs in parts.items() if pairs))
    for what, counts in (("size", summary.sizes), ("channels", summary.channels), ("type", summary.dtypes)):
        table.add_row(what, _counted(counts))
    if summary.groups:
        table.add_row("groups", _counted(summary.groups))
    if legend is not None:
        table.add_row(
            "masks", "ids of objects" if legend.kind == "instances" else "colours" * legend.coloured or "classes"
        )
        if layout.legend:
            table.add_row("legend", str(layout.legend))
        for name, value, share in zip(legend.names, legend.values, summary.class_shares, strict=True):
            meaning = "id 1, 2, ..." if legend.kind == "instances" and value else f"mask value {value_text(value)}"
            table.add_row("class", f"{name} ({meaning}): {100 * share:.2f} %")
        if legend.kind == "instances":
            table.add_row("objects", f"{summary.objects}, of which {summary.touching} touch another one")
        if legend.ignore is not None:
            ignored = f"mask value {value_text(legend.ignore)}: {100 * summary.share_ignored:.2f} % of all pixels"
            table.add_row("not annotated", ignored)
    console().print(table)
    for problem in found.problems:
        say(f"{problem.severity}: {problem.line}")
    errors, warnings = len(found.errors), len(found.problems) - len(found.errors)
    say(f"errors: {errors}, warnings: {warnings}" if found.problems else "no problems")


def _counted(counts: Mapping[Any, int]) -> str:
    shown = [f"{value} ({count})" for value, count in list(counts.items())[:6]]
    return ", ".join(shown) + (f" and {len(counts) - 6} others" if len(counts) > 6 else "")


def show_scores(scores: dict[str, Any], names: list[str]) -> None:
    """A table of scores on standard error."""
    from rich.table import Table

    image, pixels = kind_of(scores["dims"])
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    for title in ("Dice", "95 %", "IoU", f"per {image}", f"{image}s", "false alarms"):
        table.add_column(title, justify="right")
    for k, name in enumerate(names):
        with_it = scores["images"] - scores["unannotated_images"] - scores["empty_images"][k]
        table.add_row(
            name,
            _figure(scores["dice"][k]),
            _bounds(scores["intervals"]["dice"][k]),
            *(_figure(scores[key][k]) for key in ("iou", "image_dice")),
            str(with_it),
            f"{scores['false_alarms'][k]} of {scores['empty_images'][k]} without" if scores["empty_images"][k] else "-",
        )
    console().print(table)
    say(
        f"{pixels[:-1]} accuracy {scores['pixel_accuracy']:.4f} over {count(scores['images'], image)}, "
        f"{scores['pixels']} {pixels}"
    )
    say(f"Dice and IoU pool all {pixels}; 'per {image}' is the mean Dice of the {image}s that hold the class.")
    drawn = scores["intervals"]
    if drawn["units"] > 1:
        say(f"95 % of the scores of as many {drawn['unit']} drawn from these {drawn['units']} lie between the bounds.")
    if calibration := scores["calibration"]:
        before = scores["uncalibrated"]["error"]
        say(f"calibration error {_figure(calibration['error'])} ({_figure(before)} without calibration)")
    if scores["surfaces"]:
        _show_surfaces(scores["surfaces"], names)
    if scores["objects"]:
        _show_objects(scores["objects"])
    if regions := scores["regions"]:
        best, known = regions["best"], regions["validation"]
        say(
            f"regions of class {regions['region_class']}, best threshold {best['threshold']:.2f}: {_region_words(best)}"
        )
        if known:
            say(f"  at the threshold found on validation, {known['threshold']:.2f}: {_region_words(known)}")
        say(f"  warping error {regions['warping_error']:.6f}")


def _show_surfaces(surfaces: dict[str, Any], names: list[str]) -> None:
    """How far apart the surfaces of truth and prediction are; class 0 has that of all others."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"surfaces, in {surfaces['unit']}")
    for title in ("95 % within", "average", "measured", "missed", "false alarms"):
        table.add_column(title, justify="right")
    for k, name in enumerate(names[1:], 1):
        distances = (_figure(surfaces[key][k]) for key in ("hausdorff95", "average"))
        table.add_row(name, *distances, *(str(surfaces[key][k]) for key in ("images", "missed", "false_alarms")))
    console().print(table)
    say("'95 % within' is the Hausdorff distance without the farthest 5 %; both are means over the measured images.")


def _show_objects(objects: dict[str, Any]) -> None:
    """How well objects were found and parted."""
    from rich.table import Table

    say(
        f"objects: {objects['truth_objects']} annotated, {objects['predicted_objects']} predicted; "
        f"{objects['missed']} missed, {objects['spurious']} false, {objects['splits']} split, "
        f"{objects['merges']} merged; SEG {_figure(objects['seg'])}"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("objects at IoU")
    at = {f"{objects['thresholds'][i]:g}": i for i in (0, 5)}
    for title in (*at, "mean 0.5..0.95"):
        table.add_column(title, justify="right")
    for name, title in (("average_precision", "average precision"), ("f1", "F1"), ("panoptic_quality", "panoptic")):
        table.add_row(title, *(_figure(objects[name][i]) for i in at.values()), _figure(objects[f"mean_{name}"]))
    console().print(table)


def _region_words(r: dict[str, Any]) -> str:
    return f"V_rand {r['v_rand']:.4f}, V_info {r['v_info']:.4f}, Rand error {r['rand_error']:.4f}"


def _bounds(interval: list[float | None]) -> str:
    low, high = interval
    return "-" if low is None or high is None else f"{low:.3f}..{high:.3f}"


def _figure(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def show_result(result: TrainResult | FoldsResult | LearningCurve) -> None:
    """How a training ended, and what to do next."""
    from useg.watch import TrainResult

    if not isinstance(result, TrainResult):
        _show_several(result)
        return
    dice = f", validation Dice {result.validation:.4f}" if result.validation is not None else ", not validated yet"
    if result.quality is not None:
        dice += f", panoptic quality of objects {result.quality:.4f}"
    ended = "finished" if result.finished else "stopped"
    skipped = f" ({result.skipped} skipped: loss not finite, see metrics.jsonl)" if result.skipped else ""
    say(f"{ended} after {count(result.steps, 'step')}{skipped}{dice}: {result.model}")
    run = shlex.quote(str(result.run))
    if result.before is not None:
        _show_before_and_after(result)
    if result.finished:
        _tell_report(result.run)
        say(f"next: useg predict {run} IMAGES -o OUT")
    else:
        say(f"go on with: useg train -o {run} --resume")


def _tell_report(run: Path) -> None:
    from useg.report.run import REPORT

    if (run / REPORT).exists():
        say(f"report: {run / REPORT}")


def _show_before_and_after(result: TrainResult) -> None:
    """What became of the model that training started from."""
    before, after = f"{result.before:.4f}", _figure(result.after)
    if result.kept_start:
        say(f"no new model was better on the held-out images (at best {after}, before {before}); the old one is kept")
    else:
        say(f"on the held-out images: {before} before, {after} now")


def _show_several(result: FoldsResult | LearningCurve) -> None:
    """How several runs in one budget ended."""
    from rich.table import Table

    from useg.folds import FoldsResult

    run = shlex.quote(str(result.run))
    if not result.finished:
        say(f"stopped; go on with: useg train -o {run} --resume")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    if isinstance(result, FoldsResult):
        scored_objects = any(fold.quality is not None for fold in result.folds)
        for title in ("fold", "held-out images", "Dice", *(["panoptic quality"] if scored_objects else [])):
            table.add_column(title, justify="right")
        for number, fold in enumerate(result.folds):
            quality = [_figure(fold.quality)] if scored_objects else []
            table.add_row(str(number), str(len(fold.images)), _figure(fold.dice), *quality)
        console().print(table)
        assert result.evaluation is not None
        pooled = _figure(result.evaluation.overlap.foreground_dice)
        say(f"mean Dice of the folds {result.mean:.4f}, standard deviation {result.deviation:.4f}")
        say(f"all images, each by the model that did not see it: Dice {pooled}")
        _tell_report(result.run)
        say(f"next: useg predict {run} IMAGES -o OUT  (averages the models of all folds)")
        return
    assert result.fit is not None
    for title in ("training images", "Dice", "steps"):
        table.add_column(title, justify="right")
    for images, dice, steps in zip(result.fit.images, result.fit.scores, result.steps, strict=True):
        table.add_row(str(images), _figure(dice), str(steps))
    console().print(table)
    for sentence in result.words:
        say(sentence)
    _tell_report(result.run)
    say(f"next: useg predict {run} IMAGES -o OUT")
