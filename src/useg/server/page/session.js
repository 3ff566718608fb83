/** One open image: its labels, the tools over it, and their way to the server. */

import { LabelLayer } from "./labels.js";
import { Saver } from "./saver.js";
import { Editor } from "./tools.js";

const ARRAYS = { uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };

/** Path of an image in the HTTP interface. */
export const pathOf = (name) => `/api/images/${encodeURIComponent(name)}`;

/**
 * Ask for labels.
 * @param {import("./api.js").Api} api
 * @param {string} name of the image
 * @param {string} source "best", "prediction", ...
 * @returns {Promise<{data: object, shape: number[], source: string, version: string}>} shape is Z, Y, X
 */
export async function fetchLabels(api, name, source = "best") {
    const { data, headers } = await api.bytes(`${pathOf(name)}/labels?source=${source}`);
    return {
        data: new ARRAYS[headers.get("X-Useg-Dtype")](data),
        shape: headers.get("X-Useg-Shape").split(",").map(Number),
        source: headers.get("X-Useg-Source"),
        version: (headers.get("ETag") ?? "0").replace(/^W\//, "").replaceAll('"', ""),
    };
}

/** A layer of labels that were fetched, for a project's classes. */
export function layerOf({ data, shape }, project) {
    const [slices, height, width] = shape;
    const colours = project.classes.map(({ colour }) => colour);
    return new LabelLayer({ width, height, slices, data, kind: project.kind, colours });
}

/** Events: "change" (labels were changed), "pick" (tool, size or value was), "state" (of the saver). */
export class Session extends EventTarget {
    /** Where the labels come from: "draft", "mask", "prediction" or "new" (nothing); "draft" once they were changed. */
    source = "new";
    #api;
    #viewer;

    /**
     * @param {import("./api.js").Api} api
     * @param {import("./viewer.js").Viewer} viewer which shows the image already
     * @param {string} name of the image
     * @param {object} view its view document
     * @param {object} labels from `fetchLabels`
     * @param {object} project
     */
    constructor(api, viewer, name, view, labels, project) {
        super();
        this.#api = api;
        this.#viewer = viewer;
        this.name = name;
        this.view = view;
        this.#take(labels, project);
    }

    #take(labels, project) {
        this.source = labels.source;
        this.layer = layerOf(labels, project);
        this.layer.slice = this.#viewer.slice;
        // An image that nobody painted yet is not hatched all over.
        this.layer.hatch = this.source !== "new";
        this.#viewer.overlays = [this.layer];
        this.editor = new Editor(this.#viewer, this.layer);
        this.saver = new Saver(this.#api, this.name, this.layer, labels.version);
        this.editor.addEventListener("change", () => this.changed());
        this.editor.addEventListener("pick", ({ detail }) => this.#tell("pick", detail));
        this.saver.addEventListener("state", ({ detail }) => this.#tell("state", detail));
        this.#viewer.redraw();
    }

    /** Put other labels in the place of these, which are dropped; the tools stay as they are. */
    replace(labels, project) {
        const { tools } = this;
        this.close();
        this.#take(labels, project);
        this.tools = tools;
    }

    /** What the tools are set to, also for the next image; an object is only of this one. */
    get tools() {
        const { tool, size, protect, value } = this.editor;
        return { tool, size, protect, value: this.layer.kind === "classes" ? value : null };
    }

    set tools({ value, ...others }) {
        const { kind, none, colours } = this.layer;
        const known = kind === "classes" && value !== null && (value < colours.length || value === none);
        Object.assign(this.editor, others, known ? { value } : {});
    }

    /** Write other labels over these, as a change of this image. */
    overwrite(data) {
        this.editor.assign(data);
    }

    /** The labels were changed here. */
    changed() {
        this.source = "draft";
        this.#hatchIfTold();
        this.saver.touch();
        this.#tell("change");
    }

    /** The labels as they are now, apart from what comes. */
    snapshot() {
        const { data, slices, height, width } = this.layer;
        return { data: data.slice(), shape: [slices, height, width] };
    }

    /** Once something is background, it must differ from what nobody annotated. */
    #hatchIfTold() {
        if (this.layer.hatch || !this.layer.data.includes(0)) return;
        this.layer.hatch = true;
        this.#viewer.redraw();
    }

    /** The slices where something is painted and something not annotated, but nothing background. */
    get onlyForeground() {
        const { data, slices, none } = this.layer;
        const size = data.length / slices;
        return [...Array(slices).keys()].filter((z) => {
            const plane = data.subarray(z * size, (z + 1) * size);
            return plane.includes(none) && !plane.includes(0) && plane.some((label) => label !== none);
        });
    }

    /** Whether nothing at all is annotated. */
    get empty() {
        const { data, none } = this.layer;
        return data.every((label) => label === none);
    }

    /** What was not painted is background, in some slices or in all. */
    fillBackground(slices = null) {
        this.editor.relabel(this.layer.none, 0, slices);
    }

    /** How many objects there are. */
    countObjects() {
        const { data, none } = this.layer;
        const seen = new Set();
        let before = 0;
        for (const label of data) {
            if (label !== before) seen.add((before = label));
        }
        seen.delete(0);
        seen.delete(none);
        return seen.size;
    }

    /** Let go, without sending anything. */
    close() {
        this.editor.close();
        this.saver.close();
    }

    #tell(type, detail) {
        this.dispatchEvent(new CustomEvent(type, { detail }));
    }
}
