"""A server that listens: quiet, patient with few, and gone at the first Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from useg.errors import OutputError, SettingsError
from useg.server.app import create_app
from useg.server.settings import PORT, ServeSettings

MOST_CONNECTIONS = 128
HEAD_SECONDS = 15.0
"""Within which a request's line and headers must come."""
HEAD_BYTES = 32 * 1024
KEEP_ALIVE_SECONDS = 15
LEAVE_SECONDS = 5
"""That running requests get when the server stops."""
TRIES = 11


class _Server(uvicorn.Server):
    on_started: Callable[[], None]
    on_stop: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.on_stop()
        await super().shutdown(sockets)


def listen(settings: ServeSettings, on_ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        on_ready: told the address to open, with the token if there is one, as soon as it works.

    Raises:
        SettingsError: the host cannot be listened on. OutputError: the port is taken.
        UsegError: as `create_app`.
    """
    if settings.token is None and not settings.is_local:
        settings = settings.model_copy(update={"token": secrets.token_urlsafe(24)})
    with _bound(settings) as bound:
        settings = settings.model_copy(update={"port": bound.getsockname()[1]})
        app = create_app(settings)
        server = _Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                http=_Protocol,
                ws="none",
                proxy_headers=False,
                limit_concurrency=MOST_CONNECTIONS,
                h11_max_incomplete_event_size=HEAD_BYTES,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=LEAVE_SECONDS,
            )
        )
        server.on_stop = app.state.useg.hurry
        server.on_started = lambda: on_ready(address(settings))
        # It ends as asked, and says so by ending.
        with suppress(KeyboardInterrupt):
            server.run(sockets=[bound])


def address(settings: ServeSettings) -> str:
    """What to open in a browser."""
    host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.port}/" + (f"?token={quote(settings.token, safe='')}" if settings.token else "")


def _bound(settings: ServeSettings) -> socket.socket:
    ports = [settings.port] if settings.port else range(PORT, PORT + TRIES)
    try:
        found = socket.getaddrinfo(settings.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise SettingsError(f"--host {settings.host}: there is no such address ({error.strerror})") from error
    family, _, _, _, place = found[0]
    for port in ports:
        # asyncio turns off Nagle's delay, 40 ms an answer, only where the protocol is named.
        taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":  # there it is for those who have just left; elsewhere it takes a port from its owner
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((place[0], port, *place[2:]))
            taken.listen(MOST_CONNECTIONS)
        except OSError as error:
            taken.close()
            reason = error.strerror
        else:
            return taken
    named = f"--port {settings.port}" if settings.port else f"ports {ports[0]} to {ports[-1]}"
    raise OutputError(f"{named}: cannot be listened on at {settings.host} ({reason}); choose another --port")


class _Protocol(H11Protocol):
    """Hangs up on those who connect and then do not finish asking."""

    _asking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._asking:
            self._asking.cancel()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        if self._asking:
            self._asking.cancel()
        self._asking = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.transport.close()
