"""What the tests of the correction share: the page's modules served on a blank page, and arrays to and from it."""

import base64
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).resolve().parents[2] / "src" / "useg" / "server" / "page"
HARNESS = Path(__file__).with_name("labels_harness.js")
BLANK = b"<!doctype html><html lang=en><title>labels</title><link rel=icon href=data:,><body></body></html>"


class Folder(http.server.SimpleHTTPRequestHandler):
    """The page's folder, the harness, and a blank page that fetches nothing else."""

    def do_GET(self) -> None:
        if self.path == "/":
            self.reply(BLANK, "text/html")
        elif self.path == "/harness.js":
            self.reply(HARNESS.read_bytes(), "text/javascript")
        else:
            super().do_GET()

    def reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    """The address of the blank page."""

    def handler(*args: Any) -> Folder:
        return Folder(*args, directory=str(PAGE))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def opened(browser: Any) -> Iterator[Any]:
    """The blank page; whatever it complains of fails the test."""
    with served() as address:
        page = browser.new_page(viewport={"width": 900, "height": 700})
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(address)
        yield page
        page.close()
    assert told == []


def run(page: Any, body: str, argument: object = None) -> Any:
    """Run JavaScript that sees the harness as `h` and `argument` as `a`."""
    return page.evaluate(f"async (a) => {{ const h = await import('/harness.js'); {body} }}", argument)


def array(text: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)


def text(labels: np.ndarray) -> str:
    return base64.b64encode(labels.tobytes()).decode()


def blobs(seed: int, shape: tuple[int, ...], values: list[int]) -> np.ndarray:
    """Labels in patches of a few pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(values, [(n + 3) // 4 for n in shape])
    return np.kron(coarse, np.ones((4,) * len(shape), int))[tuple(slice(n) for n in shape)].astype(np.uint8)
