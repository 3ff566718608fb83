"""A server with a small model, in this process or in another, and images as the bytes of files."""

import io
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from struct import pack
from typing import IO

import numpy as np
import tifffile
from fastapi.testclient import TestClient
from PIL import Image

from useg.server import ServeSettings, child
from useg.server.app import create_app
from useg.server.child import Child

PORT = 8440
ROOT = Path(__file__).resolve().parents[2]
SHORTLY = (
    "network.depth=1",
    "network.width=4",
    "samples.batch=1",
    "machine.threads=1",
    "machine.precision=float32",
    "validations=1",
)
SHORT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import servers
servers.child.start = servers.short_training
"""
"""For `running`: its trainings are short."""

_RUN = """
import sys
exec(sys.argv[2])
from useg.server import ServeSettings, serve
serve(ServeSettings.model_validate_json(sys.argv[1]), lambda url: print(url, flush=True))
"""


_start = child.start


def short_training(arguments: Sequence[str], output: IO[bytes], steps: int = 12) -> Child:
    """As `useg.server.child.start`, but a few steps of a small network in the place of minutes."""
    at = list(arguments).index("--minutes")
    return _start(
        [*arguments[:at], f"--steps={steps}", *(f"--set={each}" for each in SHORTLY), *arguments[at + 2 :]], output
    )


def client_of(**changes: object) -> TestClient:
    """Talks to an app; used as a context, the app is started and stopped with it."""
    app = create_app(ServeSettings.model_validate({"port": PORT} | changes))
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", raise_server_exceptions=False)


def png_of(array: np.ndarray) -> bytes:
    return _saved(array, "PNG")


def tiff_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array)
    return file.getvalue()


def _saved(array: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def png_claiming(width: int, height: int, rows: int = 1) -> bytes:
    """A PNG whose header says a size, and that has so many rows of zeros."""
    data = zlib.compress(bytes((1 + width) * rows), 9)
    parts = [(b"IHDR", pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    chunks = [pack(">I", len(d)) + kind + d + pack(">I", zlib.crc32(kind + d)) for kind, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@contextmanager
def running(settings: ServeSettings, log: Path, before: str = "") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own that says nothing but its address; `log` is what it complains of.

    `before` is code that it runs first.
    """
    with log.open("w") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, settings.model_dump_json(), before],
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            cwd=tempfile.gettempdir(),
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, log.read_text()
            yield process, url
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
