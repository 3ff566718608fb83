"""Who may ask, and what browsers may do with the answers: checked before anything else looks at a request."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from useg.server.settings import PORT, ServeSettings

SECURE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Headers of every answer that has none of its own of that name."""

PAGE = "/"
"""The address that people open; other pages may link to it, and to nothing else."""


class Guard:
    """ASGI middleware: refuses requests of other names, other origins and without the token."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app, self.port = app, settings.port or PORT
        self.names = _names(settings)
        # Listening everywhere, it is reached by any of its addresses. A page that has itself resolved to one of them
        # (DNS rebinding) comes with a name, never with a number.
        self.any_number = settings.host in ("0.0.0.0", "::")
        self.token = settings.token
        # Not the token itself, so that a cookie may hold it whatever its letters.
        self.pass_ = hashlib.sha256(settings.token.encode()).hexdigest() if settings.token else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, hand on all else."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)

        async def securely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURE.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._look(scope)
        if refused is not None:
            return await refused(scope, receive, securely)
        return await self.app(scope, receive, securely)

    def _look(self, scope: Scope) -> Response | None:
        if scope["type"] != "http":
            return _refusal(403, "only plain HTTP is spoken here")
        headers = Headers(scope=scope)
        host = headers.getlist("host")
        if len(host) != 1 or not self._is_ours(host[0]):
            return _refusal(421, "the address has another host or port than this server; open the one that it prints")
        opens_page = scope["path"] == PAGE and scope["method"] == "GET"
        if not self._is_from_here(headers, host[0], opens_page):
            return _refusal(403, "requests of other web pages are refused")
        return self._admit(scope, headers, opens_page) if self.token else None

    def _is_ours(self, host: str) -> bool:
        name, port = _parted(host)
        if port != self.port:
            return False
        return name in self.names or (self.any_number and _is_number(name))

    def _is_from_here(self, headers: Headers, host: str, opens_page: bool) -> bool:
        """Whether a browser says that this server's own page asks, or a person; other programs say nothing."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            return False
        if site in ("none", "same-origin"):
            return True
        return (
            opens_page and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        )

    def _admit(self, scope: Scope, headers: Headers, opens_page: bool) -> Response | None:
        assert self.token is not None
        # Headers are bytes, read as Latin-1; a token's are UTF-8.
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip().encode("latin-1"), self.token):
            return None
        name = f"useg-{self.port}"  # cookies of one host are shared by all of its ports
        if _same(_cookie(headers, name).encode(), self.pass_):
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if opens_page and _same(asked.encode("utf-8", "replace"), self.token):
            response = RedirectResponse(PAGE, 303)
            response.set_cookie(name, self.pass_, httponly=True, samesite="strict", path="/")
            return response
        return _refusal(401, "open the address that the server printed, with its token", {"WWW-Authenticate": "Bearer"})


def _names(settings: ServeSettings) -> set[str]:
    names = {"localhost", "127.0.0.1", "::1", _parted(settings.host)[0]}
    return names if settings.is_local else names | {socket.gethostname().lower(), socket.getfqdn().lower()}


def _parted(host: str) -> tuple[str, int | None]:
    """The name and port of a `Host` header; no name where it is none. Port 80 is not said."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        port = port.removeprefix(":") if port.startswith(":") else port and "no port"
    elif host.count(":") > 1:  # an address of version 6, as it is given on the command line
        name, port = host, ""
    else:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5):
        return "", None
    return name.lower().rstrip("."), int(port) if port else 80


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookie(headers: Headers, name: str) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _same(given: bytes, known: str) -> bool:
    return hmac.compare_digest(given, known.encode())


def _refusal(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, headers)
