"""Correcting labels in the browser: what each tool paints, undo and redo, what is drawn, and that nothing is lost."""

import base64
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.draw import polygon as skimage_polygon
from skimage.measure import label
from skimage.morphology import flood

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


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Any]:
    """A blank page beside the modules; whatever it complains of fails the test."""
    page = browser.new_page(viewport={"width": 900, "height": 700})
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(address)
    yield page
    page.close()
    assert told == []


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    """One for all tests that leave nothing behind."""
    with opened(browser, address) as page:
        yield page


def run(page: Any, body: str, argument: object = None) -> Any:
    """Run JavaScript that sees the harness as `h` and `argument` as `a`."""
    return page.evaluate(f"async (a) => {{ const h = await import('/harness.js'); {body} }}", argument)


def array(text: str, shape: tuple[int, ...], kind: type = np.uint8) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


def text(labels: np.ndarray) -> str:
    return base64.b64encode(labels.tobytes()).decode()


def blobs(seed: int, shape: tuple[int, ...], values: list[int], kind: type = np.uint8) -> np.ndarray:
    """Labels in patches of a few pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.choice(values, [(n + 3) // 4 for n in shape])
    return np.kron(coarse, np.ones((4,) * len(shape), int))[tuple(slice(n) for n in shape)].astype(kind)


# Shapes


def distance_to_segment(shape: tuple[int, int], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """From each pixel's centre."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    way = b - a
    along = ((x - a[0]) * way[0] + (y - a[1]) * way[1]) / max(way @ way, 1e-300)
    along = np.clip(along, 0, 1)
    return np.hypot(x - a[0] - along * way[0], y - a[1] - along * way[1])


def test_a_stroke_covers_the_pixels_within_the_radius_of_its_way(page: Any) -> None:
    found = run(
        page,
        """
        const next = h.random(1);
        return Array.from({ length: 150 }, (_, k) => {
            const [width, height] = [1 + Math.floor(60 * next()), 1 + Math.floor(60 * next())];
            const place = () => 100 * next() - 20;
            const stroke = { x0: place(), y0: place(), x1: place(), y1: place(), radius: 0.5 + 20 * next() ** 3 };
            if (k % 5 === 0) [stroke.x1, stroke.y1] = [stroke.x0, stroke.y0];
            if (k % 5 === 1) stroke.y1 = stroke.y0;
            if (k % 5 === 2) stroke.x1 = stroke.x0;
            const mask = new Uint8Array(width * height);
            const rows = [];
            h.capsuleSpans(stroke, width, height, (y, left, right) => {
                rows.push(y);
                mask.fill(1, y * width + left, y * width + right);
            });
            return { width, height, stroke, mask: h.bytes(mask), once: new Set(rows).size === rows.length };
        });
        """,
    )
    assert sum(array(each["mask"], (-1,)).any() for each in found) > 40
    for each in found:
        shape = (each["height"], each["width"])
        stroke = each["stroke"]
        ends = np.array([stroke["x0"], stroke["y0"]]), np.array([stroke["x1"], stroke["y1"]])
        distance = distance_to_segment(shape, *ends) - stroke["radius"]
        clear = abs(distance) > 1e-9
        np.testing.assert_array_equal(array(each["mask"], shape)[clear], (distance < 0)[clear])
        assert each["once"]


def test_a_brush_paints_the_same_disc_everywhere(page: Any) -> None:
    """Seven sizes at random places: always as many pixels, `size` wide, and symmetric."""
    sizes = [1, 2, 3, 4, 7, 20, 200]
    found = run(
        page,
        """
        const next = h.random(2);
        return a.map((size) => Array.from({ length: 4 }, () => {
            const { data, editor, viewer } = h.bench({ width: 240, height: 240 });
            editor.size = size;
            viewer.stroke([[105 + 30 * next(), 105 + 30 * next()]]);
            return h.bytes(data);
        }));
        """,
        sizes,
    )
    for size, places in zip(sizes, found, strict=True):
        shapes = []
        for each in places:
            y, x = np.nonzero(array(each, (240, 240)))
            disc = array(each, (240, 240))[y.min() : y.max() + 1, x.min() : x.max() + 1]
            assert disc.shape == (size, size)
            np.testing.assert_array_equal(disc, disc[::-1])
            np.testing.assert_array_equal(disc, disc.T)
            shapes.append(disc)
        assert all(np.array_equal(shapes[0], other) for other in shapes)
        if size >= 20:
            assert shapes[0].sum() == pytest.approx(np.pi / 4 * size**2, rel=0.02)


def test_a_fast_stroke_has_no_gaps(page: Any) -> None:
    painted = run(
        page,
        """
        const next = h.random(3);
        return [1, 2, 5].flatMap((size) => Array.from({ length: 5 }, () => {
            const { data, editor, viewer } = h.bench({ width: 200, height: 160 });
            editor.size = size;
            viewer.stroke(Array.from({ length: 4 }, () => [200 * next(), 160 * next()]));
            return h.bytes(data);
        }));
        """,
    )
    for each in painted:
        assert label(array(each, (160, 200)), connectivity=2).max() == 1


def test_a_polygon_is_filled_by_the_even_odd_rule(page: Any) -> None:
    rng = np.random.default_rng(4)
    polygons = [(rng.uniform(-20, 80, (n, 2))).tolist() for n in [3, 3, 4, 5, 7, 12, 40] * 4]
    # Corners in the middle of pixels, edges along rows: what random numbers do not hit.
    polygons += [np.floor(rng.uniform(0, 60, (n, 2))).tolist() for n in [3, 4, 6, 9] * 3]
    shape = (50, 60)
    found = run(
        page,
        """
        return a.map((points) => {
            const mask = new Uint8Array(60 * 50);
            h.polygonSpans(points, 60, 50, (y, left, right) => mask.fill(1, y * 60 + left, y * 60 + right));
            return h.bytes(mask);
        });
        """,
        polygons,
    )
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    for corners, mask in zip(polygons, found, strict=True):
        inside = np.zeros(shape, bool)
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            crosses = (ay <= y) != (by <= y)
            with np.errstate(divide="ignore", invalid="ignore"):
                inside ^= crosses & (x >= ax + (y - ay) * (bx - ax) / (by - ay))
        np.testing.assert_array_equal(array(mask, shape), inside)
    simple = skimage_polygon(*np.array([[5.2, 4.1], [40.3, 9.7], [22.9, 44.4]]).T[::-1] - 0.5, shape)
    triangle = run(
        page,
        """
        const { data, viewer, editor } = h.bench({ width: 60, height: 50 });
        editor.tool = "polygon";
        for (const corner of [[5.2, 4.1], [40.3, 9.7], [22.9, 44.4], [5.2, 4.1]]) viewer.stroke([corner]);
        return h.bytes(data);
        """,
    )
    filled = np.zeros(shape, np.uint8)
    filled[simple] = 1
    np.testing.assert_array_equal(array(triangle, shape), filled)


@pytest.mark.parametrize("seed", range(4))
def test_fill_takes_the_connected_region_and_no_other_slice(page: Any, seed: int) -> None:
    labels = blobs(seed, (3, 45, 61), [0, 1, 2, 255])
    labels[np.random.default_rng(seed).random(labels.shape) < 0.1 * seed] = 2
    places = np.random.default_rng(seed).integers([0, 0], [61, 45], (8, 2)).tolist()
    found = run(
        page,
        """
        return a.places.map(([x, y]) => {
            const data = h.array(a.labels);
            const { layer, viewer, editor } = h.bench({ width: 61, height: 45, slices: 3, data });
            layer.slice = 1;
            Object.assign(editor, { tool: "fill", value: 3 });
            viewer.stroke([[x + 0.5, y + 0.5]]);
            return h.bytes(data);
        });
        """,
        {"labels": text(labels), "places": places},
    )
    for (x, y), after in zip(places, found, strict=True):
        expected = labels.copy()
        expected[1][flood(labels[1], (y, x), connectivity=1)] = 3
        np.testing.assert_array_equal(array(after, labels.shape), expected)


# Undo


@pytest.mark.parametrize("kind", ["classes", "instances"])
def test_undo_gives_every_earlier_state_and_redo_every_later_one(page: Any, kind: str) -> None:
    """Random actions of all tools; all of them back, forth again, and a random walk between."""
    found = run(
        page,
        """
        const { data, editor, next, act } = h.restless(a, 5);
        let states = [data.slice()];
        editor.addEventListener("change", () => states.push(data.slice()));
        for (let k = 0; k < 70; k++) act();
        states = [...states];
        let at = states.length - 1;
        const wrong = [];
        const step = (by) => {
            if (by < 0 ? !editor.canUndo : !editor.canRedo) return false;
            editor[by < 0 ? "undo" : "redo"]();
            at += by;
            if (!h.equal(states[at], data)) wrong.push(at);
            return true;
        };
        if (!h.equal(states[at], data)) wrong.push("last");
        while (step(-1));
        const first = at;
        while (step(1));
        const last = at;
        for (let k = 0; k < 100; k++) step(next() < 0.5 ? -1 : 1);
        while (at > 20) step(-1);
        act();
        return { wrong, first, last, again: editor.canRedo };
        """,
        kind,
    )
    assert found["wrong"] == []
    assert found["first"] == 0
    assert found["last"] > 35
    # What was undone is gone once something else was done.
    assert not found["again"]


@pytest.mark.parametrize("kind", ["classes", "instances"])
def test_all_that_changes_lies_in_the_rectangle_that_is_told(page: Any, kind: str) -> None:
    """What is told by "change" holds every changed pixel; what was asked to be drawn anew holds it too."""
    found = run(
        page,
        """
        const { data, layer, viewer, editor, act } = h.restless(a, 6);
        let before = data.slice();
        const told = [];
        editor.addEventListener("change", ({ detail }) => {
            const { x, y, width, height } = detail.rect;
            const here = [...data.keys()].filter((i) => data[i] !== before[i]);
            const axes = [here.map((i) => i % 70), here.map((i) => Math.floor(i / 70) % 50),
                here.map((i) => Math.floor(i / 3500))];
            const seen = axes.map((each) => [Math.min(...each), Math.max(...each)]);
            const drawn = viewer.redrawn.some((r) => r === null || (r.x <= x && r.y <= y &&
                r.x + r.width >= x + width && r.y + r.height >= y + height));
            told.push([[[x, x + width - 1], [y, y + height - 1], detail.slices], seen, drawn]);
            before = data.slice();
            viewer.redrawn = [];
        });
        for (let k = 0; k < 60; k++) act();
        while (editor.canUndo) editor.undo();
        return told;
        """,
        kind,
    )
    assert len(found) > 80
    for told, seen, drawn in found:
        assert drawn
        # A split gives some pixels their old label back: they lie in the rectangle too.
        assert all(t[0] <= s[0] and t[1] >= s[1] for t, s in zip(told, seen, strict=True))


def test_history_forgets_the_oldest_and_stays_in_its_bounds(page: Any) -> None:
    found = run(
        page,
        """
        const next = h.random(7);
        const data = new Uint8Array(400 * 300);
        const history = new h.History(4000);
        const states = [];
        let most = 0;
        for (let k = 0; k < 200; k++) {
            states.push(data.slice());
            const edit = new h.Edit(data, 400, 300);
            const start = () => 400 * Math.floor(300 * next()) + Math.floor(200 * next());
            for (let n = 0; n < 4; n++) edit.paint(start(), 100, 1 + k % 5);
            history.push(edit);
            most = Math.max(most, history.bytes);
        }
        let [kept, right] = [0, 0];
        while (history.canUndo) { history.undo(); right += h.equal(states.pop(), data); kept++; }
        const large = new h.Edit(data, 400, 300);
        for (let y = 0; y < 300; y++) for (let x = 0; x < 400; x += 2) large.paint(400 * y + x, 1, 9);
        history.push(large);
        const before = history.bytes;
        history.undo();
        return { most, kept, right, before, back: !data.includes(9), redo: history.canRedo };
        """,
    )
    assert found["most"] <= 4000
    assert 5 < found["kept"] < 200
    assert found["right"] == found["kept"]
    assert found["before"] > 4000
    assert found["back"]
    assert found["redo"]


# Tools


def test_the_eraser_protection_and_shift(page: Any) -> None:
    labels = blobs(8, (48, 64), [0, 1, 2, 255])
    found = run(
        page,
        """
        const paint = (set, detail) => {
            const { data, viewer, editor, layer } = h.bench({ data: h.array(a) });
            Object.assign(editor, { size: 11, value: 3, ...set });
            viewer.stroke([[20, 20], [50, 30]], detail);
            return h.bytes(data);
        };
        return [paint({}), paint({ tool: "eraser" }), paint({}, { shift: true }), paint({ protect: true }),
            paint({ value: 255 }), paint({}, { cancelled: true }), paint({}, { button: 1 })];
        """,
        text(labels),
    )
    plain, erased, shifted, protected, void, cancelled, other = (array(each, (48, 64)) for each in found)
    stroke = plain == 3
    assert 300 < stroke.sum() < 500
    np.testing.assert_array_equal(plain, np.where(stroke, 3, labels))
    np.testing.assert_array_equal(erased, np.where(stroke, 0, labels))
    np.testing.assert_array_equal(shifted, erased)
    np.testing.assert_array_equal(protected, np.where(stroke & np.isin(labels, [0, 255]), 3, labels))
    np.testing.assert_array_equal(void, np.where(stroke, 255, labels))
    np.testing.assert_array_equal(cancelled, labels)
    np.testing.assert_array_equal(other, labels)


def test_a_polygon_by_clicks_keys_and_dragging(page: Any) -> None:
    found = run(
        page,
        """
        const corners = [[5, 5], [40, 8], [30, 40]];
        const draw = (finish, { points = corners } = {}) => {
            const { data, viewer, editor } = h.bench();
            editor.choose({ tool: "polygon" });
            for (const corner of points) viewer.stroke([corner]);
            finish(editor, viewer);
            return [data.reduce((sum, value) => sum + value, 0), editor.drawing, editor.canUndo];
        };
        const press = (key) => (editor) => editor.key(new KeyboardEvent("keydown", { key }));
        const way = Array.from({ length: 60 }, (_, k) => [30 + 15 * Math.cos(k / 9.5), 24 + 15 * Math.sin(k / 9.5)]);
        return {
            enter: draw(press("Enter")),
            first: draw((_, viewer) => viewer.stroke([[6, 4]])),
            double: draw((_, viewer) => viewer.stroke([[31, 41]])),
            escape: draw(press("Escape")),
            other: draw((editor) => (editor.tool = "brush")),
            backspace: draw((editor, viewer) => {
                viewer.stroke([[60, 40]]);
                press("Backspace")(editor);
                press("Enter")(editor);
            }),
            two: draw(press("Enter"), { points: corners.slice(1) }),
            open: draw(() => {}),
            drag: draw(() => {}, { points: [] }),
            lasso: draw((_, viewer) => viewer.stroke(way), { points: [] }),
            half: draw((_, viewer) => viewer.stroke(way.slice(0, 40)), { points: [] }),
        };
        """,
    )
    area = found["enter"][0]
    assert 550 < area < 620
    for way in ("enter", "first", "double", "backspace"):
        assert found[way] == [area, False, True]
    for way in ("escape", "other", "two", "drag"):
        assert found[way] == [0, False, False]
    assert found["open"] == [0, True, False]
    assert found["lasso"][0] == pytest.approx(np.pi * 15**2, rel=0.05)
    assert found["half"] == [0, True, False]


def test_objects_begin_grow_merge_split_and_go(page: Any) -> None:
    found = run(
        page,
        """
        const { data, layer, viewer, editor } = h.bench({ kind: "instances", Type: Uint16Array, slices: 2 });
        const picked = [];
        const counts = () => Object.fromEntries([...new Set(data)].sort((p, q) => p - q).map((id) =>
            [id, data.reduce((n, value) => n + (value === id), 0)]));
        editor.addEventListener("pick", ({ detail }) => picked.push(detail.value));
        const steps = [];
        const step = (act) => { act(); steps.push([counts(), editor.value]); };
        editor.size = 9;
        step(() => viewer.stroke([[10, 10], [50, 10]])); // 1, by itself
        step(() => viewer.stroke([[10, 20]])); // more of 1
        step(() => { editor.newObject(); viewer.stroke([[10, 40]]); });
        step(() => { layer.slice = 1; viewer.stroke([[30, 30]]); layer.slice = 0; }); // 2 goes on in the next slice
        step(() => viewer.stroke([[12, 10]], { alt: true })); // 1 is picked
        step(() => viewer.stroke([[30, 0], [30, 30]], { shift: true })); // cut
        step(() => editor.split());
        step(() => { editor.tool = "merge"; viewer.stroke([[10, 40]]); }); // 2 becomes part of it, in both slices
        step(() => viewer.stroke([[1, 1]])); // background is not merged
        step(() => editor.deleteObject());
        const selected = layer.selected;
        while (editor.canUndo) editor.undo();
        return { steps, picked, selected, empty: !data.some((value) => value) };
        """,
    )
    counts = [{int(k): v for k, v in each.items()} for each, _ in found["steps"]]
    values = [value for _, value in found["steps"]]
    assert values == [1, 1, 2, 2, 1, 1, 1, 1, 1, 0]
    assert set(counts[0]) == {0, 1}
    disc = counts[2][2]
    assert counts[3][2] == 2 * disc
    assert counts[4] == counts[3]
    assert counts[5][1] < counts[4][1]
    pieces = counts[6]
    assert set(pieces) == {0, 1, 2} | set(pieces) - {0, 1, 2}
    assert len(pieces) == 5
    assert sum(n for k, n in pieces.items() if k not in (0, 2)) == counts[5][1]
    assert pieces[1] == max(n for k, n in pieces.items() if k not in (0, 2))
    assert counts[7][1] == pieces[1] + 2 * disc
    assert 2 not in counts[7]
    assert counts[8] == counts[7]
    assert 1 not in counts[9]
    assert found["selected"] is None
    assert found["empty"]
    assert found["picked"] == [1, 2, 1, 0]


def test_free_numbers_are_free(page: Any) -> None:
    rng = np.random.default_rng(9)
    everything = np.arange(65536)
    cases = [
        rng.integers(0, 500, 300),
        np.zeros(5),
        np.array([65535]),
        np.setdiff1d(everything, [777]),
        everything[:65534],
    ]
    found = run(
        page,
        """
        return a.map((each) => {
            try { return h.freeId(h.array(each, Uint16Array), 65535); } catch (error) { return String(error); }
        });
        """,
        [text(each.astype(np.uint16)) for each in cases],
    )
    assert found[0] == cases[0].max() + 1
    assert found[1:4] == [1, 1, 777]
    assert found[4].startswith("RangeError")


def test_keys_choose_tools_sizes_and_classes(page: Any) -> None:
    found = run(
        page,
        """
        const { editor, viewer } = h.bench();
        const field = document.body.appendChild(document.createElement("input"));
        const seen = [];
        editor.addEventListener("pick", ({ detail }) => seen.push(detail));
        const press = (key, more = {}, target = document.body) => {
            const event = new KeyboardEvent("keydown", { key, cancelable: true, bubbles: true, ...more });
            let used = null;
            target.addEventListener("keydown", () => (used = editor.key(event)), { once: true });
            target.dispatchEvent(event);
            const { tool, size, value } = editor;
            return [used, event.defaultPrevented, tool, size, value];
        };
        viewer.stroke([[9, 9]]);
        const keys = ["e", "F", "p", "i", "b", "]", "[", "2", "4", "m", "x", "ArrowLeft"];
        const pressed = keys.map((key) => press(key));
        field.focus();
        const does = (key, more) => [press(key, more)[0], editor.canUndo];
        return {
            pressed,
            field: press("e", {}, field)[0],
            alt: press("e", { altKey: true })[0],
            picks: seen.length,
            undo: does("z", { ctrlKey: true }),
            redo: does("Z", { ctrlKey: true, shiftKey: true }),
            mac: does("z", { metaKey: true }),
            redo2: does("y", { ctrlKey: true }),
        };
        """,
    )
    yes, no = [True, True], [False, False]
    assert found["pressed"] == [
        [*yes, "eraser", 20, 1],
        [*yes, "fill", 20, 1],
        [*yes, "polygon", 20, 1],
        [*yes, "pick", 20, 1],
        [*yes, "brush", 20, 1],
        [*yes, "brush", 23, 1],
        [*yes, "brush", 20, 1],
        [*yes, "brush", 20, 2],
        [*no, "brush", 20, 2],  # there are classes 0 to 3
        [*no, "brush", 20, 2],  # no objects to merge
        [*no, "brush", 20, 2],
        [*no, "brush", 20, 2],
    ]
    assert found["picks"] == 8
    assert not found["field"]
    assert not found["alt"]
    assert found["undo"] == found["mac"] == [True, False]
    assert found["redo"] == found["redo2"] == [True, True]


def test_an_editor_that_is_closed_lets_go(page: Any) -> None:
    found = run(
        page,
        """
        const { data, editor, viewer } = h.bench();
        const before = viewer.overlays.length;
        viewer.tell("strokestart", { points: [[9, 9]] });
        editor.close();
        const painted = data.reduce((sum, value) => sum + value, 0);
        viewer.stroke([[40, 40]]);
        return [before, viewer.overlays.length, editor.canUndo, painted, data.reduce((sum, value) => sum + value, 0)];
        """,
    )
    assert found[:3] == [1, 0, True]
    assert found[3] == found[4] > 0


# What is drawn


PALETTE = np.array([[0, 0, 0], [0xE6, 0x9F, 0x00], [0x56, 0xB4, 0xE9], [0x00, 0x9E, 0x73]])
OUTSIDE = -1


def sampled(labels: np.ndarray, view: dict[str, float], rect: dict[str, int], margin: int) -> np.ndarray:
    """The label under each screen pixel of `rect` and `margin` around it."""
    step = np.arange(-margin, max(rect["width"], rect["height"]) + margin)
    x = np.floor(view["x"] + (rect["left"] + step[: rect["width"] + 2 * margin] + 0.5) / view["scale"]).astype(int)
    y = np.floor(view["y"] + (rect["top"] + step[: rect["height"] + 2 * margin] + 0.5) / view["scale"]).astype(int)
    inside = ((y >= 0) & (y < labels.shape[0]))[:, None] & (x >= 0) & (x < labels.shape[1])
    clipped = np.ix_(y.clip(0, labels.shape[0] - 1), x.clip(0, labels.shape[1] - 1))
    return np.where(inside, labels[clipped].astype(int), OUTSIDE)


def painted(labels: np.ndarray, screen: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """RGBA that the layer should draw, and where it is known: nothing annotated is hatched somehow."""
    rect, view = screen["rect"], screen["view"]
    thick = 1 if view["scale"] < 1 else 2
    around = sampled(labels, view, rect, thick)
    here = around[thick:-thick, thick:-thick]
    border = np.zeros(here.shape, bool)
    for dy, dx in [(0, -thick), (0, thick), (-thick, 0), (thick, 0)]:
        border |= np.roll(around, (-dy, -dx), (0, 1))[thick:-thick, thick:-thick] != here
    alpha = np.where(border, 0.9, 0 if screen["style"] == "outline" else 0.45)
    part = np.zeros((*here.shape, 4), int)
    part[..., :3] = PALETTE[np.where((here > 0) & (here < 4), here, 0)]
    part[..., 3] = np.round(255 * alpha)
    part[(here <= 0) | (part[..., 3] == 0)] = 0
    whole = np.zeros((screen["height"], screen["width"], 4), int)
    known = np.ones(whole.shape[:2], bool)
    box = (slice(rect["top"], rect["top"] + rect["height"]), slice(rect["left"], rect["left"] + rect["width"]))
    whole[box] = part
    known[box] = here != 255
    return whole, known


def test_labels_are_drawn_as_they_lie_under_the_pixels(page: Any) -> None:
    """Any view and part of the screen, each slice, far out to close up, and where the image ends."""
    rng = np.random.default_rng(10)
    labels = blobs(10, (2, 40, 53), [0, 0, 1, 2, 3, 255])
    width, height = 90, 70
    screens = []
    for scale in [0.13, 0.4, 0.99, 1, 1.7, 2, 3.3, 9] * 4:
        left, top = (int(n) for n in rng.integers(0, [width - 1, height - 1]))
        rect = {"left": left, "top": top}
        rect |= {"width": int(rng.integers(1, width - left + 1)), "height": int(rng.integers(1, height - top + 1))}
        view = {"x": rng.uniform(-20, 50), "y": rng.uniform(-20, 40), "scale": scale}
        slice_, style = int(rng.integers(2)), str(rng.choice(["fill", "outline"]))
        screens.append({"width": width, "height": height, "view": view, "rect": rect, "slice": slice_, "style": style})
    found = run(
        page,
        """
        const { layer } = h.bench({ width: 53, height: 40, slices: 2, data: h.array(a.labels) });
        return a.screens.map(({ width, height, view, rect, slice, style }) => {
            Object.assign(layer, { slice, style });
            return h.bytes(h.drawn(layer, width, height, view, rect));
        });
        """,
        {"labels": text(labels), "screens": screens},
    )
    hatched = []
    for screen, each in zip(screens, found, strict=True):
        seen = array(each, (height, width, 4)).astype(int)
        expected, known = painted(labels[screen["slice"]], screen)
        np.testing.assert_array_equal(seen[known], expected[known])
        hatched.append(seen[~known])
    # Lines of half transparent black and white, on a sixth of what nobody annotated.
    hatching = np.concatenate(hatched)
    assert {tuple(each) for each in hatching} == {(0, 0, 0, 0), (0, 0, 0, 128), (255, 255, 255, 128)}
    assert (hatching[:, 3] > 0).mean() == pytest.approx(1 / 6, abs=0.03)


def test_a_part_drawn_anew_fits_the_rest_and_a_clip_cuts(page: Any) -> None:
    """Tools and labels, drawn in two parts, are as drawn at once; before and after meet at the slider."""
    found = run(
        page,
        """
        const next = h.random(11);
        const wrong = [];
        for (let k = 0; k < 40; k++) {
            const data = h.patches(next, { width: 64, height: 48, values: [0, 1, 2, 255] });
            const { layer, editor, viewer } = h.bench({ data });
            const view = { x: 40 * next() - 10, y: 30 * next() - 10, scale: 0.2 + 6 * next() };
            editor.size = 1 + 20 * next();
            editor.tool = k % 2 ? "brush" : "polygon";
            const place = () => [64 * next(), 48 * next()];
            for (let n = 0; n < 4 && k % 2 === 0; n++) viewer.stroke([place()]);
            const [x, y] = place();
            viewer.tell("hover", { x, y });
            const [at, share] = [Math.floor(80 * next()), Math.floor(60 * next())];
            for (const overlay of [layer, viewer.overlays[0]]) {
                const whole = h.drawn(overlay, 80, 60, view);
                const parts = new Uint8ClampedArray(whole.length);
                overlay.draw(parts, 80, 60, view, { left: 0, top: 0, width: at, height: 60 });
                overlay.draw(parts, 80, 60, view, { left: at, top: 0, width: 80 - at, height: share });
                overlay.draw(parts, 80, 60, view, { left: at, top: share, width: 80 - at, height: 60 - share });
                if (!h.equal(whole, parts)) wrong.push([k, overlay.constructor.name]);
            }
            const whole = h.drawn(layer, 80, 60, view);
            layer.clip = { from: 0, to: at / 80 };
            const both = h.drawn(layer, 80, 60, view);
            const before = both.filter((value, i) => (i >> 2) % 80 >= at).some((value) => value);
            layer.clip = { from: at / 80, to: 1 };
            layer.draw(both, 80, 60, view, { left: 0, top: 0, width: 80, height: 60 });
            if (before || !h.equal(whole, both)) wrong.push([k, "clip"]);
            layer.visible = false;
            if (h.drawn(layer, 80, 60, view).some((value) => value)) wrong.push([k, "hidden"]);
        }
        return wrong;
        """,
    )
    assert found == []


def test_objects_near_each_other_differ_and_the_selected_one_stands_out(page: Any) -> None:
    found = run(
        page,
        """
        const square = (i) => 1 + Math.floor((i % 60) / 15) + 4 * Math.floor(i / 900);
        const data = Uint16Array.from({ length: 60 * 60 }, (_, i) => square(i));
        data[0] = 65535;
        const { layer, editor } = h.bench({ width: 60, height: 60, kind: "instances", data });
        const view = { x: 0, y: 0, scale: 1 };
        const plain = h.bytes(h.drawn(layer, 60, 60, view));
        editor.value = 6;
        return { plain, selected: h.bytes(h.drawn(layer, 60, 60, view)),
            colours: Array.from({ length: 200 }, (_, id) => h.objectColour(id)) };
        """,
    )
    colours = np.array(found["colours"], float)
    for apart in (1, 2, 3):
        assert np.linalg.norm(colours[apart:] - colours[:-apart], axis=1).min() > 40
    # Neither lost on white nor on black.
    luminance = ((colours / 255) ** 2.2) @ [0.2126, 0.7152, 0.0722]
    assert luminance.min() > 0.2
    assert luminance.max() < 0.65
    plain, selected = (array(found[key], (60, 60, 4)).astype(int) for key in ("plain", "selected"))
    changed = (plain != selected).any(axis=-1)
    assert not changed[:15].any()
    assert not changed[30:].any()
    inside = changed[15:30, 15:30]
    ring = np.ones((15, 15), bool)
    ring[2:-2, 2:-2] = False
    np.testing.assert_array_equal(inside, ring)
    assert {tuple(each) for each in selected[changed]} == {(0, 0, 0, 255), (255, 255, 255, 255)}


def test_the_ring_is_the_border_of_what_the_brush_would_paint(page: Any) -> None:
    found = run(
        page,
        """
        const next = h.random(12);
        return Array.from({ length: 24 }, (_, k) => {
            const { data, editor, viewer } = h.bench({ width: 40, height: 30 });
            const [x, y, scale] = [40 * next(), 30 * next(), 1 + (k % 5)];
            editor.size = 1 + 20 * next();
            viewer.tell("hover", { x, y });
            const ring = h.bytes(h.drawn(viewer.overlays[0], 40 * scale, 30 * scale, { x: 0, y: 0, scale }));
            viewer.tell("leave");
            const left = h.drawn(viewer.overlays[0], 40, 30, { x: 0, y: 0, scale: 1 }).some((value) => value);
            viewer.stroke([[x, y]]);
            return { ring, scale, left, data: h.bytes(data) };
        });
        """,
    )
    for each in found:
        scale = each["scale"]
        disc = np.kron(array(each["data"], (30, 40)), np.ones((scale, scale), np.uint8)) > 0
        ring = array(each["ring"], (*disc.shape, 4))[..., 3] > 0
        around = np.pad(disc, 1, mode="edge")  # a brush that hangs over the edge has no border there
        border = disc & ~(around[2:, 1:-1] & around[:-2, 1:-1] & around[1:-1, 2:] & around[1:-1, :-2])
        np.testing.assert_array_equal(ring & disc, ring)
        np.testing.assert_array_equal(ring[1:-1, 1:-1], border[1:-1, 1:-1])
        assert not each["left"]


# Nothing is lost


@pytest.fixture
def own(browser: Any, address: str) -> Iterator[Any]:
    """A page of one's own, whose clock stands still until it is moved."""
    with opened(browser, address) as page:
        page.clock.install()
        page.clock.pause_at(time.time() + 3600)
        yield page


def until(page: Any, condition: str) -> None:
    """Packing takes real time, whatever the page's clock says."""
    for _ in range(400):
        if page.evaluate(condition):
            return
        time.sleep(0.01)
    raise AssertionError(f"never came true: {condition}")


def test_a_draft_goes_out_a_second_after_the_last_change(own: Any) -> None:
    run(own, "window.s = h.savings();")
    for _ in range(4):
        own.evaluate("s.change(1 + s.api.calls.length + performance.now() % 97)")
        own.clock.run_for(900)
    assert own.evaluate("[s.api.calls.length, s.saver.state, s.saver.dirty]") == [0, "unsaved", True]
    own.clock.run_for(150)
    until(own, "s.saver.state === 'saved'")
    assert own.evaluate("[s.api.calls.length, s.saver.dirty, s.saved()]") == [1, False, True]
    assert own.evaluate("s.states") == ["unsaved", "saving", "saved"]
    method, path, headers = own.evaluate("s.api.calls[0]")
    assert (method, path) == ("PUT", "/api/images/a%20cell%2Fb/draft")
    assert headers["If-Match"] == '"0"'
    assert headers["Content-Encoding"] == "gzip"
    assert headers["X-Useg-Shape"] == "2,12,20"
    assert headers["X-Useg-Dtype"] == "uint8"
    own.clock.run_for(60_000)
    assert own.evaluate("s.api.calls.length") == 1


def test_a_server_that_is_away_is_tried_again_less_and_less(own: Any) -> None:
    run(own, "window.s = h.savings(); s.api.trouble = () => 'away'; s.change(3);")
    tries = []
    for _ in range(8):
        own.clock.run_for(5000)
        until(own, "s.saver.state === 'offline'")
        tries.append(own.evaluate("s.api.calls.length"))
    assert tries[0] >= 1
    assert tries[-1] - tries[-4] <= 2 < tries[-1]
    own.evaluate("s.api.trouble = () => null; s.api.dispatchEvent(new Event('back'))")
    until(own, "s.saver.state === 'saved'")
    assert own.evaluate("s.saved()")


def test_whatever_goes_wrong_the_last_labels_arrive_once_and_in_order(page: Any) -> None:
    """Changes, flushes and keeping at random while requests fail before or after they are done."""
    found = run(
        page,
        """
        const next = h.random(13);
        const { data, api, saver, change, saved } = h.savings();
        const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
        const worst = ["away", "lost", 503, 429];
        api.trouble = () => (next() < 0.5 ? worst[Math.floor(next() * worst.length)] : null);
        for (let k = 0; k < 150; k++) {
            api.slow = Math.floor(3 * next());
            if (next() < 0.7) change(1 + Math.floor(250 * next()));
            if (next() < 0.5) saver.flush();
            if (next() < 0.3) await pause(3 * next());
        }
        api.trouble = () => null;
        await saver.flush();
        await saver.flush();
        const result = [saved(), saver.state, saver.version === api.version, api.most, api.refused];
        saver.close();
        return [...result, api.calls.length];
        """,
    )
    assert found[:5] == [True, "saved", True, 1, 0]
    assert found[5] > 20


def test_a_newer_version_of_another_is_not_written_over_unless_asked(page: Any) -> None:
    found = run(
        page,
        """
        const { api, saver, states, change, saved } = h.savings();
        const theirs = new Uint8Array(480).fill(9);
        change(1);
        await saver.flush();
        api.otherWrites(theirs);
        change(2);
        const first = await saver.flush();
        change(3);
        const later = await saver.flush();
        const kept = await saver.keep().then(() => null, (error) => error.status);
        const safe = h.equal(api.labels, theirs) && saver.dirty;
        const asked = await saver.keepMine();
        saver.close();
        return { first, later, kept, safe, asked, saved: saved(), states, calls: api.calls.length };
        """,
    )
    assert not found["first"]
    assert not found["later"]
    assert found["kept"] == 412
    assert found["safe"]
    assert found["asked"]
    assert found["saved"]
    assert found["states"][:5] == ["unsaved", "saving", "saved", "unsaved", "saving"]
    assert found["states"][5:] == ["conflict", "saving", "conflict", "unsaved", "saving", "saved"]
    assert found["calls"] == 4


def test_keep_and_discard_wait_for_the_draft_and_know_its_version(page: Any) -> None:
    found = run(
        page,
        """
        const { data, api, saver, change } = h.savings();
        api.slow = 30;
        change(1);
        const draft = saver.flush();
        const kept = saver.keep(); // while the draft is under way
        while (api.calls.length < 2) await new Promise((done) => setTimeout(done, 1));
        change(2); // while the mask is
        await draft;
        const info = await kept;
        const whole = [info.version, api.kept.includes(1), saver.dirty, saver.state];
        await saver.flush();
        const after = [api.labels.includes(2), api.kept.includes(2)];
        const gone = await saver.discard();
        const result = { whole, after, gone: [gone.version === saver.version, api.labels, saver.dirty], most: api.most,
            calls: api.calls.map(([method, path]) => `${method} ${path.split("/").pop()}`), refused: api.refused };
        api.trouble = () => 400;
        change(5);
        await saver.flush();
        result.error = [saver.state, saver.message, saver.dirty];
        result.thrown = await saver.keep().then(() => null, (error) => error.message);
        api.trouble = () => null;
        change(6);
        result.end = [await saver.flush(), saver.state];
        saver.close();
        return result;
        """,
    )
    assert found["whole"][1:] == [True, True, "unsaved"]
    assert found["after"] == [True, False]
    assert found["gone"] == [True, None, False]
    assert found["calls"] == ["PUT draft", "PUT mask", "PUT draft", "DELETE draft"]
    assert found["most"] == 1
    assert found["refused"] == 0
    assert found["error"] == ["error", "status 400", True]
    assert found["thrown"] == "status 400"
    assert found["end"] == [True, "saved"]


def test_leaving_the_page_saves_at_once_and_asks_when_it_could_not(page: Any) -> None:
    found = run(
        page,
        """
        const { api, saver, change, saved } = h.savings();
        const asks = () => !window.dispatchEvent(new Event("beforeunload", { cancelable: true }));
        const asked = [asks()];
        change(1);
        asked.push(asks());
        Object.defineProperty(document, "hidden", { value: true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
        while (saver.state !== "saved") await new Promise((done) => setTimeout(done, 1));
        delete document.hidden;
        asked.push(asks());
        change(2);
        saver.close();
        asked.push(asks());
        document.dispatchEvent(new Event("visibilitychange"));
        return { asked, saved: api.calls.length };
        """,
    )
    assert found["asked"] == [False, True, False, False]
    assert found["saved"] == 1
