"""What the tools paint in the browser, against numpy and scikit-image."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from labels_bench import array, blobs, opened, run, text
from skimage.draw import polygon as skimage_polygon
from skimage.measure import label
from skimage.morphology import flood


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """One for all tests: they leave nothing behind."""
    with opened(browser) as page:
        yield page


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
