/** Undo and redo, bounded in memory. No DOM here. */

/** @typedef {import("./runs.js").Edit} Edit */

/** The edits of one label image, in order; those before `#at` are done, the others undone. */
export class History {
    #edits = [];
    #at = 0;
    #bytes = 0;

    /** @param {number} limit bytes of all edits together; the oldest go first, the newest one always stays */
    constructor(limit = 128 * 2 ** 20) {
        this.limit = limit;
    }

    get bytes() {
        return this.#bytes;
    }

    get canUndo() {
        return this.#at > 0;
    }

    get canRedo() {
        return this.#at < this.#edits.length;
    }

    /**
     * Remember what was just done. What had been undone is forgotten.
     * @param {Edit} edit
     */
    push(edit) {
        if (edit.empty) return;
        edit.finish();
        for (const undone of this.#edits.splice(this.#at)) this.#bytes -= undone.bytes;
        this.#edits.push(edit);
        this.#bytes += edit.bytes;
        while (this.#bytes > this.limit && this.#edits.length > 1) this.#bytes -= this.#edits.shift().bytes;
        this.#at = this.#edits.length;
    }

    /** @returns {Edit | null} the edit that was taken back */
    undo() {
        if (!this.canUndo) return null;
        const edit = this.#edits[--this.#at];
        edit.undo();
        return edit;
    }

    /** @returns {Edit | null} the edit that was done again */
    redo() {
        if (!this.canRedo) return null;
        const edit = this.#edits[this.#at++];
        edit.redo();
        return edit;
    }
}
