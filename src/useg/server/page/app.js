/** The page: what is open, what was said last, and who tells whom. */

import { setUpAdding } from "./add.js";
import { Api } from "./api.js";
import { Compare } from "./compare.js";
import { byId, complain, later, setText, toast } from "./dom.js";
import { Gallery } from "./gallery.js";
import { showDownloads, showHelp, showModel } from "./help.js";
import { Improve } from "./improve.js";
import { setUpKeys } from "./keyboard.js";
import { Legend } from "./legend.js";
import { Panels } from "./panels.js";
import { Planes } from "./planes.js";
import { askBackground, askWhoseLabels, sureToDiscard, sureToLeave } from "./questions.js";
import { fetchLabels, pathOf, Session } from "./session.js";
import { Toolbar } from "./toolbar.js";
import { Viewer } from "./viewer.js";

const SAVED = {
    saved: "Saved",
    unsaved: "Saving …",
    saving: "Saving …",
    offline: "Not saved: the server is away, your strokes are kept here",
    conflict: "Not saved: changed elsewhere, press Keep to choose",
    error: "Not saved",
};

/** What the parts of the page share. */
export class App {
    api = new Api();
    viewer = new Viewer(byId("viewer"));
    /** What GET /api/project said last. */
    project = { name: "", kind: "classes", classes: [], images: [], kept: 0, model: null, has_model: false };
    /** What GET /api/runs said last. */
    runs = [];
    /** The open image, a `Session`, or null. */
    image = null;
    #opening = 0; // counts, so that an image that comes late does not replace a later one
    #busy = [];
    #tools = null; // as they were set on the image before
    #refreshSoon = later(400, () => this.refresh().catch(() => {}));

    constructor() {
        this.panels = new Panels(this);
        this.planes = new Planes(this);
        this.toolbar = new Toolbar(this);
        this.legend = new Legend(this);
        this.gallery = new Gallery(this);
        this.improve = new Improve(this);
        this.compare = new Compare(this);
        this.#listen();
    }

    /** Show the project, and the first image of it. */
    async begin() {
        await this.refresh();
        const asked = decodeURIComponent(location.hash.slice(1));
        const { images } = this.project;
        const first = images.find(({ name }) => name === asked) ?? images.find(({ error }) => !error);
        if (first) await this.open(first.name);
        await this.improve.begin();
    }

    /** Ask for the project again, and show it. */
    async refresh() {
        this.project = await this.api.get("/api/project");
        this.update();
    }

    /** Show everything as it is now. */
    update() {
        const { name, model, has_model: has, images } = this.project;
        document.title = name ? `${name} · useg` : "useg";
        document.body.dataset.view = images.length ? "image" : "empty";
        byId("welcome").hidden = images.length > 0;
        setText(byId("project-name"), name);
        setText(byId("model-name"), model ? `Model ${model}` : has ? "Model" : "No model yet");
        this.gallery.update();
        this.legend.update();
        this.toolbar.update();
        this.improve.update();
        this.#updateActions();
    }

    /** An image was added. */
    added(info) {
        const images = this.project.images.filter(({ name }) => name !== info.name);
        this.project = { ...this.project, images: [...images, info] };
        this.update();
    }

    /**
     * Open an image; what was painted on the one before is sent first.
     * @param {string} name
     * @param {{predict?: boolean}} options predict: let the model paint it when nobody did yet
     */
    async open(name, { predict = false } = {}) {
        const turn = ++this.#opening;
        const done = this.busy("Opening …");
        try {
            this.compare.close();
            if (!(await this.#leave())) return;
            const wanted = predict && this.project.has_model && this.#info(name)?.state === "new";
            const predicted = wanted ? this.api.post(`${pathOf(name)}/prediction`) : null;
            predicted?.catch(() => {}); // told below, when its turn comes
            const [view, labels] = await Promise.all([
                this.api.get(`${pathOf(name)}/view`),
                fetchLabels(this.api, name),
            ]);
            if (turn !== this.#opening) return;
            this.#show(name, view, labels);
            done();
            if (predicted) await this.#paint(predicted);
        } finally {
            done();
        }
    }

    /** Let the model paint the open image. What people painted stays, and is compared with it. */
    async predict() {
        const { image } = this;
        if (!image || !this.project.has_model || byId("predict").disabled) return;
        await this.#paint(this.api.post(`${pathOf(image.name)}/prediction`));
    }

    /** The open image is right. */
    async keep() {
        const { image } = this;
        if (!image || byId("keep").disabled) return;
        if (image.saver.state === "conflict") return this.#solveConflict();
        if (image.empty) return toast("Paint something first, then keep it.");
        if (image.onlyForeground.length && !(await this.#settleBackground(image))) return;
        try {
            await image.saver.keep();
            image.source = "mask";
            await this.refresh();
            this.#sayKept();
        } catch (error) {
            if (error.status !== 412) complain(error);
        }
    }

    /** Throw the changes of the open image away; of a kept one, do not learn from it any more. */
    async discard() {
        const { image } = this;
        if (!image || byId("discard").disabled) return;
        try {
            if (image.source === "mask") await this.#takeBack(image);
            else if (await sureToDiscard()) await image.saver.discard();
            else return;
            await this.#reload();
        } catch (error) {
            if (error.status !== 412) complain(error);
        }
    }

    /** Change the names, colours or kind of the classes. */
    async setClasses(kind, classes) {
        await this.image?.saver.flush();
        this.project = await this.api.put("/api/project/classes", { kind, classes });
        if (this.image) await this.#reload();
        this.update();
    }

    /** Another model is used now: its labels of the open image, beside what was there before. */
    async modelChanged({ compare = false } = {}) {
        const { image } = this;
        if (!image) return;
        const own = ["draft", "mask"].includes(image.source);
        if (own && !compare) return;
        if (!this.project.has_model) {
            await this.#reload();
            return;
        }
        const before = compare && image.source !== "new" ? image.snapshot() : null;
        await this.#paint(this.api.post(`${pathOf(image.name)}/prediction`), { before });
    }

    /** Open the image before or after this one. */
    step(by) {
        const name = this.gallery.neighbour(by);
        if (name !== undefined) this.open(name).catch(complain);
    }

    /**
     * Say that something takes a while.
     * @param {string} words
     * @returns {() => void} to be called when it is done
     */
    busy(words) {
        const entry = { words };
        this.#busy.push(entry);
        this.#showBusy();
        return () => {
            this.#busy = this.#busy.filter((each) => each !== entry);
            this.#showBusy();
        };
    }

    #showBusy() {
        const last = this.#busy.at(-1);
        byId("busy").hidden = !last;
        setText(byId("busy"), last?.words ?? "");
    }

    #show(name, view, labels) {
        this.viewer.open(name, view);
        this.image = new Session(this.api, this.viewer, name, view, labels, this.project);
        if (this.#tools) this.image.tools = this.#tools;
        this.image.addEventListener("change", () => this.#changed());
        this.image.addEventListener("pick", ({ detail }) => {
            this.toolbar.picked(detail.tool);
            this.legend.update();
            this.planes.update();
        });
        this.image.addEventListener("state", ({ detail }) => this.#saverIs(detail));
        history.replaceState(null, "", `#${encodeURIComponent(name)}`);
        this.panels.open(view);
        this.planes.open(name, view);
        this.toolbar.apply();
        this.#saverIs("saved");
        this.update();
    }

    /** Wait for a prediction of the open image, and show it. */
    async #paint(predicted, { before = null } = {}) {
        const { image } = this;
        const done = this.busy("The model is painting …");
        try {
            const { warnings } = await predicted;
            const labels = await fetchLabels(this.api, image.name, "prediction");
            if (image !== this.image) return;
            const own = ["draft", "mask"].includes(image.source);
            if (!own) this.#take(labels);
            if (own || before) this.#compare(before ?? image.snapshot(), labels, own);
            warnings.slice(0, 1).forEach((words) => toast(words));
            this.viewer.update(Object.assign(image.view, await this.api.get(`${pathOf(image.name)}/view`)));
            this.panels.relist(image.view.layers);
            await this.refresh();
        } finally {
            done();
        }
    }

    #compare(before, after, own) {
        const use = own ? () => this.#useLabels(after) : null;
        this.compare.open(
            { labels: before, name: own ? "Yours" : "Before" },
            { labels: after, name: own ? "The model" : "After" },
            use,
        );
    }

    /** Show labels that are on the server in the place of the open image's own. */
    #take(labels) {
        this.image.replace(labels, this.project);
        this.panels.apply();
        this.toolbar.apply();
        this.#saverIs("saved");
    }

    #useLabels(labels) {
        this.image.overwrite(labels.data);
        this.panels.apply();
    }

    async #reload() {
        const labels = await fetchLabels(this.api, this.image.name);
        this.#take(labels);
        await this.refresh();
    }

    /** Send what is not saved yet; false when people want to stay. */
    async #leave() {
        const { image } = this;
        if (!image) return true;
        await image.saver.flush();
        if (image.saver.dirty && !(await sureToLeave())) return false;
        this.#tools = image.tools;
        image.close();
        this.image = null;
        return true;
    }

    async #takeBack(image) {
        await image.saver.flush();
        await this.api.delete(`${pathOf(image.name)}/mask`, { "If-Match": `"${image.saver.version}"` });
    }

    #sayKept() {
        const next = this.project.images.filter(({ state, error }) => state !== "kept" && !error);
        const best = next.toSorted((a, b) => (a.rank ?? 1e9) - (b.rank ?? 1e9))[0];
        const action = best ? ["Next image", () => this.open(best.name, { predict: true }).catch(complain)] : null;
        toast(best ? "Kept." : "Kept. All images are done.", { action });
    }

    #changed() {
        this.panels.showLabels();
        this.planes.update();
        this.toolbar.update();
        this.legend.update();
        this.#updateActions();
    }

    #saverIs(state) {
        const words = state === "error" ? `Not saved: ${this.image?.saver.message}` : SAVED[state];
        byId("saved").dataset.state = state;
        setText(byId("saved"), this.image ? words : "");
        this.#updateActions();
        if (state === "saved") this.#refreshSoon();
        if (state === "conflict") this.#solveConflict().catch(complain);
    }

    /** False when people want to look again first. */
    async #settleBackground(image) {
        const answer = await askBackground(this.project, image.layer.slices > 1);
        if (answer === "background") image.fillBackground();
        if (answer === "painted") image.fillBackground(image.onlyForeground);
        return answer !== "";
    }

    async #solveConflict() {
        const answer = await askWhoseLabels();
        if (answer === "mine") await this.image.saver.keepMine();
        if (answer === "theirs") await this.#reload();
    }

    #info(name) {
        return this.project.images.find((each) => each.name === name);
    }

    #updateActions() {
        const { image } = this;
        const { source } = image ?? { source: "new" };
        const dirty = Boolean(image?.saver.dirty);
        byId("predict").disabled = !image || !this.project.has_model;
        byId("predict").title = this.project.has_model
            ? "Let the model paint this image (M)"
            : "There is no model yet: keep an image, then press Improve";
        byId("keep").disabled = !image || (source === "mask" && !dirty);
        setText(byId("keep").lastChild, source === "mask" && !dirty ? "Kept" : "Keep");
        byId("discard").disabled = !image || !["draft", "mask"].includes(source);
        setText(byId("discard").lastChild, source === "mask" ? "Take back" : "Discard");
        byId("discard").title =
            source === "mask"
                ? "Do not learn from this image; what is painted stays here"
                : "Throw away what you changed on this image";
        const info = image && this.#info(image.name);
        setText(byId("where"), info ? `${info.file} · ${info.width} × ${info.height} · ${info.dtype}` : "");
    }

    #listen() {
        const click = (id, work) => byId(id).addEventListener("click", () => Promise.resolve(work()).catch(complain));
        click("keep", () => this.keep());
        click("discard", () => this.discard());
        click("predict", () => this.predict());
        click("help-button", () => showHelp());
        click("model-button", () => showModel(this));
        click("download-button", () => showDownloads(this));
        this.api.addEventListener("away", () => this.#isAway(true));
        this.api.addEventListener("back", () => this.#isAway(false));
        document.addEventListener("visibilitychange", () => document.hidden || this.#refreshSoon());
        for (const tab of document.querySelectorAll("[role=tab]"))
            tab.addEventListener("click", () => showTab(tab.dataset.tab));
    }

    #isAway(away) {
        byId("banner").hidden = !away;
        setText(
            byId("banner"),
            away ? "The server is away. Start it again with “useg serve”; this page tries by itself." : "",
        );
        if (away) return;
        this.#refreshSoon();
        this.improve.begin().catch(() => {});
    }
}

function showTab(name) {
    document.body.dataset.tab = name;
    for (const tab of document.querySelectorAll("[role=tab]")) {
        tab.setAttribute("aria-selected", String(tab.dataset.tab === name));
        tab.tabIndex = tab.dataset.tab === name ? 0 : -1;
    }
}

const app = new App();
showTab("paint");
setUpAdding(app);
setUpKeys(app);
app.begin().catch(complain);
