/** What the tools show over the image: the ring of the brush, the polygon that is being drawn. */

import { packed } from "./colours.js";
import { snap } from "./raster.js";

const WHITE = packed([255, 255, 255], 1);
const BLACK = packed([0, 0, 0], 1);
const CORNER = 3; // half the side of the square at a polygon's corner, screen pixels

/** An overlay of a `Viewer`, drawn in dashes of black and white that are seen on any ground. */
export class Cursor {
    /** Where the pointer is, [x, y] in image pixels, or null when it is outside. */
    place = null;
    /** Diameter of the brush in image pixels; 0 shows no ring. */
    size = 0;
    /** Corners of the polygon so far, [x, y] in image pixels. */
    points = [];

    /** @returns {import("./runs.js").Rect | null} where something is drawn, in image pixels */
    get rect() {
        const ring = this.size / 2 + 1;
        const boxes = this.points.map(([x, y]) => [x, y, 0]);
        if (this.place && (this.size || this.points.length)) boxes.push([...this.place, ring]);
        if (!boxes.length) return null;
        const left = Math.min(...boxes.map(([x, , r]) => x - r));
        const top = Math.min(...boxes.map(([, y, r]) => y - r));
        const right = Math.max(...boxes.map(([x, , r]) => x + r));
        const bottom = Math.max(...boxes.map(([, y, r]) => y + r));
        return { x: left, y: top, width: right - left, height: bottom - top };
    }

    /** As an overlay of a `Viewer`; see `LabelLayer.draw`. */
    draw(pixels, width, height, view, rect) {
        const screen = new Uint32Array(pixels.buffer, pixels.byteOffset, width * height);
        const [right, bottom] = [rect.left + rect.width, rect.top + rect.height];
        const dot = (i, j) => {
            if (i < rect.left || j < rect.top || i >= right || j >= bottom) return;
            screen[j * width + i] = (i + j) & 4 ? WHITE : BLACK;
        };
        if (this.place && this.size) drawRing(this.place, this.size, view, rect, dot);
        if (this.points.length) this.#drawPolygon(view, rect, dot);
    }

    #drawPolygon({ x, y, scale }, rect, dot) {
        const onScreen = ([px, py]) => [(px - x) * scale, (py - y) * scale];
        const corners = this.points.map(onScreen);
        for (const [i, j] of corners) drawSquare(Math.round(i), Math.round(j), dot);
        const path = this.place ? [...corners, onScreen(this.place)] : corners;
        for (let k = 1; k < path.length; k++) drawLine(path[k - 1], path[k], rect, dot);
    }
}

/** The border of the pixels that the brush would paint. */
function drawRing([px, py], size, { x, y, scale }, rect, dot) {
    const [cx, cy, radius] = [snap(px, size), snap(py, size), size / 2];
    const column = (edge) => Math.ceil((edge - x) * scale - 0.5);
    const span = (j) => {
        const off = Math.floor(y + (j + 0.5) / scale) + 0.5 - cy;
        if (Math.abs(off) > radius) return [0, 0];
        const half = Math.sqrt(radius * radius - off * off);
        return [column(Math.ceil(cx - half - 0.5)), column(Math.floor(cx + half - 0.5) + 1)];
    };
    const last = Math.min(rect.top + rect.height, Math.ceil((cy + radius - y) * scale) + 1);
    for (let j = Math.max(rect.top, Math.floor((cy - radius - y) * scale) - 1); j < last; j++) {
        const [left, right] = span(j);
        if (right <= left) continue;
        dot(left, j);
        dot(right - 1, j);
        for (const [from, to] of [span(j - 1), span(j + 1)]) {
            const until = to > from ? Math.min(from, right) : right;
            for (let i = Math.max(left, rect.left); i < until; i++) dot(i, j);
            for (let i = Math.max(left, to, rect.left); i < right; i++) dot(i, j);
        }
    }
}

function drawSquare(i, j, dot) {
    for (let k = -CORNER; k <= CORNER; k++) {
        dot(i + k, j - CORNER);
        dot(i + k, j + CORNER);
        dot(i - CORNER, j + k);
        dot(i + CORNER, j + k);
    }
}

/** A line between two points of the screen; only the steps in `rect` are taken, however far away the ends are. */
function drawLine([ai, aj], [bi, bj], rect, dot) {
    const steps = Math.max(1, Math.ceil(Math.max(Math.abs(bi - ai), Math.abs(bj - aj))));
    let [first, last] = [0, steps];
    const sides = [[ai, bi - ai, rect.left, rect.width], [aj, bj - aj, rect.top, rect.height]];
    for (const [from, by, low, size] of sides) {
        if (by === 0) continue;
        const ends = [low - 1, low + size].map((edge) => ((edge - from) / by) * steps);
        first = Math.max(first, Math.floor(Math.min(...ends)));
        last = Math.min(last, Math.ceil(Math.max(...ends)));
    }
    for (let k = first; k <= last; k++) {
        dot(Math.floor(ai + ((bi - ai) * k) / steps), Math.floor(aj + ((bj - aj) * k) / steps));
    }
}
