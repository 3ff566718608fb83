"""The tools that correct labels in the browser: what they change, and that it can be undone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from labels_bench import array, blobs, opened, run, text


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """One for all tests: they leave nothing behind."""
    with opened(browser) as page:
        yield page


@pytest.mark.parametrize("kind", ["classes", "instances"])
def test_undo_gives_every_earlier_state_and_redo_every_later_one(page: Any, kind: str) -> None:
    """Random actions of all tools; all of them back, forth again, and a random walk between."""
    found = run(
        page,
        """
        const { data, layer, editor, next, act } = h.restless(a, 5);
        let states = [data.slice()];
        const wrong = [];
        let seen = true; // whether the slice on the screen is one that was changed
        editor.addEventListener("change", ({ detail }) => {
            states.push(data.slice());
            seen = layer.slice >= detail.slices[0] && layer.slice <= detail.slices[1];
        });
        for (let k = 0; k < 70; k++) act();
        states = [...states];
        let at = states.length - 1;
        const step = (by) => {
            if (by < 0 ? !editor.canUndo : !editor.canRedo) return false;
            editor[by < 0 ? "undo" : "redo"]();
            at += by;
            if (!seen || !h.equal(states[at], data)) wrong.push(at);
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


def test_other_labels_are_taken_over_and_one_label_for_another(page: Any) -> None:
    before, other = (blobs(seed, (2, 48, 64), [0, 1, 2, 255]) for seed in (14, 15))
    found = run(
        page,
        """
        const { data, editor } = h.bench({ slices: 2, data: h.array(a[0]) });
        editor.assign(h.array(a[1]));
        const taken = h.bytes(data);
        editor.relabel(255, 0);
        const filled = h.bytes(data);
        editor.undo();
        editor.undo();
        return [taken, filled, h.bytes(data)];
        """,
        [text(before), text(other)],
    )
    taken, filled, back = (array(each, before.shape) for each in found)
    np.testing.assert_array_equal(taken, other)
    np.testing.assert_array_equal(filled, np.where(other == 255, 0, other))
    np.testing.assert_array_equal(back, before)


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
        const small = new h.Edit(data, 400, 300);
        small.paint(0, 9, 7);
        const gone = !data.includes(9) && history.canRedo;
        history.push(small);
        return { most, kept, right, before, gone, after: history.bytes === small.bytes };
        """,
    )
    assert found["most"] <= 4000
    assert 5 < found["kept"] < 200
    assert found["right"] == found["kept"]
    assert found["before"] > 4000
    assert found["gone"]
    assert found["after"]


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
            thin: draw(() => {}, { points: [[5, 5], [40, 8], [6, 6]] }),
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
    assert found["open"] == found["thin"] == [0, True, False]
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


def test_a_new_object_is_new_among_labels_that_were_taken_over(page: Any) -> None:
    found = run(
        page,
        """
        const { data, editor } = h.bench({ kind: "instances", Type: Uint16Array });
        const ids = [editor.newObject(), editor.newObject()];
        editor.assign(data.map((_, i) => i % 9));
        return [...ids, editor.newObject(), editor.newObject()];
        """,
    )
    assert found == [1, 2, 9, 10]


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
        const keys = ["e", "F", "p", "i", "b", "]", "[", "2", "0", "4", "j", "x", "ArrowLeft"];
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
        [*yes, "brush", 20, 0],
        [*no, "brush", 20, 0],  # there are classes 0 to 3
        [*no, "brush", 20, 0],  # no objects to merge
        [*no, "brush", 20, 0],
        [*no, "brush", 20, 0],
    ]
    assert found["picks"] == 9
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
