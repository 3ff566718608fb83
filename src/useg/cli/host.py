"""`useg serve`: the page in the browser, and the HTTP interface."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from useg.cli.arguments import DeviceOption, MemoryOption
from useg.console import say
from useg.errors import SettingsError
from useg.options import parse_memory


def serve(
    what: Annotated[
        Path, typer.Argument(help="A project's folder (made if it is empty), a model file or a run folder.")
    ] = Path(),
    project: Annotated[
        Path | None, typer.Option(help="With a model: the folder of the project [useg-project here].")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any but this machine alone needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int | None, typer.Option(help="Port [8440, or the next that is free].", min=1, max=65535)] = None,
    token: Annotated[
        str | None, typer.Option(help="What clients must know, 16 letters or more; made up if --host needs one.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    max_memory: MemoryOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Open a page in the browser: see what a model does, correct it, and improve it."""
    from useg.server import serve as listen
    from useg.server.settings import ServeSettings

    model = what if what.is_file() or (what / "settings.toml").is_file() else None
    if model is None and project is not None:
        raise SettingsError(f"--project: {what} is no model; give the project alone, or a model and its project")
    folder = (project or Path("useg-project")) if model else what

    def ready(url: str) -> None:
        say(f"{folder.resolve()} is open at {url}  (Ctrl-C ends it; nothing leaves this machine)")
        if open_page:
            webbrowser.open(url)

    listen(
        ServeSettings(
            project=folder,
            model=model,
            host=host,
            port=port,
            token=token,
            device=device,
            max_memory=parse_memory(max_memory),
        ),
        ready,
    )
