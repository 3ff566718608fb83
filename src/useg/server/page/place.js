// Which part of an image lies where on a canvas: numbers only.

const MOST_SCALE = 64;
const MOST_FIT = 16;

/** Canvas pixel (i, j) shows the point (x + i / scale, y + j / scale) of the image. */
export class Place {
    x = 0;
    y = 0;
    scale = 1;
    /** Whether the whole image is shown and stays so when the canvas changes its size. */
    fitted = true;
    /** Pixels of the canvas. */
    width = 1;
    height = 1;
    #image = null;

    /** @param {{width: number, height: number}|null} image that is shown */
    show(image) {
        this.#image = image;
        this.fit();
    }

    /** The whole image, in the middle. */
    fit() {
        const { width, height } = this.#image ?? this;
        this.scale = this.#fitScale();
        this.x = (width - this.width / this.scale) / 2;
        this.y = (height - this.height / this.scale) / 2;
        this.fitted = true;
    }

    /** Enlarge by a factor; the point under the canvas pixel stays there. */
    zoom(factor, pixelX = this.width / 2, pixelY = this.height / 2) {
        const least = Math.min(1, this.#fitScale()) / 2;
        const scale = Math.min(MOST_SCALE, Math.max(least, this.scale * factor));
        this.#move(this.x + pixelX / this.scale - pixelX / scale, this.y + pixelY / this.scale - pixelY / scale, scale);
    }

    /** Move the image by canvas pixels. */
    pan(dx, dy) {
        this.#move(this.x - dx / this.scale, this.y - dy / this.scale, this.scale);
    }

    /** The canvas has another size; what was in its middle stays there. */
    resize(width, height) {
        const [dx, dy] = [(width - this.width) / 2, (height - this.height) / 2];
        this.width = width;
        this.height = height;
        if (this.fitted) {
            this.fit();
        } else {
            this.pan(dx, dy);
        }
    }

    /** The smallest rectangle of whole canvas pixels around one of the image, cut off at the borders of the canvas. */
    onCanvas(rect) {
        return {
            left: Math.max(0, Math.floor((rect.x - this.x) * this.scale) - 1),
            top: Math.max(0, Math.floor((rect.y - this.y) * this.scale) - 1),
            right: Math.min(this.width, Math.ceil((rect.x + rect.width - this.x) * this.scale) + 1),
            bottom: Math.min(this.height, Math.ceil((rect.y + rect.height - this.y) * this.scale) + 1),
        };
    }

    #fitScale() {
        const { width, height } = this.#image ?? this;
        return Math.min(MOST_FIT, this.width / width, this.height / height);
    }

    #move(x, y, scale) {
        if (!this.#image) {
            return;
        }
        // The middle of the canvas stays on the image.
        const [w, h] = [this.width / 2 / scale, this.height / 2 / scale];
        this.x = Math.min(this.#image.width - w, Math.max(-w, x));
        this.y = Math.min(this.#image.height - h, Math.max(-h, y));
        this.scale = scale;
        this.fitted = false;
    }
}
