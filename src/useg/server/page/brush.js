/** The round brush: paints along the pointer's way, without gaps however fast it goes. */

import { capsuleSpans, snap } from "./raster.js";
import { union } from "./runs.js";

/** One stroke at a time. */
export class Brush {
    #board;
    #edit = null;
    #last = null;
    #ink = null;

    /** @param {import("./board.js").Board} board */
    constructor(board) {
        this.#board = board;
    }

    /**
     * Touch down.
     * @param {Array<[number, number]>} points in image pixels
     * @param {{size: number, value: number, only: number[] | null}} ink of the whole stroke
     */
    start(points, ink) {
        this.#ink = ink;
        this.#edit = this.#board.begin();
        this.move(points);
    }

    /** @param {Array<[number, number]>} points where the pointer went, in image pixels */
    move(points) {
        if (!this.#edit) return;
        const { size, value, only } = this.#ink;
        const { width, height } = this.#board.layer;
        const paint = this.#board.painter(this.#edit, value, only);
        const radius = size / 2;
        let painted = null;
        for (const point of points) {
            const [x1, y1] = point.map((p) => snap(p, size));
            const [x0, y0] = this.#last ?? [x1, y1];
            capsuleSpans({ x0, y0, x1, y1, radius }, width, height, paint);
            const [x, y] = [Math.min(x0, x1) - radius, Math.min(y0, y1) - radius];
            painted = union(painted, { x, y, width: Math.abs(x1 - x0) + size, height: Math.abs(y1 - y0) + size });
            this.#last = [x1, y1];
        }
        this.#board.redraw(painted);
    }

    /** Touch up: the stroke becomes one action. */
    end() {
        const edit = this.#edit;
        this.#edit = this.#last = null;
        if (edit) this.#board.commit(edit);
    }

    /** It was no stroke: take back what it painted. */
    cancel() {
        const edit = this.#edit;
        this.#edit = this.#last = null;
        if (!edit || edit.empty) return;
        edit.undo();
        this.#board.redraw(edit.rect);
    }
}
