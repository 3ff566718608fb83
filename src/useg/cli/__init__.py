"""The command line: parse, call, print. People read standard error; `--json` alone writes to standard output."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from useg.cli.apply import predict, suggest
from useg.cli.deliver import export
from useg.cli.host import serve
from useg.cli.judge import evaluate, info, score
from useg.cli.learn import check, demo, train
from useg.cli.measure import benchmark
from useg.console import say
from useg.errors import UsegError

__all__ = ["app", "main"]

app = typer.Typer(
    name="useg",
    help="From a handful of annotated images to a segmentation of all the others: the U-Net, on the computer you have.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (demo, check, train, predict, evaluate, score, suggest, export, benchmark, serve, info):
    app.command()(command)


def main() -> NoReturn:
    """The `useg` command: errors of ours are one line and exit code 2, and so is what needs torch where it is not."""
    try:
        app()
    except UsegError as error:
        say(f"useg: {error}")
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        say("useg: this needs torch, which is not here; pip install 'useg[train]' (`useg predict model.onnx` does not)")
        sys.exit(2)
    except KeyboardInterrupt:
        say("useg: stopped")
        sys.exit(130)
    sys.exit(0)
