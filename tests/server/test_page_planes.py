"""Three planes of a volume in the browser: each is that plane of the volume, and all go through one point."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from looks import FAINT, SMALL, UNNAMED
from PIL import Image
from servers import png_of, running
from visits import DESK, PHONE, Place, wait_for_state

from useg.images import Header, write_labels
from useg.server import ServeSettings

SIZE = (12, 40, 30)
THICK = 3.0
"""Of a slice; rows and columns are 1."""
BOUNDED = "from useg.viewing import planes; planes.MOST = 20_000"
"""Columns of the volume `vast` take more than that."""


def volume() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)


@pytest.fixture(scope="module")
def place(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("planes")
    images, masks = root / "project" / "images", root / "project" / "masks"
    images.mkdir(parents=True)
    masks.mkdir()
    like = Header(1, SIZE, np.dtype(np.uint8), "CZYX", (THICK, 1.0, 1.0), "mm")
    write_labels(images / "deep.nii.gz", volume(), like=like)
    write_labels(masks / "deep.nii.gz", (volume() > 200).astype(np.uint8))
    write_labels(images / "vast.nii.gz", np.arange(20 * 60 * 50, dtype=np.uint8).reshape(20, 60, 50), like=like)
    (images / "flat.png").write_bytes(png_of(volume()[0]))
    with running(ServeSettings(project=root / "project"), root / "log", before=BOUNDED) as (_, url):
        yield Place(url, root / "project", root)
    assert (root / "log").read_text() == ""


def pane(page: Any, axis: str) -> tuple[np.ndarray, dict[str, float]]:
    """What a pane shows of each voxel, `Z W 3` with the first slice first, and the box of its picture on the page."""
    data = page.locator(f"#plane-{axis} canvas").evaluate("canvas => canvas.toDataURL().split(',')[1]")
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
    rows, columns = (np.flatnonzero(seen[..., 3].any(axis=k)) for k in (1, 0))
    top, left, height, width = rows[0], columns[0], len(rows), len(columns)
    wide = SIZE[2] if axis == "y" else SIZE[1]
    middles = [((np.arange(n) + 0.5) * pixels / n).astype(int) for n, pixels in ((SIZE[0], height), (wide, width))]
    box = page.locator(f"#plane-{axis} canvas").bounding_box()
    place = {"x": box["x"] + left, "y": box["y"] + top, "width": width, "height": height}
    return seen[top + middles[0]][:, left + middles[1], :3][::-1], place


def wait_for_planes(page: Any, y: int, x: int, z: int = 0) -> None:
    """Both show, without labels, what the volume has in row `y` and column `x`."""
    page.locator("#slice-value", has_text=f"{z + 1} of {SIZE[0]}").wait_for()
    for axis, index, wanted in (("y", y, volume()[:, y]), ("x", x, volume()[:, :, x])):
        page.locator(f"#plane-{axis} output", has_text=f"{index + 1} of").wait_for()
        for _ in range(100):
            page.wait_for_timeout(20)
            if np.array_equal(pane(page, axis)[0], np.stack([wanted] * 3, axis=-1)):
                break
        else:
            raise AssertionError(f"plane {axis} {index} is not that of the volume")


def lines(page: Any, where: str) -> tuple[float, float]:
    """Middle of the upright line, and of the level one."""
    upright, level = (page.locator(f"{where} .line").nth(k).bounding_box() for k in (0, 1))
    return upright["x"] + upright["width"] / 2, level["y"] + level["height"] / 2


def test_the_planes_are_those_of_the_volume_and_go_through_one_point(browser: Any, place: Place) -> None:
    with place.page(browser, expected="status of 400") as page:
        page.locator("#where", has_text="deep").wait_for()
        assert page.locator("#planes").is_hidden()
        page.locator("#planes-button").click()
        page.keyboard.press("o")
        z, y, x = 0, SIZE[1] // 2, SIZE[2] // 2
        wait_for_planes(page, y, x, z)
        _, box = pane(page, "y")
        assert box["width"] / box["height"] == pytest.approx(SIZE[2] / (SIZE[0] * THICK), rel=0.02)

        # A click in a pane moves the slice and the other pane; the lines are where it was.
        x, z = 4, 9
        page.mouse.click(box["x"] + (x + 0.5) / SIZE[2] * box["width"], box["y"] + (1 - 9.5 / SIZE[0]) * box["height"])
        wait_for_planes(page, y, x, z)
        across, up = lines(page, "#plane-y")
        assert across == pytest.approx(box["x"] + (x + 0.5) / SIZE[2] * box["width"], abs=1)
        assert up == pytest.approx(box["y"] + (1 - (z + 0.5) / SIZE[0]) * box["height"], abs=1)
        across, up = lines(page, "#cross")
        viewer = page.locator("#viewer").bounding_box()
        scale = min(viewer["width"] / SIZE[2], viewer["height"] / SIZE[1], 16)
        assert across == pytest.approx(viewer["x"] + viewer["width"] / 2 + (x + 0.5 - SIZE[2] / 2) * scale, abs=1)
        assert up == pytest.approx(viewer["y"] + viewer["height"] / 2 + (y + 0.5 - SIZE[1] / 2) * scale, abs=1)

        # So does a slider, by its keys, and a click with the right button into the slice.
        page.locator("#plane-y input").focus()
        page.keyboard.press("ArrowRight")
        y += 1
        wait_for_planes(page, y, x, z)
        x, y = 20, 5
        middle = viewer["x"] + viewer["width"] / 2, viewer["y"] + viewer["height"] / 2
        point = (middle[0] + (x + 0.5 - SIZE[2] / 2) * scale, middle[1] + (y + 0.5 - SIZE[1] / 2) * scale)
        page.mouse.click(*point, button="right")
        wait_for_planes(page, y, x, z)

        # Labels are painted over, also those of the stroke that was just made.
        page.keyboard.press("o")
        page.wait_for_timeout(100)
        kept = volume()[:, y] > 200
        coloured = np.ptp(pane(page, "y")[0].astype(int), axis=-1) > 0
        assert (coloured == kept).all()
        page.keyboard.press("e")
        page.mouse.click(*point)
        page.wait_for_timeout(100)
        left = np.ptp(pane(page, "y")[0].astype(int), axis=-1) > 0
        assert not left[z, x - 8 : x + 8].any()
        assert (left[np.arange(SIZE[0]) != z] == kept[np.arange(SIZE[0]) != z]).all()
        wait_for_state(page, "deep", "Draft")

        for size in ({"width": 1280, "height": 900}, PHONE):
            page.set_viewport_size(size)
            page.screenshot(path=place.shots / f"planes-{size['width']}.png")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            boxes = [page.locator(f"#plane-{axis} .cut").bounding_box() for axis in "yx"]
            assert min(box[edge] for box in boxes for edge in ("width", "height")) > 60
            assert page.evaluate(UNNAMED) == page.evaluate(FAINT) == []
        assert page.evaluate(SMALL) == []
        page.set_viewport_size(DESK)

        # A flat image has none; the next volume has them again, and says where it is too large for one.
        page.locator("#gallery .card", has_text="flat").click()
        page.locator("#where", has_text="flat").wait_for()
        assert page.locator("#planes").is_hidden() and page.locator("#planes-tool").is_hidden()
        page.locator("#gallery .card", has_text="vast").click()
        page.locator("#plane-x .told", has_text="too large").wait_for()
        assert page.locator("#plane-y .told").is_hidden()
        page.locator("#viewer").focus()
        page.keyboard.press("t")
        assert page.locator("#planes").is_hidden()
