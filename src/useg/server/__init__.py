"""The page and the HTTP interface: a door, which translates requests to calls. `serve` runs it."""

from __future__ import annotations

from collections.abc import Callable

from useg.errors import extra
from useg.server.settings import ServeSettings

__all__ = ["ServeSettings", "serve"]


def serve(settings: ServeSettings, on_ready: Callable[[str], None] = lambda url: None) -> None:
    """Listen until Ctrl-C or SIGTERM; see `useg.server.listen.listen`."""
    with extra("useg serve", "serve"):
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    from useg.server.listen import listen

    listen(settings, on_ready)
