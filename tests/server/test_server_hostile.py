"""A real server under 200 requests, 20 at a time, most of them bad: each is answered, and nothing is left behind."""

import gzip
import http.client
import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from select import select
from struct import pack
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
import tifffile
from PIL import Image
from servers import png_claiming, png_of, running, tiff_of

from models import make_image, make_model
from useg import load
from useg.server import ServeSettings

PATIENCE = 2.0
KEPT = 200_000_000


@dataclass(frozen=True)
class Server:
    pid: int
    host: str
    port: int
    log: Path
    model: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def say(self, *pieces: bytes, pause: float = 0.0) -> bytes:
        """Send bytes as they are until there is an answer, and read its first line."""
        with socket.create_connection((self.host, self.port), timeout=60) as line:
            heard = b""
            for piece in pieces:
                line.sendall(piece)
                if select([line], [], [], pause)[0]:
                    break
            while b"\r\n" not in heard and (piece := line.recv(4096)):
                heard += piece
            return heard

    def head(self, path: str, *more: str, method: str = "POST") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self.port}", *more]
        return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"

    def memory(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    model, log = make_model(folder, width=8, depth=2), folder / "log.txt"
    settings = ServeSettings(
        model=model, port=None, max_upload=8_000_000, max_pixels=4_000_000, queue=8, patience=PATIENCE, device="cpu"
    )
    with running(settings, log) as (process, url):
        place = urlsplit(url)
        assert place.hostname and place.port
        yield Server(process.pid, place.hostname, place.port, log, model)


IMAGE = make_image((300, 200))[0]
COLOURED = np.moveaxis(make_image((64, 64), channels=3), 0, -1)


def good(server: Server) -> int:
    """A prediction that is right, however often the server is too busy for it first."""
    name, body = ("a.png", png_of(IMAGE)) if time.monotonic_ns() % 2 else ("b.tif", tiff_of(IMAGE))
    while True:
        status, headers, answer = server.ask("POST", f"/api/predict?name={name}&to=labels", body)
        if status != 429:
            break
        time.sleep(min(1.0, float(headers["Retry-After"])))
    labels = np.asarray(Image.open(io.BytesIO(answer))) if name == "a.png" else tifffile.imread(io.BytesIO(answer))
    assert np.array_equal(labels, EXPECTED[server.model])
    return status


EXPECTED: dict[Path, np.ndarray] = {}


def _predict(body: bytes, name: str = "x.png", **headers: str) -> Callable[[Server], int]:
    def ask(server: Server) -> int:
        status, _, answer = server.ask(
            "POST", f"/api/predict?name={name}", body, {key.replace("_", "-"): v for key, v in headers.items()}
        )
        assert json.loads(answer).keys() == {"error"}
        return status

    return ask


def _get(path: str, **headers: str) -> Callable[[Server], int]:
    return lambda server: server.ask("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})[0]


def _raw(make: Callable[[Server], tuple[bytes, ...]], pause: float = 0.0) -> Callable[[Server], int]:
    return lambda server: int(server.say(*make(server), pause=pause).split(b" ")[1])


def leaves_early(server: Server) -> int:
    with socket.create_connection((server.host, server.port), timeout=60) as line:
        line.sendall(server.head("/api/predict?name=x.png", "Content-Length: 5000000") + bytes(100_000))
    return 499


def leaves_while_waiting(server: Server) -> int:
    body = png_of(IMAGE)
    with socket.create_connection((server.host, server.port), timeout=60) as line:
        line.sendall(server.head("/api/predict?name=x.png", f"Content-Length: {len(body)}") + body)
    return 499


def _nifti(shape: tuple[int, int, int], body: bytes) -> bytes:
    header = bytearray(352)
    header[:4], header[344:348], header[108:112] = pack("<i", 348), b"n+1\0", pack("<f", 352)
    header[40:56] = pack("<8h", 3, *shape, 1, 1, 1, 1)
    header[70:74] = pack("<hh", 2, 8)
    return gzip.compress(bytes(header) + body, 1)


# What is sent, and the statuses that are a right answer to it.
BAD: list[tuple[str, Callable[[Server], int], set[int]]] = [
    ("huge by its header", _predict(png_claiming(60000, 60000)), {413}),
    ("a bomb of plain rows", _predict(png_claiming(20000, 4000, rows=4000)), {413}),
    ("more pixels than bytes can hold", _predict(png_claiming(1900, 2000)), {400}),
    ("a volume, and far more behind it", _predict(_nifti((100, 100, 100), bytes(10**8)), "x.nii.gz"), {400}),
    ("too many bytes", _predict(bytes(9_000_000)), {413}),
    ("cut short", _predict(png_of(IMAGE)[:2000]), {400, 415}),
    ("no image", _predict(b"<script>alert(1)</script>"), {415}),
    ("nothing", _predict(b""), {415}),
    ("colour for a model of gray", _predict(png_of(COLOURED)), {400}),
    ("no image by its name", _predict(png_of(IMAGE), "x.exe"), {415}),
    ("a path for a name", _predict(b"junk", "..%2f..%2fetc%2fpasswd"), {415}),
    ("a folder's suffix", _predict(png_of(IMAGE), "x.zarr"), {415}),
    ("compressed", _predict(gzip.compress(png_of(IMAGE)), content_encoding="gzip"), {415}),
    ("a foreign page", _predict(png_of(IMAGE), origin="http://evil.example"), {403}),
    ("a page of another kind", _predict(png_of(IMAGE), sec_fetch_site="cross-site"), {403}),
    ("another host", _get("/api/health", host="evil.example"), {421}),
    ("another port", _get("/api/health", host="127.0.0.1:1"), {421}),
    ("out of the folder", _get("/..%2f..%2fpyproject.toml"), {404}),
    ("out of the folder, as it is", _raw(lambda s: (s.head("/../app.py", method="GET"),)), {404}),
    ("no name", _raw(lambda s: (s.head("/api/predict", "Content-Length: 1"), b"x")), {422}),
    ("another method", lambda s: s.ask("PUT", "/api/predict?name=x.png", b"x")[0], {405}),
    ("not HTTP", _raw(lambda s: (b"\x16\x03\x01 hello\r\n\r\n",)), {400}),
    ("a head without end", _raw(lambda s: (s.head("/")[:-2] + b"X: " + b"y" * 100_000,)), {400, 431}),
    ("slow", _raw(lambda s: (s.head("/api/predict?name=x.png", "Content-Length: 100000"), *[b"x"] * 12), 0.25), {408}),
    ("silent", _raw(lambda s: (s.head("/api/predict?name=x.png", "Content-Length: 10"),)), {408}),
    ("gone amid its body", leaves_early, {499}),
    ("gone while it waits", leaves_while_waiting, {499}),
]


def test_every_request_is_answered_and_nothing_stays(server: Server) -> None:
    EXPECTED[server.model] = load(server.model).predict(IMAGE).labels
    good(server)
    idle = _settled(server, None)
    # Those that are busy enough to say no more than that need not come again; good ones do.
    kinds = [("good", good, {200})] * (200 - 5 * len(BAD)) + [(w, ask, right | {429}) for w, ask, right in BAD] * 5
    Random(0).shuffle(kinds)
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda kind: kind[1](server), kinds))
    assert not [(what, status) for (what, _, right), status in zip(kinds, statuses, strict=True) if status not in right]
    assert good(server) == 200
    after = _settled(server, idle + KEPT)
    print(f"RSS: {idle / 1e6:.0f} MB idle, {after / 1e6:.0f} MB after")
    assert after <= idle + KEPT
    assert "Traceback" not in server.log.read_text()


def _settled(server: Server, at_most: int | None) -> int:
    """Memory when all is done, freed memory given back: 30 seconds at most, where it should come to be low."""
    if at_most is None:
        time.sleep(3)
    for _ in range(60):
        if at_most is None or server.memory() <= at_most:
            break
        time.sleep(0.5)
    return server.memory()
