/** What the tools work on: the labels, their history, and the screen that shows them. */

import { History } from "./history.js";
import { Edit } from "./runs.js";

/** @typedef {import("./runs.js").Rect} Rect */

/** Event: "change" (detail {rect, slices: [first, last]}: labels in `rect` of those slices were changed). */
export class Board extends EventTarget {
    #history = new History();

    /**
     * @param {import("./viewer.js").Viewer} viewer
     * @param {import("./labels.js").LabelLayer} layer
     */
    constructor(viewer, layer) {
        super();
        this.viewer = viewer;
        this.layer = layer;
    }

    get canUndo() {
        return this.#history.canUndo;
    }

    get canRedo() {
        return this.#history.canRedo;
    }

    /** Where the present slice lies in the data, as `flood` wants it. */
    get plane() {
        const { width, height, slice } = this.layer;
        return { width, height, offset: slice * width * height };
    }

    /** @returns {Edit} one action, to be painted into and then committed */
    begin() {
        const { data, width, height } = this.layer;
        return new Edit(data, width, height);
    }

    /**
     * The action is done: it can be undone from now on.
     * @param {Edit} edit
     */
    commit(edit) {
        if (edit.empty) return;
        this.#history.push(edit);
        this.#tell(edit);
    }

    undo() {
        this.#show(this.#history.undo());
    }

    redo() {
        this.#show(this.#history.redo());
    }

    /**
     * What paints spans of the present slice; see `Emit` in raster.js.
     * @param {Edit} edit
     * @param {number} value
     * @param {number[] | null} only see `Edit.paint`
     */
    painter(edit, value, only) {
        const { width, offset } = this.plane;
        return (y, left, right) => edit.paint(offset + y * width + left, right - left, value, only);
    }

    /**
     * Show a part of the image anew.
     * @param {Rect | null} rect in image pixels
     */
    redraw(rect) {
        if (!rect) return;
        // Borders of labels and the dashes of the cursor reach a little farther than what changed.
        const more = 1 + Math.ceil(4 / this.viewer.scale);
        const [x, y] = [rect.x - more, rect.y - more];
        this.viewer.redraw({ x, y, width: rect.width + 2 * more, height: rect.height + 2 * more });
    }

    /** What was undone or done again in another slice is shown there. */
    #show(edit) {
        if (!edit) return;
        const [first, last] = edit.slices;
        if (this.layer.slice < first || this.layer.slice > last) this.viewer.setSlice(first);
        this.#tell(edit);
    }

    #tell({ rect, slices }) {
        this.redraw(rect);
        this.dispatchEvent(new CustomEvent("change", { detail: { rect, slices } }));
    }
}
