/** What people are asked before something is lost or taken for granted. */

import { ask, make } from "./dom.js";

const words = (text) => [make("p", { text })];

/** @returns {Promise<boolean>} whether changes that could not be saved may be lost */
export async function sureToLeave() {
    const body = words("What you painted on this image is not saved yet. If you leave it now, it is lost.");
    const actions = [
        ["leave", "Leave it"],
        ["", "Stay", "primary"],
    ];
    return (await ask("Not saved yet", body, actions)) === "leave";
}

/** @returns {Promise<boolean>} whether the draft may be thrown away */
export async function sureToDiscard() {
    const body = words("What you painted on this image since it was last kept is thrown away.");
    const actions = [
        ["", "Cancel"],
        ["discard", "Discard", "primary"],
    ];
    return (await ask("Discard your changes?", body, actions)) === "discard";
}

/**
 * What is everything that was not painted?
 * @param {object} project
 * @param {boolean} stack whether the image has slices
 * @returns {Promise<string>} "background", "painted" (that, but only in slices where something is painted), "unknown",
 *     or "" when people want to look again
 */
export function askBackground({ kind, classes }, stack) {
    const [background, ...others] = classes.map(({ name }) => name);
    const painted = kind === "instances" ? "objects" : others.join(", ");
    const body = words(`You painted ${painted}, and nothing else. Is everything that you did not paint ${background}?`);
    const yes = stack
        ? [
              ["background", "Yes, in all slices"],
              ["painted", "Yes, in the slices that I painted", "primary"],
          ]
        : [["background", `Yes, it is ${background}`, "primary"]];
    return ask("And the rest?", body, [["unknown", "No, I did not look there"], ...yes]);
}

/** @returns {Promise<string>} "mine", "theirs", or "" when people want to look again */
export function askWhoseLabels() {
    const body = words(
        "This image was painted elsewhere since you opened it, in another tab perhaps. Whose labels stay?",
    );
    return ask("Changed elsewhere", body, [
        ["theirs", "Load theirs"],
        ["mine", "Keep mine", "primary"],
    ]);
}
