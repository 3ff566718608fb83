/**
 * Shapes as spans of pixels, row by row. A pixel belongs to a shape when its centre (x + 0.5, y + 0.5) lies in it.
 * No DOM here.
 */

/**
 * @callback Emit
 * @param {number} y row
 * @param {number} left first column
 * @param {number} right column after the last
 */

/**
 * Where a round brush of whole pixels is centred, so that a brush of odd size lies around a pixel and one of even
 * size around a corner: then a disc has the same pixels wherever it is.
 * @param {number} x position in pixels, either axis
 * @param {number} size diameter in pixels, a whole number
 */
export function snap(x, size) {
    return size % 2 ? Math.floor(x) + 0.5 : Math.round(x);
}

/**
 * The pixels that a round brush covers on its way from one point to another: those not farther from the segment than
 * the radius.
 * @param {{x0: number, y0: number, x1: number, y1: number, radius: number}} stroke in pixels
 * @param {number} width of the image; nothing outside is emitted
 * @param {number} height of the image
 * @param {Emit} emit called at most once a row
 */
export function capsuleSpans({ x0, y0, x1, y1, radius }, width, height, emit) {
    const [dx, dy, square] = [x1 - x0, y1 - y0, radius * radius];
    const long = dx * dx + dy * dy;
    const inside = (x, y) => {
        const along = long ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / long)) : 0;
        return (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2 <= square;
    };
    const first = Math.max(0, Math.floor(Math.min(y0, y1) - radius));
    const last = Math.min(height, Math.ceil(Math.max(y0, y1) + radius));
    for (let y = first; y < last; y++) {
        const c = y + 0.5;
        let [low, high] = capsuleRow(x0, y0, dx, dy, radius, c);
        if (low > high) continue;
        // The ends were found in floating point; the test by distance has the last word.
        low = Math.max(0, Math.floor(low) - 1);
        high = Math.min(width, Math.ceil(high) + 1);
        while (low < high && !inside(low + 0.5, c)) low++;
        while (high > low && !inside(high - 0.5, c)) high--;
        if (high > low) emit(y, low, high);
    }
}

/** From where to where the line at height `y` runs in the capsule: of its two discs, and of the box between. */
function capsuleRow(x0, y0, dx, dy, radius, y) {
    let [low, high] = [Infinity, -Infinity];
    const take = (x, half) => {
        low = Math.min(low, x - half);
        high = Math.max(high, x + half);
    };
    for (const [x, off] of [[x0, y - y0], [x0 + dx, y - y0 - dy]]) {
        if (Math.abs(off) <= radius) take(x, Math.sqrt(radius * radius - off * off));
    }
    const length = Math.hypot(dx, dy);
    if (dy === 0) return [low, high];
    const [nx, ny] = [(-dy / length) * radius, (dx / length) * radius];
    for (const side of [-1, 1]) {
        const along = (y - y0 - side * ny) / dy;
        if (along >= 0 && along <= 1) take(x0 + side * nx + along * dx, 0);
    }
    return [low, high];
}

/**
 * The pixels in a polygon, by the even-odd rule.
 * @param {Array<[number, number]>} points its corners x, y in pixels; the last is joined to the first
 * @param {number} width of the image; nothing outside is emitted
 * @param {number} height of the image
 * @param {Emit} emit may be called several times a row, from left to right
 */
export function polygonSpans(points, width, height, emit) {
    const rows = new Map();
    points.forEach(([ax, ay], k) => {
        const [bx, by] = points[(k + 1) % points.length];
        const [topX, topY, lowX, lowY] = ay < by ? [ax, ay, bx, by] : [bx, by, ax, ay];
        // Half open: a corner on a row's middle counts for one of its two edges.
        const end = Math.min(height, Math.ceil(lowY - 0.5));
        for (let y = Math.max(0, Math.ceil(topY - 0.5)); y < end; y++) {
            const x = topX + ((y + 0.5 - topY) * (lowX - topX)) / (lowY - topY);
            if (!rows.has(y)) rows.set(y, []);
            rows.get(y).push(x);
        }
    });
    const column = (x) => Math.min(width, Math.max(0, Math.ceil(x - 0.5)));
    for (const [y, crossings] of rows) {
        crossings.sort((a, b) => a - b);
        for (let k = 0; k + 1 < crossings.length; k += 2) {
            const [left, right] = [column(crossings[k]), column(crossings[k + 1])];
            if (right > left) emit(y, left, right);
        }
    }
}
