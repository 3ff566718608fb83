"""What people see in a terminal: tables, bars and lines on standard error, JSON on standard output."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from useg import machine

if TYPE_CHECKING:
    from useg.watch import Progress, Watcher


SAME_WISH_SECONDS = 1.0
"""A launcher such as torchrun hands on the Ctrl-C that the terminal has sent already: a second signal so soon after the
first is no order."""


@contextmanager
def training_watcher() -> Iterator[Watcher]:
    """A progress bar on standard error, and Ctrl-C or SIGTERM as a wish to stop, twice as an order."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from useg.watch import Watcher

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


def typed() -> str:
    """The command as it was typed."""
    return shlex.join(["useg", *sys.argv[1:]])


def print_out(text: str) -> None:
    """A line for standard output."""
    sys.stdout.write(text + "\n")


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of `--json`."""
    print_out(json.dumps(document, indent=2, default=str, allow_nan=False))
