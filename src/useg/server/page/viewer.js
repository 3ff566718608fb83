// The image on the screen: tiles, layers and overlays, moved by pointer, wheel and keys.

import { Gestures } from "./gestures.js";
import { Place } from "./place.js";
import { Sheet } from "./sheet.js";
import { TileLayer, TileQueue } from "./tiles.js";

const MOST_RATIO = 2;
const WINDOW_MS = 60;
const POLL_MS = 400;

/**
 * Shows an image of any size, and overlays that are drawn over it.
 *
 * Scales and overlays are in canvas pixels, `pixelRatio` of which make a CSS pixel. Events:
 * "view" {x, y, scale, slice} after a move, "slice" {slice}, "ready" (the view document, once its pyramid is there),
 * "strokestart", "stroke", "strokeend" {points: [[x, y]...], shift, alt, button, cancelled} in image coordinates,
 * "hover" {x, y}, "leave", "tap" {x, y} where what could have moved the image did not, "compare" {at: 0..1 of the
 * width}, "look" when other things are `asked` for, "failed" {status} of a tile.
 */
export class Viewer extends EventTarget {
    /** Each {draw(pixels, width, height, {x, y, scale}, {left, top, width, height})}; drawn in order. */
    overlays = [];
    pixelRatio = 1;
    slice = 0;

    #host;
    #canvas;
    #sheetCanvas;
    #context;
    #sheet;
    #place = new Place();
    #sized = false;
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
        this.#sheetCanvas = this.#addCanvas();
        this.#context = this.#canvas.getContext("2d");
        this.#sheet = new Sheet(this.#sheetCanvas);
        new Gestures(host, this);
        new ResizeObserver(() => this.#resize()).observe(host);
        this.#resize();
    }

    /** Canvas pixels an image pixel. */
    get scale() {
        return this.#place.scale;
    }

    /** What of the image is seen: canvas pixel (i, j) shows the point (x + i / scale, y + j / scale). */
    get view() {
        const { x, y, scale } = this.#place;
        return { x, y, scale };
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

    /** What the server is asked for, but for the slice: {id, query, opacity} of the image, and of what lies over it. */
    get asked() {
        if (!this.#document) {
            return [];
        }
        const { layers, v } = this.#document;
        const query = new URLSearchParams({ v });
        if (this.#window) {
            query.set("low", this.#window[0]);
            query.set("high", this.#window[1]);
        }
        if (this.#channel !== null) {
            query.set("channel", this.#channel);
        }
        const over = layers.filter(({ id }) => this.#tilesAt(id) === this.#layer?.base);
        return [
            { id: "image", query: String(query), opacity: 1 },
            ...over.map((layer) => ({ id: layer.id, query: `v=${layer.v}`, opacity: this.#layer.opacity })),
        ];
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
        this.#place.show(view);
        this.#setQueries();
        this.#moved = true;
        this.#changed(true);
        if (view.ready === false) {
            this.#poll = setTimeout(() => this.#askAgain(), POLL_MS);
        }
    }

    /** The same image has another view document, as after a prediction: its new layers can be shown. */
    update(view) {
        this.#document = view;
        this.#setQueries();
        this.#changed(false);
    }

    /** Show nothing. */
    close() {
        clearTimeout(this.#poll);
        clearTimeout(this.#windowTimer);
        this.#image?.close();
        this.#layer?.close();
        this.#image = this.#layer = this.#document = this.#window = this.#channel = null;
        this.slice = 0;
        this.#place.show(null);
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
        this.#moving(() => this.#place.fit());
    }

    /** Enlarge by a factor about a point of the window, or about the middle. */
    zoomBy(factor, clientX, clientY) {
        const box = this.#host.getBoundingClientRect();
        const at = clientX === undefined ? [] : [clientX - box.left, clientY - box.top];
        this.#moving(() => this.#place.zoom(factor, ...at.map((pixels) => pixels * this.pixelRatio)));
    }

    /** Move the image by CSS pixels. */
    panBy(dx, dy) {
        this.#moving(() => this.#place.pan(dx * this.pixelRatio, dy * this.pixelRatio));
    }

    /** Point of the image under a point of the window. */
    toImage(clientX, clientY) {
        const box = this.#host.getBoundingClientRect();
        const { x, y, scale } = this.#place;
        const size = this.pixelRatio / scale;
        return [x + (clientX - box.left) * size, y + (clientY - box.top) * size];
    }

    /** Point of the window over a point of the image. */
    toClient(imageX, imageY) {
        const box = this.#host.getBoundingClientRect();
        const { x, y, scale } = this.#place;
        const size = scale / this.pixelRatio;
        return [box.left + (imageX - x) * size, box.top + (imageY - y) * size];
    }

    /** Draw the overlays anew, in {x, y, width, height} of the image or everywhere, with the next frame. */
    redraw(rect) {
        if (rect) {
            this.#sheet.touch(this.#place.onCanvas(rect));
        } else {
            this.#sheet.touchAll();
        }
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
        if (this.#sized && width === this.#place.width && height === this.#place.height) {
            return;
        }
        this.#sized = true;
        for (const canvas of [this.#canvas, this.#sheetCanvas]) {
            canvas.width = width;
            canvas.height = height;
        }
        this.#sheet.resize(width, height);
        this.#place.resize(width, height);
        this.#moved = true;
        this.#changed(true);
        this.#paint(); // at once: the canvases are empty now
    }

    #tilesAt(layer) {
        return `/api/images/${encodeURIComponent(this.#name)}/tiles/${encodeURIComponent(layer)}`;
    }

    #tileLayer(layer) {
        return new TileLayer(this.#tilesAt(layer), this.#document, () => this.#changed(false));
    }

    #setQueries() {
        const [image, over] = this.asked;
        if (image) {
            this.#image.setQuery(`${image.query}&z=${this.slice}`, this.#place);
            this.#layer?.setQuery(`${over?.query ?? "v="}&z=${this.slice}`, this.#place);
        }
        this.dispatchEvent(new CustomEvent("look"));
    }

    /** Until the pyramid is there. */
    async #askAgain() {
        const before = this.#document;
        const response = await fetch(`/api/images/${encodeURIComponent(this.#name)}/view`).catch(() => null);
        const found = response?.ok ? await response.json() : null;
        if (before !== this.#document) {
            return;
        }
        if (response && !response.ok) {
            this.#onfail(response.status);
            return;
        }
        if (found) {
            this.update(found);
        }
        if (found?.ready) {
            this.dispatchEvent(new CustomEvent("ready", { detail: found }));
        } else {
            this.#poll = setTimeout(() => this.#askAgain(), POLL_MS);
        }
    }

    #onfail(status) {
        this.dispatchEvent(new CustomEvent("failed", { detail: { status } }));
        this.#changed(false);
    }

    #moving(move) {
        const before = this.view;
        move();
        this.#sheet.move(before, this.view, this.overlays);
        this.#moved = true;
        this.#changed(false);
    }

    #changed(overlays) {
        this.#tilesDirty = true;
        if (overlays) {
            this.#sheet.touchAll();
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
            this.dispatchEvent(new CustomEvent("view", { detail: { ...this.view, slice: this.slice } }));
        }
        if (this.#tilesDirty) {
            this.#tilesDirty = false;
            this.#paintTiles();
        }
        this.#sheet.paint(this.#document ? this.overlays : [], this.view);
    }

    #paintTiles() {
        const [context, place] = [this.#context, this.#place];
        context.clearRect(0, 0, place.width, place.height);
        if (!this.#document) {
            return;
        }
        const { width, height } = this.#document;
        const edge = (at, from) => Math.round((at - from) * place.scale);
        const [left, top] = [edge(0, place.x), edge(0, place.y)];
        const [w, h] = [edge(width, place.x) - left, edge(height, place.y) - top];
        if (this.#document.ready === false) {
            context.fillStyle = "#808080";
            context.fillRect(left, top + h / 2, w * this.#document.progress, 4 * this.pixelRatio);
            context.strokeRect(left, top, w, h);
            return;
        }
        const shown = [this.#image, this.#layer].filter((layer) => layer);
        this.#queue.want(shown.flatMap((layer) => layer.wanted(place)));
        context.save();
        context.beginPath();
        context.rect(left, top, w, h);
        context.clip();
        shown.forEach((layer) => layer.draw(context, place));
        context.restore();
    }
}
