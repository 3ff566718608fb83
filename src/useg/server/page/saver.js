/** Keeps the labels on the server: a draft soon after each change, the mask when it is kept. */

import { gzip } from "./packing.js";

const WAIT = 1000; // milliseconds from the last change to its draft
const LONGEST = 10000; // of it, for labels that take long to send
const RETRY = [1000, 2000, 4000, 8000, 15000]; // milliseconds to the next try while the server does not answer

/**
 * Saves one image's labels, one request at a time, and never over a version that it does not know.
 *
 * Events: "state" (detail: "saved", "unsaved", "saving", "offline": tries again by itself, "conflict": someone else
 * wrote, nothing is sent until `keepMine`, or "error": the server refuses, `message` says why, the next change tries
 * again).
 */
export class Saver extends EventTarget {
    state = "saved";
    /** What the server said last when it refused. */
    message = "";
    #api;
    #path;
    #layer;
    #changes = 0; // counted
    #safe = 0; // of them, that are on the server
    #draft = null; // that may or may not have arrived, {body, changes}: it is sent again as it was
    #running = null;
    #timer = null;
    #failures = 0;
    #lasted = 0;
    #theirs = null;
    #leave = new AbortController();

    /**
     * @param {import("./api.js").Api} api put(path, body, headers) and delete(path, headers) give the answer's JSON, or
     *     reject with {status, body, message}, without status when the server was not reached; tells "back" when it is
     *     reached again
     * @param {string} name of the image
     * @param {import("./labels.js").LabelLayer} layer
     * @param {string} version of the labels that the layer began with
     */
    constructor(api, name, layer, version) {
        super();
        this.#api = api;
        this.#path = `/api/images/${encodeURIComponent(name)}`;
        this.#layer = layer;
        this.version = version;
        const { signal } = this.#leave;
        const listen = (target, type, heard) => target.addEventListener(type, heard, { signal });
        // A page that is hidden may be gone the next moment.
        listen(document, "visibilitychange", () => document.hidden && this.flush());
        listen(window, "pagehide", () => this.flush());
        listen(api, "back", () => this.flush());
        listen(window, "beforeunload", (event) => this.dirty && event.preventDefault());
    }

    /** Whether there are changes that the server does not have. */
    get dirty() {
        return this.#changes !== this.#safe;
    }

    /** The labels were changed: a draft goes out when no more changes come for a second. */
    touch() {
        this.#changes++;
        if (this.state === "conflict") return;
        this.#become("unsaved");
        this.#soon();
    }

    /**
     * Send the draft now.
     * @returns {Promise<boolean>} whether everything is on the server
     */
    async flush() {
        clearTimeout(this.#timer);
        while (this.#running) await this.#running;
        if (this.state === "conflict") return false;
        if (this.dirty) await this.#alone(() => this.#sendDraft());
        else this.#become("saved");
        return !this.dirty;
    }

    /**
     * Make the labels the image's mask.
     * @returns {Promise<object>} the ImageInfo
     * @throws what the api rejects with; a draft of the labels is then sent as before
     */
    async keep() {
        if (this.#draft) await this.flush(); // or the server's version is not known
        return this.#settle(async () => {
            const body = await gzip(this.#layer.data);
            return this.#api.put(`${this.#path}/mask`, body, this.#headers());
        });
    }

    /**
     * Give the draft up. The layer is not touched: open the image anew.
     * @returns {Promise<object>} the ImageInfo
     * @throws what the api rejects with
     */
    async discard() {
        if (this.#draft) await this.flush();
        return this.#settle(() => this.#api.delete(`${this.#path}/draft`, { "If-Match": `"${this.version}"` }));
    }

    /** After a conflict: write over what the other one wrote. */
    async keepMine() {
        if (this.state !== "conflict") return this.flush();
        this.version = this.#theirs;
        this.#changes++;
        this.#become("unsaved");
        return this.flush();
    }

    /** Stop, without sending anything: `flush` before when the changes are wanted. */
    close() {
        clearTimeout(this.#timer);
        this.#leave.abort();
    }

    #headers() {
        const { slices, height, width, data } = this.#layer;
        return {
            "If-Match": `"${this.version}"`,
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "gzip",
            "X-Useg-Shape": `${slices},${height},${width}`,
            "X-Useg-Dtype": `uint${8 * data.BYTES_PER_ELEMENT}`,
        };
    }

    /** One request at a time. */
    async #alone(send) {
        while (this.#running) await this.#running;
        const sent = send();
        this.#running = sent.catch(() => {}).finally(() => (this.#running = null));
        return sent;
    }

    async #sendDraft() {
        const began = performance.now();
        this.#become("saving");
        try {
            const changes = this.#changes;
            this.#draft ??= { changes, body: await gzip(this.#layer.data) };
            const { version } = await this.#api.put(`${this.#path}/draft`, this.#draft.body, this.#headers());
            this.#arrived(version, this.#draft.changes);
        } catch (error) {
            this.#refused(error);
        }
        this.#lasted = performance.now() - began;
    }

    /** Keep or discard: afterwards the server has all there is. */
    #settle(send) {
        clearTimeout(this.#timer);
        return this.#alone(async () => {
            const changes = this.#changes;
            this.#become("saving");
            try {
                const info = await send();
                this.#arrived(info.version, changes);
                return info;
            } catch (error) {
                this.#refused(error);
                if (this.state !== "conflict") this.#soon();
                throw error;
            }
        });
    }

    #arrived(version, changes) {
        this.version = version;
        this.#safe = changes;
        this.#draft = null;
        this.#failures = 0;
        if (this.dirty) {
            this.#become("unsaved");
            this.#soon();
        } else {
            this.#become("saved");
        }
    }

    #refused(error) {
        this.message = error.message;
        const { status } = error;
        if (status === 412) {
            this.#theirs = error.body?.version ?? null;
            this.#draft = null;
            this.#become("conflict");
        } else if (status && status < 500 && status !== 429) {
            this.#draft = null;
            this.#become("error");
        } else {
            this.#become("offline");
            this.#later(RETRY[Math.min(this.#failures++, RETRY.length - 1)]);
        }
    }

    /** Large labels take long to send: twice that time is left between. */
    #soon() {
        this.#later(Math.min(LONGEST, Math.max(WAIT, 2 * this.#lasted)));
    }

    #later(milliseconds) {
        clearTimeout(this.#timer);
        if (!this.#leave.signal.aborted) this.#timer = setTimeout(() => this.flush(), milliseconds);
    }

    #become(state) {
        if (state === this.state) return;
        this.state = state;
        this.dispatchEvent(new CustomEvent("state", { detail: state }));
    }
}
