/** The curve of a training, drawn as SVG: loss and Dice over the time that is spent. */

import { make, svg } from "./dom.js";

const WIDE = 268;
const HIGH = 116;
const [LEFT, RIGHT, TOP, BOTTOM] = [28, 8, 8, 20];

const across = (fraction) => LEFT + (WIDE - LEFT - RIGHT) * Math.min(1, Math.max(0, fraction));
const up = (share) => HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * Math.min(1, Math.max(0, share));

/**
 * The curve so far.
 * @param {{fraction: number, loss: number|null, dice: number|null}[]} history of a job
 * @param {number} minutes that it takes in all
 * @returns {Node} a picture with a text for those who do not see it, and its key
 */
export function curve(history, minutes) {
    const losses = history.filter(({ loss }) => Number.isFinite(loss));
    const scores = history.filter(({ dice }) => Number.isFinite(dice));
    const greatest = Math.max(1e-9, ...losses.map(({ loss }) => loss));
    const least = Math.min(0, ...losses.map(({ loss }) => loss));
    const line = (kind, points, share) =>
        svg("polyline", { class: kind, points: points.map((p) => `${across(p.fraction)},${up(share(p))}`).join(" ") });
    const picture = svg(
        "svg",
        { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": inWords(losses, scores) },
        ...[0, 0.5, 1].flatMap((share) => [
            svg("line", { class: "grid", x1: LEFT, x2: WIDE - RIGHT, y1: up(share), y2: up(share) }),
            label(LEFT - 6, up(share) + 4, "end", String(share)),
        ]),
        label(LEFT, HIGH - 4, "start", "start"),
        label(WIDE - RIGHT, HIGH - 4, "end", `${minutes} min`),
        line("loss", losses, ({ loss }) => (loss - least) / (greatest - least)),
        line("dice", scores, ({ dice }) => dice),
        ...scores.map((p) => svg("circle", { class: "dot", cx: across(p.fraction), cy: up(p.dice), r: 3 })),
    );
    const keys = make(
        "div",
        { class: "keys", "aria-hidden": "true" },
        key("of-dice", "Dice (up is better)"),
        key("of-loss", "loss (down)"),
    );
    const both = document.createDocumentFragment();
    both.append(picture, keys);
    return both;
}

function key(kind, words) {
    return make("span", { class: kind }, make("i"), words);
}

function label(x, y, anchor, text) {
    return svg("text", { x, y, "text-anchor": anchor }, text);
}

function inWords(losses, scores) {
    const [loss, score] = [losses.at(-1), scores.at(-1)];
    const told = [loss && `loss ${loss.loss.toFixed(2)}`, score && `Dice ${score.dice.toFixed(2)}`].filter(
        (each) => each,
    );
    return `Curve of the training. ${told.length ? `Now: ${told.join(", ")}` : "Nothing yet"}`;
}
