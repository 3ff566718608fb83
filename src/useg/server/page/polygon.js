/** The polygon: corners by clicks, or many of them by dragging; filled when it is closed. */

import { polygonSpans } from "./raster.js";
import { union } from "./runs.js";

const NEAR = 6; // screen pixels within which a click means the corner that is there
const STEP = 3; // screen pixels from corner to corner while dragging

/** One polygon at a time; its corners are those that the cursor shows. */
export class Polygon {
    #board;
    #cursor;
    #dragged = false;

    /**
     * @param {import("./board.js").Board} board
     * @param {import("./cursor.js").Cursor} cursor
     */
    constructor(board, cursor) {
        this.#board = board;
        this.#cursor = cursor;
    }

    /** Whether one is being drawn. */
    get begun() {
        return this.#cursor.points.length > 0;
    }

    /**
     * A click: a new corner, or on the first or last one the end.
     * @param {[number, number]} point in image pixels
     * @returns {boolean} whether the polygon is to be filled now
     */
    start(point) {
        const { points } = this.#cursor;
        const again = this.begun && this.#near(point, points.at(-1), NEAR);
        if (points.length >= 3 && (again || this.#near(point, points[0], NEAR))) return true;
        if (!again) this.#change(() => points.push(point));
        return false;
    }

    /** @param {Array<[number, number]>} way of the pressed pointer, in image pixels */
    move(way) {
        if (!this.begun) return;
        const { points } = this.#cursor;
        this.#change(() => {
            for (const point of way) {
                if (this.#near(point, points.at(-1), STEP)) continue;
                points.push(point);
                this.#dragged = true;
            }
        });
    }

    /** @returns {boolean} whether the drag came back to the first corner, so that the polygon is to be filled now */
    end() {
        const { points } = this.#cursor;
        const round = this.#dragged && points.length >= 3 && this.#near(points.at(-1), points[0], NEAR);
        this.#dragged = false;
        return round;
    }

    /** Give it up. */
    cancel() {
        this.#change(() => (this.#cursor.points = []));
    }

    /** Take the last corner away. */
    drop() {
        this.#change(() => this.#cursor.points.pop());
    }

    /**
     * Paint its inside, as one action, and be ready for the next one.
     * @param {{value: number, only: number[] | null}} ink
     */
    fill({ value, only }) {
        const { points } = this.#cursor;
        const { width, height } = this.#board.layer;
        const edit = this.#board.begin();
        polygonSpans(points, width, height, this.#board.painter(edit, value, only));
        this.cancel();
        this.#board.commit(edit);
    }

    #near([ax, ay], [bx, by], within) {
        return Math.hypot(ax - bx, ay - by) * this.#board.viewer.scale <= within;
    }

    #change(change) {
        const before = this.#cursor.rect;
        change();
        this.#board.redraw(union(before, this.#cursor.rect));
    }
}
