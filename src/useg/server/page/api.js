/** What the page asks of the server: JSON, bytes and events, with one kind of error. */

const BUSY_MS = 600_000; // that a request waits for others
const PING_MS = 2000;

/** An answer that says no, or no answer at all: then there is no `status`. */
export class ApiError extends Error {
    /**
     * @param {string} message one line for people
     * @param {number} [status]
     * @param {object} [body] of the answer
     */
    constructor(message, status, body) {
        super(message);
        this.status = status;
        this.body = body;
    }
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function isRaw(body) {
    return body instanceof Blob || body instanceof ArrayBuffer || ArrayBuffer.isView(body);
}

/** Events: "away" when the server does not answer, "back" when it does again. */
export class Api extends EventTarget {
    away = false;

    /** @returns {Promise<object>} the answer's JSON @throws {ApiError} */
    get(path) {
        return this.#json("GET", path);
    }

    /** @param {object|Blob|ArrayBuffer} body JSON, or bytes that go as they are */
    put(path, body, headers) {
        return this.#json("PUT", path, body, headers);
    }

    /** @param {object|Blob|ArrayBuffer} [body] JSON, or bytes that go as they are */
    post(path, body, headers) {
        return this.#json("POST", path, body, headers);
    }

    delete(path, headers) {
        return this.#json("DELETE", path, undefined, headers);
    }

    /** @returns {Promise<{data: ArrayBuffer, headers: Headers}>} @throws {ApiError} */
    async bytes(path) {
        const response = await this.#ask(path, { method: "GET" });
        return { data: await response.arrayBuffer(), headers: response.headers };
    }

    /**
     * Listen to a job.
     * @param {string} path of its events
     * @param {(job: object) => boolean} onmessage gives false when it wants no more
     * @param {() => void} onlost the server tells nothing any more
     * @returns {() => void} stops listening
     */
    events(path, onmessage, onlost) {
        const source = new EventSource(path);
        source.onmessage = ({ data }) => onmessage(JSON.parse(data)) === false && source.close();
        source.onerror = () => {
            source.close(); // a server that was started again knows the job by another name
            onlost();
        };
        return () => source.close();
    }

    async #json(method, path, body, headers = {}) {
        const init = { method, headers: { ...headers } };
        if (isRaw(body)) {
            init.headers["Content-Type"] ??= "application/octet-stream";
            init.body = body;
        } else if (body !== undefined) {
            init.headers["Content-Type"] = "application/json";
            init.body = JSON.stringify(body);
        }
        const response = await this.#ask(path, init);
        const text = await response.text();
        return text ? JSON.parse(text) : null;
    }

    async #ask(path, init) {
        const begun = performance.now();
        for (;;) {
            const response = await this.#reach(path, init);
            if (response.ok) return response;
            if (response.status !== 429 || performance.now() - begun > BUSY_MS) throw await refusal(response);
            await pause(1000 * Math.min(30, Math.max(0.2, Number(response.headers.get("Retry-After")) || 1)));
        }
    }

    async #reach(path, init) {
        try {
            const response = await fetch(path, init);
            this.#isAway(false);
            return response;
        } catch {
            this.#isAway(true);
            throw new ApiError("The server does not answer. Is `useg serve` still running?");
        }
    }

    #isAway(away) {
        if (away === this.away) return;
        this.away = away;
        this.dispatchEvent(new Event(away ? "away" : "back"));
        if (away) this.#ping();
    }

    async #ping() {
        while (this.away) {
            await pause(PING_MS);
            try {
                await fetch("/api/health");
                this.#isAway(false);
            } catch {
                // Still away.
            }
        }
    }
}

async function refusal(response) {
    let body = null;
    try {
        body = await response.json();
    } catch {
        // Not from this server's own code.
    }
    const text = typeof body?.error === "string" ? body.error : `The server answered ${response.status}. Try again.`;
    return new ApiError(text, response.status, body);
}
