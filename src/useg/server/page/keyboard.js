/** The keys of the page. Those of the tools come first, so that digits choose classes wherever the focus is. */

import { arrows, byId, complain } from "./dom.js";
import { showHelp } from "./help.js";

const STEP = 1 / 40; // of the image's width on the screen, from key to key
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const TEXT = "textarea, select, input:not([type=range], [type=checkbox], [type=radio])";

/** @param {import("./app.js").App} app */
function actionsOf(app) {
    return {
        k: () => app.keep(),
        m: () => app.predict(),
        h: () => app.toolbar.take("pan"),
        w: () => app.viewer.fit(),
        x: () => app.image?.editor.choose({ value: app.image.layer.none }),
        o: () => app.panels.toggleLabels(),
        l: () => app.panels.toggleStyle(),
        t: () => app.planes.toggle(),
        "?": () => showHelp(),
        ",": () => app.step(-1),
        ".": () => app.step(1),
        PageUp: () => app.panels.setSlice(app.viewer.slice - 1),
        PageDown: () => app.panels.setSlice(app.viewer.slice + 1),
        Escape: () => app.compare.close(),
    };
}

/** A stroke of the cross in the middle of the image, under which the image is moved. */
class Stroke {
    begun = false;
    #viewer;

    constructor(viewer) {
        this.#viewer = viewer;
    }

    /** Begin it, unless it has begun. */
    begin() {
        if (!this.begun) this.#tell("strokestart", [this.#middle()]);
        this.begun = true;
    }

    /** Go on to where an arrow leads. */
    move([right, down]) {
        const step = STEP * byId("viewer").clientWidth;
        this.begin();
        this.#viewer.panBy(step * right, step * down);
        this.#tell("stroke", [this.#middle()]);
    }

    /** It is one action. */
    end() {
        if (this.begun) this.#tell("strokeend", []);
        this.begun = false;
    }

    #middle() {
        const box = byId("viewer").getBoundingClientRect();
        return this.#viewer.toImage(box.left + box.width / 2, box.top + box.height / 2);
    }

    #tell(type, points) {
        this.#viewer.dispatchEvent(new CustomEvent(type, { detail: { points } }));
    }
}

/** Listen to the keys. @param {import("./app.js").App} app */
export function setUpKeys(app) {
    const actions = actionsOf(app);
    const stroke = new Stroke(app.viewer);
    // Before the viewer, for which 0 and 1 are scales.
    const first = { capture: true };
    document.addEventListener("keydown", (event) => paints(app, stroke, event) || hear(app, actions, event), first);
    document.addEventListener("keyup", ({ key }) => key === "Shift" && stroke.end());
    addEventListener("blur", () => stroke.end());
    arrows(document.querySelector(".tabs"), { click: true });
}

/** Whether a key painted: Enter at the cross in the middle of the image, Shift with arrows along its way. */
function paints({ viewer, image }, stroke, event) {
    const { key, target, shiftKey, ctrlKey, metaKey, altKey } = event;
    const free = target === byId("viewer") && viewer.mode === "paint" && (stroke.begun || !image?.editor.drawing);
    if (!free || ctrlKey || metaKey || altKey || byId("dialog").open) return false;
    if (shiftKey && Object.hasOwn(ARROWS, key)) {
        stroke.move(ARROWS[key]);
    } else if (key === "Enter") {
        stroke.begin();
        stroke.end();
    } else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
}

function hear(app, actions, event) {
    if (byId("dialog").open || event.defaultPrevented) return;
    const { key, target, ctrlKey, metaKey, altKey } = event;
    const mine = !app.compare.isOpen && app.image?.editor.key(event);
    if (mine) {
        event.stopPropagation();
        app.toolbar.update();
        return;
    }
    if (ctrlKey || metaKey || altKey || target.matches(TEXT)) return;
    const action = actions[key.length === 1 ? key.toLowerCase() : key];
    if (!action || (key.startsWith("Page") && target.matches("input"))) return;
    event.preventDefault();
    event.stopPropagation(); // the viewer knows some of them too
    Promise.resolve(action()).catch(complain);
}
