/** The list of images: what is done, what would help most next, and which one is open. */

import { arrows, byId, complain, icon, make, setText, toast } from "./dom.js";

const WORDS = { new: "New", predicted: "Predicted", draft: "Draft", kept: "Kept", error: "Cannot be read" };
const TOLD = {
    new: "Nobody painted it yet",
    predicted: "Painted by the model, not checked yet",
    draft: "Painted by you, not kept yet",
    kept: "Right: the model learns from it",
};

/** The gallery of a project. */
export class Gallery {
    #cards = new Map();
    #app;

    /** @param {import("./app.js").App} app */
    constructor(app) {
        this.#app = app;
        byId("filter").addEventListener("change", () => this.update());
        byId("suggest-button").addEventListener("click", () => this.#suggest());
        arrows(byId("gallery"));
    }

    /** Show the project as it is now. */
    update() {
        const { images, kept } = this.#app.project;
        setText(byId("image-count"), images.length ? `${images.length}, ${kept} kept` : "");
        const shown = this.#listed();
        const cards = shown.map((info) => this.#card(info));
        const list = byId("gallery");
        if (cards.length !== list.children.length || cards.some((card, k) => card !== list.children[k])) {
            list.replaceChildren(...cards);
        }
        const names = new Set(images.map(({ name }) => name));
        for (const name of this.#cards.keys()) if (!names.has(name)) this.#cards.delete(name);
        byId("gallery-empty").hidden = shown.length > 0 || !images.length;
        byId("suggest-button").disabled = !this.#app.project.has_model || kept === images.length;
    }

    /** The image before or after the open one, as they are listed. */
    neighbour(step) {
        const names = this.#listed().map(({ name }) => name);
        const at = names.indexOf(this.#app.image?.name);
        return names[at < 0 ? 0 : at + step];
    }

    #listed() {
        const filter = byId("filter").value;
        const { images } = this.#app.project;
        const fits = { all: () => true, kept: ({ state }) => state === "kept", todo: ({ state }) => state !== "kept" }[
            filter
        ];
        const rank = (info) => (info.state === "kept" ? Infinity : (info.rank ?? 1e9));
        const ranked = images.some((info) => info.rank !== null && info.state !== "kept");
        const listed = images.filter(fits);
        return ranked ? listed.toSorted((a, b) => rank(a) - rank(b) || 0) : listed;
    }

    #card(info) {
        let card = this.#cards.get(info.name);
        if (!card) {
            card = make("li");
            this.#cards.set(info.name, card);
        }
        const open = this.#app.image?.name === info.name;
        const seen = JSON.stringify([info, open, this.#app.project.model]);
        if (card.dataset.seen !== seen) {
            card.dataset.seen = seen;
            const focused = card.contains(document.activeElement);
            card.replaceChildren(this.#button(info, open, card.querySelector("img")));
            if (focused) card.firstChild.focus();
        }
        return card;
    }

    #button(info, open, before) {
        const state = info.error ? "error" : info.state;
        const told = info.error ?? info.reason ?? TOLD[state];
        const rank = state !== "kept" && info.rank !== null ? info.rank : null;
        return make(
            "button",
            {
                type: "button",
                class: "card",
                "aria-current": String(open),
                title: `${info.file}\n${told}`,
                on: { click: () => this.#app.open(info.name).catch(complain) },
            },
            info.error ? make("span", { class: "gone" }) : this.#picture(info, before),
            make("span", { class: "title", text: info.name }),
            make("span", { class: "state", "data-state": state }, icon(`state-${state}`), WORDS[state]),
            make("span", { class: "facts", text: facts(info) }),
            rank === null ? null : make("span", { class: "rank", text: rank === 1 ? "Next" : String(rank) }),
            rank !== 1 || !info.reason ? null : make("span", { class: "reason", text: capital(info.reason) }),
        );
    }

    #picture(info, before) {
        const version = encodeURIComponent(
            `${info.state} ${info.version} ${info.expected_dice} ${this.#app.project.model}`,
        );
        const source = `/api/images/${encodeURIComponent(info.name)}/thumbnail?v=${version}`;
        if (before?.getAttribute("src") === source) return before;
        return make("img", { src: source, alt: "", loading: "lazy", width: 64, height: 64 });
    }

    async #suggest() {
        const asked = byId("suggest-button");
        asked.disabled = true;
        const done = this.#app.busy("Looking for the images that would teach the model most …");
        try {
            const { ranked } = await this.#app.api.post("/api/suggest");
            await this.#app.refresh();
            if (ranked.length) {
                const { name } = ranked[0];
                toast(`${name} would help most.`, { action: ["Open", () => this.#app.open(name).catch(complain)] });
            }
        } catch (error) {
            complain(error);
        } finally {
            done();
            this.update();
        }
    }
}

function facts(info) {
    if (info.state !== "kept" && info.expected_dice !== null) return `expected Dice ${info.expected_dice.toFixed(2)}`;
    if (!info.width) return "";
    return `${info.width} × ${info.height}${info.slices > 1 ? ` × ${info.slices}` : ""}`;
}

function capital(text) {
    return text[0].toUpperCase() + text.slice(1);
}
