// The canvas of the overlays: one buffer, of which only what has changed is drawn anew.

/** Overlays fill the pixels of a sheet, one after the other. */
export class Sheet {
    #context;
    #buffer = null;
    #dirty = null;

    /** @param {HTMLCanvasElement} canvas that is drawn on */
    constructor(canvas) {
        this.#context = canvas.getContext("2d");
    }

    /** The canvas has another size, and is empty now. */
    resize(width, height) {
        this.#buffer = new ImageData(width, height);
        this.touchAll();
    }

    /** Everything is to be drawn. */
    touchAll() {
        this.#dirty = { left: 0, top: 0, right: this.#buffer.width, bottom: this.#buffer.height };
    }

    /** A part of it is: canvas pixels {left, top, right, bottom}. */
    touch(part) {
        if (part.right <= part.left || part.bottom <= part.top) {
            return;
        }
        const all = this.#dirty ?? part;
        this.#dirty = {
            left: Math.min(all.left, part.left),
            top: Math.min(all.top, part.top),
            right: Math.max(all.right, part.right),
            bottom: Math.max(all.bottom, part.bottom),
        };
    }

    /** Draw what is to be drawn. */
    paint(overlays, view) {
        if (!this.#dirty) {
            return;
        }
        const { left, top, right, bottom } = this.#dirty;
        const rect = { left, top, width: right - left, height: bottom - top };
        this.#dirty = null;
        const { data, width, height } = this.#buffer;
        for (let row = top; row < bottom; row++) {
            data.fill(0, 4 * (row * width + left), 4 * (row * width + right));
        }
        overlays.forEach((overlay) => overlay.draw(data, width, height, view, rect));
        this.#context.putImageData(this.#buffer, 0, 0, left, top, rect.width, rect.height);
    }
}
