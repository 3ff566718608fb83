// The canvas of the overlays: one buffer, of which only what has changed is drawn anew.

const NEARLY = 1e-6;
const MOST_PARTS = 16;

/** Overlays fill the pixels of a sheet, one after the other. Parts are canvas pixels {left, top, right, bottom}. */
export class Sheet {
    #context;
    #buffer = null;
    #words = null;
    #dirty = [];
    #shifted = false;

    /** @param {HTMLCanvasElement} canvas that is drawn on */
    constructor(canvas) {
        this.#context = canvas.getContext("2d");
    }

    /** The canvas has another size, and is empty now. */
    resize(width, height) {
        this.#buffer = new ImageData(width, height);
        this.#words = new Uint32Array(this.#buffer.data.buffer);
        this.touchAll();
    }

    /** Everything is to be drawn. */
    touchAll() {
        this.#dirty = [{ left: 0, top: 0, right: this.#buffer.width, bottom: this.#buffer.height }];
    }

    /** A part of it is. */
    touch(part) {
        if (area(part) <= 0) {
            return;
        }
        const joined = this.#dirty.findIndex((other) => area(around(part, other)) <= area(part) + area(other));
        if (joined >= 0) {
            this.#dirty[joined] = around(part, this.#dirty[joined]);
        } else {
            this.#dirty.push(part);
        }
        if (this.#dirty.length > MOST_PARTS) {
            this.#dirty = [this.#dirty.reduce(around)];
        }
    }

    /**
     * The image lies elsewhere now. Where it only moved by whole pixels, what is drawn moves along.
     * @param {{x: number, y: number, scale: number}} from the view before
     * @param {{x: number, y: number, scale: number}} to the view now
     * @param {{clip?: object|null}[]} overlays of which none may be cut off at a place of the screen
     */
    move(from, to, overlays) {
        const { width, height } = this.#buffer;
        const [exactX, exactY] = [(from.x - to.x) * to.scale, (from.y - to.y) * to.scale];
        const [dx, dy] = [Math.round(exactX), Math.round(exactY)];
        const whole = Math.abs(exactX - dx) < NEARLY && Math.abs(exactY - dy) < NEARLY;
        const near = Math.abs(dx) < width && Math.abs(dy) < height;
        if (from.scale !== to.scale || !whole || !near || overlays.some(({ clip }) => clip)) {
            this.touchAll();
            return;
        }
        // Rows run over into their neighbours; that is in the strips that are drawn anew.
        const by = dy * width + dx;
        this.#words.copyWithin(Math.max(0, by), Math.max(0, -by), Math.min(this.#words.length, this.#words.length - by));
        this.#shifted = true;
        const moved = this.#dirty.map(({ left, top, right, bottom }) => ({
            left: Math.max(0, left + dx),
            top: Math.max(0, top + dy),
            right: Math.min(width, right + dx),
            bottom: Math.min(height, bottom + dy),
        }));
        this.#dirty = moved.filter((part) => area(part) > 0);
        this.touch({ left: dx > 0 ? 0 : width + dx, top: 0, right: dx > 0 ? dx : width, bottom: height });
        this.touch({ left: 0, top: dy > 0 ? 0 : height + dy, right: width, bottom: dy > 0 ? dy : height });
    }

    /** Draw what is to be drawn. */
    paint(overlays, view) {
        if (!this.#dirty.length && !this.#shifted) {
            return;
        }
        const { width, height } = this.#buffer;
        const parts = this.#dirty;
        this.#dirty = [];
        parts.forEach((part) => this.#draw(overlays, view, part));
        const shown = this.#shifted ? [{ left: 0, top: 0, right: width, bottom: height }] : parts;
        this.#shifted = false;
        for (const { left, top, right, bottom } of shown) {
            this.#context.putImageData(this.#buffer, 0, 0, left, top, right - left, bottom - top);
        }
    }

    #draw(overlays, view, { left, top, right, bottom }) {
        const { data, width, height } = this.#buffer;
        for (let row = top; row < bottom; row++) {
            this.#words.fill(0, row * width + left, row * width + right);
        }
        const rect = { left, top, width: right - left, height: bottom - top };
        overlays.forEach((overlay) => overlay.draw(data, width, height, view, rect));
    }
}

function area({ left, top, right, bottom }) {
    return right > left && bottom > top ? (right - left) * (bottom - top) : 0;
}

function around(one, other) {
    return {
        left: Math.min(one.left, other.left),
        top: Math.min(one.top, other.top),
        right: Math.max(one.right, other.right),
        bottom: Math.max(one.bottom, other.bottom),
    };
}
