/** The tools that correct labels: brush, eraser, fill, polygon, pick, merge; single objects; undo and redo. */

import { Board } from "./board.js";
import { Brush } from "./brush.js";
import { Cursor } from "./cursor.js";
import { flood } from "./flood.js";
import { actionOf } from "./keys.js";
import { freeId, relabel, separate } from "./objects.js";
import { Polygon } from "./polygon.js";
import { union } from "./runs.js";

export { SHORTCUTS } from "./keys.js";
const MAX_SIZE = 200;

/**
 * Corrects the labels of one layer by the strokes that a viewer tells of.
 *
 * Events: "change" (detail {rect, slices: [first, last]}: labels in `rect`, {x, y, width, height} in image pixels, were
 * changed), "pick" (detail {tool, size, value}: one of them was changed by a key, the pick tool or a new object).
 */
export class Editor extends EventTarget {
    /** Brush and polygon leave other classes and objects as they are. */
    protect = false;
    #board;
    #brush;
    #polygon;
    #cursor = new Cursor();
    #tool = "brush";
    #size = 20;
    #value = 1;
    #newest = null; // greatest number that was given out
    #leave = new AbortController();

    /**
     * @param {import("./viewer.js").Viewer} viewer
     * @param {import("./labels.js").LabelLayer} layer
     */
    constructor(viewer, layer) {
        super();
        this.#board = new Board(viewer, layer);
        this.#brush = new Brush(this.#board);
        this.#polygon = new Polygon(this.#board, this.#cursor);
        if (layer.kind === "instances") this.#value = 0;
        const { signal } = this.#leave;
        const listen = (type, heard) => viewer.addEventListener(type, ({ detail }) => heard(detail ?? {}), { signal });
        listen("strokestart", (detail) => this.#start(detail));
        listen("stroke", (detail) => this.#move(detail));
        listen("strokeend", (detail) => this.#end(detail));
        listen("hover", ({ x, y }) => this.#place([x, y]));
        listen("leave", () => this.#place(null));
        const tell = ({ detail }) => this.dispatchEvent(new CustomEvent("change", { detail }));
        this.#board.addEventListener("change", tell);
        viewer.overlays.push(this.#cursor);
        this.#showRing();
    }

    /** Let go of the viewer. */
    close() {
        const { viewer } = this.#board;
        this.#brush.end();
        this.#leave.abort();
        viewer.overlays = viewer.overlays.filter((overlay) => overlay !== this.#cursor);
        viewer.redraw();
    }

    /** "brush", "eraser", "fill", "polygon", "pick", or "merge": a click adds an object to the selected one. */
    get tool() {
        return this.#tool;
    }

    set tool(tool) {
        this.#brush.end();
        this.cancelPolygon();
        this.#tool = tool;
        this.#showRing();
    }

    /** Diameter of the brush in image pixels, 1..200. */
    get size() {
        return this.#size;
    }

    set size(size) {
        this.#size = Math.min(MAX_SIZE, Math.max(1, Math.round(size)));
        this.#showRing();
    }

    /** Class or object that is painted. With objects, 0 means that the next stroke begins a new one. */
    get value() {
        return this.#value;
    }

    set value(value) {
        this.#value = value;
        if (this.kind !== "instances") return;
        this.#board.layer.selected = value || null;
        this.#board.viewer.redraw();
    }

    /** "classes" or "instances". */
    get kind() {
        return this.#board.layer.kind;
    }

    /** How many classes there are, the background too. */
    get classes() {
        return this.#board.layer.colours.length;
    }

    /** Whether a single object is selected. */
    get object() {
        return this.kind === "instances" && this.value !== 0 && this.value !== this.#board.layer.none;
    }

    /** Whether a polygon is being drawn. */
    get drawing() {
        return this.#polygon.begun;
    }

    get canUndo() {
        return this.#board.canUndo;
    }

    get canRedo() {
        return this.#board.canRedo;
    }

    undo() {
        this.#brush.end();
        this.#board.undo();
    }

    redo() {
        this.#brush.end();
        this.#board.redo();
    }

    /**
     * Change what is painted with, and say so by "pick".
     * @param {{tool?: string, size?: number, value?: number, protect?: boolean}} what
     */
    choose(what) {
        Object.assign(this, what);
        const { tool, size, value } = this;
        this.dispatchEvent(new CustomEvent("pick", { detail: { tool, size, value } }));
    }

    /** Begin an object: the next strokes paint it. Returns its number. */
    newObject() {
        this.choose({ value: this.#freeId() });
        return this.value;
    }

    /**
     * Take over other labels, as an action that can be undone.
     * @param {import("./runs.js").Labels} labels Z * Y * X
     */
    assign(labels) {
        this.#act((edit) => edit.assign(labels));
        this.#newest = null; // they bring their own objects
    }

    /**
     * Give all pixels of one label another, as an action that can be undone.
     * @param {number} from
     * @param {number} to
     * @param {number[] | null} slices where; null is in all
     */
    relabel(from, to, slices = null) {
        const { width, height } = this.#board.layer;
        const parts = slices?.map((z) => [z * width * height, (z + 1) * width * height]) ?? [undefined];
        this.#act((edit) => parts.forEach((part) => relabel(edit, from, to, part)));
    }

    /** Make the selected object background, in all slices. */
    deleteObject() {
        if (!this.object) return;
        this.relabel(this.value, 0);
        this.choose({ value: 0 });
    }

    /**
     * Make another object a part of the selected one, in all slices.
     * @param {number} id of the other
     */
    merge(id) {
        if (!this.object || id === 0 || id === this.#board.layer.none) return;
        this.relabel(id, this.value);
    }

    /**
     * Give each separate piece of the selected object, in the present slice, a number of its own: cut it with the
     * eraser before. Returns how many pieces there are.
     */
    split() {
        if (!this.object) return 0;
        this.#brush.end();
        const edit = this.#board.begin();
        const pieces = separate(edit, this.#board.plane, this.value, () => this.#freeId());
        if (pieces > 1) this.#board.commit(edit);
        else edit.undo();
        return pieces;
    }

    /**
     * Fill the polygon that is being drawn; with fewer than three corners it is given up.
     * @param {boolean} erase fill it with background
     */
    closePolygon(erase = false) {
        if (this.#cursor.points.length < 3) this.cancelPolygon();
        else this.#polygon.fill(this.#ink(erase));
    }

    /** Give the polygon up that is being drawn. */
    cancelPolygon() {
        this.#polygon.cancel();
    }

    /** Take the last corner of the polygon away. */
    dropCorner() {
        this.#polygon.drop();
    }

    /**
     * Do what a key means.
     * @param {KeyboardEvent} event
     * @returns {boolean} whether it means something; the default was then prevented
     */
    key(event) {
        const action = actionOf(this, event);
        if (!action) return false;
        event.preventDefault();
        action();
        return true;
    }

    #freeId() {
        const { data, none } = this.#board.layer;
        const next = this.#newest === null ? none : this.#newest + 1;
        this.#newest = next < none - 1 ? next : freeId(data, none);
        return this.#newest;
    }

    /** What a stroke paints, and over what. */
    #ink(erase) {
        if (!erase && this.kind === "instances" && this.value === 0) this.newObject();
        const { size, value } = this;
        if (erase) return { size, value: 0, only: null };
        return { size, value, only: this.protect ? [0, this.#board.layer.none] : null };
    }

    #start({ points = [], shift = false, alt = false, button = 0 }) {
        if (button > 0 || !points.length) return;
        this.#brush.end();
        const [point] = points;
        if (alt || this.tool === "pick") this.#pick(point);
        else if (this.tool === "merge") this.#merge(point);
        else if (this.tool === "fill") this.#fill(point, shift);
        else if (this.tool === "polygon") this.#polygon.start(point) && this.closePolygon(shift);
        else this.#brush.start(points, this.#ink(shift || this.tool === "eraser"));
    }

    #move({ points = [] }) {
        this.#brush.move(points);
        if (this.tool === "polygon") this.#polygon.move(points);
        if (points.length) this.#place(points.at(-1));
    }

    #end({ points = [], shift = false, cancelled = false }) {
        if (cancelled) this.#brush.cancel();
        this.#brush.move(points);
        this.#brush.end();
        if (this.tool === "polygon" && this.#polygon.end()) this.closePolygon(shift);
    }

    #pick([x, y]) {
        const value = this.#board.layer.at(x, y);
        if (value !== null) this.choose({ value });
    }

    #merge([x, y]) {
        const id = this.#board.layer.at(x, y);
        if (this.object) this.merge(id ?? 0);
        else this.#pick([x, y]);
    }

    #act(change) {
        this.#brush.end();
        const edit = this.#board.begin();
        change(edit);
        this.#board.commit(edit);
    }

    #fill([x, y], erase) {
        const { layer, plane } = this.#board;
        const before = layer.at(x, y);
        if (before === null) return;
        const { value } = this.#ink(erase);
        if (value === before) return;
        const seed = plane.offset + Math.floor(y) * plane.width + Math.floor(x);
        this.#act((edit) => flood(layer.data, plane, seed, (start, length) => edit.paint(start, length, value)));
    }

    #place(place) {
        this.#changeCursor(() => (this.#cursor.place = place));
    }

    #showRing() {
        const ring = this.tool === "brush" || this.tool === "eraser";
        this.#changeCursor(() => (this.#cursor.size = ring ? this.size : 0));
    }

    #changeCursor(change) {
        const before = this.#cursor.rect;
        change();
        this.#board.redraw(union(before, this.#cursor.rect));
    }
}
