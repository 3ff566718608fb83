"""The page's viewer in a browser: what it shows is the image, where it should be, and it asks for no more than that."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from servers import running

from useg.server import ServeSettings
from useg.viewing.tiles import render_layer

HEIGHT, WIDTH = 2600, 3000
SLICES = 3
HARNESS = """<!doctype html><link rel="icon" href="data:,">
<style>
body { margin: 0; height: 3000px }
#host { position: absolute; left: 40px; top: 30px; width: 800px; height: 500px }
</style><div id="host"></div>
<script type="module">
import { Viewer } from "/viewer.js";
window.alive = 0;
const make = window.createImageBitmap;
window.createImageBitmap = async (...given) => { const made = await make(...given); window.alive += 1; return made; };
const close = ImageBitmap.prototype.close;
ImageBitmap.prototype.close = function () { window.alive -= 1; close.call(this); };
window.viewer = new Viewer(document.getElementById("host"));
window.told = [];
for (const type of ["view", "slice", "strokestart", "stroke", "strokeend", "hover", "leave", "compare", "failed"]) {
    viewer.addEventListener(type, (event) => window.told.push([type, event.detail]));
}
window.show = async (name) => {
    const response = await fetch(`/api/images/${name}/view`);
    const view = await response.json();
    view.layers = [{ id: "entropy", name: "uncertainty", v: "1" }];
    viewer.open(name, view);
    return view;
};
</script>"""


@cache
def picture() -> np.ndarray:
    """16 bits; every place of it has a look of its own."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (7 * x + 11 * y + (x // 300 + y // 260) % 2 * 20000).astype(np.uint16)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "images").mkdir()
    tifffile.imwrite(folder / "images" / "large.tif", picture(), compression="zlib")
    stack = np.zeros((SLICES, 90, 120), np.uint8)
    stack += (np.arange(SLICES, dtype=np.uint8) * 80 + 40)[:, None, None]
    tifffile.imwrite(folder / "images" / "stack.tif", stack, metadata={"axes": "ZYX"}, imagej=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (700, 600), np.uint8)).save(folder / "images" / "noise.png")
    with running(ServeSettings(project=folder), folder / "log") as (_, url):
        yield url


@cache
def gray_layer() -> bytes:
    """A tile of a layer over the image."""
    return render_layer(np.full((HEIGHT, WIDTH), 128, np.uint8), 2, 0, 0)


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Any, server: str) -> Iterator[Any]:
    """The viewer alone on a page; complaints fail the test."""
    ratio = getattr(request, "param", 1)
    context = browser.new_context(viewport={"width": 900, "height": 600}, device_scale_factor=ratio, has_touch=True)
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.route("**/harness", lambda route: route.fulfill(body=HARNESS, content_type="text/html"))
    page.route("**/tiles/entropy/**", lambda route: route.fulfill(body=gray_layer(), content_type="image/png"))
    page.goto(server + "harness")
    page.wait_for_function("() => window.show")
    yield page
    assert page.evaluate("scrollY") == 0
    context.close()
    # Some tests cut the line on purpose.
    assert [each for each in told if "ERR_FAILED" not in each] == []


plain_and_dense = pytest.mark.parametrize("page", [1, 2], ids=["plain", "dense"], indirect=True)
"""With one and with two screen pixels for a CSS pixel: where pixels are drawn, or places are told."""


def settle(page: Any) -> None:
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for_function("() => viewer.complete")


def show(page: Any, name: str) -> Any:
    view = page.evaluate(f"show('{name}')")
    settle(page)
    return view


def canvas(page: Any, which: int = 0) -> np.ndarray:
    """`Y X 4`, the pixels of the canvas of the tiles, or of the overlays."""
    data = page.evaluate(f"document.querySelectorAll('canvas')[{which}].toDataURL().split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


def view(page: Any) -> tuple[float, float, float]:
    found = page.evaluate("viewer.view")
    return found["x"], found["y"], found["scale"]


def to_image(page: Any, x: float, y: float) -> list[float]:
    return page.evaluate(f"viewer.toImage({x}, {y})")


def told(page: Any, *types: str) -> list[Any]:
    return [each for each in page.evaluate("window.told") if each[0] in types]


def expected(page: Any, shown: Any) -> np.ndarray:
    """What the canvas has of the large image, as `Y X` of gray values and NaN outside, up to the sampling of pixels."""
    x, y, scale = view(page)
    height, width = canvas(page).shape[:2]
    rows = np.floor(y + (np.arange(height) + 0.5) / scale).astype(int)
    columns = np.floor(x + (np.arange(width) + 0.5) / scale).astype(int)
    seen = picture()[np.ix_(np.clip(rows, 0, HEIGHT - 1), np.clip(columns, 0, WIDTH - 1))].astype(float)
    found = np.clip((seen - shown["low"]) / (shown["high"] - shown["low"]) * 255, 0, 255)
    found[(rows < 0) | (rows >= HEIGHT)] = np.nan
    found[:, (columns < 0) | (columns >= WIDTH)] = np.nan
    return found


@plain_and_dense
def test_at_each_zoom_the_image_is_where_the_view_says(page: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    shown = show(page, "large")
    assert (shown["width"], shown["height"]) == (WIDTH, HEIGHT)
    for factor in (1, 2.3, 2.9, 5):
        page.evaluate(f"viewer.zoomBy({factor}, 300, 200)")
        settle(page)
        pixels, wanted = canvas(page), expected(page, shown)
        outside = np.isnan(wanted)
        assert ((pixels[..., 3] == 0) == outside).mean() > 0.99
        away = np.abs(pixels[..., 0].astype(float) - wanted)[~outside]
        # Along the steps of the pattern neighbours are mixed.
        assert np.median(away) <= 2
        assert (away < 6).mean() > 0.9
    levels = {int(match[1]) for url in asked if (match := re.search(r"/tiles/image/(\d+)/", url))}
    assert len(levels) >= 3
    assert told(page, "failed") == []


@plain_and_dense
def test_enlarged_pixels_are_squares_of_the_very_values(page: Any) -> None:
    show(page, "noise")
    page.evaluate("viewer.zoomBy(8 / viewer.scale)")
    x, y, _ = view(page)
    ratio = page.evaluate("viewer.pixelRatio")
    page.evaluate(f"viewer.panBy({(x - 100) * 8 / ratio}, {(y - 500) * 8 / ratio})")
    settle(page)
    assert view(page) == pytest.approx((100, 500, 8))
    noise = np.random.default_rng(0).integers(0, 256, (700, 600), np.uint8)
    rows, columns = (round(n * ratio / 8 + 0.5) for n in (500, 800))
    wanted = noise[500:, 100:][:rows, :columns].repeat(8, 0).repeat(8, 1)
    pixels = canvas(page)[..., 0]
    assert (pixels == wanted[: len(pixels), : pixels.shape[1]]).all()


@plain_and_dense
def test_zooming_keeps_the_point_under_the_pointer_and_dragging_takes_it_along(page: Any) -> None:
    show(page, "large")
    page.mouse.move(333, 222)
    for wheel in (-240, -240, 120):
        before = to_image(page, 333, 222)
        page.mouse.wheel(0, wheel)
        settle(page)
        assert to_image(page, 333, 222) == pytest.approx(before, abs=1e-6)
    page.mouse.down()
    page.mouse.move(400, 260, steps=5)
    page.mouse.up()
    settle(page)
    assert to_image(page, 400, 260) == pytest.approx(before, abs=1e-6)
    assert page.evaluate(f"viewer.toClient(...{before})") == pytest.approx([400, 260], abs=1e-6)
    assert told(page, "strokestart") == []


def test_keys_move_the_image_and_are_heard_only_in_the_viewer(page: Any) -> None:
    show(page, "large")
    host = page.locator("#host")
    assert host.get_attribute("role") == "application"
    assert "Arrow keys" in host.get_attribute("aria-label")
    fitted = view(page)
    page.keyboard.press("+")
    assert view(page) == fitted
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "host"
    page.keyboard.press("+")
    page.keyboard.press("+")
    enlarged = view(page)
    assert enlarged[2] > 2 * fitted[2]
    for key, axis, sign in (("ArrowRight", 0, 1), ("ArrowLeft", 0, -1), ("ArrowDown", 1, 1), ("ArrowUp", 1, -1)):
        before = view(page)
        page.keyboard.press(key)
        assert sign * (view(page)[axis] - before[axis]) > 0
    assert view(page) == pytest.approx(enlarged)
    page.keyboard.press("1")
    assert view(page)[2] == pytest.approx(1)
    page.keyboard.press("0")
    assert view(page) == pytest.approx(fitted)


@plain_and_dense
def test_strokes_come_in_image_coordinates_with_every_point(page: Any) -> None:
    show(page, "large")
    page.evaluate("viewer.mode = 'paint'; viewer.zoomBy(3, 200, 200)")
    track = [(200, 200), (260, 210), (300, 290)]
    page.mouse.move(*track[0])
    page.mouse.down()
    for point in track[1:]:
        page.mouse.move(*point)
    page.keyboard.down("Shift")
    page.mouse.up()
    page.keyboard.up("Shift")
    strokes = told(page, "strokestart", "stroke", "strokeend")
    assert (strokes[0][0], strokes[-1][0]) == ("strokestart", "strokeend")
    assert strokes[-1][1]["shift"]
    assert not strokes[0][1]["shift"]
    assert not strokes[-1][1]["cancelled"]
    points = [point for _, detail in strokes for point in detail["points"]]
    for client in track:
        wanted = to_image(page, *client)
        assert min(abs(x - wanted[0]) + abs(y - wanted[1]) for x, y in points) < 1e-6
    # Of events that the browser gathered between two frames none is lost.
    page.evaluate(
        """window.told = [];
        const at = (x, more) => new PointerEvent(more ? "pointermove" : "pointerdown",
            {pointerId: 1, clientX: x, clientY: 99, coalescedEvents: more ?? []});
        host.setPointerCapture = () => {};
        host.dispatchEvent(at(100)); host.dispatchEvent(at(103, [at(101), at(102), at(103)]));"""
    )
    gathered = [p for _, detail in told(page, "stroke") for p in detail["points"]]
    assert gathered == [pytest.approx(to_image(page, x, 99)) for x in (101, 102, 103)]


def test_space_and_the_middle_button_move_while_painting(page: Any) -> None:
    show(page, "large")
    page.evaluate("viewer.mode = 'paint'; viewer.zoomBy(3, 200, 200)")
    for button, key in (("left", " "), ("middle", None), ("right", None)):
        before = to_image(page, 200, 200)
        page.mouse.move(200, 200)
        if key:
            page.locator("#host").focus()
            page.keyboard.down(key)
        page.mouse.down(button=button)
        page.mouse.move(230, 190)
        page.mouse.up(button=button)
        if key:
            page.keyboard.up(key)
        assert to_image(page, 230, 190) == pytest.approx(before, abs=1e-6)
    assert told(page, "strokestart") == []
    page.mouse.down()
    page.mouse.up()
    assert len(told(page, "strokestart")) == 1


def test_two_fingers_pinch_and_take_back_the_stroke_of_the_first(page: Any) -> None:
    show(page, "large")
    page.evaluate("viewer.mode = 'paint'")
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[int, int]) -> None:
        places = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    before, (_, _, scale) = to_image(page, 300, 250), view(page)
    send("touchStart", (250, 250))
    send("touchStart", (250, 250), (350, 250))
    assert told(page, "strokeend")[-1][1]["cancelled"]
    for step in range(1, 6):
        send("touchMove", (250 - 10 * step, 250), (350 + 10 * step, 250))
    settle(page)
    assert view(page)[2] == pytest.approx(2 * scale)
    assert to_image(page, 300, 250) == pytest.approx(before, abs=3 / scale)
    send("touchEnd")
    assert len(told(page, "strokestart")) == 1
    send("touchStart", (200, 200))
    send("touchMove", (220, 200))
    send("touchEnd")
    assert len(told(page, "strokestart")) == 2
    assert not told(page, "strokeend")[-1][1]["cancelled"]


def test_comparing_tells_where_the_divider_is(page: Any) -> None:
    show(page, "large")
    page.evaluate("viewer.mode = 'compare'")
    page.mouse.move(240, 200)
    page.mouse.down()
    page.mouse.move(440, 200)
    page.mouse.move(2000, 200)
    page.mouse.up()
    assert [detail["at"] for _, detail in told(page, "compare")] == pytest.approx([0.25, 0.5, 1])


def test_slices_are_gone_through_and_brightness_and_layers_change_the_picture(page: Any) -> None:
    show(page, "stack")
    page.locator("#host").focus()
    middle = tuple(n // 2 for n in canvas(page).shape[:2])
    for z, key in ((0, None), (1, "PageDown"), (2, "PageDown"), (2, "PageDown"), (1, "PageUp")):
        if key:
            page.keyboard.press(key)
        settle(page)
        assert page.evaluate("viewer.slice") == z
        assert canvas(page)[middle].tolist() == [80 * z + 40] * 3 + [255]
    assert [detail["slice"] for _, detail in told(page, "slice")] == [1, 2, 1]
    page.evaluate("viewer.setWindow(100, 140)")
    page.wait_for_function("() => true", timeout=1000)
    page.wait_for_timeout(100)
    settle(page)
    assert canvas(page)[middle][0] == 128
    page.evaluate("viewer.setLayer('entropy', 1)")
    settle(page)
    over = canvas(page)[middle]
    assert len(set(over[:3].tolist())) == 3
    page.evaluate("viewer.setLayer('entropy', 0)")
    settle(page)
    assert canvas(page)[middle][0] == 128
    page.evaluate("viewer.setLayer(null)")
    page.evaluate("viewer.close()")
    settle(page)
    assert canvas(page).max() == 0


@plain_and_dense
def test_overlays_fill_what_is_asked_for_and_no_more(page: Any) -> None:
    show(page, "large")
    page.evaluate(
        """window.rects = [];
        viewer.overlays.push({draw(pixels, width, height, view, rect) {
            rects.push([rect, view]);
            for (let y = rect.top; y < rect.top + rect.height; y++) {
                for (let x = rect.left; x < rect.left + rect.width; x++) {
                    pixels.set([rects.length, 0, 0, 255], 4 * (y * width + x));
                }
            }
        }});
        viewer.redraw()"""
    )
    settle(page)
    sheet = canvas(page, 1)
    assert (sheet[..., 0] == 1).all()
    page.evaluate(
        """viewer.redraw({x: 500, y: 600, width: 100, height: 50});
        viewer.redraw({x: 590, y: 640, width: 20, height: 10})"""
    )
    settle(page)
    after = canvas(page, 1)
    ys, xs = np.nonzero(after[..., 0] > 1)
    x, y, scale = view(page)
    for low, high, start, length, origin in ((xs.min(), xs.max(), 500, 110, x), (ys.min(), ys.max(), 600, 50, y)):
        assert low <= (start - origin) * scale <= low + 3
        assert high - 3 <= (start + length - origin) * scale <= high + 1
    count = page.evaluate("rects.length")
    page.evaluate("viewer.redraw({x: -900, y: 0, width: 50, height: 50})")  # off the screen
    settle(page)
    assert page.evaluate("rects.length") == count


@plain_and_dense
def test_what_is_drawn_moves_along_with_the_image(page: Any) -> None:
    """After any moves the overlays look as if all were drawn anew, and far less is drawn than that."""
    show(page, "large")
    page.evaluate(
        """window.drawn = 0;
        viewer.zoomBy(0.5 / viewer.scale);
        viewer.overlays.push({draw(pixels, width, height, view, rect) {
            drawn += rect.width * rect.height;
            for (let j = rect.top; j < rect.top + rect.height; j++) {
                for (let i = rect.left; i < rect.left + rect.width; i++) {
                    const [x, y] = [view.x + (i + 0.5) / view.scale, view.y + (j + 0.5) / view.scale];
                    const value = 1 + ((Math.floor(x / 4) * 7 + Math.floor(y / 4) * 13) % 255 + 255) % 255;
                    pixels.set([value, value, value, 255], 4 * (j * width + i));
                }
            }
        }});
        viewer.redraw()"""
    )
    settle(page)
    pixels = canvas(page, 1)[..., 0].size
    rng = np.random.default_rng(0)
    for _ in range(4):
        page.evaluate("drawn = 0")
        moves = rng.integers(-60, 60, (rng.integers(1, 4), 2)).tolist()
        part = "{x: 1500, y: 1300, width: 9, height: 9}"
        page.evaluate(f"for (const [x, y] of {moves}) {{ viewer.redraw({part}); viewer.panBy(x, y); }}")
        settle(page)
        assert 0 < page.evaluate("drawn") < pixels / 2
        moved = canvas(page, 1)
        page.evaluate("viewer.redraw()")
        settle(page)
        anew = canvas(page, 1)
        assert (moved == anew).all()
    for move in ("viewer.panBy(0.3, 0)", "viewer.overlays[0].clip = {from: 0, to: 1}; viewer.panBy(5, 5)"):
        page.evaluate(f"drawn = 0; {move}")
        settle(page)
        assert page.evaluate("drawn") == pixels


def test_until_a_pyramid_is_there_its_progress_is_shown(page: Any) -> None:
    found = show(page, "large")
    answers = [found | {"ready": False, "progress": 0.5, "low": None}, found]
    page.route("**/large/view", lambda route: route.fulfill(json=answers.pop(0)))
    page.evaluate("viewer.addEventListener('ready', ({detail}) => told.push(['ready', detail.low]))")
    page.evaluate("show('large')")
    page.wait_for_function("() => told.some(([type]) => type === 'ready')")
    assert told(page, "ready") == [["ready", found["low"]]]
    settle(page)
    assert (canvas(page)[..., 3] == 255).mean() > 0.5


@plain_and_dense
def test_another_size_of_the_window_keeps_the_middle_where_it_was(page: Any) -> None:
    show(page, "large")
    ratio = page.evaluate("viewer.pixelRatio")
    assert canvas(page).shape[:2] == (500 * ratio, 800 * ratio)
    page.evaluate("viewer.zoomBy(4, 300, 300)")
    before = to_image(page, 40 + 400, 30 + 250)
    page.evaluate("host.style.width = '600px'; host.style.height = '300px'")
    settle(page)
    assert canvas(page).shape[:2] == (300 * ratio, 600 * ratio)
    assert to_image(page, 40 + 300, 30 + 150) == pytest.approx(before, abs=1e-6)
    page.evaluate("viewer.fit(); host.style.width = '800px'")
    settle(page)
    assert to_image(page, 40 + 400, 30 + 150) == pytest.approx([WIDTH / 2, HEIGHT / 2])


def test_what_is_out_of_sight_is_not_waited_for_and_old_tiles_are_forgotten(page: Any) -> None:
    show(page, "large")
    aborted: list[str] = []
    page.on("requestfailed", lambda request: aborted.append(request.url))
    held: list[Any] = []
    page.route("**/tiles/image/0/**", lambda route: held.append(route))
    page.evaluate("viewer.zoomBy(1 / viewer.scale, 45, 35)")
    page.wait_for_function("() => !viewer.complete")
    page.wait_for_timeout(200)
    assert 0 < len(held) <= 6
    page.evaluate("viewer.fit()")
    settle(page)
    page.wait_for_timeout(100)
    assert len(aborted) == len(held)
    page.unroute("**/tiles/image/0/**")
    page.evaluate("viewer.zoomBy(1 / viewer.scale)")
    for low in range(8):
        page.evaluate(f"viewer.setWindow({low}, 60000)")
        page.wait_for_timeout(80)
        settle(page)
    assert page.evaluate("alive") <= 96


def test_tiles_that_fail_are_asked_for_again(page: Any) -> None:
    page.route("**/tiles/image/**", lambda route: route.abort())
    page.evaluate("show('noise')")
    page.wait_for_function("() => told.some(([type]) => type === 'failed')")
    page.unroute("**/tiles/image/**")
    page.wait_for_function("() => viewer.complete && alive > 0", timeout=10000)
    settle(page)
    assert canvas(page)[..., 3].max() == 255
