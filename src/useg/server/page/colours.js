/** Colours of classes and of single objects, as the numbers that lie in a canvas: 0xAABBGGRR. No DOM here. */

const GOLDEN = 0.6180339887498949;
const LIGHTNESS = [0.7, 0.62, 0.76];
const CHROMA = 0.17;

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
 * A bright colour for an object, seen on light and on dark ground: hues step by the golden ratio, so that numbers near
 * each other differ, in Oklch (Ottosson, "A perceptual color space for image processing", 2020).
 * @param {number} id
 * @returns {number[]} RGB 0..255
 */
export function objectColour(id) {
    const hue = 2 * Math.PI * ((id * GOLDEN) % 1);
    const [a, b] = [CHROMA * Math.cos(hue), CHROMA * Math.sin(hue)];
    const lightness = LIGHTNESS[id % LIGHTNESS.length];
    const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
    return [
        4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ].map((linear) => Math.round(255 * gamma(Math.min(1, Math.max(0, linear)))));
}

/** From amounts of light to the values of sRGB, both 0..1. */
function gamma(linear) {
    return linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
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
