/** The labels of an image, drawn over it. */

import { packed, table } from "./colours.js";

const OUTSIDE = 0xfffffffe; // no label: greater than any id that is given out
const OBJECT_COLOURS = 1024;
const HATCH = 16; // pixels from line to line where nothing is annotated
const PALE = packed([255, 255, 255], 0.4);
const DARK = packed([0, 0, 0], 0.4);
const WHITE = packed([255, 255, 255], 1);
const BLACK = packed([0, 0, 0], 1);

/**
 * @typedef {{left: number, top: number, width: number, height: number}} Rect of the screen, in canvas pixels
 * @typedef {import("./runs.js").Labels} Labels
 * @typedef {{x: number, y: number, scale: number}} View the screen pixel i, j shows the image at x + i / scale,
 *     y + j / scale
 */

/** Labels of an image or stack, and how they are drawn: one of the overlays of a `Viewer`. */
export class LabelLayer {
    /** "fill" (with a border in the full colour) or "outline". */
    style = "fill";
    /** Of the inside of a region, 0..1. */
    opacity = 0.45;
    /** Slice that is drawn, 0.. */
    slice = 0;
    /** Part of the screen's width that is drawn: {from, to} in 0..1, or null for all. */
    clip = null;
    visible = true;
    /** Whether lines mark what nobody annotated. */
    hatch = true;
    /** Number of the object that is drawn with a dashed border, or null. */
    selected = null;
    #samples = new Uint32Array(0);
    #columns = new Int32Array(0);
    #tables = {};

    /**
     * @param {object} labels
     * @param {number} labels.width X in pixels
     * @param {number} labels.height Y in pixels
     * @param {number} labels.slices Z, 1 for an image
     * @param {Labels} labels.data Z * Y * X. The greatest value of the type means not annotated; 0 is background
     * @param {"classes" | "instances"} labels.kind
     * @param {string[]} labels.colours of the classes, "#rrggbb" by id; not needed for instances
     */
    constructor({ width, height, slices = 1, data, kind, colours = [] }) {
        this.width = width;
        this.height = height;
        this.slices = slices;
        this.data = data;
        this.kind = kind;
        this.colours = colours;
        this.none = 2 ** (8 * data.BYTES_PER_ELEMENT) - 1;
    }

    /** The label at a point of the image in the present slice, or null outside. */
    at(x, y) {
        const [column, row] = [Math.floor(x), Math.floor(y)];
        if (column < 0 || row < 0 || column >= this.width || row >= this.height) return null;
        return this.data[(this.slice * this.height + row) * this.width + column];
    }

    /**
     * Draw the labels of a part of the screen.
     * @param {Uint8ClampedArray} pixels RGBA of the whole screen, height * width * 4; only coloured pixels are written
     * @param {number} width of the screen in pixels
     * @param {number} height of the screen in pixels
     * @param {View} view
     * @param {Rect} rect the part of the screen
     */
    draw(pixels, width, height, view, rect) {
        if (!this.visible) return;
        const part = this.#clipped(rect, width, height);
        if (part.width <= 0 || part.height <= 0) return;
        const thick = view.scale < 1 ? 1 : 2;
        this.#sample(view, part, thick);
        const screen = new Uint32Array(pixels.buffer, pixels.byteOffset, width * height);
        this.#paint(screen, width, view, part, thick);
    }

    #clipped(rect, width, height) {
        const { from, to } = this.clip ?? { from: 0, to: 1 };
        const left = Math.max(0, rect.left, Math.round(from * width));
        const right = Math.min(width, rect.left + rect.width, Math.round(to * width));
        const top = Math.max(0, rect.top);
        return { left, top, width: right - left, height: Math.min(height, rect.top + rect.height) - top };
    }

    /** Look up the label at each screen pixel of `part` and `margin` pixels around it. */
    #sample({ x, y, scale }, part, margin) {
        const [wide, high] = [part.width + 2 * margin, part.height + 2 * margin];
        if (this.#samples.length < wide * high) this.#samples = new Uint32Array(wide * high);
        if (this.#columns.length < wide) this.#columns = new Int32Array(wide);
        const { data, width, height } = this;
        const [samples, columns] = [this.#samples, this.#columns];
        for (let i = 0; i < wide; i++) columns[i] = Math.floor(x + (part.left - margin + i + 0.5) / scale);
        let [first, last] = [0, wide];
        while (first < wide && columns[first] < 0) first++;
        while (last > first && columns[last - 1] >= width) last--;
        let before = null;
        for (let j = 0; j < high; j++) {
            const row = Math.floor(y + (part.top - margin + j + 0.5) / scale);
            const to = j * wide;
            if (row === before) {
                samples.copyWithin(to, to - wide, to);
            } else if (row < 0 || row >= height) {
                samples.fill(OUTSIDE, to, to + wide);
            } else {
                const from = (this.slice * height + row) * width;
                samples.fill(OUTSIDE, to, to + first);
                samples.fill(OUTSIDE, to + last, to + wide);
                for (let i = first; i < last; i++) samples[to + i] = data[from + columns[i]];
            }
            before = row;
        }
    }

    /** Give each sample its colour. A pixel whose neighbour `thick` pixels away has another label is border. */
    #paint(screen, width, view, part, thick) {
        const samples = this.#samples;
        const wide = part.width + 2 * thick;
        const above = thick * wide;
        const { fills, borders, mask } = this.#colourTables();
        const { none, selected } = this;
        const hatch = hatchOrigin(view) + part.left + part.top;
        for (let j = 0; j < part.height; j++) {
            let k = (j + thick) * wide + thick;
            let to = (part.top + j) * width + part.left;
            for (let i = 0; i < part.width; i++, k++, to++) {
                const label = samples[k];
                if (label === 0 || label === OUTSIDE) continue;
                if (label === none) {
                    const line = (hatch + i + j) % HATCH;
                    if (line < 2 && this.hatch) screen[to] = line ? DARK : PALE;
                    continue;
                }
                const border =
                    samples[k - thick] !== label ||
                    samples[k + thick] !== label ||
                    samples[k - above] !== label ||
                    samples[k + above] !== label;
                let colour = border ? borders[label & mask] : fills[label & mask];
                if (border && label === selected) colour = (part.left + part.top + i + j) & 4 ? WHITE : BLACK;
                if (colour) screen[to] = colour;
            }
        }
    }

    #colourTables() {
        const key = `${this.kind} ${this.style} ${this.opacity} ${this.colours}`;
        if (this.#tables.key !== key) {
            const classes = this.kind === "classes";
            const [colours, count] = classes ? [this.colours, 256] : [null, OBJECT_COLOURS];
            const fills = table(colours, count, this.opacity);
            if (this.style === "outline") fills.fill(0);
            const borders = table(colours, count, Math.min(1, 2 * this.opacity));
            this.#tables = { key, fills, borders, mask: count - 1 };
        }
        return this.#tables;
    }
}

/** Where the hatching begins, so that it moves with the image: a number >= 0. */
function hatchOrigin({ x, y, scale }) {
    const shift = Math.round(x * scale) + Math.round(y * scale);
    return ((shift % HATCH) + HATCH) % HATCH;
}
