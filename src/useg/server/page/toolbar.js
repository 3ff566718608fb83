/** The tools over the image: which one, how wide, what it leaves alone, undo and redo, zoom. */

import { arrows, byId, choose, icon, make, setText } from "./dom.js";

const TOOLS = [
    ["pan", "Move the image", "H"],
    ["brush", "Brush", "B"],
    ["eraser", "Eraser", "E"],
    ["fill", "Fill a region", "F"],
    ["polygon", "Polygon", "P"],
    ["pick", "Pick a class or object from the image", "I"],
    ["merge", "Join objects: click those that belong to the chosen one", "J"],
];
const GREATEST = 200;
const ZOOM = 1.5;

/** The toolbar. `tool` is what the pointer does: "pan" or a tool of the editor. */
export class Toolbar {
    tool = "brush";
    #app;

    /** @param {import("./app.js").App} app */
    constructor(app) {
        this.#app = app;
        byId("tools").append(...TOOLS.map(([name, words, key]) => this.#button(name, words, key)));
        arrows(byId("tools"), { click: true });
        byId("undo").addEventListener("click", () => this.#edit("undo"));
        byId("redo").addEventListener("click", () => this.#edit("redo"));
        byId("size").addEventListener("input", () => this.#resize());
        byId("protect").addEventListener("click", () => this.#editor?.choose({ protect: !this.#editor.protect }));
        byId("zoom-in").addEventListener("click", () => app.viewer.zoomBy(ZOOM));
        byId("zoom-out").addEventListener("click", () => app.viewer.zoomBy(1 / ZOOM));
        byId("zoom-fit").addEventListener("click", () => app.viewer.fit());
        choose(byId("tools"), this.tool);
    }

    /** Take a tool. */
    take(tool) {
        this.tool = tool;
        this.apply();
    }

    /** Give the open image's editor the present tool, and show what it has. */
    apply() {
        const { image, viewer } = this.#app;
        if (this.tool !== "pan" && image) {
            image.editor.tool = this.tool;
            this.#app.panels.showLabels();
        }
        if (!this.#app.compare.isOpen) viewer.mode = this.tool === "pan" ? "pan" : "paint";
        this.update();
    }

    /** The editor changed its tool or size by itself. */
    picked(tool) {
        if (tool !== this.#editor?.tool || this.tool === "pan") return this.update();
        this.tool = tool;
        this.update();
    }

    /** Show the present state. */
    update() {
        const editor = this.#editor;
        choose(byId("tools"), this.tool);
        byId("tools").querySelector("[data-value=merge]").hidden = this.#app.project.kind !== "instances";
        byId("undo").disabled = !editor?.canUndo;
        byId("redo").disabled = !editor?.canRedo;
        byId("protect").setAttribute("aria-checked", String(Boolean(editor?.protect)));
        if (!editor) return;
        byId("size").value = Math.round((100 * Math.log(editor.size)) / Math.log(GREATEST));
        this.#showSize();
    }

    get #editor() {
        return this.#app.image?.editor;
    }

    #button(name, words, key) {
        return make(
            "button",
            {
                type: "button",
                class: "tool",
                role: "radio",
                "data-value": name,
                "aria-label": words,
                title: `${words} (${key})`,
                "aria-checked": "false",
                on: { click: () => this.take(name) },
            },
            icon(name),
        );
    }

    #edit(what) {
        this.#editor?.[what]();
        this.update();
    }

    /** Fine steps for thin brushes, large ones for wide brushes. */
    #resize() {
        if (this.#editor) this.#editor.size = GREATEST ** (byId("size").value / 100);
        this.#showSize();
    }

    #showSize() {
        const words = `${this.#editor?.size ?? ""} px`;
        setText(byId("size-value"), words);
        byId("size").setAttribute("aria-valuetext", words);
    }
}
