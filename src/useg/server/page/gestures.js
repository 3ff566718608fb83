// Pointers, wheel and keys over a viewer, turned into its moves and strokes.

const WHEEL_STEP = 0.0015;
const LINE_PIXELS = 16;
const KEY_SHARE = 0.125;
const KEY_ZOOM = 1.5;
const STILL_PIXELS = 3;

/** Listens to the host of a viewer. */
export class Gestures {
    #viewer;
    #host;
    #pointers = new Map();
    #stroke = null;
    #space = false;
    #action = null;
    #began = null; // where a pointer came down that has not moved since

    /**
     * @param {HTMLElement} host where the viewer is
     * @param {import("./viewer.js").Viewer} viewer what is moved
     */
    constructor(host, viewer) {
        this.#host = host;
        this.#viewer = viewer;
        const on = (type, handler, options) => host.addEventListener(type, handler.bind(this), options);
        on("pointerdown", this.#down);
        on("pointermove", this.#move);
        on("pointerup", this.#up);
        on("pointercancel", this.#cancel);
        on("pointerleave", this.#leave);
        on("wheel", this.#wheel, { passive: false });
        on("keydown", this.#key);
        on("keyup", this.#keyUp);
        on("blur", this.#blur);
        on("contextmenu", (event) => event.preventDefault());
        on("auxclick", (event) => event.preventDefault());
    }

    #down(event) {
        this.#host.focus({ preventScroll: true });
        event.preventDefault();
        this.#host.setPointerCapture(event.pointerId);
        this.#pointers.set(event.pointerId, [event.clientX, event.clientY]);
        if (this.#pointers.size > 1) {
            this.#endStroke(event, true);
            this.#action = "pinch";
        } else {
            this.#action = this.#actionOf(event);
            this.#began = [event.clientX, event.clientY];
            if (this.#action === "stroke") {
                this.#stroke = event.pointerId;
                this.#tell("strokestart", event, [event]);
            }
            this.#compare(event);
        }
        this.#showCursor();
    }

    #actionOf(event) {
        const moves = this.#space || event.button !== 0;
        if (moves || this.#viewer.mode === "pan") {
            return "pan";
        }
        return this.#viewer.mode === "compare" ? "compare" : "stroke";
    }

    #move(event) {
        const [x, y] = this.#viewer.toImage(event.clientX, event.clientY);
        this.#viewer.dispatchEvent(new CustomEvent("hover", { detail: { x, y } }));
        const last = this.#pointers.get(event.pointerId);
        if (!last) {
            return;
        }
        if (this.#began && Math.hypot(event.clientX - this.#began[0], event.clientY - this.#began[1]) > STILL_PIXELS) {
            this.#began = null;
        }
        if (this.#action === "pinch") {
            this.#pinch(event);
        } else if (this.#action === "pan") {
            this.#viewer.panBy(event.clientX - last[0], event.clientY - last[1]);
        } else if (this.#stroke === event.pointerId) {
            const coalesced = event.getCoalescedEvents?.() ?? [];
            this.#tell("stroke", event, coalesced.length ? coalesced : [event]);
        }
        this.#pointers.set(event.pointerId, [event.clientX, event.clientY]);
        this.#compare(event);
    }

    #pinch(event) {
        const ids = [...this.#pointers.keys()].slice(0, 2);
        if (ids.length < 2 || !ids.includes(event.pointerId)) {
            return;
        }
        const other = this.#pointers.get(ids.find((id) => id !== event.pointerId));
        const last = this.#pointers.get(event.pointerId);
        const now = [event.clientX, event.clientY];
        const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
        this.#viewer.panBy((now[0] - last[0]) / 2, (now[1] - last[1]) / 2);
        if (apart(last) > 0) {
            const [x, y] = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
            this.#viewer.zoomBy(apart(now) / apart(last), x, y);
        }
    }

    #up(event) {
        if (this.#stroke === event.pointerId) {
            this.#tell("stroke", event, [event]);
        }
        if (this.#action === "pan" && this.#began) {
            const [x, y] = this.#viewer.toImage(event.clientX, event.clientY);
            this.#viewer.dispatchEvent(new CustomEvent("tap", { detail: { x, y } }));
        }
        this.#release(event, false);
    }

    #cancel(event) {
        this.#release(event, true);
    }

    #release(event, cancelled) {
        this.#pointers.delete(event.pointerId);
        if (this.#stroke === event.pointerId) {
            this.#endStroke(event, cancelled);
        }
        if (!this.#pointers.size) {
            this.#action = null;
        }
        this.#showCursor();
    }

    #leave(event) {
        if (!this.#pointers.size) {
            this.#viewer.dispatchEvent(new CustomEvent("leave"));
        }
    }

    #endStroke(event, cancelled) {
        if (this.#stroke !== null) {
            this.#stroke = null;
            this.#tell("strokeend", event, [], cancelled);
        }
    }

    #tell(type, event, events, cancelled = false) {
        const detail = {
            points: events.map((each) => this.#viewer.toImage(each.clientX, each.clientY)),
            shift: event.shiftKey,
            alt: event.altKey,
            button: event.button,
            cancelled,
        };
        this.#viewer.dispatchEvent(new CustomEvent(type, { detail }));
    }

    #compare(event) {
        if (this.#action === "compare") {
            const box = this.#host.getBoundingClientRect();
            const at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
            this.#viewer.dispatchEvent(new CustomEvent("compare", { detail: { at } }));
        }
    }

    #wheel(event) {
        event.preventDefault();
        const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PIXELS : 1);
        // A pinch on a touchpad comes as a wheel with Ctrl, in far smaller steps.
        const step = event.ctrlKey ? 10 * WHEEL_STEP : WHEEL_STEP;
        this.#viewer.zoomBy(Math.exp(-Math.max(-400, Math.min(400, pixels)) * step), event.clientX, event.clientY);
    }

    #key(event) {
        if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.#host) {
            return;
        }
        const viewer = this.#viewer;
        const [right, down] = [this.#host.clientWidth * KEY_SHARE, this.#host.clientHeight * KEY_SHARE];
        const moves = {
            ArrowLeft: () => viewer.panBy(right, 0),
            ArrowRight: () => viewer.panBy(-right, 0),
            ArrowUp: () => viewer.panBy(0, down),
            ArrowDown: () => viewer.panBy(0, -down),
            "+": () => viewer.zoomBy(KEY_ZOOM),
            "=": () => viewer.zoomBy(KEY_ZOOM),
            "-": () => viewer.zoomBy(1 / KEY_ZOOM),
            0: () => viewer.fit(),
            ...(viewer.mode !== "paint" && { 1: () => viewer.zoomBy(1 / viewer.scale) }), // painting, 1 is a class
            PageUp: () => viewer.setSlice(viewer.slice - 1),
            PageDown: () => viewer.setSlice(viewer.slice + 1),
            " ": () => this.#hold(true),
        };
        if (event.key in moves) {
            event.preventDefault();
            moves[event.key]();
        }
    }

    #keyUp(event) {
        if (event.key === " ") {
            event.preventDefault();
            this.#hold(false);
        }
    }

    #blur() {
        this.#hold(false);
    }

    #hold(held) {
        this.#space = held;
        this.#showCursor();
    }

    #showCursor() {
        const pans = this.#action === "pan" || this.#action === "pinch";
        const free = this.#space || this.#viewer.mode === "pan";
        this.#host.style.cursor = pans ? "grabbing" : free ? "grab" : this.#viewer.cursor;
    }
}
