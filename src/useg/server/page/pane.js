/** One plane across the slices of a volume: its picture, the labels over it, and lines where the other planes lie. */

import { make, setText } from "./dom.js";
import { LabelLayer } from "./labels.js";
import { pathOf } from "./session.js";

const MOST_RATIO = 2;
const ALONG = { y: "x", x: "y" }; // axis from left to right; slices lie from below to above

/** A picture that changes: the last one that came is there until the next one comes. */
class Picture {
    bitmap = null;
    /** Why there is none. */
    told = "";
    #api;
    #onload;
    #answered = ""; // path
    #wanted = ""; // path
    #busy = false;
    #ended = false; // nothing more is asked for

    constructor(api, onload) {
        this.#api = api;
        this.#onload = onload;
    }

    /** Ask for another. What is on its way is let in; of those asked for meanwhile only the last is. */
    async want(path) {
        this.#wanted = path;
        if (this.#busy) return;
        this.#busy = true;
        while (!this.#ended && this.#wanted !== this.#answered) {
            if (!(await this.#load(this.#wanted))) break;
        }
        this.#busy = false;
    }

    close() {
        this.#ended = true;
        this.#take(null);
    }

    /** Whether there was an answer; else the server is away, and is asked again when it is back. */
    async #load(path) {
        try {
            const { data } = await this.#api.bytes(path);
            const bitmap = await createImageBitmap(new Blob([data]));
            if (this.#ended) return bitmap.close();
            this.#take(bitmap);
        } catch (error) {
            if (!error.status || this.#ended) return false;
            this.#take(null, error.message);
            this.#ended = error.status === 400; // too large, wherever it is cut
        }
        this.#answered = path;
        this.#onload();
        return true;
    }

    #take(bitmap, told = "") {
        this.bitmap?.close();
        this.bitmap = bitmap;
        this.told = told;
    }
}

/** Shows the rows (axis "y") or the columns ("x") of all slices. */
export class Pane {
    /** Of the plane's width to its height, in true proportion. */
    aspect = 1;
    #axis;
    #api;
    #host;
    #onload;
    #canvas;
    #labels = make("canvas");
    #lines = [make("i", { class: "line upright" }), make("i", { class: "line" })];
    #told = make("p", { class: "told", role: "status" });
    #slider;
    #sizes = { x: 1, y: 1, z: 1 };
    #place = { left: 0, top: 0, width: 1, height: 1 }; // in the host, in CSS pixels
    #name = "";
    #pictures = new Map(); // by the id of their layer

    /**
     * @param {"y" | "x"} axis
     * @param {HTMLElement} host with a canvas and a slider
     * @param {import("./api.js").Api} api
     * @param {{onmove: (to: {x?: number, y?: number, z?: number}) => void, onload: () => void}} heard where the point
     *     is to go, as voxels; that it is to be shown anew
     */
    constructor(axis, host, api, { onmove, onload }) {
        this.#axis = axis;
        this.#api = api;
        this.#onload = onload;
        this.#slider = host.querySelector("input");
        this.#slider.addEventListener("input", () => onmove({ [axis]: Number(this.#slider.value) }));
        this.#canvas = host.querySelector("canvas");
        this.#host = this.#canvas.parentElement;
        this.#host.append(...this.#lines, this.#told);
        this.#host.addEventListener("pointerdown", (event) => {
            this.#host.setPointerCapture(event.pointerId);
            onmove(this.#at(event));
        });
        this.#host.addEventListener("pointermove", (event) => event.buttons && onmove(this.#at(event)));
        new ResizeObserver(onload).observe(this.#host);
    }

    /** Show another volume. @param {string} name @param {object} view its view document */
    open(name, { width, height, slices, spacing }) {
        this.#name = name;
        this.#sizes = { x: width, y: height, z: slices };
        const [z, y, x] = spacing ?? [1, 1, 1];
        const along = { x: x * width, y: y * height }[ALONG[this.#axis]];
        this.aspect = along / (z * slices);
        this.#slider.max = this.#sizes[this.#axis] - 1;
        this.#pictures.forEach((picture) => picture.close());
        this.#pictures.clear();
    }

    /**
     * Show the plane through a point.
     * @param {{x: number, y: number, z: number}} point voxels
     * @param {{id: string, query: string, opacity: number}[]} asked what the viewer asks for
     * @param {LabelLayer} layer of the whole volume
     */
    show(point, asked, layer) {
        const index = point[this.#axis];
        const pictures = asked.map(({ id, query, opacity }) => {
            if (!this.#pictures.has(id)) this.#pictures.set(id, new Picture(this.#api, this.#onload));
            const picture = this.#pictures.get(id);
            picture.want(`${pathOf(this.#name)}/planes/${encodeURIComponent(id)}/${this.#axis}/${index}?${query}`);
            return { picture, opacity };
        });
        setText(this.#told, pictures.map(({ picture }) => picture.told).find((told) => told) ?? "");
        this.#told.hidden = !this.#told.textContent;
        this.#showIndex(index);
        this.#fit();
        this.#draw(pictures, layer, index);
        this.#cross(point);
    }

    #showIndex(index) {
        const words = `${index + 1} of ${this.#sizes[this.#axis]}`;
        this.#slider.value = index;
        this.#slider.setAttribute("aria-valuetext", words);
        setText(this.#slider.closest(".slices").querySelector("output"), words);
    }

    /** As large as it goes, in the middle. */
    #fit() {
        const { clientWidth, clientHeight } = this.#host;
        const width = Math.max(1, Math.round(Math.min(clientWidth, clientHeight * this.aspect)));
        const height = Math.max(1, Math.round(Math.min(clientHeight, clientWidth / this.aspect)));
        const [left, top] = [(clientWidth - width) >> 1, (clientHeight - height) >> 1];
        this.#place = { left, top, width, height };
    }

    #draw(pictures, layer, index) {
        const ratio = Math.min(MOST_RATIO, devicePixelRatio);
        const { clientWidth, clientHeight } = this.#host;
        this.#canvas.width = Math.round(clientWidth * ratio);
        this.#canvas.height = Math.round(clientHeight * ratio);
        if (!pictures[0]?.picture.bitmap) return;
        const pixels = Object.entries(this.#place).map(([key, length]) => [key, Math.round(length * ratio)]);
        const { left, top, width, height } = Object.fromEntries(pixels);
        const context = this.#canvas.getContext("2d");
        for (const { picture, opacity } of pictures) {
            const { bitmap } = picture;
            if (!bitmap) continue;
            context.globalAlpha = opacity;
            context.imageSmoothingEnabled = width < bitmap.width || height < bitmap.height;
            context.drawImage(bitmap, left, top, width, height);
        }
        context.globalAlpha = 1;
        if (layer.visible) context.drawImage(this.#paint(layer, index, width, height), left, top);
    }

    /** The labels, as they lie over the picture: a canvas of `width` x `height` pixels. */
    #paint(layer, index, width, height) {
        const { kind, colours, style, opacity, hatch, selected } = layer;
        const data = cut(layer, this.#axis, index, width, height);
        const plane = Object.assign(new LabelLayer({ width, height, data, kind, colours }), { style, opacity });
        Object.assign(plane, { hatch, selected });
        const image = new ImageData(width, height);
        plane.draw(image.data, width, height, { x: 0, y: 0, scale: 1 }, { left: 0, top: 0, width, height });
        Object.assign(this.#labels, { width, height });
        this.#labels.getContext("2d").putImageData(image, 0, 0);
        return this.#labels;
    }

    #cross(point) {
        const { left, top, width, height } = this.#place;
        const along = ALONG[this.#axis];
        const [upright, level] = this.#lines;
        const x = left + (width * (point[along] + 0.5)) / this.#sizes[along];
        const y = top + height * (1 - (point.z + 0.5) / this.#sizes.z);
        Object.assign(upright.style, { left: `${x}px`, top: `${top}px`, height: `${height}px` });
        Object.assign(level.style, { top: `${y}px`, left: `${left}px`, width: `${width}px` });
    }

    /** The voxels under the pointer. */
    #at({ clientX, clientY }) {
        const box = this.#host.getBoundingClientRect();
        const { left, top, width, height } = this.#place;
        const along = ALONG[this.#axis];
        return {
            [along]: Math.floor(((clientX - box.left - left) / width) * this.#sizes[along]),
            z: Math.floor((1 - (clientY - box.top - top) / height) * this.#sizes.z),
        };
    }
}

/** The labels of a plane, the last slice on top, as so many pixels: each shows the voxel that its middle lies in. */
function cut({ data, width: wide, height: high, slices }, axis, index, width, height) {
    const found = new data.constructor(width * height);
    const [start, step, count] = axis === "y" ? [index * wide, 1, wide] : [index, wide, high];
    const columns = Int32Array.from({ length: width }, (_, i) => start + step * Math.floor(((i + 0.5) * count) / width));
    let before = null;
    for (let j = 0; j < height; j++) {
        const z = slices - 1 - Math.floor(((j + 0.5) * slices) / height);
        const to = j * width;
        if (z === before) found.copyWithin(to, to - width, to);
        else for (let i = 0; i < width; i++) found[to + i] = data[z * wide * high + columns[i]];
        before = z;
    }
    return found;
}
