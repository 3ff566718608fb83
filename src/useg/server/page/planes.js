/** Three planes through a point of a volume: the slice in which people paint, and two across all slices beside it. */

import { byId } from "./dom.js";
import { Pane } from "./pane.js";

const FLAT = 0.5; // of height to width: planes that are flatter lie below the slice also where there is room beside it

/** The planes of the open image, where it has several slices. */
export class Planes {
    #app;
    #on = false; // also for the next volume
    #view = null; // of the open volume, null where the image is flat
    #point = { x: 0, y: 0 }; // the slice is the viewer's
    #panes;
    #frame = 0;

    /** @param {import("./app.js").App} app */
    constructor(app) {
        this.#app = app;
        const heard = { onmove: (to) => this.#go(to), onload: () => this.update() };
        this.#panes = ["y", "x"].map((axis) => new Pane(axis, byId(`plane-${axis}`), app.api, heard));
        byId("planes-button").addEventListener("click", () => this.toggle());
        const listen = (type, hear) => app.viewer.addEventListener(type, ({ detail }) => hear(detail));
        for (const type of ["view", "slice", "look"]) listen(type, () => this.update());
        listen("tap", ({ x, y }) => this.#go({ x, y }));
        // Along the way of a stroke, speed is for the stroke.
        let last = [];
        listen("strokestart", ({ points }) => this.#follow((last = points)));
        listen("stroke", ({ points }) => (last = points));
        listen("strokeend", () => this.#follow(last));
        app.api.addEventListener("back", () => this.update());
    }

    /** Another image is open. @param {string} name @param {object} view its view document */
    open(name, view) {
        this.#view = view.slices > 1 ? view : null;
        this.#point = { x: Math.floor(view.width / 2), y: Math.floor(view.height / 2) };
        if (this.#view) this.#panes.forEach((pane) => pane.open(name, view));
        const tall = Math.max(...this.#panes.map(({ aspect }) => 1 / aspect));
        byId("planes").style.setProperty("--tall", tall);
        byId("planes").classList.toggle("flat", tall < FLAT);
        this.#lay();
    }

    /** Show them, or the slice alone. */
    toggle() {
        if (!this.#view) return;
        this.#on = !this.#on;
        this.#lay();
    }

    /** Something is to be seen otherwise: show it with the next frame. */
    update() {
        if (this.#shown) this.#frame ||= requestAnimationFrame(() => this.#show());
    }

    get #shown() {
        return this.#on && this.#view !== null;
    }

    #lay() {
        byId("planes-tool").hidden = !this.#view;
        byId("planes-button").setAttribute("aria-checked", String(this.#on));
        byId("planes").hidden = byId("cross").hidden = !this.#shown;
        this.update();
    }

    #follow(points) {
        const at = points.at(-1);
        if (at) this.#go({ x: at[0], y: at[1] });
    }

    /** Have the planes go through another point; what is not said stays. */
    #go({ x = this.#point.x, y = this.#point.y, z }) {
        if (!this.#shown) return;
        const { width, height } = this.#view;
        const inside = (at, size) => Math.min(size - 1, Math.max(0, Math.floor(at)));
        this.#point = { x: inside(x, width), y: inside(y, height) };
        if (z !== undefined) this.#app.panels.setSlice(z);
        this.#reveal();
        this.update();
    }

    /** Move the slice so far that the point is seen in it. */
    #reveal() {
        const { viewer } = this.#app;
        const box = byId("viewer").getBoundingClientRect();
        const [x, y] = viewer.toClient(this.#point.x + 0.5, this.#point.y + 0.5);
        const lacking = (at, low, high) => Math.min(Math.max(at, low), high) - at;
        const [dx, dy] = [lacking(x, box.left, box.right), lacking(y, box.top, box.bottom)];
        if (dx || dy) viewer.panBy(dx, dy);
    }

    #show() {
        this.#frame = 0;
        const { viewer, image } = this.#app;
        if (!this.#shown || !image) return;
        this.#cross();
        const point = { ...this.#point, z: viewer.slice };
        for (const pane of this.#panes) pane.show(point, viewer.asked, image.layer);
    }

    /** Where the two other planes lie in the slice. */
    #cross() {
        const { viewer } = this.#app;
        const box = byId("viewer").getBoundingClientRect();
        const place = (x, y) => viewer.toClient(x, y).map((at, k) => at - [box.left, box.top][k]);
        const [left, top] = place(0, 0);
        const [right, bottom] = place(this.#view.width, this.#view.height);
        const [x, y] = place(this.#point.x + 0.5, this.#point.y + 0.5);
        const [upright, level] = byId("cross").children;
        Object.assign(upright.style, { left: `${x}px`, top: `${top}px`, height: `${bottom - top}px` });
        Object.assign(level.style, { top: `${y}px`, left: `${left}px`, width: `${right - left}px` });
    }
}
