/** What one action changed in a label image, as runs of equal pixels; and the changing itself. No DOM here. */

const NUMBERS = 4; // start, length, before, after

/**
 * @typedef {{x: number, y: number, width: number, height: number}} Rect of the image, in pixels
 * @typedef {Uint8Array | Uint16Array | Uint32Array} Labels label of each pixel, C order Z, Y, X
 */

/**
 * The smallest rectangle that holds both.
 * @param {Rect | null} a
 * @param {Rect | null} b
 * @returns {Rect | null}
 */
export function union(a, b) {
    if (!a || !b) return a ?? b;
    const [x, y] = [Math.min(a.x, b.x), Math.min(a.y, b.y)];
    const right = Math.max(a.x + a.width, b.x + b.width);
    const bottom = Math.max(a.y + a.height, b.y + b.height);
    return { x, y, width: right - x, height: bottom - y };
}

/** One action, from the first touch to the release: what `undo` takes back at once. */
export class Edit {
    #runs = new Uint32Array(64 * NUMBERS);
    #used = 0;
    #left = Infinity;
    #right = -1;
    #top = Infinity;
    #bottom = -1;
    #first = Infinity;
    #last = -1;

    /**
     * @param {Labels} data the labels that are changed, Z * Y * X
     * @param {number} width X in pixels
     * @param {number} height Y in pixels
     */
    constructor(data, width, height) {
        this.data = data;
        this.width = width;
        this.height = height;
    }

    /** Whether nothing was changed. */
    get empty() {
        return this.#used === 0;
    }

    /** Memory that it holds. */
    get bytes() {
        return this.#runs.byteLength;
    }

    /** First and last slice in which pixels were changed. */
    get slices() {
        return [this.#first, this.#last];
    }

    /** @returns {Rect | null} the changed pixels lie in it, in each slice */
    get rect() {
        if (this.empty) return null;
        const [x, y] = [this.#left, this.#top];
        return { x, y, width: this.#right - x + 1, height: this.#bottom - y + 1 };
    }

    /**
     * Give pixels of one row a label, and remember what they had.
     * @param {number} start index of the first in `data`
     * @param {number} length how many; they do not pass the end of the row
     * @param {number} value the new label
     * @param {number[] | null} only change only pixels that have one of these labels
     */
    paint(start, length, value, only = null) {
        const data = this.data;
        const end = start + length;
        for (let i = start; i < end;) {
            const before = data[i];
            let stop = i + 1;
            while (stop < end && data[stop] === before) stop++;
            if (before !== value && (only === null || only.includes(before))) this.#replace(i, stop, before, value);
            i = stop;
        }
    }

    /**
     * Take over other labels, and remember those that were there.
     * @param {Labels} labels as many as `data`
     */
    assign(labels) {
        const data = this.data;
        for (let row = 0; row < data.length; row += this.width) {
            for (let i = row; i < row + this.width; i++) {
                if (data[i] === labels[i]) continue;
                const [start, before, after] = [i, data[i], labels[i]];
                while (i + 1 < row + this.width && data[i + 1] === before && labels[i + 1] === after) i++;
                this.#replace(start, i + 1, before, after);
            }
        }
    }

    #replace(start, stop, before, after) {
        this.data.fill(after, start, stop);
        const x = start % this.width;
        const row = Math.floor(start / this.width);
        const y = row % this.height;
        const z = Math.floor(row / this.height);
        this.#left = Math.min(this.#left, x);
        this.#right = Math.max(this.#right, x + stop - start - 1);
        this.#top = Math.min(this.#top, y);
        this.#bottom = Math.max(this.#bottom, y);
        this.#first = Math.min(this.#first, z);
        this.#last = Math.max(this.#last, z);
        if (this.#used === this.#runs.length) this.#resize(2 * this.#used);
        this.#runs.set([start, stop - start, before, after], this.#used);
        this.#used += NUMBERS;
    }

    #resize(length) {
        const runs = new Uint32Array(length);
        runs.set(this.#runs.subarray(0, this.#used));
        this.#runs = runs;
    }

    /** Nothing is added any more: give the spare memory back. */
    finish() {
        this.#resize(this.#used);
    }

    /** Give each pixel the label that it had before. */
    undo() {
        // Backwards: a pixel that was changed twice gets its first label back.
        for (let k = this.#used - NUMBERS; k >= 0; k -= NUMBERS) {
            const start = this.#runs[k];
            this.data.fill(this.#runs[k + 2], start, start + this.#runs[k + 1]);
        }
    }

    /** Give each pixel again the label that it got. */
    redo() {
        for (let k = 0; k < this.#used; k += NUMBERS) {
            const start = this.#runs[k];
            this.data.fill(this.#runs[k + 3], start, start + this.#runs[k + 1]);
        }
    }
}
