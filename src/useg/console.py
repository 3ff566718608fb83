"""What people see in a terminal: tables, bars and lines on standard error, JSON on standard output."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from useg import machine

if TYPE_CHECKING:
    from useg.data.check import Check
    from useg.data.layouts import Layout
    from useg.images.image import Header
    from useg.loop import Progress, TrainResult, Watcher
    from useg.unet.model import ModelCard


def describe_image(path: Path, header: Header) -> str:
    """What an image says of itself, for people."""
    size = " x ".join(map(str, header.size))
    line = f"{path}: image of {size} pixels, channels: {header.channels}, {header.dtype}"
    if header.spacing:
        line += f", pixel size {' x '.join(f'{s:g}' for s in header.spacing)} {header.unit or ''}".rstrip()
    return f"{line}, {header.place.words}" if header.place else line


def describe_model(path: Path, card: ModelCard) -> str:
    """A model's card for people."""
    n, seen, scores = card.network, card.input, card.scores
    size = "x".join([str(n.geometry.receptive_field)] * n.dims)
    lines = [
        f"{path}: U-Net by useg {card.version}",
        f"  network      {n.dims}-D, width {n.width}, depth {n.depth}, {n.padding} padding, norm: {n.norm}; "
        f"sees {size} pixels around each",
        f"  input        channels: {n.in_channels}; trained on {seen.dtype}, gray values "
        + ", ".join(f"{low:g}..{high:g}" for low, high in zip(seen.low, seen.high, strict=True)),
        f"  classes      {', '.join(f'{k} {c.name}' for k, c in enumerate(card.classes))}",
        f"  normalise    {card.normalise.kind}",
        f"  trained on   {', '.join(f'{k}: {v}' for k, v in card.trained_on.items())}",
    ]
    if any(card.score_shift):
        lines.append(f"  score shift  {', '.join(f'{s:g}' for s in card.score_shift)} (takes out the sampling's bias)")
    if scores:
        dice = ", ".join("-" if d is None else f"{d:.3f}" for d in scores["dice"])
        lines.append(f"  validation   Dice of each class {dice}, on {scores['images']} held-out images")
    if found := card.objects:
        lines.append(
            f"  objects      pixels above {found.threshold:g}, seeds above {found.seed_threshold:g}, at least "
            f"{found.smallest} pixels" + _object_words(scores.get("objects"))
        )
    return "\n".join(lines)


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

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    for title in ("Dice", "IoU", "Dice per image", "images with it", "false alarms"):
        table.add_column(title, justify="right")
    for k, name in enumerate(names):
        with_it = scores["images"] - scores["unannotated_images"] - scores["empty_images"][k]
        table.add_row(
            name,
            *(_figure(scores[key][k]) for key in ("dice", "iou", "image_dice")),
            str(with_it),
            f"{scores['false_alarms'][k]} of {scores['empty_images'][k]} without" if scores["empty_images"][k] else "-",
        )
    console().print(table)
    say(
        f"pixel accuracy {scores['pixel_accuracy']:.4f} over {count(scores['images'], 'image')}, "
        f"{scores['pixels']} pixels"
    )
    say("Dice and IoU pool all pixels; 'per image' is the mean over the images that hold the class.")
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


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def show_result(result: TrainResult) -> None:
    """How a training ended, and what to do next."""
    dice = f", validation Dice {result.validation:.4f}" if result.validation is not None else ", not validated yet"
    if result.quality is not None:
        dice += f", panoptic quality of objects {result.quality:.4f}"
    ended = "finished" if result.finished else "stopped"
    skipped = f" ({result.skipped} skipped: loss not finite, see metrics.jsonl)" if result.skipped else ""
    say(f"{ended} after {count(result.steps, 'step')}{skipped}{dice}: {result.model}")
    run = shlex.quote(str(result.run))
    if result.finished:
        say(f"next: useg predict {run} IMAGES -o OUT")
    else:
        say(f"go on with: useg train -o {run} --resume")


def count(number: int, what: str) -> str:
    """ "1 step", "2 steps"."""
    return f"{number} {what}" + "s" * (number != 1)


SAME_WISH_SECONDS = 1.0
"""A launcher such as torchrun hands on the Ctrl-C that the terminal has sent already: a second signal so soon after the
first is no order."""


@contextmanager
def training_watcher() -> Iterator[Watcher]:
    """A progress bar on standard error, and Ctrl-C or SIGTERM as a wish to stop, twice as an order."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from useg.loop import Watcher

    asked: list[float] = []

    def on_signal(number: int, frame: object) -> None:
        if not asked:
            asked.append(time.monotonic())
            say("stopping after this step; the model is kept")
        elif time.monotonic() - asked[0] > SAME_WISH_SECONDS:
            raise KeyboardInterrupt

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[line]}"))
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    bar = Bar(*columns, console=console(), transient=False)
    task = bar.add_task("training", total=1.0, line="")
    shown = [0.0]

    def on_progress(p: Progress) -> None:
        line = progress_line(p)
        if console().is_terminal and not bar.live.is_started:
            bar.start()
        bar.update(task, completed=p.fraction, line=line)
        # Without a terminal there is no bar: a line every half minute instead.
        if not console().is_terminal and (p.event != "step" or time.monotonic() - shown[0] > 30):
            shown[0] = time.monotonic()
            say(f"{100 * p.fraction:3.0f} %  {line}")

    try:
        yield Watcher(on_text=say, on_progress=on_progress, should_stop=lambda: bool(asked))
    finally:
        if bar.live.is_started:
            bar.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def progress_line(p: Progress) -> str:
    """Loss, validation Dice, pace and time left."""
    parts = [f"step {p.step}" + (f"/{p.steps}" if p.steps else "")]
    if p.event == "skipped":
        parts.append("skipped: loss not finite")
    elif p.loss is not None:
        parts.append(f"loss {p.loss:.3f}")
    if p.dice is not None:
        parts.append(f"val Dice {p.dice:.3f}" + (f", objects PQ {p.quality:.3f}" if p.quality is not None else ""))
    parts.append(f"{p.images_per_second:.1f} images/s")
    if p.seconds_left is not None:
        parts.append(f"{int(p.seconds_left) // 60}:{int(p.seconds_left) % 60:02d} left")
    return "  ".join(parts)


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Any]:
    """A bar over files; yields the function that moves it by one."""
    with _bars() as bars:
        task = bars.add_task(what, total=total)
        yield lambda: bars.advance(task)


@contextmanager
def prediction_bars(files: int) -> Iterator[tuple[Any, Any]]:
    """Bars over files, and over the blocks of a large one; yields the functions that move them.

    Where nobody watches, a line a tenth of the blocks.
    """
    with _bars() as bars:
        task = bars.add_task("predicting", total=files)
        blocks = bars.add_task("blocks", total=None, visible=False)

        def on_block(done: int, total: int) -> None:
            bars.update(blocks, completed=done, total=total, visible=done < total)
            if not console().is_terminal and done * 10 // total > (done - 1) * 10 // total:
                say(f"{done} of {total} blocks")

        yield lambda: bars.advance(task), on_block


@contextmanager
def _bars() -> Iterator[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console(), transient=True, disable=not console().is_terminal) as bars:
        yield bars


def console() -> Any:
    """The terminal that people read: standard error. Of several processes that train together the first one's."""
    global _console
    if _console is None:
        from rich.console import Console

        _console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=not machine.speaks())
    return _console


_console: Any = None


def say(text: str) -> None:
    """A line for people."""
    console().print(text, markup=False)


def print_out(text: str) -> None:
    """A line for standard output."""
    sys.stdout.write(text + "\n")


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of `--json`."""
    print_out(json.dumps(document, indent=2, default=str, allow_nan=False))
