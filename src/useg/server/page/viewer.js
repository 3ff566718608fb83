// The image on the screen: tiles, layers and overlays, moved by pointer, wheel and keys.

import { Gestures } from "./gestures.js";
import { TileLayer, TileQueue } from "./tiles.js";

const MOST_RATIO = 2;
const MOST_SCALE = 64;
const MOST_FIT = 16;
const WINDOW_MS = 60;
const POLL_MS = 400;

/**
 * Shows an image of any size, and overlays that are drawn over it.
 *
 * Scales and overlays are in canvas pixels, `pixelRatio` of which make a CSS pixel. Events:
 * "view" {x, y, scale, slice} after a move, "slice" {slice}, "ready" (the view document, once its pyramid is there),
 * "strokestart", "stroke", "strokeend" {points: [[x, y]...], shift, alt, button, cancelled} in image coordinates,
 * "hover" {x, y}, "leave", "compare" {at: 0..1 of the width}, "failed" {status} of a tile.
 */
export class Viewer extends EventTarget {
    /** Each {draw(pixels, width, height, {x, y, scale}, {left, top, width, height})}; drawn in order. */
    overlays = [];
    pixelRatio = 1;
    slice = 0;

    #host;
    #canvas;
    #overlayCanvas;
    #context;
    #overlayContext;
    #buffer = null;
    #view = { x: 0, y: 0, scale: 1 };
    #fitted = true;
    #mode = "pan";
    #document = null;
    #name = "";
    #channel = null;
    #window = null;
    #windowTimer = 0;
    #poll = 0;
    #image = null;
    #layer = null;
    #queue = new TileQueue((status) => this.#onfail(status));
    #frame = 0;
    #moved = false;
    #tilesDirty = false;
    #overlayDirty = null;

    /** @param {HTMLElement} host an element with a size of its own; it becomes focusable and gets the canvases */
    constructor(host) {
        super();
        this.#host = host;
        host.tabIndex = 0;
        host.setAttribute("role", "application");
        if (!host.hasAttribute("aria-label")) {
            host.setAttribute("aria-label", "Image. Arrow keys move it, plus and minus zoom, 0 fits, 1 is full size");
        }
        host.style.touchAction = "none";
        host.style.overflow = "hidden";
        if (getComputedStyle(host).position === "static") {
            host.style.position = "relative";
        }
        this.#canvas = this.#addCanvas();
        this.#overlayCanvas = this.#addCanvas();
        this.#context = this.#canvas.getContext("2d");
        this.#overlayContext = this.#overlayCanvas.getContext("2d");
        new Gestures(host, this);
        new ResizeObserver(() => this.#resize()).observe(host);
        this.#resize();
    }

    /** Canvas pixels an image pixel. */
    get scale() {
        return this.#view.scale;
    }

    /** What of the image is seen: canvas pixel (i, j) shows the point (x + i / scale, y + j / scale). */
    get view() {
        return { ...this.#view };
    }

    /** What the primary button does: "pan", "paint" or "compare". */
    get mode() {
        return this.#mode;
    }

    set mode(mode) {
        this.#mode = mode;
        this.#host.style.cursor = mode === "pan" ? "grab" : this.cursor;
    }

    /** The cursor of the present mode. */
    get cursor() {
        return { pan: "grab", paint: "crosshair", compare: "ew-resize" }[this.#mode];
    }

    /** Whether all tiles of this view have come. */
    get complete() {
        return !this.#frame && !this.#queue.busy;
    }

    /**
     * Show an image, all of it.
     * @param {string} name of the image
     * @param {object} view what GET /api/images/{name}/view says
     */
    open(name, view) {
        this.close();
        this.#name = name;
        this.#document = view;
        this.#image = this.#tileLayer("image");
        this.#setQueries();
        this.fit();
        if (view.ready === false) {
            this.#poll = setTimeout(() => this.#askAgain(), POLL_MS);
        }
    }

    /** Show nothing. */
    close() {
        clearTimeout(this.#poll);
        clearTimeout(this.#windowTimer);
        this.#image?.close();
        this.#layer?.close();
        this.#image = this.#layer = this.#document = this.#window = this.#channel = null;
        this.slice = 0;
        this.#queue.want([]);
        this.#changed(true);
    }

    /** @param {number} z slice of a stack, cut to those that there are */
    setSlice(z) {
        const slice = Math.min((this.#document?.slices ?? 1) - 1, Math.max(0, Math.round(z)));
        if (slice !== this.slice) {
            this.slice = slice;
            this.#setQueries();
            this.#changed(true);
            this.dispatchEvent(new CustomEvent("slice", { detail: { slice } }));
        }
    }

    /** Gray values that are shown black and white; null for those that the server finds. */
    setWindow(low, high) {
        this.#window = low === null ? null : [low, high];
        // While a slider is dragged, not each of its steps is asked for.
        this.#windowTimer ||= setTimeout(() => {
            this.#windowTimer = 0;
            this.#setQueries();
            this.#changed(false);
        }, WINDOW_MS);
    }

    /** @param {number|null} channel shown alone, in gray; null for all */
    setChannel(channel) {
        this.#channel = channel;
        this.#setQueries();
        this.#changed(false);
    }

    /** @param {string|null} id one of the layers of the view document, or none; @param {number} opacity 0..1 */
    setLayer(id, opacity = 1) {
        const base = id && this.#tilesAt(id);
        if (this.#layer?.base !== base) {
            this.#layer?.close();
            this.#layer = id && this.#document ? this.#tileLayer(id) : null;
            this.#setQueries();
        }
        if (this.#layer) {
            this.#layer.opacity = opacity;
        }
        this.#changed(false);
    }

    /** Show the whole image in the middle. */
    fit() {
        if (!this.#document) {
            return;
        }
        const { width, height } = this.#document;
        const scale = this.#fitScale();
        const [w, h] = [this.#canvas.width, this.#canvas.height];
        this.#view = { x: (width - w / scale) / 2, y: (height - h / scale) / 2, scale };
        this.#fitted = true;
        this.#moved = true;
        this.#changed(true);
    }

    /** Enlarge by a factor about a point of the window, the middle of the image's place if none is given. */
    zoomBy(factor, clientX, clientY) {
        const box = this.#host.getBoundingClientRect();
        const x = ((clientX ?? box.left + box.width / 2) - box.left) * this.pixelRatio;
        const y = ((clientY ?? box.top + box.height / 2) - box.top) * this.pixelRatio;
        const { view } = this;
        const least = Math.min(1, this.#fitScale()) / 2;
        const scale = Math.min(MOST_SCALE, Math.max(least, view.scale * factor));
        this.#setView(view.x + x / view.scale - x / scale, view.y + y / view.scale - y / scale, scale);
    }

    /** Move the image by CSS pixels. */
    panBy(dx, dy) {
        const { x, y, scale } = this.#view;
        this.#setView(x - (dx * this.pixelRatio) / scale, y - (dy * this.pixelRatio) / scale, scale);
    }

    /** Point of the image under a point of the window. */
    toImage(clientX, clientY) {
        const box = this.#host.getBoundingClientRect();
        const { x, y, scale } = this.#view;
        const size = this.pixelRatio / scale;
        return [x + (clientX - box.left) * size, y + (clientY - box.top) * size];
    }

    /** Point of the window over a point of the image. */
    toClient(imageX, imageY) {
        const box = this.#host.getBoundingClientRect();
        const { x, y, scale } = this.#view;
        const size = scale / this.pixelRatio;
        return [box.left + (imageX - x) * size, box.top + (imageY - y) * size];
    }

    /** Draw the overlays anew, in {x, y, width, height} of the image or everywhere, with the next frame. */
    redraw(rect) {
        const all = { left: 0, top: 0, right: this.#canvas.width, bottom: this.#canvas.height };
        this.#overlayDirty = join(this.#overlayDirty, rect ? this.#onCanvas(rect, all) : all);
        this.#schedule();
    }

    #addCanvas() {
        const canvas = document.createElement("canvas");
        canvas.setAttribute("aria-hidden", "true");
        Object.assign(canvas.style, { position: "absolute", inset: "0", width: "100%", height: "100%" });
        this.#host.append(canvas);
        return canvas;
    }

    #resize() {
        this.pixelRatio = Math.min(MOST_RATIO, devicePixelRatio);
        const width = Math.max(1, Math.round(this.#host.clientWidth * this.pixelRatio));
        const height = Math.max(1, Math.round(this.#host.clientHeight * this.pixelRatio));
        const before = [this.#canvas.width, this.#canvas.height];
        if (this.#buffer && width === before[0] && height === before[1]) {
            return;
        }
        for (const canvas of [this.#canvas, this.#overlayCanvas]) {
            canvas.width = width;
            canvas.height = height;
        }
        this.#buffer = new ImageData(width, height);
        if (this.#fitted) {
            this.fit();
        } else {
            const { x, y, scale } = this.#view;
            this.#setView(x + (before[0] - width) / 2 / scale, y + (before[1] - height) / 2 / scale, scale);
        }
        this.#changed(true);
        this.#paint(); // at once: the canvases are empty now
    }

    #fitScale() {
        const { width, height } = this.#document ?? { width: 1, height: 1 };
        return Math.min(MOST_FIT, this.#canvas.width / width, this.#canvas.height / height);
    }

    #setView(x, y, scale) {
        if (!this.#document) {
            return;
        }
        // The middle of the screen stays on the image.
        const [w, h] = [this.#canvas.width / 2 / scale, this.#canvas.height / 2 / scale];
        this.#view = {
            x: Math.min(this.#document.width - w, Math.max(-w, x)),
            y: Math.min(this.#document.height - h, Math.max(-h, y)),
            scale,
        };
        this.#fitted = false;
        this.#moved = true;
        this.#changed(true);
    }

    #tilesAt(layer) {
        return `/api/images/${encodeURIComponent(this.#name)}/tiles/${encodeURIComponent(layer)}`;
    }

    #tileLayer(layer) {
        return new TileLayer(this.#tilesAt(layer), this.#document, () => this.#changed(false));
    }

    #setQueries() {
        if (!this.#document) {
            return;
        }
        const { layers, v } = this.#document;
        const frame = this.#frameOf();
        const query = new URLSearchParams({ v, z: this.slice });
        if (this.#window) {
            query.set("low", this.#window[0]);
            query.set("high", this.#window[1]);
        }
        if (this.#channel !== null) {
            query.set("channel", this.#channel);
        }
        this.#image.setQuery(query.toString(), frame);
        const shown = layers.find(({ id }) => this.#tilesAt(id) === this.#layer?.base);
        this.#layer?.setQuery(new URLSearchParams({ v: shown?.v ?? "", z: this.slice }).toString(), frame);
    }

    async #askAgain() {
        const name = this.#name;
        const document = this.#document;
        let found = null;
        try {
            const response = await fetch(`/api/images/${encodeURIComponent(name)}/view`);
            found = response.ok ? await response.json() : null;
        } catch {
            // The server is away for a moment.
        }
        if (document !== this.#document) {
            return;
        }
        if (!found?.ready) {
            this.#poll = setTimeout(() => this.#askAgain(), POLL_MS);
            return;
        }
        this.#document = found;
        this.#setQueries();
        this.#changed(false);
        this.dispatchEvent(new CustomEvent("ready", { detail: found }));
    }

    #frameOf() {
        return { ...this.#view, width: this.#canvas.width, height: this.#canvas.height };
    }

    #onfail(status) {
        this.dispatchEvent(new CustomEvent("failed", { detail: { status } }));
        this.#changed(false);
    }

    #changed(overlays) {
        this.#tilesDirty = true;
        if (overlays) {
            this.redraw();
        }
        this.#schedule();
    }

    #schedule() {
        this.#frame ||= requestAnimationFrame(() => this.#paint());
    }

    #paint() {
        cancelAnimationFrame(this.#frame);
        this.#frame = 0;
        if (this.#moved) {
            this.#moved = false;
            this.dispatchEvent(new CustomEvent("view", { detail: { ...this.#view, slice: this.slice } }));
        }
        if (this.#tilesDirty) {
            this.#tilesDirty = false;
            this.#paintTiles();
        }
        if (this.#overlayDirty) {
            const { left, top, right, bottom } = this.#overlayDirty;
            this.#overlayDirty = null;
            this.#paintOverlays({ left, top, width: right - left, height: bottom - top });
        }
    }

    #paintTiles() {
        const context = this.#context;
        context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
        if (!this.#document) {
            return;
        }
        const frame = this.#frameOf();
        const shown = [this.#image, this.#layer].filter((layer) => layer);
        const ready = this.#document.ready !== false;
        this.#queue.want(ready ? shown.flatMap((layer) => layer.wanted(frame)) : []);
        context.save();
        const edge = (at, from) => Math.round((at - from) * frame.scale);
        context.beginPath();
        context.rect(
            edge(0, frame.x),
            edge(0, frame.y),
            Math.round(this.#document.width * frame.scale),
            Math.round(this.#document.height * frame.scale),
        );
        context.clip();
        shown.forEach((layer) => layer.draw(context, frame));
        context.restore();
    }

    #paintOverlays(rect) {
        if (rect.width <= 0 || rect.height <= 0) {
            return;
        }
        const { data, width, height } = this.#buffer;
        for (let row = rect.top; row < rect.top + rect.height; row++) {
            const start = 4 * (row * width + rect.left);
            data.fill(0, start, start + 4 * rect.width);
        }
        if (this.#document) {
            this.overlays.forEach((overlay) => overlay.draw(data, width, height, this.view, rect));
        }
        this.#overlayContext.putImageData(this.#buffer, 0, 0, rect.left, rect.top, rect.width, rect.height);
    }

    #onCanvas(rect, all) {
        const { x, y, scale } = this.#view;
        return {
            left: Math.max(all.left, Math.floor((rect.x - x) * scale) - 1),
            top: Math.max(all.top, Math.floor((rect.y - y) * scale) - 1),
            right: Math.min(all.right, Math.ceil((rect.x + rect.width - x) * scale) + 1),
            bottom: Math.min(all.bottom, Math.ceil((rect.y + rect.height - y) * scale) + 1),
        };
    }
}

function join(one, other) {
    if (!one || other.right <= other.left || other.bottom <= other.top) {
        return one ?? other;
    }
    return {
        left: Math.min(one.left, other.left),
        top: Math.min(one.top, other.top),
        right: Math.max(one.right, other.right),
        bottom: Math.max(one.bottom, other.bottom),
    };
}
