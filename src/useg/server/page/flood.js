/** The region of equal label around a pixel. No DOM here. */

/**
 * Visit the region of equal label (over edges, not corners) around a pixel, as runs of pixels in a row.
 *
 * Each run is told once and must then get another label: so the region itself remembers what was visited, and no
 * memory of the image's size is needed.
 *
 * @param {import("./runs.js").Labels} data
 * @param {{width: number, height: number, offset: number}} plane where the slice lies in `data`
 * @param {number} seed index of the pixel in `data`
 * @param {(start: number, length: number) => void} change gives `length` pixels from index `start` another label
 */
export function flood(data, { width, height, offset }, seed, change) {
    const label = data[seed];
    const end = offset + width * height;
    let [stack, used] = [new Uint32Array(1024), 0];

    /** Change the whole run at index `i`; its neighbours come later. Returns the index after it. */
    function take(i, row) {
        let [start, stop] = [i, i + 1];
        while (start > row && data[start - 1] === label) start--;
        while (stop < row + width && data[stop] === label) stop++;
        change(start, stop - start);
        if (used === stack.length) {
            const larger = new Uint32Array(2 * used);
            larger.set(stack);
            stack = larger;
        }
        stack[used++] = start;
        stack[used++] = stop;
        return stop;
    }

    take(seed, seed - ((seed - offset) % width));
    while (used) {
        const stop = stack[--used];
        const start = stack[--used];
        const row = start - ((start - offset) % width);
        for (const next of [row - width, row + width]) {
            if (next < offset || next >= end) continue;
            const last = stop - row + next;
            for (let i = start - row + next; i < last; i++) {
                if (data[i] === label) i = take(i, next);
            }
        }
    }
}
