/** Small helpers for elements, messages and dialogs. Text is always set as text, never as HTML. */

const SVG = "http://www.w3.org/2000/svg";
const TOAST_MS = 7000;

/** The element with an id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 * @param {string} tag
 * @param {object} attributes `text` is its text, `on` an object of listeners; all others are attributes
 * @param {...(Node|string)} children
 */
export function make(tag, { text, on = {}, ...attributes } = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) setAttribute(element, key, value);
    for (const [type, heard] of Object.entries(on)) element.addEventListener(type, heard);
    if (text !== undefined) element.textContent = text;
    element.append(...children.filter((child) => child !== null));
    return element;
}

/** A new SVG element. */
export function svg(tag, attributes = {}, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) setAttribute(element, key, value);
    element.append(...children);
    return element;
}

function setAttribute(element, key, value) {
    if (value === false || value === null || value === undefined) element.removeAttribute(key);
    else element.setAttribute(key, value === true ? "" : value);
}

/** One of the page's icons. */
export function icon(name) {
    return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** A button with an icon and words. */
export function button(words, { name = null, ...attributes } = {}) {
    return make("button", { type: "button", ...attributes }, name && icon(name), words);
}

/** Set text only where it changed, so that screen readers are not told twice. */
export function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

/**
 * Say one line for a while.
 * @param {string} text
 * @param {{action?: [string, () => void], wrong?: boolean}} options a button with its words; whether something failed
 */
export function toast(text, { action = null, wrong = false } = {}) {
    const line = make("div", { class: "toast" }, wrong ? icon("warn") : null, make("span", { text }));
    const close = () => line.remove();
    if (action) line.append(button(action[0], { on: { click: () => (close(), action[1]()) } }));
    line.append(make("button", { type: "button", "aria-label": "Close", on: { click: close } }, icon("close")));
    const others = [...byId("toasts").children].filter((each) => each.querySelector("span").textContent !== text);
    byId("toasts").replaceChildren(...others.slice(-2), line);
    setTimeout(close, action || wrong ? 2 * TOAST_MS : TOAST_MS);
}

/** Say in one line what went wrong. */
export function complain(error) {
    toast(error.message || "Something went wrong. Try again.", { wrong: true });
}

/**
 * Show a dialog.
 * @param {string} title
 * @param {Node[]} body
 * @param {[string, string, string?][]} actions value, words and class of each button
 * @returns {Promise<string>} value of the button pressed, "" when it was closed
 */
export function ask(title, body, actions = []) {
    const dialog = byId("dialog");
    if (dialog.open) dialog.close("");
    byId("dialog-title").textContent = title;
    byId("dialog-body").replaceChildren(...body);
    const buttons = actions.map(([value, text, kind]) => make("button", { type: "submit", value, text, class: kind }));
    byId("dialog-actions").replaceChildren(...buttons);
    dialog.returnValue = "";
    return new Promise((answered) => {
        dialog.addEventListener("close", () => answered(dialog.returnValue), { once: true });
        dialog.showModal();
        (buttons.at(-1) ?? dialog.querySelector(".plain")).focus();
    });
}

/** A list of terms and what they are, in a grid. */
export function terms(kind, pairs) {
    return make(
        "dl",
        { class: kind },
        ...pairs.flatMap(([term, ...told]) => [asItem("dt", term), asItem("dd", ...told)]),
    );
}

function asItem(tag, ...content) {
    return make(tag, {}, ...content);
}

/**
 * Buttons of a group of which one is chosen: arrow keys move, the Tab key reaches the group once.
 * @param {HTMLElement} group
 * @param {string} value of the chosen one; each button has its own in data-value
 */
export function choose(group, value) {
    const buttons = [...group.querySelectorAll("[role=radio]")];
    const chosen = buttons.find((each) => each.dataset.value === String(value)) ?? null;
    for (const each of buttons) {
        each.setAttribute("aria-checked", String(each === chosen));
        each.tabIndex = each === (chosen ?? buttons[0]) ? 0 : -1;
    }
}

/** Let the arrow keys move the focus between the buttons of an element. */
export function arrows(element, { click = false } = {}) {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    element.addEventListener("keydown", (event) => {
        const step = steps[event.key];
        const buttons = [...element.querySelectorAll("button:not(:disabled)")];
        const at = buttons.indexOf(document.activeElement);
        if (!step || at < 0) return;
        event.preventDefault();
        event.stopPropagation();
        const next = buttons[(at + step + buttons.length) % buttons.length];
        next.focus();
        if (click) next.click();
    });
}

/** Run `work` when it was not asked for again for a while. */
export function later(milliseconds, work) {
    let timer = 0;
    return () => {
        clearTimeout(timer);
        timer = setTimeout(work, milliseconds);
    };
}
