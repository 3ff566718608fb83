/** Two sets of labels of the open image, side by side behind a line that can be moved. */

import { byId, setText } from "./dom.js";
import { layerOf } from "./session.js";

/** The comparison. While it is open, the labels can not be changed. */
export class Compare {
    #app;
    #layers = null;
    #overlays = [];
    #use = null;

    /** @param {import("./app.js").App} app */
    constructor(app) {
        this.#app = app;
        byId("compare-at").addEventListener("input", () => this.#split(byId("compare-at").value / 100));
        byId("compare-done").addEventListener("click", () => this.close());
        byId("compare-use").addEventListener("click", () => this.#useAfter());
        app.viewer.addEventListener("compare", ({ detail }) => this.#layers && this.#split(detail.at));
    }

    /** Whether two sets of labels are shown. */
    get isOpen() {
        return this.#layers !== null;
    }

    /**
     * Show two sets of labels of the open image.
     * @param {{labels: object, name: string}} before
     * @param {{labels: object, name: string}} after
     * @param {() => void} [use] takes the labels after into the open image
     */
    open(before, after, use = null) {
        const { viewer, image, project } = this.#app;
        const { style, opacity } = image.layer;
        this.#layers = [before, after].map(({ labels }) => {
            return Object.assign(layerOf(labels, project), { style, opacity, slice: viewer.slice });
        });
        this.#use = use;
        this.#overlays = viewer.overlays;
        viewer.overlays = this.#layers;
        viewer.mode = "compare";
        setText(byId("compare-before"), before.name);
        setText(byId("compare-after"), after.name);
        byId("compare-use").hidden = !use;
        byId("compare").hidden = false;
        document.body.classList.add("comparing");
        this.#split(0.5);
        byId("compare-at").focus({ preventScroll: true });
    }

    /** Show the slice of a stack in both. */
    slice(slice) {
        for (const layer of this.#layers ?? []) layer.slice = slice;
    }

    /** Give both the look of the labels. */
    look(style, opacity) {
        for (const layer of this.#layers ?? []) Object.assign(layer, { style, opacity });
    }

    /** Back to the image's own labels. */
    close() {
        if (!this.#layers) return;
        this.#layers = null;
        byId("compare").hidden = true;
        document.body.classList.remove("comparing");
        this.#app.viewer.overlays = this.#overlays;
        this.#app.viewer.redraw();
        this.#app.toolbar.apply();
    }

    #useAfter() {
        const use = this.#use;
        this.close();
        use?.();
    }

    #split(at) {
        const [before, after] = this.#layers;
        before.clip = { from: 0, to: at };
        after.clip = { from: at, to: 1 };
        byId("compare-at").value = 100 * at;
        byId("compare-line").style.left = `${100 * at}%`;
        this.#app.viewer.redraw();
    }
}
