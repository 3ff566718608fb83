// What the tests of the correction run in the browser: a stand-in for the viewer, random numbers, bytes to Python.

export { objectColour } from "/colours.js";
export { History } from "/history.js";
export { freeId } from "/objects.js";
export { gzip } from "/packing.js";
export { capsuleSpans, polygonSpans } from "/raster.js";
export { Edit } from "/runs.js";

import { LabelLayer } from "/labels.js";
import { Saver } from "/saver.js";
import { Editor } from "/tools.js";

/** Numbers 0..1 that are the same each time (mulberry32). */
export function random(seed) {
    return () => {
        seed = (seed + 0x6d2b79f5) | 0;
        let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
}

/** Typed array to text that Python reads back. */
export function bytes(array) {
    const raw = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    let text = "";
    for (let i = 0; i < raw.length; i += 8192) text += String.fromCharCode(...raw.subarray(i, i + 8192));
    return btoa(text);
}

export function array(text, Type = Uint8Array) {
    return new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

export class StandIn extends EventTarget {
    overlays = [];
    scale = 1;
    redrawn = [];

    redraw(rect) {
        this.redrawn.push(rect ?? null);
    }

    tell(type, detail) {
        this.dispatchEvent(new CustomEvent(type, { detail }));
    }

    /** One stroke through all points; the first is where it starts. */
    stroke(points, { cancelled = false, ...detail } = {}) {
        this.tell("strokestart", { points: points.slice(0, 1), button: 0, ...detail });
        for (const point of points.slice(1)) this.tell("stroke", { points: [point], ...detail });
        this.tell("strokeend", { points: [], cancelled, ...detail });
    }
}

/** An editor over blank labels. */
export function bench({ width = 64, height = 48, slices = 1, kind = "classes", Type = Uint8Array, data } = {}) {
    data ??= new Type(width * height * slices);
    const colours = ["#000000", "#e69f00", "#56b4e9", "#009e73"];
    const layer = new LabelLayer({ width, height, slices, data, kind, colours });
    const viewer = new StandIn();
    viewer.setSlice = (z) => (layer.slice = z);
    const editor = new Editor(viewer, layer);
    return { data, layer, viewer, editor };
}

/** Labels in patches: each pixel of a coarse grid one of `values`. */
export function patches(next, { width, height, slices = 1, values, cell = 5, Type = Uint8Array }) {
    const coarse = Array.from({ length: 4096 }, () => values[Math.floor(next() * values.length)]);
    return Type.from({ length: width * height * slices }, (_, i) => {
        const [x, y] = [Math.floor((i % width) / cell), Math.floor(i / width / cell)];
        return coarse[(x + 61 * y) % 4096];
    });
}

/** What the layer draws on a screen that was empty. */
export function drawn(layer, width, height, view, rect = { left: 0, top: 0, width, height }) {
    const pixels = new Uint8ClampedArray(4 * width * height);
    layer.draw(pixels, width, height, view, rect);
    return pixels;
}

/** An editor over random labels of two slices, and `act`, which does something random with it. */
export function restless(kind, seed) {
    const next = random(seed);
    const any = (things) => things[Math.floor(next() * things.length)];
    const Type = kind === "classes" ? Uint8Array : Uint16Array;
    const size = { width: 70, height: 50, slices: 2 };
    const none = 2 ** (8 * Type.BYTES_PER_ELEMENT) - 1;
    const data = patches(next, { ...size, values: [0, 0, 1, 2, 3, none], Type });
    const { layer, viewer, editor } = bench({ ...size, data, kind, Type });
    const place = () => [90 * next() - 10, 70 * next() - 10];
    function act() {
        layer.slice = Math.floor(2 * next());
        editor.protect = next() < 0.3;
        editor.size = 1 + 15 * next();
        editor.tool = any(["brush", "brush", "eraser", "fill", "polygon", "merge"]);
        editor.value = any([0, 1, 2, 3, none]);
        viewer.stroke([place(), place(), place()], { cancelled: next() < 0.1, shift: next() < 0.1 });
        if (editor.tool === "polygon") viewer.stroke([place(), place()]);
        editor.closePolygon();
        const whole = () => editor.assign(patches(next, { ...size, values: [0, 1, 2, none], cell: 9, Type }));
        const label = () => editor.relabel(none, 1);
        const object = any([() => editor.split(), () => editor.deleteObject(), () => editor.merge(3)]);
        if (next() < 0.3) any([whole, label, object, object])();
    }
    return { data, layer, viewer, editor, next, act };
}

export function equal(one, other) {
    return one.every((value, i) => value === other[i]);
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** What a server does that takes drafts and masks, as the page's `Api` shows it; and ways to be in trouble. */
export class FakeApi extends EventTarget {
    version = "0";
    labels = null;
    kept = null;
    calls = [];
    most = 0; // requests at one time
    refused = 0; // as stale
    trouble = () => null; // "away": not reached; "lost": done, but the answer is lost; a number: this status
    slow = 0;
    #now = 0;

    async put(path, body, headers) {
        return this.#request(["PUT", path, headers], async () => {
            const raw = new Response(body.stream().pipeThrough(new DecompressionStream("gzip")));
            const labels = new Uint8Array(await raw.arrayBuffer());
            this.#check(headers, this.labels && equal(labels, this.labels));
            this.labels = labels;
            if (path.endsWith("/mask")) this.kept = labels;
        });
    }

    async delete(path, headers) {
        return this.#request(["DELETE", path, headers], async () => {
            this.#check(headers, false);
            this.labels = null;
        });
    }

    /** Someone else writes. */
    otherWrites(labels) {
        this.labels = labels;
        this.version = String(Number(this.version) + 1);
    }

    #check(headers, same) {
        if (same || headers["If-Match"] === `"${this.version}"`) return;
        this.refused++;
        throw Object.assign(new Error("stale"), { status: 412, body: { error: "stale", version: this.version } });
    }

    async #request(call, work) {
        this.calls.push(call);
        this.most = Math.max(this.most, ++this.#now);
        try {
            if (this.slow) await pause(this.slow);
            const trouble = this.trouble();
            if (trouble === "away") throw new Error("no answer");
            if (Number.isInteger(trouble)) throw Object.assign(new Error(`status ${trouble}`), { status: trouble });
            await work();
            this.version = String(Number(this.version) + 1);
            if (trouble === "lost") throw new Error("no answer");
            return { version: this.version };
        } finally {
            this.#now--;
        }
    }
}

/** A saver of small labels on a `FakeApi`, its states in the order they came. */
export function savings() {
    const data = new Uint8Array(2 * 12 * 20);
    const layer = new LabelLayer({ width: 20, height: 12, slices: 2, data, kind: "classes", colours: [] });
    const api = new FakeApi();
    const saver = new Saver(api, "a cell/b", layer, "0");
    const states = [];
    saver.addEventListener("state", ({ detail }) => states.push(detail));
    const change = (value) => {
        data[Math.floor((value * 7919) % data.length)] = value;
        saver.touch();
    };
    return { data, api, saver, states, change, saved: () => api.labels !== null && equal(api.labels, data) };
}
