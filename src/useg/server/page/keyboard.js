/** The keys of the page. Those of the tools come first, so that digits choose classes wherever the focus is. */

import { arrows, byId, complain } from "./dom.js";
import { showHelp } from "./help.js";

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
        "?": () => showHelp(),
        ",": () => app.step(-1),
        ".": () => app.step(1),
        PageUp: () => app.panels.setSlice(app.viewer.slice - 1),
        PageDown: () => app.panels.setSlice(app.viewer.slice + 1),
        Escape: () => app.compare.close(),
    };
}

/** Paint where the cross in the middle of the image is. */
function paintMiddle({ viewer }) {
    const box = byId("viewer").getBoundingClientRect();
    const points = [viewer.toImage(box.left + box.width / 2, box.top + box.height / 2)];
    const tell = (type, detail) => viewer.dispatchEvent(new CustomEvent(type, { detail }));
    tell("strokestart", { points });
    tell("strokeend", { points: [] });
}

/** Listen to the keys. @param {import("./app.js").App} app */
export function setUpKeys(app) {
    const actions = actionsOf(app);
    // Before the viewer, for which 0 and 1 are scales.
    document.addEventListener("keydown", (event) => hear(app, actions, event), { capture: true });
    arrows(document.querySelector(".tabs"), { click: true });
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
    if (key === "Enter" && target === byId("viewer") && app.viewer.mode === "paint") {
        event.preventDefault();
        paintMiddle(app);
        return;
    }
    const action = actions[key.length === 1 ? key.toLowerCase() : key];
    if (!action || (key.startsWith("Page") && target.matches("input"))) return;
    event.preventDefault();
    Promise.resolve(action()).catch(complain);
}
