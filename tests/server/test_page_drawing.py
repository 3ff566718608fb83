"""How labels and tools are drawn over an image in the browser."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from labels_bench import array, blobs, opened, run, text

PALETTE = np.array([[0, 0, 0], [0xE6, 0x9F, 0x00], [0x56, 0xB4, 0xE9], [0x00, 0x9E, 0x73]])
OUTSIDE = -1


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """One for all tests: they leave nothing behind."""
    with opened(browser) as page:
        yield page


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
        lines = np.add.outer(np.arange(height), np.arange(width)) % 16
        on, off = (set(lines[~known & (seen[..., 3] > 0)]), set(lines[~known & (seen[..., 3] == 0)]))
        assert not on & off
        assert len(on) <= 2
        hatched.append(seen[~known])
    # Slanting lines of faint black and white.
    hatching = np.concatenate(hatched)
    assert {tuple(each) for each in hatching} == {(0, 0, 0, 0), (0, 0, 0, 102), (255, 255, 255, 102)}


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
