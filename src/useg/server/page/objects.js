/** Single objects in a label image: free numbers, relabelling, separate pieces. No DOM here. */

import { flood } from "./flood.js";

/**
 * A number that no object has: one more than the greatest, or else the least that is free.
 * @param {import("./runs.js").Labels} data
 * @param {number} none the label that means not annotated; not given out
 * @throws {RangeError} every number of the type is taken
 */
export function freeId(data, none) {
    let greatest = 0;
    for (let i = 0; i < data.length; i++) {
        if (data[i] > greatest && data[i] !== none) greatest = data[i];
    }
    // The value below `none` stays free too: the drawing needs a number that no pixel has.
    if (greatest + 1 < none - 1) return greatest + 1;
    const taken = new Set(data);
    for (let id = 1; id < none - 1; id++) if (!taken.has(id)) return id;
    throw new RangeError(`all ${none - 2} numbers of objects are taken`);
}

/**
 * Give every pixel of one label another.
 * @param {import("./runs.js").Edit} edit
 * @param {number} from
 * @param {number} to
 * @param {[number, number]} part the rows where, as indices in the data; all without
 */
export function relabel(edit, from, to, [first, last] = [0, edit.data.length]) {
    const { width } = edit;
    const data = edit.data.subarray(first, last);
    for (let i = data.indexOf(from); i >= 0; i = data.indexOf(from, i)) {
        const rowEnd = i - (i % width) + width;
        let stop = i + 1;
        while (stop < rowEnd && data[stop] === from) stop++;
        edit.paint(first + i, stop - i, to);
        i = stop;
    }
}

/**
 * Give each separate piece of an object a number of its own; the largest keeps the old one.
 * @param {import("./runs.js").Edit} edit
 * @param {{width: number, height: number, offset: number}} plane the slice in which pieces are looked for
 * @param {number} id
 * @param {() => number} next gives a free number, another one each time
 * @returns {number} how many pieces there are; with one, nothing is changed
 */
export function separate(edit, plane, id, next) {
    const { data } = edit;
    const end = plane.offset + plane.width * plane.height;
    const pieces = [];
    for (let i = data.indexOf(id, plane.offset); i >= 0 && i < end; i = data.indexOf(id, i)) {
        const piece = { id: next(), area: 0, first: i };
        flood(data, plane, i, (start, length) => {
            edit.paint(start, length, piece.id);
            piece.area += length;
        });
        pieces.push(piece);
    }
    if (!pieces.length) return 0;
    const largest = pieces.reduce((a, b) => (b.area > a.area ? b : a));
    flood(data, plane, largest.first, (start, length) => edit.paint(start, length, id));
    return pieces.length;
}
