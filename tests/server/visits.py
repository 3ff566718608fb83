"""A visit to the page in a browser: a server with a project, and what a person does there with mouse and files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from servers import SHORT, png_of, running

from useg.server import ServeSettings

SIZE = (96, 128)
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PATIENCE = 60_000


def disc(seed: int) -> np.ndarray:
    """Where the disc of a picture is: 1, elsewhere 0."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return ((y - random.integers(30, 66)) ** 2 + (x - random.integers(30, 98)) ** 2 < 400).astype(np.uint8)


def picture(seed: int) -> np.ndarray:
    """A bright disc on noise."""
    return 60 + 120 * disc(seed) + np.random.default_rng(seed + 100).integers(0, 40, SIZE, np.uint8)


@dataclass
class Place:
    """A server, its project's folder, and where pictures of its page go."""

    url: str
    folder: Path
    shots: Path

    @contextmanager
    def page(self, browser: Any, size: dict[str, int] = DESK, expected: str = "", **options: object) -> Iterator[Any]:
        """The page; whatever it asks of others, or complains of without `expected` in it, fails the test."""
        page = browser.new_page(viewport=size, **options)
        page.set_default_timeout(PATIENCE)
        asked: list[str] = []
        told: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(self.url)
        yield page
        page.close()
        assert [url for url in asked if not url.startswith((self.url, "blob:"))] == []
        assert [text for text in told if not expected or expected not in text] == []

    def masks(self) -> dict[str, np.ndarray]:
        return {path.stem: np.asarray(Image.open(path)) for path in (self.folder / "masks").glob("*.png")}


@contextmanager
def served(root: Path, model: Path | None) -> Iterator[Place]:
    folder, shots = root / "project", root / "shots"
    shots.mkdir()
    with running(ServeSettings(project=folder, model=model), root / "log", before=SHORT) as (_, url):
        yield Place(url, folder, shots)
    assert (root / "log").read_text() == ""


def drop(page: Any, images: dict[str, np.ndarray]) -> None:
    """Drop files onto the page as people do."""
    files = [[name, list(png_of(image))] for name, image in images.items()]
    page.evaluate(
        """files => {
            const data = new DataTransfer();
            for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name));
            for (const type of ["dragenter", "drop"])
                document.body.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: data}));
        }""",
        files,
    )


def overlay(page: Any) -> int:
    """How many pixels of the image's overlay have a colour."""
    return page.evaluate(
        """() => { const canvas = document.querySelectorAll("#viewer canvas")[1];
            const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {willReadFrequently: true});
            copy.drawImage(canvas, 0, 0);
            const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
            return data.filter((value, k) => k % 4 === 3 && value > 0).length; }"""
    )


def on_screen(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of an image lies that is shown whole."""
    box = page.locator("#viewer").bounding_box()
    scale = min(box["width"] / SIZE[1], box["height"] / SIZE[0])
    left, top = box["x"] + (box["width"] - SIZE[1] * scale) / 2, box["y"] + (box["height"] - SIZE[0] * scale) / 2
    return left + x * scale, top + y * scale


def stroke(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*on_screen(page, *start))
    page.mouse.down()
    page.mouse.move(*on_screen(page, *end), steps=8)
    page.mouse.up()


def distance(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """Of the middle of each pixel from a line."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    (x0, y0), (x1, y1) = start, end
    at = np.clip(((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2), 0, 1)
    return np.hypot(x - x0 - at * (x1 - x0), y - y0 - at * (y1 - y0))


def state(page: Any, name: str) -> Any:
    return page.locator("#gallery .card", has_text=name).locator(".state")


def wait_for_state(page: Any, name: str, words: str) -> None:
    page.locator("#gallery .card", has_text=name).locator(".state", has_text=words).wait_for()


def predicted(page: Any, name: str) -> np.ndarray:
    answer = page.request.get(f"{page.url.split('#')[0]}api/images/{name}/labels?source=prediction")
    assert answer.ok
    return np.frombuffer(answer.body(), np.uint8).reshape(SIZE)


def keep_truth(page: Any, url: str, seeds: dict[str, int]) -> None:
    """What another program does: write masks that are right."""
    for name, seed in seeds.items():
        old = page.request.get(f"{url}api/images/{name}/labels").headers["etag"]
        headers = {"If-Match": old, "X-Useg-Shape": f"1,{SIZE[0]},{SIZE[1]}", "X-Useg-Dtype": "uint8"}
        headers["Content-Type"] = "application/octet-stream"
        path = f"{url}api/images/{name}/mask"
        assert page.request.put(path, data=disc(seed).tobytes(), headers=headers).ok
