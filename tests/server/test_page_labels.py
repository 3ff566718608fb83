"""Correcting labels in the browser: what each tool paints, undo and redo, what is drawn, and that nothing is lost."""

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    def handler(*args: Any) -> Folder:
        return Folder(*args, directory=str(PAGE))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A blank page beside the modules; whatever it complains of fails the test."""
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


def array(text: str, shape: tuple[int, ...], kind: type = np.uint8) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


def text(labels: np.ndarray) -> str:
    return base64.b64encode(labels.tobytes()).decode()


def test_smoke(page: Any) -> None:
    found = run(
        page,
        """
        const { data, viewer, editor, layer } = h.bench();
        viewer.stroke([[10, 10], [40, 30]]);
        const painted = h.bytes(data);
        editor.undo();
        return [painted, h.bytes(data), h.bytes(h.drawn(layer, 64, 48, {x: 0, y: 0, scale: 1}))];
        """,
    )
    painted = array(found[0], (48, 64))
    assert painted.sum() > 100
    assert not array(found[1], (48, 64)).any()
