/** How the image is seen: labels, layers, brightness, channel, slice. */

import { byId, make, setText } from "./dom.js";

const STEPS = 1000;

/** The panel "See", and the slice below the image. */
export class Panels {
    #app;
    #style = "fill";
    #opacity = 0.45;
    #range = { least: 0, most: 255, low: 0, high: 255 };
    #shown = true;

    /** @param {import("./app.js").App} app */
    constructor(app) {
        this.#app = app;
        for (const radio of document.querySelectorAll("[name=style]")) {
            radio.addEventListener("change", () => this.setStyle(radio.value));
        }
        byId("opacity").addEventListener("input", () => this.#setOpacity(byId("opacity").value / 100));
        byId("layer").addEventListener("change", () => this.#showLayer());
        byId("channel").addEventListener("change", () => this.#setChannel());
        byId("window-low").addEventListener("input", () => this.#setWindow("low"));
        byId("window-high").addEventListener("input", () => this.#setWindow("high"));
        byId("window-auto").addEventListener("click", () => this.#autoWindow());
        byId("slice").addEventListener("input", () => this.setSlice(Number(byId("slice").value)));
        app.viewer.addEventListener("slice", () => this.#sliced());
        app.viewer.addEventListener("ready", ({ detail }) => this.open(detail));
    }

    /** Show the controls that an image has. @param {object} view its view document */
    open(view) {
        this.#showLayers(view.layers);
        byId("channel-row").hidden = view.channels < 2;
        const channels = view.channels < 2 ? [] : [...Array(view.channels).keys()];
        byId("channel").replaceChildren(
            make("option", { value: "", text: "All" }),
            ...channels.map((k) => make("option", { value: k, text: String(k + 1) })),
        );
        byId("slices").hidden = view.slices < 2;
        byId("slice").max = view.slices - 1;
        this.#sliced();
        this.#ranges(view, view);
        this.apply();
    }

    /** The layers that can be shown are others now, for example after a prediction. */
    relist(layers) {
        this.#showLayers(layers);
    }

    /** Give the layer of labels its look. */
    apply() {
        const layer = this.#app.image?.layer;
        setText(byId("opacity-value"), `${Math.round(100 * this.#opacity)} %`);
        if (!layer) return;
        Object.assign(layer, { style: this.#style, opacity: this.#opacity });
        layer.visible = this.#shown && byId("layer").value === "labels";
        this.#app.compare?.look(this.#style, this.#opacity);
        this.#app.planes?.update();
        this.#app.viewer.redraw();
    }

    /** Labels as areas ("fill") or outlines ("outline"). */
    setStyle(style) {
        this.#style = style;
        for (const radio of document.querySelectorAll("[name=style]")) radio.checked = radio.value === style;
        this.apply();
    }

    /** The other of the two styles. */
    toggleStyle() {
        this.setStyle(this.#style === "fill" ? "outline" : "fill");
    }

    /** Show or hide the labels. */
    toggleLabels() {
        this.#shown = !this.#shown;
        this.#chooseLayer("labels");
    }

    /** Whoever paints wants to see it. */
    showLabels() {
        if (this.#shown && byId("layer").value === "labels") return;
        this.#shown = true;
        this.#chooseLayer("labels");
    }

    /** @param {number} z cut to the slices that there are */
    setSlice(z) {
        this.#app.viewer.setSlice(z);
        this.#sliced();
    }

    #chooseLayer(id) {
        byId("layer").value = id;
        this.#showLayer();
    }

    #showLayers(layers) {
        const select = byId("layer");
        const before = select.value;
        const options = layers.map(({ id, name }) => make("option", { value: id, text: wordsOf(id, name) }));
        select.replaceChildren(make("option", { value: "labels", text: "Labels" }), ...options);
        select.value = layers.some(({ id }) => id === before) ? before : "labels";
        this.#showLayer();
    }

    #showLayer() {
        const { value } = byId("layer");
        this.#app.viewer.setLayer(value === "labels" ? null : value, Math.min(1, 0.35 + this.#opacity));
        this.apply();
    }

    #setOpacity(opacity) {
        this.#opacity = opacity;
        byId("opacity").setAttribute("aria-valuetext", `${Math.round(100 * opacity)} %`);
        this.#showLayer();
    }

    #setChannel() {
        const { value } = byId("channel");
        const channel = value === "" ? null : Number(value);
        const { view } = this.#app.image;
        this.#app.viewer.setChannel(channel);
        this.#ranges(view, channel === null ? view : { ...view, ...view.ranges?.[channel] });
        this.#app.viewer.setWindow(null, null);
    }

    #ranges(view, { low, high, least, most }) {
        this.#range = { least: least ?? view.min ?? 0, most: most ?? view.max ?? 1, low: low ?? 0, high: high ?? 1 };
        byId("window-row").disabled = view.low === null;
        this.#showWindow(this.#range.low, this.#range.high);
    }

    #autoWindow() {
        this.#app.viewer.setWindow(null, null);
        this.#showWindow(this.#range.low, this.#range.high);
    }

    #setWindow(moved) {
        const [one, other] = [byId("window-low"), byId("window-high")];
        // The handles may touch, but not pass each other.
        if (moved === "low") one.value = Math.min(one.value, other.value - 1);
        else other.value = Math.max(other.value, Number(one.value) + 1);
        const { least, most } = this.#range;
        const gray = (slider) => least + ((most - least) * slider.value) / STEPS;
        this.#showWindow(gray(one), gray(other));
        this.#app.viewer.setWindow(gray(one), gray(other));
    }

    #showWindow(low, high) {
        const { least, most } = this.#range;
        const share = (gray) => Math.min(1, Math.max(0, (gray - least) / (most - least || 1)));
        byId("window-low").value = STEPS * share(low);
        byId("window-high").value = STEPS * share(high);
        byId("window-fill").style.left = `${100 * share(low)}%`;
        byId("window-fill").style.right = `${100 - 100 * share(high)}%`;
        const words = (gray) => (most - least > 20 ? String(Math.round(gray)) : gray.toPrecision(3));
        byId("window-low").setAttribute("aria-valuetext", words(low));
        byId("window-high").setAttribute("aria-valuetext", words(high));
        setText(byId("window-value"), `${words(low)} to ${words(high)}`);
    }

    #sliced() {
        const { slice } = this.#app.viewer;
        const words = `${slice + 1} of ${Number(byId("slice").max) + 1}`;
        byId("slice").value = slice;
        byId("slice").setAttribute("aria-valuetext", words);
        setText(byId("slice-value"), words);
        if (this.#app.image) this.#app.image.layer.slice = slice;
        this.#app.compare?.slice(slice);
        this.#app.viewer.redraw();
    }
}

/** A layer's name as people say it. */
function wordsOf(id, name) {
    if (id.startsWith("probability")) return `How sure it is: ${name}`;
    return id === "entropy" ? "Where it is unsure" : name[0].toUpperCase() + name.slice(1);
}
