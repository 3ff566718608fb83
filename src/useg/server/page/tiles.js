// Tiles of an image: which ones a view needs, asking for them, keeping them, drawing them.

const LEAST_KEPT = 96;
const AT_ONCE = 6;
const RETRY_MS = 3000;

/** Requests for tiles, a few at once. What is no longer wanted is aborted. */
export class TileQueue {
    #wanted = [];
    #active = new Map();
    #failed = new Map();
    #onfail;

    /** @param {(status: number) => void} onfail is told of tiles that did not come; they are asked for again later */
    constructor(onfail) {
        this.#onfail = onfail;
    }

    /**
     * @param {{url: string, store: (bitmap: ImageBitmap) => void}[]} wanted all that is needed, the most urgent first
     */
    want(wanted) {
        const urls = new Set(wanted.map(({ url }) => url));
        for (const [url, controller] of this.#active) {
            if (!urls.has(url)) {
                controller.abort();
                this.#active.delete(url);
            }
        }
        this.#wanted = wanted.filter(({ url }) => !this.#active.has(url));
        this.#start();
    }

    /** Requests that are under way or waiting. */
    get busy() {
        return this.#active.size + this.#wanted.length;
    }

    #start() {
        const now = performance.now();
        while (this.#active.size < AT_ONCE && this.#wanted.length) {
            const next = this.#wanted.shift();
            if (now - (this.#failed.get(next.url) ?? -Infinity) > RETRY_MS) {
                this.#fetch(next);
            }
        }
    }

    async #fetch({ url, store }) {
        const controller = new AbortController();
        this.#active.set(url, controller);
        try {
            const response = await fetch(url, { signal: controller.signal });
            if (!response.ok) {
                throw Object.assign(new Error(response.statusText), { status: response.status });
            }
            const bitmap = await createImageBitmap(await response.blob());
            if (controller.signal.aborted) {
                bitmap.close();
                return;
            }
            this.#failed.delete(url);
            store(bitmap);
        } catch (error) {
            if (!controller.signal.aborted) {
                this.#failed.set(url, performance.now());
                setTimeout(() => this.#onfail(error.status ?? 0), RETRY_MS + 50);
            }
        } finally {
            if (this.#active.get(url) === controller) {
                this.#active.delete(url);
            }
            this.#start();
        }
    }
}

/**
 * The tiles of one layer. A frame is {x, y, scale, width, height}: canvas pixel (i, j) of width x height shows the
 * image point (x + i / scale, y + j / scale).
 */
export class TileLayer {
    #tiles = new Map();
    #before = "";
    #onload;

    /**
     * @param {string} base address of the tiles, without the level
     * @param {{width: number, height: number, tile: number, levels: number}} shape of the image
     * @param {() => void} onload is told when a tile has come
     */
    constructor(base, shape, onload) {
        this.base = base;
        this.shape = shape;
        this.query = "";
        this.opacity = 1;
        this.#onload = onload;
    }

    /** Ask another thing of the same tiles, such as another slice; the old ones are shown until the new ones come. */
    setQuery(query, frame) {
        if (query === this.query) {
            return;
        }
        if (!this.#missing(frame).length) {
            this.#before = this.query;
        }
        this.query = query;
    }

    /** The level whose pixels are the smallest that are not larger than the screen's need. */
    levelOf(scale) {
        return Math.min(this.shape.levels - 1, Math.max(0, Math.floor(-Math.log2(scale))));
    }

    /** What to ask for, the most urgent first: the whole image in a single tile, then what is seen, from the middle. */
    wanted(frame) {
        const keys = this.#missing(frame);
        const top = { level: this.shape.levels - 1, row: 0, column: 0 };
        if (keys.length && !this.#tiles.has(this.#key(top))) {
            keys.unshift(top);
        }
        return [...new Map(keys.map((at) => [this.#key(at), at]))].map(([key, at]) => ({
            url: `${this.base}/${at.level}/${at.row}/${at.column}?${this.query}`,
            store: (bitmap) => this.#store(key, bitmap),
        }));
    }

    /** Draw what is there: coarser tiles first, and finer ones where they lie ready, then those that fit. */
    draw(context, frame) {
        const fitting = this.levelOf(frame.scale);
        const order = [fitting];
        if (this.#missing(frame).length) {
            for (let level = fitting + 1; level < this.shape.levels; level++) {
                order.unshift(level);
            }
            if (fitting > 0) {
                order.splice(-1, 0, fitting - 1);
            }
        }
        context.globalAlpha = this.opacity;
        for (const level of order) {
            context.imageSmoothingEnabled = level > 0 || frame.scale < 1;
            for (const at of this.#visible(frame, level)) {
                this.#drawTile(context, frame, at);
            }
        }
        context.globalAlpha = 1;
        this.#trim(1.5 * this.#visible(frame, fitting).length);
    }

    /** Forget all tiles. */
    close() {
        this.#trim(-Infinity);
    }

    #drawTile(context, frame, at) {
        const key = this.#key(at);
        const bitmap = this.#use(key) ?? this.#tiles.get(this.#key(at, this.#before));
        if (!bitmap) {
            return;
        }
        const pixel = 2 ** at.level;
        const [x, y] = [at.column * this.shape.tile * pixel, at.row * this.shape.tile * pixel];
        const left = Math.round((x - frame.x) * frame.scale);
        const top = Math.round((y - frame.y) * frame.scale);
        const right = Math.round((x + bitmap.width * pixel - frame.x) * frame.scale);
        const bottom = Math.round((y + bitmap.height * pixel - frame.y) * frame.scale);
        context.drawImage(bitmap, left, top, right - left, bottom - top);
    }

    #missing(frame) {
        return this.#visible(frame, this.levelOf(frame.scale)).filter((at) => !this.#tiles.has(this.#key(at)));
    }

    #visible(frame, level) {
        const edge = this.shape.tile * 2 ** level;
        const [right, bottom] = [frame.x + frame.width / frame.scale, frame.y + frame.height / frame.scale];
        const first = [Math.max(0, Math.floor(frame.y / edge)), Math.max(0, Math.floor(frame.x / edge))];
        const last = [Math.min(bottom, this.shape.height) / edge, Math.min(right, this.shape.width) / edge];
        const found = [];
        for (let row = first[0]; row < last[0]; row++) {
            for (let column = first[1]; column < last[1]; column++) {
                found.push({ level, row, column });
            }
        }
        const middle = [(frame.y + bottom) / 2 / edge - 0.5, (frame.x + right) / 2 / edge - 0.5];
        const away = (at) => (at.row - middle[0]) ** 2 + (at.column - middle[1]) ** 2;
        return found.sort((a, b) => away(a) - away(b));
    }

    #key({ level, row, column }, query = this.query) {
        return `${query}|${level}/${row}/${column}`;
    }

    #use(key) {
        const bitmap = this.#tiles.get(key);
        if (bitmap) {
            this.#tiles.delete(key);
            this.#tiles.set(key, bitmap);
        }
        return bitmap;
    }

    #store(key, bitmap) {
        this.#tiles.get(key)?.close();
        this.#tiles.set(key, bitmap);
        this.#onload();
    }

    #trim(needed) {
        const most = needed < 0 ? 0 : Math.max(LEAST_KEPT, needed);
        for (const [key, bitmap] of this.#tiles) {
            if (this.#tiles.size <= most) {
                return;
            }
            bitmap.close();
            this.#tiles.delete(key);
        }
    }
}
