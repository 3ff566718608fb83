/** Colours of classes and of single objects, as the numbers that lie in a canvas: 0xAABBGGRR. No DOM here. */

const GOLDEN = 0.6180339887498949;
const SHADES = [[0.85, 1], [0.5, 1], [1, 0.85], [0.7, 0.9]];

/**
 * One pixel of a canvas.
 * @param {number[]} rgb 0..255
 * @param {number} alpha 0..1
 */
export function packed([red, green, blue], alpha) {
    return ((Math.round(255 * alpha) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** @param {string} colour "#rrggbb" */
export function rgb(colour) {
    const number = Number.parseInt(colour.slice(1), 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
}

/**
 * A bright colour for an object: hues step by the golden ratio, so that numbers near each other differ.
 * @param {number} id
 */
export function objectColour(id) {
    const [saturation, value] = SHADES[id % SHADES.length];
    const sector = ((id * GOLDEN) % 1) * 6;
    return [5, 3, 1].map((shift) => {
        const k = (shift + sector) % 6;
        return Math.round(255 * value * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1))));
    });
}

/**
 * The colour of each label at one opacity.
 * @param {string[] | null} colours of the classes, "#rrggbb" by id; null gives the colours of objects
 * @param {number} count of colours, a power of two
 * @param {number} alpha 0..1
 * @returns {Uint32Array} label & (count - 1) is the place of its colour
 */
export function table(colours, count, alpha) {
    return Uint32Array.from({ length: count }, (_, label) =>
        packed(colours?.[label] ? rgb(colours[label]) : objectColour(label), alpha),
    );
}
