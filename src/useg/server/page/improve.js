/** Making the model better: how long, how far, what came out, and back again. */

import { button, byId, complain, icon, make, setText, toast } from "./dom.js";
import { curve } from "./curve.js";

const ENDED = ["done", "failed", "cancelled"];
const AGAIN = 1000; // milliseconds until a job is looked for again whose events were cut off

/** The panel "Improve". */
export class Improve {
    #app;
    #job = null;
    #stop = null;

    /** @param {import("./app.js").App} app */
    constructor(app) {
        this.#app = app;
        byId("improve").addEventListener("click", () => this.#start());
        byId("improve-cancel").addEventListener("click", () => this.#cancel());
    }

    /** Find what runs or has ended, for example after the page was loaded anew or the server was started again. */
    async begin() {
        const jobs = await this.#app.api.get("/api/jobs");
        const running = jobs.find(({ kind, state }) => kind === "improve" && !ENDED.includes(state));
        await this.#showRuns();
        if (running) return this.#follow(running);
        const before = this.#running;
        this.#stop?.();
        this.#show(null);
        const last = jobs.at(-1) ?? null;
        if (before && last) await this.#end(last);
        else if (this.#isCurrent(last?.result?.run) || this.#unfinished) this.#result(last);
    }

    /** Show what can be done now. */
    update() {
        const { can_improve: can, why_not: why, kept, has_model: further } = this.#app.project;
        const runs = this.#running;
        byId("improve").disabled = !can || runs;
        byId("minutes").disabled = !can || runs;
        byId("improve-start").hidden = runs;
        const images = kept === 1 ? "the image" : `the ${kept} images`;
        const does = further ? "trains the model further" : "trains a model";
        setText(byId("improve-why"), can ? `Improve ${does} on ${images} that you kept.` : why);
    }

    get #running() {
        return this.#job !== null && !ENDED.includes(this.#job.state);
    }

    /** The newest run, where it ended before its time and is not in use. */
    get #unfinished() {
        const last = this.#app.runs.at(-1);
        return last && !last.finished && !last.current ? last : null;
    }

    #isCurrent(name) {
        return this.#app.runs.some(({ run, current }) => current && run === name);
    }

    #start() {
        const field = byId("minutes");
        if (field.reportValidity()) this.#train({ minutes: Number(field.value) });
    }

    async #train(asked) {
        try {
            await this.#app.image?.saver.flush();
            this.#follow(await this.#app.api.post("/api/improve", asked));
            byId("improve-cancel").focus();
        } catch (error) {
            complain(error);
        }
    }

    async #cancel() {
        byId("improve-cancel").disabled = true;
        try {
            await this.#app.api.delete(`/api/jobs/${this.#job.id}`);
        } catch (error) {
            byId("improve-cancel").disabled = false;
            complain(error);
        }
    }

    #follow(job) {
        this.#stop?.();
        byId("improve-cancel").disabled = false;
        byId("improve-done").hidden = true;
        this.#show(job);
        const heard = (now) => {
            this.#show(now);
            if (!ENDED.includes(now.state)) return true;
            this.#end(now).catch(complain);
            return false;
        };
        const lost = () => setTimeout(() => this.begin().catch(() => {}), AGAIN);
        this.#stop = this.#app.api.events(`/api/jobs/${job.id}/events`, heard, lost);
    }

    #show(job) {
        this.#job = job;
        byId("improve-run").hidden = !this.#running;
        this.update();
        if (!job) return;
        setText(byId("improve-state"), stateOf(job));
        const bar = byId("improve-progress");
        if (job.progress) bar.value = job.progress.fraction;
        else bar.removeAttribute("value");
        byId("curve").replaceChildren(curve(job.history, minutesOf(job)));
        byId("improve-run").title = job.command;
    }

    async #end(job) {
        await this.#app.refresh();
        await this.#showRuns();
        this.#result(job);
        if (this.#isCurrent(job.result?.run)) await this.#app.modelChanged({ compare: true });
    }

    /** Tell what came of a job, if any, and what can be done now. */
    #result(job) {
        const box = byId("improve-done");
        const run = job?.result?.run;
        const from = this.#app.runs.find((each) => each.run === run)?.started_from;
        // A model from elsewhere is told by its file: the server knows it as the one that the project began with.
        const back = this.#app.runs.some((each) => each.run === from) ? from : null;
        const open = this.#unfinished;
        const small = (words, title, work) => button(words, { class: "small", title, on: { click: work } });
        box.replaceChildren(
            ...(job ? resultOf(job, this.#isCurrent(run)) : []),
            ...(open ? [make("p", { text: unfinishedOf(open) })] : []),
            make(
                "div",
                { class: "buttons" },
                this.#isCurrent(run) ? small("Go back", "Use the model from before", () => this.use(back)) : null,
                open ? small("Go on", "Train it to its end", () => this.#train({ resume: open.run })) : null,
                open?.usable ? small("Use it", "Use what it has learned so far", () => this.use(open.run)) : null,
                run && this.#hasReport(run) ? reportLink(run) : null,
            ),
        );
        box.hidden = false;
    }

    #hasReport(run) {
        return this.#app.runs.some((each) => each.run === run && each.report);
    }

    /** Make a run's model the current one; null is the model that the project began with. */
    async use(run) {
        try {
            await this.#app.api.put("/api/project/model", { run });
            byId("improve-done").hidden = true;
            await this.#app.refresh();
            await this.#showRuns();
            const none = this.#app.project.has_model ? "The model from before is in use now." : "No model is in use now.";
            toast(run ? `Model ${run} is in use now.` : none);
            await this.#app.modelChanged();
        } catch (error) {
            complain(error);
        }
    }

    async #showRuns() {
        this.#app.runs = await this.#app.api.get("/api/runs");
        const runs = this.#app.runs.filter(({ usable }) => usable);
        byId("runs").hidden = runs.length === 0;
        byId("run-list").replaceChildren(...runs.toReversed().map((run) => this.#run(run)));
    }

    #run({ run, dice, minutes, images, current, finished, report }) {
        const told = [
            finished ? null : "not finished",
            dice === null ? null : `Dice ${dice.toFixed(2)}`,
            images === null ? null : `${images} ${images === 1 ? "image" : "images"}`,
            minutes === null ? null : `${Number(minutes.toFixed(1))} min`,
        ].filter((each) => each);
        return make(
            "li",
            { class: "run" },
            make("b", { text: `Model ${run}` }),
            report ? reportLink(run) : make("span"),
            current
                ? make("span", { class: "now", text: "In use" })
                : button("Use", {
                      class: "small",
                      "aria-label": `Use model ${run}`,
                      on: { click: () => this.use(run) },
                  }),
            make("div", { class: "facts", text: told.join(" · ") }),
        );
    }
}

/** A link to the report of a run, in a tab of its own. */
function reportLink(run) {
    return make("a", {
        href: `/api/runs/${encodeURIComponent(run)}/report`,
        target: "_blank",
        rel: "noopener",
        text: "Report",
        title: "How good the model is, image by image",
    });
}

function minutesOf({ command }) {
    return Number(/--minutes ([\d.]+)/.exec(command)?.[1] ?? 0);
}

function stateOf({ state, progress }) {
    if (state === "queued") return "Waits for its turn …";
    if (!progress) return "Looking at the images …";
    const { seconds_left: left, dice } = progress;
    const time = left === null ? "Learning …" : left < 1 ? "Finishing …" : `Learning: ${timeOf(left)} left.`;
    return Number.isFinite(dice) ? `${time} Dice ${dice.toFixed(2)} so far.` : time;
}

function timeOf(seconds) {
    if (seconds >= 90) return `${Math.round(seconds / 60)} minutes`;
    const tens = seconds > 10 ? 10 * Math.ceil(seconds / 10) : Math.ceil(seconds);
    return tens === 1 ? "1 second" : `${tens} seconds`;
}

function resultOf({ state, error, result }, current) {
    if (state === "failed") return [make("p", {}, icon("warn"), ` It did not work: ${error}`)];
    if (state === "cancelled" && !current) return [make("p", { text: "Stopped. The model in use is as it was." })];
    const { before, after, kept_start: kept } = result;
    if (kept)
        return [
            make("p", {
                text: `It did not get better with these images, so the model stays as it was${scoreOf(before)}.`,
            }),
        ];
    const [was, now] = [before, after].map((dice) => (Number.isFinite(dice) ? dice.toFixed(2) : null));
    return [
        make("p", {
            text: "Dice on held-out images",
            title: "1 is perfect, 0 is nothing right; measured on kept images that it did not learn from",
        }),
        make("strong", { text: was ? `${was} → ${now ?? "?"}` : (now ?? "not measured") }),
        ...(was && now && now < was ? [make("p", { text: "Lower than before: you can go back." })] : []),
    ];
}

function unfinishedOf({ run, minutes, budget, dice }) {
    const spent = Number(minutes.toFixed(1));
    const time = budget === null ? `${spent} minutes` : `${spent} of ${budget} minutes`;
    return `Model ${run} is not finished: ${time}${dice === null ? "" : `, Dice ${dice.toFixed(2)} so far`}.`;
}

function scoreOf(dice) {
    return Number.isFinite(dice) ? ` (Dice ${dice.toFixed(2)})` : "";
}
