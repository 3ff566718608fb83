/** What is painted with: the classes and their colours, or single objects. */

import { arrows, ask, button, byId, choose, complain, later, make, setText } from "./dom.js";

const FRESH = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#6969ff", "#00ff96"];

/** The legend of a project. */
export class Legend {
    #app;
    #count = later(300, () => this.#countObjects());

    /** @param {import("./app.js").App} app */
    constructor(app) {
        this.#app = app;
        arrows(byId("legend"), { click: true });
        byId("edit-classes").addEventListener("click", () => editClasses(app));
        byId("new-object").addEventListener("click", () => this.#editor?.newObject());
        byId("delete-object").addEventListener("click", () => this.#editor?.deleteObject());
    }

    /** Show the project's classes, and what the open image's editor paints. */
    update() {
        const { project, image } = this.#app;
        const entries = project.kind === "instances" ? objectEntries(image) : classEntries(project);
        const seen = JSON.stringify(entries);
        const legend = byId("legend");
        if (legend.dataset.seen !== seen) {
            legend.dataset.seen = seen;
            const focused = legend.contains(document.activeElement) ? document.activeElement.dataset.value : null;
            legend.replaceChildren(...entries.map((entry) => this.#button(entry)));
            if (focused) legend.querySelector(`[data-value="${focused}"]`)?.focus();
        }
        const { editor, layer } = image ?? {};
        choose(legend, editor ? (editor.value === layer.none ? "none" : editor.value) : 1);
        byId("objects").hidden = project.kind !== "instances";
        byId("delete-object").disabled = !editor?.object;
        if (project.kind === "instances") this.#count();
    }

    get #editor() {
        return this.#app.image?.editor;
    }

    #button({ value, name, colour, key, title }) {
        const swatch = make("span", { class: `swatch ${colour?.startsWith("#") ? "" : (colour ?? "")}` });
        if (colour?.startsWith("#")) swatch.style.background = colour;
        return make(
            "button",
            {
                type: "button",
                class: "entry",
                role: "radio",
                "data-value": value,
                "aria-checked": "false",
                title,
                on: { click: () => this.#take(value) },
            },
            swatch,
            make("span", { class: "label", text: name }),
            key === undefined ? null : make("kbd", { text: key, "aria-hidden": "true" }),
        );
    }

    #take(value) {
        const { image, toolbar } = this.#app;
        if (!image) return;
        image.editor.value = value === "none" ? image.layer.none : Number(value);
        if (["pan", "pick", "eraser"].includes(toolbar.tool)) toolbar.take("brush");
        this.update();
    }

    #countObjects() {
        const { image, project } = this.#app;
        if (!image || project.kind !== "instances") return;
        const count = image.countObjects();
        setText(byId("object-count"), count === 1 ? "1 object in this image" : `${count} objects in this image`);
    }
}

const NONE = {
    value: "none",
    name: "Not annotated",
    colour: "none",
    key: "X",
    title: "Nobody says what is here: the model learns nothing from these pixels",
};

function classEntries({ classes }) {
    const known = classes.map(({ id, name, colour }) => ({
        value: id,
        name,
        colour,
        key: id < 10 ? String(id) : undefined,
    }));
    // What people look for comes first, the background after it.
    return [...known.slice(1), known[0], NONE];
}

function objectEntries(image) {
    const { editor } = image ?? {};
    const chosen = editor?.object
        ? [{ value: editor.value, name: `Object ${editor.value}`, colour: "many", title: "Strokes add to this object" }]
        : [];
    const fresh = {
        value: 0,
        name: "New object",
        colour: "many",
        key: "N",
        title: "The next stroke begins an object of its own",
    };
    return [...chosen, fresh, NONE];
}

/** A dialog for the names and colours of the classes. */
async function editClasses(app) {
    const { project } = app;
    const rows = make("div", { class: "choices" });
    const add = (name, colour) => rows.append(classRow(name, colour, rows.children.length, project.kept > 0));
    project.classes.forEach(({ name, colour }) => add(name, colour));
    const more = button("Add a class", {
        name: "plus",
        class: "small",
        on: {
            click: () => (
                add("", FRESH[(rows.children.length - 1) % FRESH.length]),
                rows.lastChild.querySelector("[type=text]").focus()
            ),
        },
    });
    const kind = kindSwitch(project);
    const single = () => kind.querySelector(":checked").value === "instances";
    kind.addEventListener("change", () => (more.hidden = single()));
    more.hidden = single();
    const answer = await ask(
        "Classes",
        [rows, more, kind],
        [
            ["", "Cancel"],
            ["save", "Save", "primary"],
        ],
    );
    if (answer !== "save") return;
    const classes = [...rows.children].map((row) => ({
        name: row.querySelector("[type=text]").value.trim(),
        colour: row.querySelector("[type=color]").value,
    }));
    try {
        await app.setClasses(single() ? "instances" : "classes", classes);
    } catch (error) {
        complain(error);
    }
}

function classRow(name, colour, id, kept) {
    const row = make("div", { class: "class-row" });
    const called = id ? `class ${id}` : "the background";
    row.append(
        make("input", { type: "color", value: colour, "aria-label": `Colour of ${called}` }),
        make("input", {
            type: "text",
            value: name,
            maxlength: 100,
            "aria-label": `Name of ${called}`,
            placeholder: "Name",
        }),
        id < 2 || (kept && name)
            ? ""
            : make("button", {
                  type: "button",
                  class: "small",
                  "aria-label": `Remove ${called}`,
                  text: "Remove",
                  on: { click: () => row.remove() },
              }),
    );
    return row;
}

function kindSwitch({ kind, kept }) {
    const choice = (value, words, told) =>
        make(
            "label",
            { title: told },
            make("input", {
                type: "radio",
                name: "kind",
                value,
                checked: kind === value,
                disabled: kept > 0 && kind !== value,
            }),
            words,
        );
    return make(
        "div",
        {},
        make("p", {
            class: "soft",
            text: kept ? "What is told apart (fixed once an image is kept)" : "What is told apart",
        }),
        make(
            "div",
            { class: "switch", role: "radiogroup", "aria-label": "What is told apart" },
            choice("classes", "Kinds of things", "Each pixel has a class"),
            choice(
                "instances",
                "Single objects",
                "Each object has a number, so that touching ones stay apart and are counted",
            ),
        ),
    );
}
